//! A miniature cache: what one policy would hold of the sampled keys.
//!
//! Owns a small table of tags, sizes and metadata, and runs the very cores that the node runs on it. It holds no values and no keys;
//! memory is fixed when it is made.

use crate::{
    clock::{Clock, Now},
    evictor::{Evictor, Residency},
    ghost::Ghost,
    meta::Meta,
    policy::{Kind, SizeWeight},
    pool::Candidate,
    rules::{Rules, Verdict},
};

/// Cells looked at for one candidate to evict, unless they hold none.
const SAMPLE: usize = 16;

/// What a node saw of a sampled key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A read found the key, whose entry takes this many bytes.
    Hit {
        /// Size of the entry.
        bytes: u32,
    },
    /// A read did not find the key.
    Miss,
    /// A write added the key.
    Insert {
        /// Size of the entry.
        bytes: u32,
    },
    /// A write changed a key that was there.
    Overwrite {
        /// Size of the entry after the write.
        bytes: u32,
    },
    /// The key was deleted or expired. Eviction is not to be told.
    Remove,
}

/// One sampled key, at a place that changes: found again by its tag. 0 is no key.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    tag: u32,
    bytes: RoundedSize,
    meta: Meta,
}

/// A size in bytes with eleven significant bits, rounded down: `mantissa << exponent`, with the exponent in the upper five bits.
#[derive(Clone, Copy, Debug, Default)]
struct RoundedSize(u16);

impl RoundedSize {
    const MANTISSA_BITS: u32 = 11;

    fn new(bytes: u32) -> Self {
        let exponent = (u32::BITS - bytes.leading_zeros()).saturating_sub(Self::MANTISSA_BITS);
        Self((exponent << Self::MANTISSA_BITS | bytes >> exponent) as u16)
    }

    fn get(self) -> u32 {
        let mantissa = u32::from(self.0) & ((1 << Self::MANTISSA_BITS) - 1);
        mantissa << (self.0 >> Self::MANTISSA_BITS)
    }
}

/// A miniature cache under one policy.
#[derive(Clone, Debug)]
pub(crate) struct Shadow {
    evictor: Evictor<u32>,
    ghost: Ghost,
    clock: Clock,
    /// Open addressing with linear probing.
    cells: Vec<Cell>,
    keys: usize,
    max_keys: usize,
    residency: Residency,
    capacity: u64,
    random: u64,
}

