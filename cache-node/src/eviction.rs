//! Making room: `maxmemory` and its policies.
//!
//! Victims are found by sampling, as in Redis: look at a few keys of random slots and remove the best. A command that needs memory
//! evicts before it takes its own locks, in bounded steps, so that no single command pays for a lowered limit.

use std::sync::atomic::Ordering::Relaxed;

use rand::Rng;

use crate::clock::{self, Millis};
use crate::cluster::View;
use crate::config::EvictionPolicy;
use crate::node::Node;
use crate::slot::{SLOT_COUNT, SlotId};
use crate::store::{Entry, Keyed};

/// Most keys that one command evicts.
const STEPS: usize = 64;

/// Eviction begins so many bytes below the limit (or a 64th of it below), so that a write that fits into that does not exceed it.
const HEADROOM: usize = 64 * 1024;

/// A key that may be evicted; the higher the score, the better.
struct Candidate {
    slot: SlotId,
    key: Vec<u8>,
    score: u64,
}

/// Evicts until the data set fits, or a step is done; false when it does not fit and nothing can be evicted.
pub(crate) fn make_room(node: &Node, limit: usize) -> bool {
    let memory = node.store.memory();
    let headroom = (limit / 64).min(HEADROOM);
    let goal = limit - headroom;
    if memory.used_here() <= goal {
        return true;
    }
    // While clients are paused nothing may change, and a replica is trimmed by its primary.
    if node.is_replica() || node.pause.is_on() {
        return true;
    }
    let settings = node.config.snapshot();
    let policy = settings.maxmemory_policy;
    if policy == EvictionPolicy::NoEviction {
        return memory.used_here() <= limit;
    }
    let view = node.cluster.peek();
    let mut evicted = 0;
    for _ in 0..STEPS {
        if memory.used_here() <= goal {
            break;
        }
        match evict_one(node, &view, policy, settings.maxmemory_samples) {
            true => evicted += 1,
            false => break,
        }
    }
    node.stats.evicted.fetch_add(evicted, Relaxed);
    evicted > 0 || memory.used_here() <= limit
}

fn evict_one(node: &Node, view: &View, policy: EvictionPolicy, samples: usize) -> bool {
    let now = clock::now();
    let mut best: Option<Candidate> = None;
    let wanted = match policy {
        EvictionPolicy::AllKeysRandom | EvictionPolicy::VolatileRandom => 1,
        _ => samples,
    };
    // A sample may miss, because a slot is in use just now.
    for _ in 0..wanted * 2 {
        let candidate = sample(node, view, policy, now);
        if let Some(candidate) = candidate
            && best
                .as_ref()
                .is_none_or(|best| candidate.score > best.score)
        {
            best = Some(candidate);
        }
        if wanted == 1 && best.is_some() {
            break;
        }
    }
    best.is_some_and(|victim| remove(node, &victim))
}

fn sample(node: &Node, view: &View, policy: EvictionPolicy, now: Millis) -> Option<Candidate> {
    let volatile = policy.only_volatile();
    let slot = random_slot(node, view, volatile)?;
    let guard = node.store.try_lock_internal(slot)?;
    let mut random = rand::rng();
    let mut pick = |below: usize| random.random_range(0..below);
    let entry = if volatile {
        guard.pick_volatile(&mut pick)
    } else {
        guard.pick(&mut pick)
    };
    entry.map(|entry| Candidate {
        slot,
        key: entry.key().to_vec(),
        score: score(entry, policy, now),
    })
}

fn score(entry: &Entry, policy: EvictionPolicy, now: Millis) -> u64 {
    match policy {
        EvictionPolicy::VolatileTtl => u64::MAX - entry.deadline().unwrap_or(u64::MAX),
        _ => entry.idle(now),
    }
}

/// The first slot from a random one on that has keys (with a deadline, if asked) over which this node rules.
fn random_slot(node: &Node, view: &View, volatile: bool) -> Option<SlotId> {
    let start = rand::rng().random_range(0..SLOT_COUNT);
    (0..SLOT_COUNT)
        .filter_map(|step| SlotId::new(((start + step) % SLOT_COUNT) as u16))
        .find(|slot| {
            let has_keys = if volatile {
                node.store.has_deadlines(*slot)
            } else {
                node.store.keys_in(*slot) > 0
            };
            has_keys && !node.store.is_paused(*slot) && node.rules_in(view, *slot)
        })
}

fn remove(node: &Node, victim: &Candidate) -> bool {
    let Some(mut guard) = node.store.try_lock(victim.slot) else {
        return false;
    };
    let removed = guard.delete(&victim.key);
    if removed {
        node.log_removal(victim.slot, &victim.key);
    }
    removed
}
