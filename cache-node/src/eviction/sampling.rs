//! Finding keys that may be evicted: random buckets of random slots.
//!
//! Slots are chosen in proportion to their keys, so that a slot with many keys, which hash tags can make, gives up as many as it
//! should. Nothing is evicted here.

use cache_eviction::{Candidate, Evictor, Kind, Residency, Rules, SizeWeight};

use crate::clock::Millis;
use crate::cluster::View;
use crate::node::Node;
use crate::slot::SlotId;
use crate::store::{Identity, Place, SlotGuard};

use super::Choice;

/// A key that may be evicted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Victim {
    pub(super) slot: SlotId,
    pub(super) identity: Identity,
}

/// The candidates of a worker, and where it looks for more.
pub(super) struct Sampling {
    pub(super) evictor: Evictor<Victim>,
    choice: Choice,
    map: Map,
    share: Share,
}

/// The slots with keys that may be evicted, with the sum of keys up to each.
#[derive(Default)]
struct Map {
    slots: Vec<(u64, SlotId)>,
    keys: u64,
    /// Choices until the map is made anew.
    left: u64,
}

impl Map {
    fn rebuild(&mut self, node: &Node, view: &View, volatile: bool) {
        self.slots.clear();
        self.keys = 0;
        for slot in node.store.occupied() {
            let keys = if volatile {
                node.store.volatile_in(slot)
            } else {
                node.store.keys_in(slot)
            };
            if keys > 0 && node.rules_in(view, slot) {
                self.keys += keys as u64;
                self.slots.push((self.keys, slot));
            }
        }
        self.left = (self.keys / 16).max(64);
    }

    /// A slot, each with a chance in proportion to its keys.
    fn choose(&mut self, random: u64) -> Option<SlotId> {
        self.left = self.left.saturating_sub(1);
        let at = ((u128::from(random) * u128::from(self.keys)) >> 64) as u64;
        let index = self.slots.partition_point(|(sum, _)| *sum <= at);
        self.slots.get(index).map(|(_, slot)| *slot)
    }
}

/// Bytes on probation among those of keys with a deadline: what was sampled of them lately. Slots count their bytes without regard to
/// deadlines.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    probation: f64,
    all: f64,
}

impl Share {
    /// Samples that count, by and large.
    const MEMORY: f64 = 1024.0;

    fn add(&mut self, probation: bool, bytes: u32) {
        let kept = 1.0 - 1.0 / Self::MEMORY;
        self.all = self.all * kept + f64::from(bytes);
        self.probation = self.probation * kept + if probation { f64::from(bytes) } else { 0.0 };
    }

    fn residency(self) -> Residency {
        Residency {
            probation: self.probation as u64,
            all: self.all as u64,
        }
    }
}

impl Sampling {
    pub(super) fn new(rules: Rules, choice: Choice) -> Self {
        Self {
            evictor: Evictor::new(rules, choice.weight),
            choice,
            map: Map::default(),
            share: Share::default(),
        }
    }

    /// Goes over to other rules or settings; candidates are forgotten if they were found for others.
    pub(super) fn adopt(&mut self, rules: Rules, choice: Choice) {
        if self.evictor.rules() != rules || self.weight() != choice.weight {
            self.evictor.change(rules, choice.weight);
        }
        if self.choice.policy != choice.policy {
            *self = Self::new(rules, choice);
        }
        self.choice = choice;
    }

    fn weight(&self) -> SizeWeight {
        self.choice.weight
    }

    /// Has the slots looked through again for keys before the next sample.
    pub(super) fn look_again(&mut self) {
        self.map.left = 0;
    }

    /// How the bytes of the keys that may be evicted are spread.
    pub(super) fn residency(&self, node: &Node) -> Residency {
        if self.choice.policy.only_volatile() {
            return self.share.residency();
        }
        let memory = node.store.memory();
        Residency {
            probation: memory.probation_here() as u64,
            all: memory.entries_here() as u64,
        }
    }

