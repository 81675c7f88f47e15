//! Making room: finding keys to evict, and evicting them.
//!
//! Each worker has an evictor of its own, fed with the keys of random buckets. Slots are chosen in proportion to their keys, so that
//! a slot with many keys, which hash tags can make, gives up as many as it should. A command evicts before it takes its own locks, in
//! bounded steps.

use std::cell::RefCell;
use std::sync::atomic::Ordering::Relaxed;

use cache_eviction::{Candidate, Evictor, Policy, Residency, Rules, SizeWeight, Verdict};

use crate::clock::{self, Millis};
use crate::cluster::View;
use crate::node::Node;
use crate::slot::SlotId;
use crate::store::{Identity, KeyHash, Place, SlotGuard, Usage};

/// Most steps of one command, but for those that its own size asks for.
const STEPS: usize = 64;

/// The steps of a big write: one for so many bytes.
const BYTES_PER_STEP: usize = 32;

/// In the background, room is made for so many bytes, or a 64th of the limit.
const HEADROOM: usize = 256 * 1024;

/// A key that may be evicted.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Victim {
    slot: SlotId,
    identity: Identity,
}

thread_local! {
    static EVICTING: RefCell<Option<Evicting>> = const { RefCell::new(None) };
}

/// What a worker keeps from one eviction to the next.
struct Evicting {
    evictor: Evictor<Victim>,
    weight: SizeWeight,
    samples: usize,
    map: Map,
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
        let at = (u128::from(random) * u128::from(self.keys) >> 64) as u64;
        let index = self.slots.partition_point(|(sum, _)| *sum <= at);
        self.slots.get(index).map(|(_, slot)| *slot)
    }
}

/// Evicts until `need` more bytes fit, or a step is done; false when they do not fit and nothing can be evicted.
pub(crate) fn make_room(node: &Node, limit: usize, need: usize) -> bool {
    let room = limit.saturating_sub(node.pressure.reserved());
    let used = node.store.memory().used_here();
    if used + need <= room {
        return true;
    }
    // While clients are paused nothing may change, and a replica is trimmed by its primary.
    if node.is_replica() || node.pause.is_on() {
        return true;
    }
    let steps = STEPS + need / BYTES_PER_STEP;
    let goal = room.saturating_sub(need);
    match evict(node, goal, steps) {
        0 => used + need <= room,
        _ => true,
    }
}

/// Makes a little room before anybody needs it.
pub(crate) fn keep_headroom(node: &Node, limit: usize) {
    let room = limit.saturating_sub(node.pressure.reserved());
    let goal = room.saturating_sub(HEADROOM.min(limit / 64));
    if node.store.memory().used_here() > goal && !node.is_replica() && !node.pause.is_on() {
        evict(node, goal, STEPS);
    }
}

/// Evicts until no more than `goal` bytes are used or so many steps are done; answers how many keys went.
fn evict(node: &Node, goal: usize, steps: usize) -> u64 {
    let choice = node.eviction.choice();
    if choice.policy == Policy::NoEviction {
        return 0;
    }
    let now = clock::now();
    let usage = node.eviction.usage(now);
    let evicted = EVICTING.with_borrow_mut(|evicting| {
        let evicting = evicting.get_or_insert_with(|| Evicting::new(usage.rules, choice.weight));
        evicting.adopt(usage.rules, choice.weight);
        evicting.samples = choice.samples;
        evicting.run(node, choice.policy, &usage, goal, steps, now)
    });
    node.stats.evicted.fetch_add(evicted, Relaxed);
    evicted
}

impl Evicting {
    fn new(rules: Rules, weight: SizeWeight) -> Self {
        Self {
            evictor: Evictor::new(rules, weight),
            weight,
            samples: 0,
            map: Map::default(),
        }
    }

    fn adopt(&mut self, rules: Rules, weight: SizeWeight) {
        if self.evictor.rules() != rules || self.weight != weight {
            self.evictor.change(rules, weight);
            self.weight = weight;
            self.map = Map::default();
        }
    }

