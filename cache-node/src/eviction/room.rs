//! Making room: evicting keys until what is needed fits.
//!
//! Each worker has candidates of its own. A command evicts before it takes its own locks, in bounded steps.

use std::cell::RefCell;
use std::sync::atomic::Ordering::Relaxed;

use cache_eviction::{Candidate, Policy, Verdict};
use smallvec::SmallVec;

use crate::clock::{self, Millis};
use crate::cluster::View;
use crate::node::Node;
use crate::store::KeyHash;

use super::sampling::{Sampling, Victim, describe};
use super::sweep::sweep;

/// Most keys that one command evicts, but for those that its own size asks for.
const EVICTIONS: usize = 64;

/// A big write evicts at most one key more for so many bytes.
const BYTES_PER_EVICTION: usize = 32;

/// In the background, room is made for so many bytes, or a 256th of the limit.
const HEADROOM: usize = 256 * 1024;

/// Most keys that are evicted at a time in the background.
const BACKGROUND_EVICTIONS: usize = 256;

/// After so many candidates in a row that had earned to stay, the next one goes nevertheless: a data set in which every key was used
/// would hold up a command for as long as it takes to go over all of them.
const MERCY: usize = 64;

/// After so many samples in a row without a candidate, there is nothing to evict; after some of them, slots are looked through again.
const IN_VAIN: usize = 64;
const LOOK_AGAIN: usize = 8;

/// Keys that whoever evicts at least goes over for the sweep when that is due.
const SWEPT: usize = 64;

thread_local! {
    static SAMPLING: RefCell<Option<Sampling>> = const { RefCell::new(None) };
}

/// Bytes that the data set may take.
fn room(node: &Node, limit: usize) -> usize {
    let (ghosts, auto) = node.eviction.bytes();
    limit.saturating_sub(node.pressure.reserved() + ghosts + auto)
}

/// Evicts until `need` more bytes fit, or a step is done; false when they do not fit and nothing can be evicted.
#[inline]
pub(crate) fn make_room(node: &Node, limit: usize, need: usize) -> bool {
    node.store.memory().used_here() + need <= room(node, limit) || evict_for(node, limit, need)
}

#[cold]
fn evict_for(node: &Node, limit: usize, need: usize) -> bool {
    // While clients are paused nothing may change, and a replica is trimmed by its primary.
    if node.is_replica() || node.pause.is_on() {
        return true;
    }
    let Some(goal) = room(node, limit).checked_sub(need) else {
        return false;
    };
    evict(node, goal, EVICTIONS + need / BYTES_PER_EVICTION) > 0
        || node.store.memory().used_here() <= goal
}

/// Makes a little room before anybody needs it; true when there is more to do.
pub(crate) fn keep_headroom(node: &Node, limit: usize) -> bool {
    let goal = room(node, limit).saturating_sub(HEADROOM.min(limit / 256));
    let is_short = || node.store.memory().used_here() > goal;
    if !is_short() || node.is_replica() || node.pause.is_on() {
        return false;
    }
    evict(node, goal, BACKGROUND_EVICTIONS) > 0 && is_short()
}

/// Evicts until no more than `goal` bytes are used or so many keys went; answers how many.
fn evict(node: &Node, goal: usize, most: usize) -> usize {
    let choice = node.eviction.choice();
    if choice.policy == Policy::NoEviction {
        return 0;
    }
    node.eviction.evicting(node.store.memory());
    let now = clock::now();
    let rules = node.eviction.usage(now).rules;
    let evicted = SAMPLING.with_borrow_mut(|sampling| {
        let sampling = sampling.get_or_insert_with(|| Sampling::new(rules, choice));
        sampling.adopt(rules, choice);
        run(sampling, node, goal, most, now)
    });
    node.stats.evicted.fetch_add(evicted as u64, Relaxed);
    sweep(node, SWEPT);
    evicted
}

fn run(sampling: &mut Sampling, node: &Node, goal: usize, most: usize, now: Millis) -> usize {
    let view = node.cluster.peek();
    let memory = node.store.memory();
    let (mut evicted, mut kept, mut in_vain) = (0, 0, 0);
    while memory.used_here() > goal && evicted < most && in_vain < IN_VAIN {
        if !sampling.sample(node, &view, now, in_vain >= LOOK_AGAIN) {
            sampling.look_again();
            break;
        }
        match next(sampling, node, &view, now, kept >= MERCY) {
            Some(Verdict::Evict { .. }) => (evicted, kept, in_vain) = (evicted + 1, 0, 0),
            Some(_) => (kept, in_vain) = (kept + 1, 0),
            None => in_vain += 1,
        }
        if in_vain == LOOK_AGAIN {
            sampling.look_again();
        }
    }
    evicted
}

/// Judges the next candidate that is still what it was when it was sampled; `None` when there is none.
fn next(
    sampling: &mut Sampling,
    node: &Node,
    view: &View,
    now: Millis,
    merciless: bool,
) -> Option<Verdict> {
    loop {
        let residency = sampling.residency(node);
        let time = node.eviction.time(now);
        let candidate = sampling.evictor.pop(residency, time, rand::random())?;
        match judge(sampling, node, view, &candidate, now, merciless) {
            Verdict::Stale => {}
            verdict => return Some(verdict),
        }
    }
}

/// Looks at a candidate again, and evicts or repositions it.
fn judge(
    sampling: &Sampling,
    node: &Node,
    view: &View,
    candidate: &Candidate<Victim>,
    now: Millis,
    merciless: bool,
) -> Verdict {
    let slot = candidate.place.slot;
    let Some(mut guard) = node.store.try_lock(slot) else {
        return Verdict::Stale;
    };
    let Some(place) = guard.locate(candidate.place.identity) else {
        return Verdict::Stale;
    };
    let entry = guard.entry(place);
    let policy = node.eviction.choice().policy;
    if !node.rules_in(view, slot) || !policy.admits(entry.deadline().is_some()) {
        return Verdict::Stale;
    }
    let current = describe(&guard, place, true, true);
    let rules = sampling.evictor.rules();
    let verdict = match rules.judge(candidate, &current, node.eviction.time(now)) {
        Verdict::Keep(_) if merciless => Verdict::Evict {
            remember: !current.meta.is_main(),
        },
        verdict => verdict,
    };
    match verdict {
        Verdict::Stale => {}
        Verdict::Keep(meta) => guard.set_meta(place, meta),
        Verdict::Evict { remember } => {
            let key: SmallVec<[u8; 64]> = SmallVec::from_slice(entry.key());
            let remember = remember && !entry.is_expired(now);
            // `auto` is not told: its miniature caches evict by themselves.
            guard.delete(place, &key);
            node.log_removal(slot, &key);
            if remember {
                node.eviction.ghosts.remember(KeyHash::of(&key));
            }
        }
    }
    verdict
}
