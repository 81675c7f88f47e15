//! Slots: the unit of locking, storage, consistency, migration and accounting.
//!
//! A key belongs to slot `CRC16(key or {tag}) mod 16384` (Redis Cluster specification, "Key distribution model").

use std::fmt;

use serde::{Deserialize, Serialize};

/// Number of slots in a cluster.
pub const SLOT_COUNT: usize = 16_384;

/// A slot number, always below [`SLOT_COUNT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlotId(u16);

impl SlotId {
    /// The slot with this number, or `None` when it is not below [`SLOT_COUNT`].
    pub fn new(number: u16) -> Option<Self> {
        (usize::from(number) < SLOT_COUNT).then_some(Self(number))
    }

    /// The slot that `key` belongs to, honouring `{hash tags}`.
    pub fn of(key: &[u8]) -> Self {
        Self(crc16(hash_tag(key)) % SLOT_COUNT as u16)
    }

    /// The slot's number, below [`SLOT_COUNT`].
    pub fn number(self) -> u16 {
        self.0
    }

    /// The slot's number as an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// All slots in ascending order.
    pub fn all() -> impl Iterator<Item = SlotId> {
        (0..SLOT_COUNT as u16).map(SlotId)
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The part of the key that is hashed: what stands between the first `{` and the next `}`, if that is not empty.
fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else {
        return key;
    };
    let rest = &key[open + 1..];
    match memchr::memchr(b'}', rest) {
        Some(close) if close > 0 => &rest[..close],
        _ => key,
    }
}

/// CRC16-CCITT (XMODEM): polynomial 0x1021, initial value 0 (Redis Cluster specification, appendix A). Eight bytes at a time: each
/// byte's part of the result is looked up on its own, so that the lookups do not wait for each other.
fn crc16(bytes: &[u8]) -> u16 {
    let (chunks, rest) = bytes.as_chunks::<8>();
    let crc = chunks.iter().fold(0_u16, |crc, chunk| {
        let [high, low] = crc.to_be_bytes();
        let [a, b, c, d, e, f, g, h] = chunk.map(usize::from);
        CRC16[7][a ^ usize::from(high)]
            ^ CRC16[6][b ^ usize::from(low)]
            ^ CRC16[5][c]
            ^ CRC16[4][d]
            ^ CRC16[3][e]
            ^ CRC16[2][f]
            ^ CRC16[1][g]
            ^ CRC16[0][h]
    });
    rest.iter().fold(crc, |crc, byte| {
        (crc << 8) ^ CRC16[0][usize::from((crc >> 8) as u8 ^ byte)]
    })
}

/// What a byte adds to the result when so many zero bytes follow it.
static CRC16: [[u16; 256]; 8] = crc16_tables();

const fn crc16_tables() -> [[u16; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 {
                (crc << 1) ^ 0x1021
            } else {
                crc << 1
            };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let crc = tables[zeros - 1][byte];
            tables[zeros][byte] = (crc << 8) ^ tables[0][(crc >> 8) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

/// A set of slots. Serialised as its ranges: a shard mostly has few.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(u16, u16)>", into = "Vec<(u16, u16)>")]
pub struct SlotSet {
    words: Vec<u64>,
}

impl SlotSet {
    /// The empty set.
    pub fn new() -> Self {
        Self {
            words: vec![0; SLOT_COUNT / 64],
        }
    }

    /// The set of all slots.
    pub fn full() -> Self {
        Self {
            words: vec![u64::MAX; SLOT_COUNT / 64],
        }
    }

    /// Whether `slot` is in the set.
    pub fn contains(&self, slot: SlotId) -> bool {
        self.words[slot.index() / 64] & (1 << (slot.index() % 64)) != 0
    }

    /// Adds `slot`; true when it was not there before.
    pub fn insert(&mut self, slot: SlotId) -> bool {
        let absent = !self.contains(slot);
        self.words[slot.index() / 64] |= 1 << (slot.index() % 64);
        absent
    }

    /// Removes `slot`; true when it was there.
    pub fn remove(&mut self, slot: SlotId) -> bool {
        let present = self.contains(slot);
        self.words[slot.index() / 64] &= !(1 << (slot.index() % 64));
        present
    }

    /// Adds every slot from `first` to `last`, both included.
    pub fn insert_range(&mut self, first: SlotId, last: SlotId) {
        let (low, high) = (first.index(), last.index());
        for at in low / 64..=high / 64 {
            let from = low.saturating_sub(at * 64);
            let to = (high - at * 64).min(63);
            self.words[at] |= (u64::MAX << from) & (u64::MAX >> (63 - to));
        }
    }

    /// Number of slots in the set.
    pub fn len(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// Whether no slot is in the set.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The slots in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = SlotId> + '_ {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                rest &= rest.wrapping_sub(1);
                (bit < 64).then(|| SlotId(at as u16 * 64 + bit as u16))
            })
        })
    }

    /// The maximal runs of consecutive slots, first and last included, in ascending order.
    pub fn ranges(&self) -> Vec<(SlotId, SlotId)> {
        let mut ranges = Vec::new();
        let mut next = 0;
        while let Some(first) = self.next_from(next, true) {
            next = self.next_from(first, false).unwrap_or(SLOT_COUNT);
            ranges.push((SlotId(first as u16), SlotId(next as u16 - 1)));
        }
        ranges
    }

