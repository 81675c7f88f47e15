//! `auto`: LRU or one of two forms of S3, whichever would miss least on what the node sees.
//!
//! Owns one miniature cache under each of the three, over the same sample of the keys, and the running comparison of their misses.
//! Memory is bounded whatever the number of keys is. What is chosen takes effect when the node changes its rules; metadata need not
//! be rewritten, and a wrong choice costs little for as long as it lasts.
//!
//! Sampling is by key (SHARDS, FAST 2015): a cache of `n` keys is played by one of `r x n` keys that sees every access to one key in
//! `1/r`. Misses are compared access by access, so that what all three hit or miss, such as a very hot key that happens to be in the
//! sample, adds nothing to the difference.

use crate::{
    policy::{Kind, SizeWeight},
    shadow::{Access, Shadow},
};

/// What is chosen from; the first is what a node begins with.
const CHOICES: [Kind; 3] = [Kind::S3, Kind::S3Lenient, Kind::Lru];

/// Misses are forgotten exponentially over reads equal to this many times the keys in a miniature cache.
const MEMORY: f64 = 16.0;
/// But not sooner than over this many reads.
const LEAST_MEMORY: f64 = 4096.0;
/// A change must have had this part of its misses less to be made.
const LEAST_GAIN: f64 = 0.01;
/// And its gain must be this many standard deviations from chance, were accesses independent; they are not, hence so many.
const LEAST_DEVIATIONS: f64 = 4.0;
/// LRU must gain so many times as much as the others, since being wrong about it costs the most: a scan goes straight through it.
const LRU_HANDICAP: f64 = 2.0;

/// Keys that a miniature cache has room for: the least, and the most.
const ROOM: (f64, f64) = (2048.0, 8192.0);
/// In between, one for so many keys of the node, which keeps all three caches below 0.45 bits a key of the node.
const NODE_KEYS_A_ROOM: f64 = 700.0;
/// Part of the room that keys are sampled for. S3 that weighs size holds more and smaller keys than the node does.
const FILL: f64 = 0.6;

/// Which keys take part: those whose hash, scrambled, is below a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    threshold: u64,
}

impl Sampler {
    fn at_rate(rate: f64) -> Self {
        // The conversion saturates: at 1, every key is picked.
        Self {
            threshold: (rate * 2f64.powi(64)) as u64,
        }
    }

    /// Whether accesses to the key with this hash are to be told to [`Auto::observe`].
    #[inline]
    pub fn picks(self, hash: u64) -> bool {
        hash.wrapping_mul(0xD6E8_FEB8_6659_FD93) <= self.threshold
    }
}

/// How one kind does in the comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// The kind.
    pub kind: Kind,
    /// Its recent misses among the sampled keys, older ones counting less.
    pub misses: f64,
}

/// Chooses among LRU and the forms of S3. One a node, behind a lock that a handler takes for sampled keys only; if it is busy, the
/// access may be left out.
#[derive(Clone, Debug)]
pub struct Auto {
    weight: SizeWeight,
    seed: u64,
    rate: f64,
    room: f64,
    shadows: [Shadow; 3],
    keys_sampled: f64,
    /// Reads still to come before misses count: the miniature caches fill first.
    cold: f64,
    comparison: Comparison,
    chosen: usize,
}

impl Auto {
    /// For a full cache that holds this many keys and bytes. Before memory is short, nothing needs to be observed.
    pub fn new(weight: SizeWeight, keys: u64, bytes: u64, seed: u64) -> Self {
        let mut auto = Self {
            weight,
            seed,
            rate: 0.0,
            room: 0.0,
            shadows: CHOICES.map(|kind| Shadow::new(kind, weight, 0, seed)),
            keys_sampled: 0.0,
            cold: 0.0,
            comparison: Comparison::default(),
            chosen: 0,
        };
        auto.resize(keys, bytes);
        auto
    }

