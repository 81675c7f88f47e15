//! Layout (d), as Valkey's: 64-byte buckets of seven 64-bit pointers, seven 8-bit fingerprints and a byte of metadata.
//!
//! The number of buckets is a power of two and doubles at 100 % fill. A full bucket's last place becomes the link to a
//! child bucket. Valkey rehashes step by step and keeps both tables meanwhile; here it is done at once, so the time of
//! an insert holds the same work but the bytes do not hold the second table.

use super::layout::{Entries, Key, Layout, hash as hash_of};
use super::prefetch::prefetch;

const WIDTH: usize = 7;
/// Says in the metadata that the last place is a link.
const LINKED: u8 = 1;

#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct Bucket {
    meta: u8,
    fingerprints: [u8; WIDTH],
    pointers: [u64; WIDTH],
}

impl Bucket {
    fn linked(&self) -> Option<usize> {
        (self.meta == LINKED).then(|| self.pointers[WIDTH - 1] as usize)
    }

    fn places(&self) -> usize {
        if self.meta == LINKED {
            WIDTH - 1
        } else {
            WIDTH
        }
    }

    fn matching(&self, fingerprint: u8) -> u32 {
        let mut mask = 0;
        for (index, &other) in self.fingerprints.iter().enumerate() {
            mask |= u32::from(other == fingerprint) << index;
        }
        mask & ((1 << self.places()) - 1)
    }
}

/// The table of a slot: the children stand after the buckets that hashes lead to.
#[derive(Default)]
pub struct Pointers {
    buckets: Vec<Bucket>,
    heads: usize,
    len: usize,
}

impl Pointers {
    fn home(&self, hash: u64) -> usize {
        (hash >> 8) as usize & self.heads.wrapping_sub(1)
    }

    fn find(&self, hash: u64, key: &Key, entries: &Entries) -> Option<(usize, usize)> {
        let mut position = self.home(hash);
        loop {
            let bucket = self.buckets.get(position)?;
            let mut mask = bucket.matching(hash as u8);
            while mask != 0 {
                let index = mask.trailing_zeros() as usize;
                let pointer = bucket.pointers[index];
                if pointer != 0 && entries.key(pointer as u32) == key {
                    return Some((position, index));
                }
                mask &= mask - 1;
            }
            position = bucket.linked()?;
        }
    }

    fn place(&mut self, hash: u64, handle: u32) {
        let mut position = self.home(hash);
        loop {
            let bucket = &mut self.buckets[position];
            let free = bucket.pointers[..bucket.places()]
                .iter()
                .position(|&pointer| pointer == 0);
            if let Some(index) = free {
                bucket.pointers[index] = u64::from(handle);
                bucket.fingerprints[index] = hash as u8;
                return;
            }
            position = bucket.linked().unwrap_or_else(|| self.link(position));
        }
    }

    fn link(&mut self, position: usize) -> usize {
        let child = self.buckets.len();
        let bucket = &mut self.buckets[position];
        let mut first = Bucket::default();
        first.pointers[0] = bucket.pointers[WIDTH - 1];
        first.fingerprints[0] = bucket.fingerprints[WIDTH - 1];
        bucket.pointers[WIDTH - 1] = child as u64;
        bucket.meta = LINKED;
        self.buckets.reserve_exact(1);
        self.buckets.push(first);
        child
    }

    fn grow(&mut self, entries: &Entries) {
        self.heads = (self.heads * 2).max(1);
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::default(); self.heads]);
        for bucket in &old {
            for &pointer in &bucket.pointers[..bucket.places()] {
                if pointer != 0 {
                    self.place(hash_of(entries.key(pointer as u32)), pointer as u32);
                }
            }
        }
    }
}

impl Layout for Pointers {
    const NAME: &str = "(d) 7 x (pointer 64, fingerprint 8), doubling";

    fn get(&self, hash: u64, key: &Key, entries: &Entries) -> Option<u32> {
        let (bucket, index) = self.find(hash, key, entries)?;
        Some(self.buckets[bucket].pointers[index] as u32)
    }

    fn insert(&mut self, hash: u64, handle: u32, entries: &Entries) {
        if self.len >= self.heads * WIDTH {
            self.grow(entries);
        }
        self.place(hash, handle);
        self.len += 1;
    }

    fn remove(&mut self, hash: u64, key: &Key, entries: &Entries) -> Option<u32> {
        let (bucket, index) = self.find(hash, key, entries)?;
        self.len -= 1;
        Some(std::mem::take(&mut self.buckets[bucket].pointers[index]) as u32)
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
        bucket.pointers.get(index).map(|&pointer| pointer as u32)
    }
}