    fn run(
        &mut self,
        node: &Node,
        policy: Policy,
        usage: &Usage,
        goal: usize,
        steps: usize,
        now: Millis,
    ) -> u64 {
        let view = node.cluster.peek();
        let memory = node.store.memory();
        let (mut evicted, mut in_vain) = (0, 0);
        for _ in 0..steps {
            if memory.used_here() <= goal || in_vain > STEPS {
                break;
            }
            self.sample(node, &view, policy, usage);
            let residency = Residency {
                probation: memory.probation_here() as u64,
                all: memory.used_here() as u64,
            };
            let mut done = false;
            while let Some(candidate) = self.evictor.pop(residency, usage.now, rand::random()) {
                match judge(node, &view, &candidate, usage, now) {
                    Verdict::Stale => {}
                    Verdict::Keep(_) => break,
                    Verdict::Evict { .. } => {
                        evicted += 1;
                        done = true;
                        break;
                    }
                }
            }
            in_vain = if done { 0 } else { in_vain + 1 };
        }
        evicted
    }

    /// Offers the keys of random buckets to the evictor.
    fn sample(&mut self, node: &Node, view: &View, policy: Policy, usage: &Usage) {
        let volatile = policy.only_volatile();
        if self.map.left == 0 {
            self.map.rebuild(node, view, volatile);
        }
        let mut seen = 0;
        for _ in 0..self.samples {
            let Some(slot) = self.map.choose(rand::random()) else {
                return;
            };
            let Some(guard) = node.store.try_lock_internal(slot) else {
                continue;
            };
            seen += self.offer(&guard, policy, usage);
            if seen >= self.samples {
                return;
            }
        }
    }

    /// Offers keys of two buckets of a slot, or of the one where a key expires next; answers how many.
    fn offer(&mut self, guard: &SlotGuard<'_>, policy: Policy, usage: &Usage) -> usize {
        let slot = guard.id();
        let mut seen = 0;
        let mut offer = |place: Place| {
            let candidate = describe(guard, slot, place);
            self.evictor.offer(candidate, usage.now);
            seen += 1;
        };
        if usage.rules.kind == cache_eviction::Kind::Ttl {
            guard.soonest().for_each(&mut offer);
            return seen.max(1);
        }
        for random in [rand::random(), rand::random()] {
            for (place, volatile) in guard.sample(random) {
                if policy.admits(volatile) {
                    offer(place);
                }
            }
        }
        seen
    }
}

fn describe(guard: &SlotGuard<'_>, slot: SlotId, place: Place) -> Candidate<Victim> {
    let entry = guard.entry(place);
    Candidate {
        place: Victim {
            slot,
            identity: guard.identity(place),
        },
        meta: guard.meta(place),
        bytes: u32::try_from(entry.bytes()).unwrap_or(u32::MAX),
        deadline: entry.deadline(),
    }
}

/// Looks at a candidate again, and evicts or repositions it.
fn judge(
    node: &Node,
    view: &View,
    candidate: &Candidate<Victim>,
    usage: &Usage,
    now: Millis,
) -> Verdict {
    let slot = candidate.place.slot;
    let Some(mut guard) = node.store.try_lock(slot) else {
        return Verdict::Stale;
    };
    let Some(place) = guard.locate(candidate.place.identity) else {
        return Verdict::Stale;
    };
    if !node.rules_in(view, slot) {
        return Verdict::Stale;
    }
    let current = describe(&guard, slot, place);
    let verdict = usage.rules.judge(candidate, &current, usage.now);
    match verdict {
        Verdict::Stale => {}
        Verdict::Keep(meta) => guard.set_meta(place, meta),
        Verdict::Evict { remember } => {
            let entry = guard.entry(place);
            let key = entry.key().to_vec();
            let expired = entry.is_expired(now);
            guard.delete(place, &key);
            node.log_removal(slot, &key);
            if remember && !expired {
                node.eviction.remember(slot, KeyHash::of(&key));
            }
        }
    }
    verdict
}
