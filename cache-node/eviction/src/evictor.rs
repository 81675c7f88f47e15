//! Which of the sampled keys goes next.
//!
//! Owns the pools and the order of candidates in them. One evictor a worker; it holds places of entries that may change at any time,
//! so that what it pops must be read again and put to [`Rules::judge`]. It must never free anything itself.

use crate::{
    clock::Now,
    policy::{Kind, SizeWeight},
    pool::{Candidate, Pool},
    rules::Rules,
};

/// After this many pops in vain from the part that is due, the other part is taken from: the bytes that are over the share may be a
/// few large keys that sampling does not find.
const POPS_IN_VAIN: u8 = 4;

/// How the bytes of the keys that may be evicted are spread. The caller counts them, whatever the kind is, wherever an entry is
/// added, removed, resized or its metadata written; sums of per-worker counts that are slightly behind are good enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Residency {
    /// Bytes of keys whose metadata is not [in the main part](crate::Meta::is_main).
    pub probation: u64,
    /// Bytes of all keys. Under a volatile policy, of keys with a deadline in both fields.
    pub all: u64,
}

/// Pools of candidates for eviction.
#[derive(Clone, Debug)]
pub struct Evictor<P> {
    rules: Rules,
    weight: SizeWeight,
    /// S3's keys on probation; of every other kind, all candidates.
    pool: Pool<P>,
    /// S3's keys in the main part.
    main: Pool<P>,
    in_vain: u8,
}

impl<P: Copy + PartialEq> Evictor<P> {
    /// An evictor without candidates. Only S3 looks at `weight`.
    pub fn new(rules: Rules, weight: SizeWeight) -> Self {
        Self {
            rules,
            weight,
            pool: Pool::new(),
            main: Pool::new(),
            in_vain: 0,
        }
    }

    /// The rules that candidates are ordered by.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// Goes over to other rules, forgetting the candidates.
    pub fn change(&mut self, rules: Rules, weight: SizeWeight) {
        *self = Self::new(rules, weight);
    }

    /// Whether [`Candidate::bytes`] matters while sampling; finding it out may cost a cache miss.
    pub fn weighs_bytes(&self) -> bool {
        self.rules.kind.is_s3() && self.weight != SizeWeight::None
    }

    /// Adds a sampled key. The caller leaves out keys that the policy does not [admit](crate::Policy::admits).
    #[inline]
    pub fn offer(&mut self, candidate: Candidate<P>, now: Now) {
        let score = score(self.rules, self.weight, now);
        if self.rules.kind.is_s3() && candidate.meta.is_main() {
            self.main.offer(candidate, score);
        } else {
            self.pool.offer(candidate, score);
        }
    }

    /// The next candidate to be judged; `None` asks for another sample. To be called once after each sample (16 keys or so), and again
    /// after a stale candidate. `random` is used by the random policies only.
    pub fn pop(&mut self, residency: Residency, now: Now, random: u64) -> Option<Candidate<P>> {
        let score = score(self.rules, self.weight, now);
        match self.rules.kind {
            Kind::Random => self.pop_any(random),
            kind @ (Kind::S3 | Kind::S3Lenient) => {
                let probation_is_due =
                    residency.probation * 100 > residency.all * kind.probation_percent();
                let (due, other) = if probation_is_due {
                    (&mut self.pool, &mut self.main)
                } else {
                    (&mut self.main, &mut self.pool)
                };
                if let Some(candidate) = due.pop(&score) {
                    self.in_vain = 0;
                    return Some(candidate);
                }
                self.in_vain += 1;
                if self.in_vain < POPS_IN_VAIN {
                    return None;
                }
                self.in_vain = 0;
                other.pop(&score)
            }
            _ => self.pool.pop(score),
        }
    }

    /// One of the last sample with equal chances: what was sampled before is forgotten.
    fn pop_any(&mut self, random: u64) -> Option<Candidate<P>> {
        let len = self.pool.len();
        if len == 0 {
            return None;
        }
        let popped = self.pool.remove((random % len as u64) as usize);
        self.pool.clear();
        popped
    }
}

/// How urgently a candidate is to go, now.
fn score<P>(rules: Rules, weight: SizeWeight, now: Now) -> impl Fn(&Candidate<P>) -> u64 {
    move |candidate| {
        // Half a tick is added so that size counts among the youngest too.
        let age = || 2 * u64::from(now.stamp.since(candidate.meta.stamp())) + 1;
        match rules.kind {
            Kind::S3 | Kind::S3Lenient => age() * weight.of(candidate.bytes),
            Kind::Lru | Kind::Lrm | Kind::Fifo => age(),
            Kind::Lfu => u64::from(u8::MAX - rules.lfu_counter(candidate.meta, now)),
            Kind::Ttl => u64::MAX - candidate.deadline.unwrap_or(u64::MAX),
            Kind::Random => 0,
        }
    }
}