    /// The kind to go by. When it changes, so must the rules and evictors.
    pub fn choice(&self) -> Kind {
        CHOICES[self.chosen]
    }

    /// Which keys are to be observed, until the next [`Auto::resize`].
    pub fn sampler(&self) -> Sampler {
        Sampler::at_rate(self.rate)
    }

    /// Bytes on the heap; to be counted in `maxmemory`.
    pub fn heap_bytes(&self) -> usize {
        self.shadows.iter().map(Shadow::heap_bytes).sum()
    }

    /// How the comparison stands.
    pub fn standings(&self) -> [Standing; 3] {
        [0, 1, 2].map(|at| Standing {
            kind: CHOICES[at],
            misses: self.comparison.misses[at],
        })
    }

    /// Follows the size of the cache; to be called about once a tick. If the number of keys has changed much, the rate does, and the
    /// miniature caches begin anew.
    pub fn resize(&mut self, keys: u64, bytes: u64) {
        let node_keys = keys.max(1) as f64;
        let expected = self.rate * node_keys;
        let too_many = expected > self.room * (1.0 + FILL) / 2.0;
        let too_few = self.rate < 1.0 && expected <= self.room * FILL / 2.0;
        if too_many || too_few {
            self.room = (node_keys / NODE_KEYS_A_ROOM).clamp(ROOM.0, ROOM.1);
            self.rate = (self.room * FILL / node_keys).min(1.0);
            self.shadows =
                CHOICES.map(|kind| Shadow::new(kind, self.weight, self.room as usize, self.seed));
            self.cold = self.rate * node_keys;
        }
        self.keys_sampled = self.rate * node_keys;
        for shadow in &mut self.shadows {
            shadow.resize((self.rate * bytes as f64) as u64, self.keys_sampled as u64);
        }
    }

    /// Takes note of an access to a key that the sampler picks. Never allocates.
    pub fn observe(&mut self, hash: u64, access: Access) {
        let mut hits = [false; 3];
        for (shadow, hit) in self.shadows.iter_mut().zip(&mut hits) {
            *hit = shadow.access(hash, access);
        }
        if !matches!(access, Access::Hit { .. } | Access::Miss) {
            return;
        }
        if self.cold > 0.0 {
            self.cold -= 1.0;
            return;
        }
        self.comparison
            .add(hits, (MEMORY * self.keys_sampled).max(LEAST_MEMORY));
        if let Some(better) = self.comparison.better_than(self.chosen) {
            self.chosen = better;
        }
    }
}

/// Misses under each choice, decayed.
#[derive(Clone, Copy, Debug, Default)]
struct Comparison {
    misses: [f64; 3],
    /// Reads that one choice hit and the other missed.
    discordant: [[f64; 3]; 3],
}

impl Comparison {
    fn add(&mut self, hits: [bool; 3], memory: f64) {
        let kept = 1.0 - 1.0 / memory;
        for (one, row) in self.discordant.iter_mut().enumerate() {
            self.misses[one] = self.misses[one] * kept + f64::from(!hits[one]);
            for (other, count) in row.iter_mut().enumerate() {
                *count = *count * kept + f64::from(hits[one] != hits[other]);
            }
        }
    }

    /// The best choice that gains enough over the present one, if any does.
    fn better_than(&self, present: usize) -> Option<usize> {
        let gain = |other: usize| self.misses[present] - self.misses[other];
        let is_enough = |other: usize| {
            let handicap = if CHOICES[other] == Kind::Lru {
                LRU_HANDICAP
            } else {
                1.0
            };
            let chance = self.discordant[present][other].sqrt();
            gain(other)
                > handicap * (LEAST_GAIN * self.misses[present]).max(LEAST_DEVIATIONS * chance)
        };
        (0..CHOICES.len())
            .filter(|other| is_enough(*other))
            .max_by(|a, b| gain(*a).total_cmp(&gain(*b)))
    }
}
