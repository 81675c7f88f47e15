//! What every table layout offers, and the keys that their handles stand for.

use std::hash::BuildHasher;

use foldhash::quality::FixedState;

/// A key.
pub type Key = [u8; 16];

/// The key with a number; the same number gives the same key.
pub fn key(number: u64) -> Key {
    let mut key = *b"user:000........";
    key[8..].copy_from_slice(&number.to_le_bytes());
    key
}

/// Hash of a key: the top 14 bits are its slot here, the layouts use bits below. It must be of good quality, because
/// numbered keys under a fast one are not spread evenly within the slots that its top bits choose.
pub fn hash(key: &Key) -> u64 {
    FixedState::with_seed(1).hash_one(u128::from_le_bytes(*key))
}

/// Slot of a hash. A stand-in for CRC16, which every layout would pay alike.
pub fn slot(hash: u64) -> usize {
    (hash >> 50) as usize
}

/// Number of slots.
pub const SLOTS: usize = 16_384;

/// Entries that handles point to: a handle is an index, and 0 means none.
#[derive(Default)]
pub struct Entries(Vec<Key>);

impl Entries {
    /// No entries, room for `count`.
    pub fn with_capacity(count: usize) -> Self {
        let mut keys = Vec::with_capacity(count + 1);
        keys.push(Key::default());
        Self(keys)
    }

    /// Adds an entry.
    pub fn add(&mut self, key: Key) -> u32 {
        self.0.push(key);
        (self.0.len() - 1) as u32
    }

    /// The key of an entry.
    pub fn key(&self, handle: u32) -> &Key {
        &self.0[handle as usize]
    }
}

/// The table of one slot: handles of entries, found by key.
pub trait Layout: Default {
    /// As in the results.
    const NAME: &str;

    /// The handle of `key`.
    fn get(&self, hash: u64, key: &Key, entries: &Entries) -> Option<u32>;
    /// Adds a handle whose key is not in the table.
    fn insert(&mut self, hash: u64, handle: u32, entries: &Entries);
    /// Takes `key` out.
    fn remove(&mut self, hash: u64, key: &Key, entries: &Entries) -> Option<u32>;
    /// Bytes that the table asked its allocator for.
    fn heap(&self) -> usize;
    /// Asks for the line where a search for `hash` starts.
    fn prefetch(&self, hash: u64);
    /// The first handle whose fingerprint fits, to ask for its entry.
    fn candidate(&self, hash: u64) -> Option<u32>;
}