    /// The first number from `number` on whose slot is in the set, or is not.
    fn next_from(&self, number: usize, present: bool) -> Option<usize> {
        let turned = if present { 0 } else { u64::MAX };
        let mut mask = u64::MAX << (number % 64);
        for (at, word) in self.words.iter().enumerate().skip(number / 64) {
            let found = (word ^ turned) & mask;
            if found != 0 {
                return Some(at * 64 + found.trailing_zeros() as usize);
            }
            mask = u64::MAX;
        }
        None
    }

    /// Whether the two sets share a slot.
    pub fn intersects(&self, other: &SlotSet) -> bool {
        self.words.iter().zip(&other.words).any(|(a, b)| a & b != 0)
    }

    /// Adds all slots of `other`.
    pub fn union_with(&mut self, other: &SlotSet) {
        self.words
            .iter_mut()
            .zip(&other.words)
            .for_each(|(a, b)| *a |= b);
    }

    /// Removes all slots of `other`.
    pub fn subtract(&mut self, other: &SlotSet) {
        self.words
            .iter_mut()
            .zip(&other.words)
            .for_each(|(a, b)| *a &= !b);
    }

    /// Whether every slot of `other` is in this set.
    pub fn is_superset(&self, other: &SlotSet) -> bool {
        self.words
            .iter()
            .zip(&other.words)
            .all(|(a, b)| b & !a == 0)
    }
}

/// The ranges of a serialised slot set are not such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a slot set has ranges of slots from 0 to 16383, each as its first and its last slot")]
pub struct SlotSetError;

impl TryFrom<Vec<(u16, u16)>> for SlotSet {
    type Error = SlotSetError;

    fn try_from(ranges: Vec<(u16, u16)>) -> Result<Self, SlotSetError> {
        let mut set = Self::new();
        for (first, last) in ranges {
            let slots = SlotId::new(first).zip(SlotId::new(last));
            let (first, last) = slots.filter(|(a, b)| a <= b).ok_or(SlotSetError)?;
            set.insert_range(first, last);
        }
        Ok(set)
    }
}

impl From<SlotSet> for Vec<(u16, u16)> {
    fn from(set: SlotSet) -> Self {
        let ranges = set.ranges().into_iter();
        ranges.map(|(first, last)| (first.0, last.0)).collect()
    }
}

impl Default for SlotSet {
    fn default() -> Self {
        Self::new()
    }
}

impl FromIterator<SlotId> for SlotSet {
    fn from_iter<I: IntoIterator<Item = SlotId>>(slots: I) -> Self {
        let mut set = Self::new();
        for slot in slots {
            set.insert(slot);
        }
        set
    }
}

impl fmt::Display for SlotSet {
    /// Ranges as in `CLUSTER NODES`: `0-5460 7000`.
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
    fn keys_hash_as_in_the_redis_cluster_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(SlotId::of(b"foo").number(), 12182);
        assert_eq!(
            SlotId::of(b"{user1000}.following"),
            SlotId::of(b"{user1000}.followers")
        );
        assert_ne!(SlotId::of(b"foo{}{bar}"), SlotId::of(b"bar"));
        assert_eq!(SlotId::of(b"foo{bar}{zap}"), SlotId::of(b"bar"));
    }

    #[test]
    fn a_slot_set_shows_its_ranges() {
        let set: SlotSet = [0, 1, 2, 7, 16_383]
            .into_iter()
            .filter_map(SlotId::new)
            .collect();
        assert_eq!(set.to_string(), "0-2 7 16383");
        assert_eq!(set.len(), 5);
        assert!(SlotSet::full().is_superset(&set));
    }

    #[test]
    fn ranges_begin_and_end_anywhere() {
        for (first, last) in [
            (0, 0),
            (0, 63),
            (63, 64),
            (5, 130),
            (64, 127),
            (16_300, 16_383),
        ] {
            let mut set = SlotSet::new();
            set.insert_range(SlotId(first), SlotId(last));
            let slots: SlotSet = (first..=last).map(SlotId).collect();
            assert_eq!(set, slots);
            assert_eq!(set.ranges(), [(SlotId(first), SlotId(last))]);
        }
        assert_eq!(SlotSet::new().ranges(), []);
        assert_eq!(SlotSet::full().ranges(), [(SlotId(0), SlotId(16_383))]);
    }

    #[test]
    fn a_serialised_slot_set_is_as_long_as_it_has_ranges() {
        let set: SlotSet = (0..100)
            .chain([7_000, 16_383])
            .filter_map(SlotId::new)
            .collect();
        let bytes = postcard::to_stdvec(&set).unwrap();
        assert!(bytes.len() < 20, "{} bytes", bytes.len());
        assert_eq!(postcard::from_bytes::<SlotSet>(&bytes).as_ref(), Ok(&set));
        for ranges in [vec![(5, 4)], vec![(0, 16_384)], vec![(16_384, 16_384)]] {
            assert_eq!(SlotSet::try_from(ranges), Err(SlotSetError));
        }
    }
}
