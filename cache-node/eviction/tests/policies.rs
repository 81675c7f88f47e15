//! Every policy in a small cache, on a generated workload.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::collections::HashMap;

use cache_eviction::{
    Candidate, Clock, Evictor, Ghost, Kind, Meta, Now, Residency, Rules, SizeWeight, Verdict,
};
use rand::{Rng, SeedableRng, rngs::StdRng};

const SAMPLE: usize = 16;

#[derive(Clone, Copy)]
struct Entry {
    meta: Meta,
    bytes: u32,
    position: usize,
}

/// A cache of sized keys with uniform sampling.
struct Cache {
    evictor: Evictor<u64>,
    ghost: Ghost,
    clock: Clock,
    entries: HashMap<u64, Entry>,
    keys: Vec<u64>,
    residency: Residency,
    capacity: u64,
    random: StdRng,
}

impl Cache {
    fn new(kind: Kind, weight: SizeWeight, capacity: u64) -> Self {
        Self {
            evictor: Evictor::new(Rules::new(kind), weight),
            ghost: Ghost::default(),
            clock: Clock::default(),
            entries: HashMap::new(),
            keys: Vec::new(),
            residency: Residency::default(),
            capacity,
            random: StdRng::seed_from_u64(1),
        }
    }

    fn now(&self) -> Now {
        Now {
            stamp: self.clock.stamp(),
            minutes: 0,
        }
    }

    fn candidate(&self, key: u64) -> Candidate<u64> {
        let Entry { meta, bytes, .. } = self.entries[&key];
        // Keys with higher numbers are due earlier.
        Candidate {
            place: key,
            meta,
            bytes,
            deadline: Some(u64::MAX - key),
        }
    }

    /// Whether the key was there; it is now.
    fn request(&mut self, key: u64, bytes: u32) -> bool {
        let now = self.now();
        if let Some(entry) = self.entries.get_mut(&key) {
            let after = self
                .evictor
                .rules()
                .on_read(entry.meta, now, || self.random.random());
            entry.meta = after.unwrap_or(entry.meta);
            return true;
        }
        while self.residency.all + u64::from(bytes) > self.capacity {
            self.evict();
        }
        let ghost_hit = self.ghost.take(hash(key));
        let meta = self.evictor.rules().on_insert(ghost_hit, now);
        self.entries.insert(
            key,
            Entry {
                meta,
                bytes,
                position: self.keys.len(),
            },
        );
        self.keys.push(key);
        self.count(key, true);
        self.clock.inserted(self.keys.len() as u64);
        self.ghost.resize(self.keys.len() as u64);
        false
    }

    fn evict(&mut self) {
        let now = self.now();
        for _ in 0..SAMPLE {
            let key = self.keys[self.random.random_range(0..self.keys.len())];
            self.evictor.offer(self.candidate(key), now);
        }
        while let Some(sampled) = self.evictor.pop(self.residency, now, self.random.random()) {
            let key = sampled.place;
            if !self.entries.contains_key(&key) {
                continue;
            }
            match self
                .evictor
                .rules()
                .judge(&sampled, &self.candidate(key), now)
            {
                Verdict::Stale => continue,
                Verdict::Keep(meta) => {
                    self.count(key, false);
                    self.entries.get_mut(&key).unwrap().meta = meta;
                    self.count(key, true);
                }
                Verdict::Evict { remember } => {
                    if remember {
                        self.ghost.remember(hash(key));
                    }
                    self.count(key, false);
                    let position = self.entries.remove(&key).unwrap().position;
                    self.keys.swap_remove(position);
                    if let Some(moved) = self.keys.get(position) {
                        self.entries.get_mut(moved).unwrap().position = position;
                    }
                }
            }
            break;
        }
    }

    fn count(&mut self, key: u64, add: bool) {
        let Entry { meta, bytes, .. } = self.entries[&key];
        let bytes = i64::from(bytes) * if add { 1 } else { -1 };
        self.residency.all = self.residency.all.checked_add_signed(bytes).unwrap();
        if !meta.is_main() {
            self.residency.probation = self.residency.probation.checked_add_signed(bytes).unwrap();
        }
    }
}

