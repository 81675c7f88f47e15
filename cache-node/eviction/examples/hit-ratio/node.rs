//! A simulated cache-node: slots of buckets of eight words, as the node lays them out, under the very cores that the node runs.

use cache_eviction::{
    Access, Auto, Candidate, Clock, Evictor, Ghost, Kind, Meta, Now, Policy, Residency, Rules,
    Sampler, SizeWeight, Verdict,
};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::cache::{Cache, Options};

const SLOTS: usize = 16_384;
const WAYS: usize = 8;
/// Words in a sample: two full buckets.
const SAMPLE: usize = 2 * WAYS;
const ABSENT: u32 = u32::MAX;

/// One slot's table. Keys are found by `Node::place`; here only the places matter.
#[derive(Default)]
struct Slot {
    /// Ids in buckets of eight, `ABSENT` where free.
    words: Vec<u32>,
    keys: usize,
}

/// A node under one policy.
pub(crate) struct Node {
    policy: Policy,
    weight: SizeWeight,
    slots: Vec<Slot>,
    costs: Vec<u32>,
    /// Index of each object's word in its slot, or `ABSENT`.
    place: Vec<u32>,
    meta: Vec<Meta>,
    keys: u64,
    residency: Residency,
    capacity: u64,
    clock: Clock,
    evictor: Evictor<u32>,
    ghost: Ghost,
    auto: Option<Auto>,
    sampler: Option<Sampler>,
    evicted: bool,
    requests: u64,
    requests_per_minute: u64,
    sweep_at: usize,
    seed: u64,
    random: StdRng,
}

impl Node {
    pub(crate) fn new(
        policy: Policy,
        weight: SizeWeight,
        costs: Vec<u32>,
        capacity: u64,
        options: &Options,
    ) -> Self {
        let objects = costs.len();
        Self {
            policy,
            weight,
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
            costs,
            place: vec![ABSENT; objects],
            meta: vec![Meta::default(); objects],
            keys: 0,
            residency: Residency::default(),
            capacity,
            clock: Clock::default(),
            evictor: Evictor::new(Rules::new(policy.kind().unwrap_or(Kind::S3)), weight),
            ghost: Ghost::default(),
            auto: None,
            sampler: None,
            evicted: false,
            requests: 0,
            requests_per_minute: options.requests_per_minute,
            sweep_at: 0,
            seed: options.seed,
            random: StdRng::seed_from_u64(options.seed),
        }
    }

    fn now(&self) -> Now {
        Now {
            stamp: self.clock.stamp(),
            minutes: (self.requests / self.requests_per_minute) as u32,
        }
    }

    fn hash(&self, id: u32) -> u64 {
        let mixed = (u64::from(id) ^ self.seed << 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ mixed >> 31).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed ^ mixed >> 29
    }

    fn observe(&mut self, id: u32, access: Access) {
        let hash = self.hash(id);
        if self.sampler.is_some_and(|sampler| sampler.picks(hash))
            && let Some(auto) = &mut self.auto
        {
            auto.observe(hash, access);
            let chosen = auto.choice();
            if chosen != self.evictor.rules().kind {
                self.evictor.change(Rules::new(chosen), self.weight);
            }
        }
    }

    /// What the node does now and then: everything that follows the number of keys.
    fn tick(&mut self) {
        if self.policy.keeps_ghost() {
            self.ghost.resize(self.keys);
        }
        if self.policy == Policy::Auto && self.evicted {
            let (keys, bytes) = (self.keys, self.residency.all);
            let auto = self
                .auto
                .get_or_insert_with(|| Auto::new(self.weight, keys, bytes, self.seed));
            auto.resize(keys, bytes);
            self.sampler = Some(auto.sampler());
        }
        self.sweep();
    }

    /// Brings a part of the metadata up to date; all of it within the time that the rules ask for.
    fn sweep(&mut self) {
        let (rules, now) = (self.evictor.rules(), self.now());
        let until = self.sweep_at + self.place.len() / 128 + 1;
        for at in self.sweep_at..until.min(self.place.len()) {
            if self.place[at] != ABSENT
                && let Some(meta) = rules.on_sweep(self.meta[at], now)
            {
                self.meta[at] = meta;
            }
        }
        self.sweep_at = if until < self.place.len() { until } else { 0 };
    }

