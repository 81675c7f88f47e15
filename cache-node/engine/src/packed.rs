//! Packed items: the one encoding of all collections.
//!
//! A sequence of integers and strings lies end to end in one run of bytes, each encoded exactly as an entry of Redis's *listpack*
//! (the public specification: <https://github.com/antirez/listpack/blob/master/listpack.md>): a leading byte that says kind and
//! length, the content, and the length once more so that the sequence can be read from its end. The six bytes in front and the one
//! behind that make a listpack of it belong to whoever writes a dump. A small collection is one such run; a big one is many
//! ([`crate::blocks`]).
//!
//! Every value has one encoding only: text that is an integer in canonical decimal form is stored as an integer, in the shortest of
//! its forms. So equal values are equal bytes, and a search compares bytes.
//!
//! Offsets are of bytes and point at the start of an item. Functions that read answer `None` or stop where bytes are malformed and
//! never panic; [`validate`] is for bytes from outside.

mod edit;
mod encoded;
mod item;

pub(crate) use edit::{fair, put_all, room};
pub use edit::{grow, insert, insert_all, push, remove, replace, settle};
pub use encoded::{Encoded, canonical_integer};
pub use item::{Item, Items};

use item::decode;

/// Longest string that an item's header can state.
pub const MAX_STRING: usize = u32::MAX as usize;

/// What is wrong with bytes that should be packed items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// An item begins that does not end within the bytes, or whose leading byte means nothing.
    Truncated,
    /// The length behind an item is not the item's.
    BackLength,
    /// There are more or fewer items than announced.
    Count,
    /// An item is well formed but not in the encoding that this module would choose; the sequence must be built anew.
    NotCanonical,
}

/// All items of `bytes`, from either end.
pub fn items(bytes: &[u8]) -> Items<'_> {
    Items::new(bytes)
}

/// The item at `offset` and the offset behind it.
pub fn at(bytes: &[u8], offset: usize) -> Option<(Item<'_>, usize)> {
    let (item, size) = decode(bytes.get(offset..)?)?;
    Some((item, offset + size))
}

/// The offset `count` items behind `offset`. It may lie beyond the end if bytes are malformed; reading there finds nothing.
pub fn skip(bytes: &[u8], mut offset: usize, count: usize) -> Option<usize> {
    for _ in 0..count {
        offset += match *bytes.get(offset)? {
            0..0x80 => 2,
            lead @ 0x80..0xC0 => usize::from(lead & 0x3F) + 2,
            _ => item::size(&bytes[offset..])?,
        };
    }
    Some(offset)
}

/// The offset of item `index` of `count`, reached from the nearer end. `index == count` is the end.
pub fn offset_of(bytes: &[u8], count: usize, index: usize) -> Option<usize> {
    if index <= count / 2 {
        return skip(bytes, 0, index);
    }
    let mut rest = items(bytes);
    for _ in index..count {
        rest.next_back()?;
    }
    Some(rest.rest().len())
}

/// The offset of the first of items 0, `stride`, 2 * `stride` ... that equals `wanted`.
pub fn find(bytes: &[u8], wanted: &Encoded<'_>, stride: usize) -> Option<usize> {
    let mut offset = 0;
    loop {
        let rest = bytes.get(offset..)?;
        if wanted.starts(rest) {
            return Some(offset);
        }
        offset = skip(bytes, offset, stride)?;
    }
}

/// Number of items.
pub fn count(bytes: &[u8]) -> usize {
    items(bytes).count()
}

/// Checks that `bytes` are exactly `count` items, whole and in the encoding that this module writes.
pub fn validate(bytes: &[u8], count: usize) -> Result<(), Flaw> {
    let mut offset = 0;
    let mut seen = 0;
    let mut again = Vec::new();
    while offset < bytes.len() {
        let (item, next) = item::checked(bytes, offset)?;
        again.clear();
        Encoded::of(item).write(&mut again);
        if again != bytes[offset..next] {
            return Err(Flaw::NotCanonical);
        }
        offset = next;
        seen += 1;
    }
    if seen == count {
        Ok(())
    } else {
        Err(Flaw::Count)
    }
}

#[cfg(test)]
mod tests;