fn hash(key: u64) -> u64 {
    let mixed = (key + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ mixed >> 29
}

/// Zipf's distribution over 2,000 keys with exponent 0.9, every third 100 requests a scan over keys that never come again.
fn zipf_with_scans(requests: usize) -> impl Iterator<Item = u64> {
    let mut random = StdRng::seed_from_u64(2);
    let cumulative: Vec<f64> = (1..=2000)
        .scan(0.0, |sum, rank| {
            *sum += f64::from(rank).powf(-0.9);
            Some(*sum)
        })
        .collect();
    (0..requests).map(move |at| {
        if at / 100 % 3 == 2 {
            return 1_000_000 + at as u64;
        }
        let point = random.random_range(0.0..cumulative[1999]);
        cumulative.partition_point(|sum| *sum <= point) as u64
    })
}

fn misses(kind: Kind) -> usize {
    let mut cache = Cache::new(kind, SizeWeight::None, 200);
    zipf_with_scans(30_000)
        .filter(|key| !cache.request(*key, 1))
        .count()
}

#[test]
fn s3_misses_at_least_a_tenth_less_than_lru_where_scans_are_mixed_in() {
    let (s3, lru, fifo, random) = (
        misses(Kind::S3),
        misses(Kind::Lru),
        misses(Kind::Fifo),
        misses(Kind::Random),
    );
    assert!(s3 * 10 < lru * 9, "S3 {s3}, LRU {lru}");
    assert!(
        lru < fifo.min(random),
        "LRU {lru}, FIFO {fifo}, random {random}"
    );
}

#[test]
fn frequency_beats_recency_where_popularity_does_not_change() {
    let (lfu, lru) = (misses(Kind::Lfu), misses(Kind::Lru));
    assert!(lfu * 10 < lru * 9, "LFU {lfu}, LRU {lru}");
}

#[test]
fn no_policy_ever_exceeds_its_capacity_or_gives_up() {
    let kinds = [
        Kind::Lru,
        Kind::Lfu,
        Kind::Lrm,
        Kind::Random,
        Kind::Ttl,
        Kind::Fifo,
        Kind::S3,
        Kind::S3Lenient,
    ];
    for kind in kinds {
        for weight in [SizeWeight::None, SizeWeight::Root, SizeWeight::Full] {
            let mut cache = Cache::new(kind, weight, 20_000);
            for key in zipf_with_scans(3_000) {
                cache.request(key, 1 + (hash(key) % 1_000) as u32);
                assert!(cache.residency.all <= cache.capacity, "{kind:?}");
            }
            assert!(cache.residency.all > cache.capacity / 2, "{kind:?}");
        }
    }
}

#[test]
fn ttl_keeps_the_keys_that_are_due_last() {
    let mut cache = Cache::new(Kind::Ttl, SizeWeight::None, 100);
    (0..5_000).for_each(|key| _ = cache.request(key, 1));
    // The first ones have the latest deadlines; sampling misses some.
    let kept = cache.keys.iter().filter(|key| **key < 200).count();
    assert!(kept >= 80, "{kept} of 100");
}

#[test]
fn with_a_size_weight_smaller_keys_stay_and_more_of_them() {
    let keys = |weight| {
        let mut cache = Cache::new(Kind::S3, weight, 20_000);
        zipf_with_scans(10_000)
            .for_each(|key| _ = cache.request(key, if key % 2 == 0 { 10 } else { 1_000 }));
        cache.keys.len()
    };
    let (unweighed, root, full) = (
        keys(SizeWeight::None),
        keys(SizeWeight::Root),
        keys(SizeWeight::Full),
    );
    assert!(
        unweighed < root && root < full,
        "{unweighed}, {root}, {full}"
    );
}

#[test]
fn s3_holds_about_a_tenth_on_probation() {
    let mut cache = Cache::new(Kind::S3, SizeWeight::None, 500);
    zipf_with_scans(30_000).for_each(|key| _ = cache.request(key, 1));
    assert!(
        (40..=60).contains(&cache.residency.probation),
        "{:?}",
        cache.residency
    );
}
