//! Layout (c): 64-byte buckets of twelve 32-bit handles, twelve 8-bit fingerprints and 4 bytes of metadata.
//!
//! Eight bits do not say where an entry belongs in a table of another size, so growth reads every key. The highest byte
//! of the metadata counts the entries that passed over the bucket because it was full; the rest is for the eviction.

use super::layout::{Entries, Key, Layout, hash as hash_of};
use super::prefetch::prefetch;

const WIDTH: usize = 12;
const PASSED: u32 = 1 << 24;

#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct Bucket {
    handles: [u32; WIDTH],
    fingerprints: [u8; WIDTH],
    meta: u32,
}

impl Bucket {
    fn full(&self) -> bool {
        self.handles[WIDTH - 1] != 0
    }

    fn matching(&self, fingerprint: u8) -> u32 {
        let mut mask = 0;
        for (index, &other) in self.fingerprints.iter().enumerate() {
            mask |= u32::from(other == fingerprint) << index;
        }
        mask
    }

    fn len(&self) -> usize {
        self.handles
            .iter()
            .position(|&handle| handle == 0)
            .unwrap_or(WIDTH)
    }
}

/// The table of a slot that grows by one part in `STEP`.
#[derive(Default)]
pub struct Dense<const STEP: usize> {
    buckets: Vec<Bucket>,
    len: usize,
}

impl<const STEP: usize> Dense<STEP> {
    fn home(&self, hash: u64) -> usize {
        (((hash >> 8) & 0xFFFF_FFFF) as usize * self.buckets.len()) >> 32
    }

    fn after(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() {
            0
        } else {
            bucket + 1
        }
    }

    fn find(&self, hash: u64, key: &Key, entries: &Entries) -> Option<(usize, usize)> {
        let mut position = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[position];
            let mut mask = bucket.matching(hash as u8);
            while mask != 0 {
                let index = mask.trailing_zeros() as usize;
                let handle = bucket.handles[index];
                if handle != 0 && entries.key(handle) == key {
                    return Some((position, index));
                }
                mask &= mask - 1;
            }
            if bucket.meta < PASSED {
                return None;
            }
            position = self.after(position);
        }
        None
    }

    fn place(&mut self, hash: u64, handle: u32) {
        let mut position = self.home(hash);
        while self.buckets[position].full() {
            let meta = &mut self.buckets[position].meta;
            // A count that has reached its end stays there.
            *meta = meta.checked_add(PASSED).unwrap_or(*meta);
            position = self.after(position);
        }
        let bucket = &mut self.buckets[position];
        let index = bucket.len();
        bucket.handles[index] = handle;
        bucket.fingerprints[index] = hash as u8;
    }

    fn grow(&mut self, entries: &Entries) {
        let buckets = self.buckets.len() + (self.buckets.len() / STEP).max(1);
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::default(); buckets]);
        for bucket in &old {
            for &handle in &bucket.handles[..bucket.len()] {
                self.place(hash_of(entries.key(handle)), handle);
            }
        }
    }
}

impl<const STEP: usize> Layout for Dense<STEP> {
    const NAME: &str = match STEP {
        1 => "(c) 12 x (handle 32, fingerprint 8), doubling",
        _ => "(c) 12 x (handle 32, fingerprint 8), by 1/8",
    };

    fn get(&self, hash: u64, key: &Key, entries: &Entries) -> Option<u32> {
        let (bucket, index) = self.find(hash, key, entries)?;
        Some(self.buckets[bucket].handles[index])
    }

    fn insert(&mut self, hash: u64, handle: u32, entries: &Entries) {
        if (self.len + 1) * 10 > self.buckets.len() * WIDTH * 9 {
            self.grow(entries);
        }
        self.place(hash, handle);
        self.len += 1;
    }

    fn remove(&mut self, hash: u64, key: &Key, entries: &Entries) -> Option<u32> {
        let (position, index) = self.find(hash, key, entries)?;
        let mut passed = self.home(hash);
        while passed != position {
            let meta = &mut self.buckets[passed].meta;
            if *meta >> 24 < 255 {
                *meta -= PASSED;
            }
            passed = self.after(passed);
        }
        let bucket = &mut self.buckets[position];
        let last = bucket.len() - 1;
        let handle = bucket.handles[index];
        bucket.handles[index] = bucket.handles[last];
        bucket.fingerprints[index] = bucket.fingerprints[last];
        bucket.handles[last] = 0;
        self.len -= 1;
        Some(handle)
    }

    fn heap(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }

    fn prefetch(&self, hash: u64) {
        if let Some(bucket) = self.buckets.get(self.home(hash)) {
            prefetch(bucket);
        }
    }

    fn candidate(&self, hash: u64) -> Option<u32> {
        let bucket = self.buckets.get(self.home(hash))?;
        let index = bucket.matching(hash as u8).trailing_zeros() as usize;
        bucket.handles.get(index).copied()
    }
}
