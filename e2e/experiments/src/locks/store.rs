//! Slots with their keys and values, and the operations that are done on them.

use super::Skew;
use crate::measure::{Random, Zipf};
use crate::tables::layout::{Entries, Key, Layout, SLOTS, hash, key, slot};
use crate::tables::words::Words;

/// A value of 64 bytes.
pub(super) type Value = [u64; 8];

/// One command, as parsed: its key is made from the number, its hash is computed by whoever parses.
#[derive(Clone, Copy)]
pub(super) struct Operation {
    pub(super) number: u32,
    pub(super) set: bool,
}

/// What a slot holds.
#[derive(Default)]
pub(super) struct Slot {
    table: Words<90>,
    entries: Entries,
    values: Vec<Value>,
}

impl Slot {
    fn add(&mut self, hash: u64, key: Key) {
        if self.values.is_empty() {
            self.entries = Entries::with_capacity(0);
            self.values.push(Value::default());
        }
        let handle = self.entries.add(key);
        self.values.push([u64::from(handle); 8]);
        self.table.insert(hash, handle, &self.entries);
    }

    /// The value, copied out as a reply is.
    pub(super) fn get(&self, hash: u64, key: &Key) -> Option<Value> {
        let handle = self.table.get(hash, key, &self.entries)?;
        self.values.get(handle as usize).copied()
    }

    /// Overwrites the value in place; false if there is no such key.
    pub(super) fn set(&mut self, hash: u64, key: &Key, value: Value) -> bool {
        let handle = self.table.get(hash, key, &self.entries);
        let place = handle.and_then(|handle| self.values.get_mut(handle as usize));
        place.is_some_and(|place| {
            *place = value;
            true
        })
    }
}

/// All slots, between runs in one piece.
pub(super) struct Store(pub(super) Vec<Slot>);

impl Store {
    /// Slots with `keys` keys together.
    pub(super) fn filled(keys: usize) -> Self {
        let mut slots: Vec<Slot> = std::iter::repeat_with(Slot::default).take(SLOTS).collect();
        for number in 0..keys {
            let key = key(number as u64);
            let hash = hash(&key);
            slots[slot(hash)].add(hash, key);
        }
        Self(slots)
    }
}

/// For each worker, operations to do over and over.
pub(super) fn streams(keys: usize, skew: Skew, workers: usize) -> Vec<Vec<Operation>> {
    const LENGTH: usize = 1 << 19;
    let zipf = Zipf::new(keys);
    let worker = |worker: usize| {
        let mut random = Random::new(worker as u64 + 1);
        let mut operation = || Operation {
            number: match skew {
                Skew::Uniform => random.below(keys),
                Skew::Zipf => zipf.rank(&mut random),
            } as u32,
            set: random.below(10) == 0,
        };
        (0..LENGTH).map(|_| operation()).collect()
    };
    (0..workers).map(worker).collect()
}

/// The slot of the key that Zipf's law asks for most.
pub(super) fn hottest() -> usize {
    slot(hash(&key(0)))
}