    fn insert(&mut self, id: u32) {
        let hash = self.hash(id);
        let slot = &mut self.slots[hash as usize % SLOTS];
        if slot.keys * 8 >= slot.words.len() * 7 {
            let old = std::mem::take(&mut slot.words);
            slot.words = vec![ABSENT; (old.len() * 2).max(WAYS)];
            for moved in old.into_iter().filter(|id| *id != ABSENT) {
                // Any hash of the id will do for where it goes.
                self.place[moved as usize] = put(
                    &mut slot.words,
                    moved,
                    u64::from(moved).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32,
                );
            }
        }
        slot.keys += 1;
        self.place[id as usize] = put(
            &mut slot.words,
            id,
            u64::from(id).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32,
        );
        let ghost_hit = self.policy.keeps_ghost() && self.ghost.take(hash);
        self.meta[id as usize] = self.evictor.rules().on_insert(ghost_hit, self.now());
        self.keys += 1;
        self.count(id, true);
        let before = self.clock.stamp();
        self.clock.inserted(self.keys);
        if self.clock.stamp() != before {
            self.tick();
        }
    }

    fn remove(&mut self, id: u32) {
        self.count(id, false);
        self.keys -= 1;
        let hash = self.hash(id);
        let slot = &mut self.slots[hash as usize % SLOTS];
        slot.keys -= 1;
        let place = std::mem::replace(&mut self.place[id as usize], ABSENT);
        slot.words[place as usize] = ABSENT;
    }

    fn count(&mut self, id: u32, add: bool) {
        let cost = i64::from(self.costs[id as usize]) * if add { 1 } else { -1 };
        self.residency.all = self.residency.all.wrapping_add_signed(cost);
        if !self.meta[id as usize].is_main() {
            self.residency.probation = self.residency.probation.wrapping_add_signed(cost);
        }
    }

    /// Offers two full buckets' worth of keys from a random place on. Slots of a small cache are nearly empty, so that more buckets
    /// are looked at.
    fn sample(&mut self) {
        let now = self.now();
        let (mut at, mut found) = (self.random.random_range(0..SLOTS), 0);
        let mut bucket = self
            .random
            .random_range(0..self.slots[at].words.len().max(WAYS) / WAYS);
        let mut looked_at = 0;
        while found < SAMPLE && looked_at <= SLOTS {
            let slot = &self.slots[at];
            if slot.keys > 0 && bucket * WAYS < slot.words.len() {
                for id in slot.words[bucket * WAYS..][..WAYS]
                    .iter()
                    .filter(|id| **id != ABSENT)
                {
                    self.evictor.offer(self.candidate(*id), now);
                    found += 1;
                }
                bucket += 1;
            } else {
                (at, bucket) = ((at + 1) % SLOTS, 0);
                looked_at += 1;
            }
        }
    }

    fn candidate(&self, id: u32) -> Candidate<u32> {
        Candidate {
            place: id,
            meta: self.meta[id as usize],
            bytes: self.costs[id as usize],
            deadline: None,
        }
    }

    /// One round of eviction, as the node does it: sample, pop, look again.
    fn evict(&mut self) {
        self.evicted = true;
        self.sample();
        let now = self.now();
        while let Some(sampled) = self.evictor.pop(self.residency, now, self.random.random()) {
            let id = sampled.place;
            if self.place[id as usize] == ABSENT {
                continue;
            }
            match self
                .evictor
                .rules()
                .judge(&sampled, &self.candidate(id), now)
            {
                Verdict::Stale => continue,
                Verdict::Keep(meta) => {
                    self.count(id, false);
                    self.meta[id as usize] = meta;
                    self.count(id, true);
                }
                Verdict::Evict { remember } => {
                    if remember && self.policy.keeps_ghost() {
                        self.ghost.remember(self.hash(id));
                    }
                    self.remove(id);
                }
            }
            return;
        }
    }
}

/// Puts an id into the first free word from its bucket on; there is one.
fn put(words: &mut [u32], id: u32, hash: u64) -> u32 {
    let buckets = words.len() / WAYS;
    let mut at = (hash as usize % buckets) * WAYS;
    while words[at] != ABSENT {
        at = (at + 1) % words.len();
    }
    words[at] = id;
    at as u32
}

impl Cache for Node {
    fn request(&mut self, id: u32) -> bool {
        self.requests += 1;
        let bytes = self.costs[id as usize];
        if self.place[id as usize] != ABSENT {
            let after = self
                .evictor
                .rules()
                .on_read(self.meta[id as usize], self.now(), || self.random.random());
            if let Some(meta) = after {
                self.meta[id as usize] = meta;
            }
            self.observe(id, Access::Hit { bytes });
            return true;
        }
        self.observe(id, Access::Miss);
        if u64::from(bytes) > self.capacity
            || self.policy == Policy::NoEviction && self.used() + u64::from(bytes) > self.capacity
        {
            return false;
        }
        while self.used() + u64::from(bytes) > self.capacity {
            self.evict();
        }
        self.insert(id);
        self.observe(id, Access::Insert { bytes });
        false
    }

    fn used(&self) -> u64 {
        self.residency.all
    }
}
