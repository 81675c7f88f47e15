//! Random elements of a collection: `SRANDMEMBER`, `HRANDFIELD`, `ZRANDMEMBER`.

use rand::seq::index::sample;

use super::error::{Result, error};
use super::text::integer;

/// Most elements that are picked with repetition.
const MOST: u64 = 10_000_000;

/// How many random elements are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// So many different ones, or all.
    Different(usize),
    /// So many, any of them more than once.
    Any(usize),
}

impl Wanted {
    /// Reads a count: negative ones allow repetition.
    pub(super) fn read(text: &[u8]) -> Result<Self> {
        let count = integer(text)?;
        let size = count.unsigned_abs();
        if count == i64::MIN || (count < 0 && size > MOST) {
            return Err(error("ERR value is out of range"));
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        Ok(if count < 0 {
            Self::Any(size)
        } else {
            Self::Different(size)
        })
    }

    /// The places of the elements that are picked of `length`.
    pub(super) fn pick(self, length: usize) -> Vec<usize> {
        match self {
            _ if length == 0 => Vec::new(),
            Self::Any(count) => (0..count).map(|_| one_of(length)).collect(),
            Self::Different(count) if count >= length => (0..length).collect(),
            Self::Different(count) => sample(&mut rand::rng(), length, count).into_vec(),
        }
    }
}

/// A place chosen at random of `length`, which is not 0.
pub(super) fn one_of(length: usize) -> usize {
    rand::random_range(0..length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_wanted_are_picked_and_no_more_than_there_are() {
        let different = Wanted::read(b"3").unwrap();
        let mut picked = different.pick(10);
        picked.sort_unstable();
        picked.dedup();
        assert_eq!(picked.len(), 3);
        assert_eq!(different.pick(2), [0, 1]);
        assert_eq!(different.pick(0), [0; 0]);
        assert_eq!(Wanted::read(b"-5").unwrap().pick(1), [0; 5]);
        assert!(Wanted::read(b"-10000001").is_err());
        assert!(Wanted::read(b"-9223372036854775808").is_err());
        assert!(Wanted::read(b"x").is_err());
    }
}
