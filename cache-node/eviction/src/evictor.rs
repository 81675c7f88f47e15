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
            self.main.offer(candidate, now, score);
        } else {
            self.pool.offer(candidate, now, score);
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
                if let Some(candidate) = due.pop(now, &score) {
                    self.in_vain = 0;
                    return Some(candidate);
                }
                self.in_vain += 1;
                if self.in_vain < POPS_IN_VAIN {
                    return None;
                }
                self.in_vain = 0;
                other.pop(now, &score)
            }
            _ => self.pool.pop(now, score),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Stamp, meta::Meta, rules::Verdict};

    const NOW: Now = Now {
        stamp: Stamp::new(100),
        minutes: 40,
    };
    const ALL_ON_PROBATION: Residency = Residency {
        probation: 100,
        all: 100,
    };
    const FEW_ON_PROBATION: Residency = Residency {
        probation: 5,
        all: 100,
    };

    fn key(place: u32, meta: Meta) -> Candidate<u32> {
        Candidate {
            place,
            meta,
            bytes: 100,
            deadline: None,
        }
    }

    fn aged(place: u32, main: bool, uses: u8, age: u16) -> Candidate<u32> {
        key(place, Meta::new(main, uses, Stamp::new(100 - age)))
    }

    fn popped(
        kind: Kind,
        weight: SizeWeight,
        residency: Residency,
        offered: &[Candidate<u32>],
    ) -> Vec<u32> {
        let mut evictor = Evictor::new(Rules::new(kind), weight);
        offered
            .iter()
            .for_each(|candidate| evictor.offer(*candidate, NOW));
        std::iter::from_fn(|| evictor.pop(residency, NOW, 0))
            .map(|candidate| candidate.place)
            .collect()
    }

    #[test]
    fn recency_policies_take_the_oldest_first() {
        let offered = [
            aged(1, false, 0, 5),
            aged(2, false, 3, 50),
            aged(3, true, 0, 20),
        ];
        for kind in [Kind::Lru, Kind::Lrm, Kind::Fifo] {
            assert_eq!(
                popped(kind, SizeWeight::Full, ALL_ON_PROBATION, &offered),
                [2, 3, 1],
                "{kind:?}"
            );
        }
    }

    #[test]
    fn lfu_takes_the_key_with_the_lowest_counter_after_decay() {
        let offered = [
            key(1, Meta::from_counter(20, 40)),
            key(2, Meta::from_counter(25, 30)),
            key(3, Meta::from_counter(16, 40)),
        ];
        assert_eq!(
            popped(Kind::Lfu, SizeWeight::None, ALL_ON_PROBATION, &offered),
            [2, 3, 1]
        );
    }

    #[test]
    fn ttl_takes_the_earliest_deadline() {
        let due = |place, deadline| Candidate {
            deadline: Some(deadline),
            ..aged(place, false, 0, 1)
        };
        let offered = [
            due(1, 2_000_000_000_001),
            due(2, 2_000_000_000_000),
            due(3, 3_000_000_000_000),
        ];
        assert_eq!(
            popped(Kind::Ttl, SizeWeight::None, ALL_ON_PROBATION, &offered),
            [2, 1, 3]
        );
    }

    #[test]
    fn random_takes_each_of_a_sample_by_the_number_it_is_given_and_forgets_the_others() {
        for random in 0..4 {
            let mut evictor = Evictor::new(Rules::new(Kind::Random), SizeWeight::None);
            (0..4).for_each(|place| evictor.offer(aged(place, false, 0, 1), NOW));
            assert_eq!(
                evictor
                    .pop(ALL_ON_PROBATION, NOW, random)
                    .map(|candidate| u64::from(candidate.place)),
                Some(random)
            );
            assert_eq!(evictor.pop(ALL_ON_PROBATION, NOW, random), None);
        }
    }

    #[test]
    fn s3_takes_from_probation_while_it_has_more_than_its_share() {
        let offered = [
            aged(1, true, 0, 90),
            aged(2, false, 0, 5),
            aged(3, false, 0, 8),
            aged(4, true, 0, 95),
        ];
        assert_eq!(
            popped(Kind::S3, SizeWeight::None, ALL_ON_PROBATION, &offered),
            [3, 2]
        );
        assert_eq!(
            popped(Kind::S3, SizeWeight::None, FEW_ON_PROBATION, &offered),
            [4, 1]
        );
        let fifteen = Residency {
            probation: 15,
            all: 100,
        };
        assert_eq!(
            popped(Kind::S3, SizeWeight::None, fifteen, &offered),
            [3, 2]
        );
        assert_eq!(
            popped(Kind::S3Lenient, SizeWeight::None, fifteen, &offered),
            [4, 1]
        );
    }

    #[test]
    fn s3_weighs_age_by_size_as_configured() {
        let sized = |place, age, bytes| Candidate {
            bytes,
            ..aged(place, false, 0, age)
        };
        let offered = [
            sized(1, 40, 100),
            sized(2, 10, 10_000),
            sized(3, 1, 100_000),
        ];
        for (weight, order) in [
            (SizeWeight::None, [1, 2, 3]),
            (SizeWeight::Root, [2, 3, 1]),
            (SizeWeight::Full, [3, 2, 1]),
        ] {
            assert_eq!(
                popped(Kind::S3, weight, ALL_ON_PROBATION, &offered),
                order,
                "{weight}"
            );
        }
    }

    #[test]
    fn s3_turns_to_the_other_part_when_sampling_finds_nothing_in_the_one_that_is_due() {
        let mut evictor = Evictor::new(Rules::new(Kind::S3), SizeWeight::None);
        let mut tries = 0;
        let found = loop {
            tries += 1;
            evictor.offer(aged(1, true, 0, 9), NOW);
            if let Some(candidate) = evictor.pop(ALL_ON_PROBATION, NOW, 0) {
                break candidate.place;
            }
        };
        assert_eq!((found, tries), (1, u32::from(POPS_IN_VAIN)));
    }

    #[test]
    fn what_is_popped_stands_until_the_entry_is_read_again() {
        let mut evictor = Evictor::new(Rules::new(Kind::Lru), SizeWeight::None);
        evictor.offer(aged(1, false, 0, 9), NOW);
        let sampled = evictor.pop(ALL_ON_PROBATION, NOW, 0).unwrap();
        let read = evictor.rules().on_read(sampled.meta, NOW, || 0).unwrap();
        assert_eq!(
            evictor.rules().judge(&sampled, &key(1, read), NOW),
            Verdict::Stale
        );
        assert!(matches!(
            evictor.rules().judge(&sampled, &sampled, NOW),
            Verdict::Evict { .. }
        ));
    }
}
