//! Layout (a): hashbrown's `HashTable`, one a slot.

use hashbrown::HashTable;

use super::layout::{Entries, Key, Layout, hash as hash_of};

/// The table of a slot.
#[derive(Default)]
pub struct Swiss(HashTable<u32>);

/// hashbrown takes its fingerprint from the top bits, which are the slot here, and the place from the lowest.
fn turned(hash: u64) -> u64 {
    hash << 14 | (hash >> 16) & 0x3FFF
}

impl Layout for Swiss {
    const NAME: &str = "(a) hashbrown `HashTable<u32>`";

    fn get(&self, hash: u64, key: &Key, entries: &Entries) -> Option<u32> {
        self.0
            .find(turned(hash), |&handle| entries.key(handle) == key)
            .copied()
    }

    fn insert(&mut self, hash: u64, handle: u32, entries: &Entries) {
        self.0.insert_unique(turned(hash), handle, |&handle| {
            turned(hash_of(entries.key(handle)))
        });
    }

    fn remove(&mut self, hash: u64, key: &Key, entries: &Entries) -> Option<u32> {
        let found = self
            .0
            .find_entry(turned(hash), |&handle| entries.key(handle) == key);
        found.ok().map(|entry| entry.remove().0)
    }

    fn heap(&self) -> usize {
        self.0.allocation_size()
    }

    /// It does not show where its lines are.
    fn prefetch(&self, _: u64) {}

    fn candidate(&self, hash: u64) -> Option<u32> {
        self.0.iter_hash(turned(hash)).next().copied()
    }
}