    /// Offers the keys of random buckets to the evictor; answers whether there is any slot to choose from. `thorough`: so few keys may
    /// be evicted that random buckets have none.
    pub(super) fn sample(&mut self, node: &Node, view: &View, now: Millis, thorough: bool) -> bool {
        if self.map.left == 0 {
            let volatile = self.choice.policy.only_volatile();
            self.map.rebuild(node, view, volatile);
        }
        let mut seen = 0;
        for _ in 0..self.choice.samples {
            let Some(slot) = self.map.choose(rand::random()) else {
                return false;
            };
            if let Some(guard) = node.store.try_lock_internal(slot) {
                seen += self.offer(node, &guard, now, thorough);
            }
            if seen >= self.choice.samples {
                break;
            }
        }
        true
    }

    /// Offers the keys of two buckets of a slot, or of the one where a key expires next; answers how many.
    fn offer(&mut self, node: &Node, guard: &SlotGuard<'_>, now: Millis, thorough: bool) -> usize {
        // Asked for under the lock, so that no mark is younger.
        let now = node.eviction.time(now);
        let policy = self.choice.policy;
        let mut seen = 0;
        if self.evictor.rules().kind == Kind::Ttl || (thorough && policy.only_volatile()) {
            for place in guard.soonest() {
                seen += 1;
                self.offer_one(guard, place, now);
            }
            return seen;
        }
        let random: u64 = rand::random();
        // The other bucket is half the table away.
        let buckets = if guard.buckets() > 1 { 2 } else { 1 };
        for random in [random, random ^ 1 << 63].into_iter().take(buckets) {
            for (place, volatile) in guard.sample(random) {
                if policy.admits(volatile) {
                    seen += 1;
                    self.offer_one(guard, place, now);
                }
            }
        }
        seen
    }

    fn offer_one(&mut self, guard: &SlotGuard<'_>, place: Place, now: cache_eviction::Now) {
        let rules = self.evictor.rules();
        let counts_share = rules.kind.is_s3() && self.choice.policy.only_volatile();
        // What is not needed is not read: it would be a cache miss.
        let with_bytes = counts_share || self.evictor.weighs_bytes();
        let candidate = describe(guard, place, with_bytes, rules.kind == Kind::Ttl);
        if counts_share {
            self.share.add(!candidate.meta.is_main(), candidate.bytes);
        }
        self.evictor.offer(candidate, now);
    }
}

/// A key as the policies' cores know it; bytes and deadline only if asked for.
pub(super) fn describe(
    guard: &SlotGuard<'_>,
    place: Place,
    with_bytes: bool,
    with_deadline: bool,
) -> Candidate<Victim> {
    let bytes = || u32::try_from(guard.entry(place).bytes()).unwrap_or(u32::MAX);
    Candidate {
        place: Victim {
            slot: guard.id(),
            identity: guard.identity(place),
        },
        meta: guard.meta(place),
        bytes: if with_bytes { bytes() } else { 0 },
        deadline: with_deadline
            .then(|| guard.entry(place).deadline())
            .flatten(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_chosen_in_proportion_to_their_keys() {
        let slot = |number| SlotId::new(number).unwrap();
        let mut map = Map {
            slots: vec![(10, slot(1)), (40, slot(5)), (100, slot(9))],
            keys: 100,
            left: 1000,
        };
        let mut chosen = [0; 10];
        for at in 0..1000_u64 {
            let slot = map.choose(at * (u64::MAX / 1000)).unwrap();
            chosen[slot.index()] += 1;
        }
        assert!((99..=101).contains(&chosen[1]), "{chosen:?}");
        assert!((299..=301).contains(&chosen[5]), "{chosen:?}");
        assert!((599..=601).contains(&chosen[9]), "{chosen:?}");
        assert_eq!(map.left, 0);
        assert_eq!(Map::default().choose(7), None);
    }

    #[test]
    fn the_share_on_probation_follows_what_is_sampled() {
        let mut share = Share::default();
        (0..5_000).for_each(|sample| share.add(sample % 10 == 0, 100));
        let Residency { probation, all } = share.residency();
        assert!((90..110).contains(&(probation * 1000 / all)));
        (0..5_000).for_each(|sample| share.add(sample % 2 == 0, 100));
        let Residency { probation, all } = share.residency();
        assert!((480..520).contains(&(probation * 1000 / all)));
    }
}