impl Shadow {
    /// An empty cache for up to `max_keys` keys.
    pub(crate) fn new(kind: Kind, weight: SizeWeight, max_keys: usize, seed: u64) -> Self {
        let ghost_keys = if kind.is_s3() { max_keys as u64 } else { 0 };
        Self {
            evictor: Evictor::new(Rules::new(kind), weight),
            ghost: Ghost::for_keys(ghost_keys),
            clock: Clock::default(),
            cells: vec![Cell::default(); max_keys * 4 / 3 + 1],
            keys: 0,
            max_keys,
            residency: Residency::default(),
            capacity: 0,
            random: seed,
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.cells.capacity() * size_of::<Cell>() + self.ghost.heap_bytes()
    }

    /// Sets the bytes that it may hold and the number of keys that its ghost is made for.
    pub(crate) fn resize(&mut self, bytes: u64, keys: u64) {
        self.capacity = bytes;
        if self.evictor.rules().kind.is_s3() {
            self.ghost.resize(keys.min(self.max_keys as u64));
        }
        self.shrink();
    }

    /// Whether a read of the key would have been a hit. Follows what the node did otherwise.
    pub(crate) fn access(&mut self, hash: u64, access: Access) -> bool {
        let tag = tag_of(hash);
        let at = self.find(tag);
        let present = self.cells[at].tag == tag;
        match access {
            Access::Hit { bytes } | Access::Overwrite { bytes } if present => {
                self.reuse(at);
                self.set_bytes(at, bytes);
            }
            Access::Miss if present => self.reuse(at),
            // Here the read that went before was a hit, after which no client would have written.
            Access::Insert { bytes } if present => self.set_bytes(at, bytes),
            Access::Hit { bytes } | Access::Insert { bytes } | Access::Overwrite { bytes } => {
                self.insert(tag, bytes);
            }
            Access::Remove if present => self.remove(at),
            Access::Miss | Access::Remove => {}
        }
        self.shrink();
        present
    }

    fn now(&self) -> Now {
        Now {
            stamp: self.clock.stamp(),
            minutes: 0,
        }
    }

    fn reuse(&mut self, at: usize) {
        let after = self
            .evictor
            .rules()
            .on_read(self.cells[at].meta, self.now(), || 0);
        if let Some(meta) = after {
            self.set_meta(at, meta);
        }
    }

    fn insert(&mut self, tag: u32, bytes: u32) {
        if u64::from(bytes) > self.capacity || self.max_keys == 0 {
            return;
        }
        while self.keys >= self.max_keys {
            self.evict();
        }
        let ghost_hit = self.ghost.take(ghost_hash(tag));
        let meta = self.evictor.rules().on_insert(ghost_hit, self.now());
        let at = self.find(tag);
        self.cells[at] = Cell {
            tag,
            bytes: RoundedSize::new(bytes),
            meta,
        };
        self.keys += 1;
        self.count(at, true);
        self.clock.inserted(self.keys as u64);
    }

    fn shrink(&mut self) {
        while self.residency.all > self.capacity {
            self.evict();
        }
    }

    /// One round of sampling; evicts at most one key.
    fn evict(&mut self) {
        let now = self.now();
        let start = self.next_random() as u32;
        let mut at = self.index_from(start);
        let mut found = 0;
        // The cache is not empty, and in at most one round over it a key is found.
        while found < SAMPLE.min(self.keys) {
            if self.cells[at].tag != 0 {
                self.evictor.offer(self.candidate(at), now);
                found += 1;
            }
            at = self.after(at);
        }
        let random = self.next_random();
        while let Some(sampled) = self.evictor.pop(self.residency, now, random) {
            let at = self.find(sampled.place);
            if self.cells[at].tag != sampled.place {
                continue;
            }
            match self
                .evictor
                .rules()
                .judge(&sampled, &self.candidate(at), now)
            {
                Verdict::Stale => continue,
                Verdict::Keep(meta) => self.set_meta(at, meta),
                Verdict::Evict { remember } => {
                    if remember {
                        self.ghost.remember(ghost_hash(sampled.place));
                    }
                    self.remove(at);
                }
            }
            return;
        }
    }

    fn candidate(&self, at: usize) -> Candidate<u32> {
        let Cell { tag, bytes, meta } = self.cells[at];
        Candidate {
            place: tag,
            meta,
            bytes: bytes.get(),
            deadline: None,
        }
    }

    fn set_meta(&mut self, at: usize, meta: Meta) {
        self.count(at, false);
        self.cells[at].meta = meta;
        self.count(at, true);
    }

    fn set_bytes(&mut self, at: usize, bytes: u32) {
        self.count(at, false);
        self.cells[at].bytes = RoundedSize::new(bytes);
        self.count(at, true);
    }

    fn count(&mut self, at: usize, add: bool) {
        let Cell { bytes, meta, .. } = self.cells[at];
        let bytes = i64::from(bytes.get()) * if add { 1 } else { -1 };
        self.residency.all = self.residency.all.wrapping_add_signed(bytes);
        if !meta.is_main() {
            self.residency.probation = self.residency.probation.wrapping_add_signed(bytes);
        }
    }

    fn remove(&mut self, mut hole: usize) {
        self.count(hole, false);
        self.keys -= 1;
        let mut at = self.after(hole);
        // Cells whose probe sequence runs over the hole move into it.
        while self.cells[at].tag != 0 {
            let len = self.cells.len();
            let home = self.index_from(self.cells[at].tag);
            if (at + len - home) % len >= (at + len - hole) % len {
                self.cells[hole] = self.cells[at];
                hole = at;
            }
            at = self.after(at);
        }
        self.cells[hole] = Cell::default();
    }

    /// Where the tag is, or the empty cell where it would go.
    fn find(&self, tag: u32) -> usize {
        let mut at = self.index_from(tag);
        while self.cells[at].tag != tag && self.cells[at].tag != 0 {
            at = self.after(at);
        }
        at
    }

    fn index_from(&self, random: u32) -> usize {
        ((u64::from(random) * self.cells.len() as u64) >> 32) as usize
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.cells.len() {
            0
        } else {
            at + 1
        }
    }

    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.random)
    }
}

