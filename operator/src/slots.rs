//! Sets of hash slots, as the planner handles them.
//!
//! The operator talks to nodes of other versions than its own, so it reads their text and shares no type with them.

use std::fmt;
use std::str::FromStr;

/// Number of slots in a cluster.
pub const SLOT_COUNT: u32 = 16_384;

const WORDS: usize = SLOT_COUNT as usize / 64;

/// A set of slots.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotSet {
    words: Box<[u64; WORDS]>,
}

/// The text is no slot or range of slots.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no slot and no range of slots")]
pub struct SlotError(String);

impl SlotSet {
    /// The empty set.
    pub fn new() -> Self {
        Self {
            words: Box::new([0; WORDS]),
        }
    }

    /// The set of all slots.
    pub fn full() -> Self {
        Self {
            words: Box::new([u64::MAX; WORDS]),
        }
    }

    /// Whether `slot` is in the set.
    pub fn contains(&self, slot: u16) -> bool {
        self.words
            .get(usize::from(slot) / 64)
            .is_some_and(|word| word & (1 << (slot % 64)) != 0)
    }

    /// Adds `slot`. A number that is no slot is ignored.
    pub fn insert(&mut self, slot: u16) {
        if let Some(word) = self.words.get_mut(usize::from(slot) / 64) {
            *word |= 1 << (slot % 64);
        }
    }

    /// Number of slots in the set.
    pub fn len(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether no slot is in the set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The slots in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = u16> + '_ {
        (0..SLOT_COUNT as u16).filter(|slot| self.contains(*slot))
    }

    /// The lowest `count` slots.
    pub fn first(&self, count: u32) -> Self {
        self.iter().take(count as usize).collect()
    }

    /// The highest `count` slots.
    pub fn last(&self, count: u32) -> Self {
        self.iter().rev().take(count as usize).collect()
    }

    /// Adds all slots of `other`.
    pub fn add(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(other.words.iter()) {
            *word |= other;
        }
    }

    /// Removes all slots of `other`.
    pub fn subtract(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(other.words.iter()) {
            *word &= !other;
        }
    }

    /// The maximal runs of consecutive slots, first and last included, in ascending order.
    pub fn ranges(&self) -> Vec<(u16, u16)> {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for slot in self.iter() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == slot => *last = slot,
                _ => ranges.push((slot, slot)),
            }
        }
        ranges
    }
}

impl Default for SlotSet {
    fn default() -> Self {
        Self::new()
    }
}

impl FromIterator<u16> for SlotSet {
    fn from_iter<I: IntoIterator<Item = u16>>(slots: I) -> Self {
        let mut set = Self::new();
        slots.into_iter().for_each(|slot| set.insert(slot));
        set
    }
}

impl FromStr for SlotSet {
    type Err = SlotError;

    /// Reads slots and ranges between blanks: `0-5460 7000`.
    fn from_str(text: &str) -> Result<Self, SlotError> {
        let mut set = Self::new();
        for word in text.split_whitespace() {
            let error = || SlotError(word.to_owned());
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            let first: u16 = first.parse().map_err(|_| error())?;
            let last: u16 = last.parse().map_err(|_| error())?;
            if first > last || u32::from(last) >= SLOT_COUNT {
                return Err(error());
            }
            (first..=last).for_each(|slot| set.insert(slot));
        }
        Ok(set)
    }
}

impl fmt::Display for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.ranges().into_iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            if first == last {
                write!(f, "{first}")?;
            } else {
                write!(f, "{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlotSet({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_read_and_shown_as_ranges() {
        let set: SlotSet = "0-5460 7000 16383".parse().unwrap();
        assert_eq!(set.len(), 5463);
        assert_eq!(set.to_string(), "0-5460 7000 16383");
        assert_eq!(set.first(2).to_string(), "0-1");
        assert_eq!(set.last(2).to_string(), "7000 16383");
        assert!("5-1".parse::<SlotSet>().is_err());
        assert!("16384".parse::<SlotSet>().is_err());
        assert!("[7-<-x]".parse::<SlotSet>().is_err());
        assert_eq!(SlotSet::full().len(), SLOT_COUNT);
    }
}
