//! Layout (b): 64-byte buckets of eight words, each a 16-bit hash, a 32-bit handle and 16 bits of metadata.
//!
//! The hash alone says where an entry belongs, so growth and deletion read no entry. Invariants: the entries of a bucket
//! are at its front; of an entry outside its home bucket, all buckets from home to the one before it are marked as passed.

use super::layout::{Entries, Key, Layout};
use super::prefetch::prefetch;

const WIDTH: usize = 8;

#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct Bucket {
    hashes: [u16; WIDTH],
    handles: [u32; WIDTH],
    meta: [u16; WIDTH],
}

impl Bucket {
    fn full(&self) -> bool {
        self.handles[WIDTH - 1] != 0
    }

    fn matching(&self, hash: u16) -> u32 {
        let mut mask = 0;
        for (index, &other) in self.hashes.iter().enumerate() {
            mask |= u32::from(other == hash) << index;
        }
        mask
    }

    fn len(&self) -> usize {
        self.handles
            .iter()
            .position(|&handle| handle == 0)
            .unwrap_or(WIDTH)
    }

    fn take(&mut self, index: usize) -> (u16, u32, u16) {
        let last = self.len() - 1;
        let taken = (self.hashes[index], self.handles[index], self.meta[index]);
        self.set(
            index,
            (self.hashes[last], self.handles[last], self.meta[last]),
        );
        self.set(last, (0, 0, 0));
        taken
    }

    fn set(&mut self, index: usize, (hash, handle, meta): (u16, u32, u16)) {
        self.hashes[index] = hash;
        self.handles[index] = handle;
        self.meta[index] = meta;
    }
}

/// The table of a slot, filled up to `FILL` percent.
#[derive(Default)]
pub struct Words<const FILL: usize> {
    buckets: Vec<Bucket>,
    /// Bit `i` is set while an entry stands behind bucket `i` that belongs at it or before it.
    passed: u128,
    len: usize,
}

/// The bits of the hash that are kept with the handle.
fn kept(hash: u64) -> u16 {
    (hash >> 32) as u16
}

impl<const FILL: usize> Words<FILL> {
    fn home(&self, hash: u16) -> usize {
        (usize::from(hash) * self.buckets.len()) >> 16
    }

    fn after(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() {
            0
        } else {
            bucket + 1
        }
    }

    fn find(&self, hash: u64, key: &Key, entries: &Entries) -> Option<(usize, usize)> {
        let hash = kept(hash);
        let mut position = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[position];
            let mut mask = bucket.matching(hash);
            while mask != 0 {
                let index = mask.trailing_zeros() as usize;
                let handle = bucket.handles[index];
                if handle != 0 && entries.key(handle) == key {
                    return Some((position, index));
                }
                mask &= mask - 1;
            }
            if self.passed >> position & 1 == 0 {
                return None;
            }
            position = self.after(position);
        }
        None
    }

    fn place(&mut self, entry: (u16, u32, u16)) {
        let mut position = self.home(entry.0);
        while self.buckets[position].full() {
            self.passed |= 1 << position;
            position = self.after(position);
        }
        let bucket = &mut self.buckets[position];
        bucket.set(bucket.len(), entry);
    }

    /// Where an entry stands, behind the bucket at `hole`, that belongs there or before it.
    fn passer(&self, hole: usize) -> Option<(usize, usize)> {
        let buckets = self.buckets.len();
        let back = |from: usize, to: usize| {
            if to >= from {
                to - from
            } else {
                to + buckets - from
            }
        };
        let mut position = hole;
        while self.passed >> position & 1 == 1 {
            position = self.after(position);
            if position == hole {
                break;
            }
            let bucket = &self.buckets[position];
            let away = back(hole, position);
            let found = (0..bucket.len())
                .find(|&index| back(self.home(bucket.hashes[index]), position) >= away);
            if let Some(index) = found {
                return Some((position, index));
            }
        }
        None
    }

    /// Buckets, and how many of them a search that finds nothing looks at from each of them, together.
    pub fn search_lengths(&self) -> (usize, usize) {
        let from = |home: usize| {
            let mut position = home;
            let mut looked_at = 1;
            while self.passed >> position & 1 == 1 && looked_at < self.buckets.len() {
                position = self.after(position);
                looked_at += 1;
            }
            looked_at
        };
        (self.buckets.len(), (0..self.buckets.len()).map(from).sum())
    }

    /// By an eighth, so that between growths the table is at least four fifths as full as it may get.
    fn grow(&mut self) {
        let buckets = self.buckets.len() + (self.buckets.len() / 8).max(1);
        assert!(
            buckets <= 128,
            "a slot of this experiment has at most 900 keys"
        );
        self.passed = 0;
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::default(); buckets]);
        for bucket in &old {
            for index in 0..bucket.len() {
                self.place((
                    bucket.hashes[index],
                    bucket.handles[index],
                    bucket.meta[index],
                ));
            }
        }
    }
}

impl<const FILL: usize> Layout for Words<FILL> {
    const NAME: &str = match FILL {
        90 => "(b) 8 x (hash 16, handle 32, meta 16), up to 90 %",
        _ => "(b) the same, up to 80 %",
    };

    fn get(&self, hash: u64, key: &Key, entries: &Entries) -> Option<u32> {
        let (bucket, index) = self.find(hash, key, entries)?;
        Some(self.buckets[bucket].handles[index])
    }

    fn insert(&mut self, hash: u64, handle: u32, _: &Entries) {
        if (self.len + 1) * 100 > self.buckets.len() * WIDTH * FILL {
            self.grow();
        }
        self.place((kept(hash), handle, 0));
        self.len += 1;
    }

    fn remove(&mut self, hash: u64, key: &Key, entries: &Entries) -> Option<u32> {
        let (mut hole, index) = self.find(hash, key, entries)?;
        let (_, handle, _) = self.buckets[hole].take(index);
        self.len -= 1;
        // An entry that passed is pulled back; if there is none, searches need not go on from here any more.
        while self.passed >> hole & 1 == 1 {
            let Some((position, index)) = self.passer(hole) else {
                self.passed &= !(1 << hole);
                break;
            };
            let entry = self.buckets[position].take(index);
            let bucket = &mut self.buckets[hole];
            bucket.set(bucket.len(), entry);
            hole = position;
        }
        Some(handle)
    }

    fn heap(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }

    fn prefetch(&self, hash: u64) {
        if let Some(bucket) = self.buckets.get(self.home(kept(hash))) {
            prefetch(bucket);
        }
    }

    fn candidate(&self, hash: u64) -> Option<u32> {
        let bucket = self.buckets.get(self.home(kept(hash)))?;
        let index = bucket.matching(kept(hash)).trailing_zeros() as usize;
        bucket.handles.get(index).copied()
    }
}