/// All bits of the hash in 32, since which bits sampling left free depends on its rate.
fn tag_of(hash: u64) -> u32 {
    ((mix(hash) >> 32) as u32).max(1)
}

/// Cells do not keep the hash; the ghost goes by the tag.
fn ghost_hash(tag: u32) -> u64 {
    mix(u64::from(tag))
}

/// The finalizer of SplitMix64.
fn mix(bits: u64) -> u64 {
    let bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn shadow(kind: Kind, max_keys: usize, capacity: u64) -> Shadow {
        let mut shadow = Shadow::new(kind, SizeWeight::None, max_keys, 1);
        shadow.resize(capacity, max_keys as u64);
        shadow
    }

    fn holds(shadow: &Shadow, key: u64) -> bool {
        let tag = tag_of(key);
        shadow.cells[shadow.find(tag)].tag == tag
    }

    fn access() -> impl Strategy<Value = Access> {
        let bytes = 1u32..5_000;
        prop_oneof![
            bytes.clone().prop_map(|bytes| Access::Hit { bytes }),
            Just(Access::Miss),
            bytes.clone().prop_map(|bytes| Access::Insert { bytes }),
            bytes.prop_map(|bytes| Access::Overwrite { bytes }),
            Just(Access::Remove),
        ]
    }

    proptest! {
        #[test]
        fn its_bounds_and_counts_hold_under_any_accesses(accesses in prop::collection::vec((0u64..100, access()), 0..500), s3: bool) {
            let mut shadow = shadow(if s3 { Kind::S3 } else { Kind::Lru }, 40, 50_000);
            for (key, access) in accesses {
                let before = holds(&shadow, key);
                prop_assert_eq!(shadow.access(key, access), before);
                let cells: Vec<&Cell> = shadow.cells.iter().filter(|cell| cell.tag != 0).collect();
                prop_assert_eq!(cells.len(), shadow.keys);
                prop_assert!(shadow.keys <= 40 && shadow.residency.all <= 50_000);
                prop_assert_eq!(cells.iter().map(|cell| u64::from(cell.bytes.get())).sum::<u64>(), shadow.residency.all);
                let probation = cells.iter().filter(|cell| !cell.meta.is_main());
                prop_assert_eq!(probation.map(|cell| u64::from(cell.bytes.get())).sum::<u64>(), shadow.residency.probation);
                // Every key is found from its home on.
                for cell in cells {
                    prop_assert_eq!(shadow.cells[shadow.find(cell.tag)].tag, cell.tag);
                }
            }
        }

        #[test]
        fn without_eviction_it_holds_what_a_map_would(accesses in prop::collection::vec((0u64..100, access()), 0..300)) {
            let mut shadow = shadow(Kind::S3, 200, u64::MAX);
            let mut model = HashMap::new();
            for (key, access) in accesses {
                let expected = match access {
                    Access::Remove => model.remove(&key).is_some(),
                    Access::Miss => model.contains_key(&key),
                    Access::Hit { bytes } | Access::Insert { bytes } | Access::Overwrite { bytes } => model.insert(key, bytes).is_some(),
                };
                prop_assert_eq!(shadow.access(key, access), expected);
                prop_assert_eq!(shadow.keys, model.len());
            }
        }

        #[test]
        fn sizes_are_rounded_down_by_less_than_a_thousandth(bytes: u32) {
            let rounded = RoundedSize::new(bytes).get();
            prop_assert!(rounded <= bytes && bytes - rounded <= bytes / 1024);
        }
    }

    #[test]
    fn the_write_after_a_miss_of_the_node_is_no_second_use() {
        let mut shadow = shadow(Kind::S3, 10, 100);
        let uses = |shadow: &Shadow| shadow.cells[shadow.find(tag_of(7))].meta.uses();
        shadow.access(7, Access::Insert { bytes: 1 });
        shadow.access(7, Access::Miss);
        assert_eq!(uses(&shadow), 1);
        shadow.access(7, Access::Insert { bytes: 1 });
        assert_eq!(uses(&shadow), 1);
        shadow.access(7, Access::Overwrite { bytes: 1 });
        assert_eq!(uses(&shadow), 2);
    }
}
