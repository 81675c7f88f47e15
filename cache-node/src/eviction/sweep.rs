//! The sweep over the marks of all keys, which keeps them from wrapping round: stamps within 256 ticks, LFU's counters within 31 decay
//! periods of a minute or more.
//!
//! Workers share one sweep: whoever has time, or evicts and so drives the clock, goes over the next slots.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use crate::clock;
use crate::node::Node;
use crate::slot::{SLOT_COUNT, SlotId};

/// A sweep over all slots takes so many ticks, so that every key is seen twice in the time that there is.
const TICKS: u64 = 128;
/// And no longer than so many seconds.
const SECONDS: u64 = 600;

/// Slots that are taken on at a time.
const CHUNK: u64 = 32;

/// How far the sweep has come.
pub(super) struct Sweep {
    /// Slots gone over since the start.
    done: AtomicU64,
    began: Instant,
}

impl Sweep {
    pub(super) fn new() -> Self {
        Self {
            done: AtomicU64::new(0),
            began: Instant::now(),
        }
    }

    /// The next slots to be gone over, if it is time.
    fn claim(&self, ticks: u64) -> Option<impl Iterator<Item = SlotId>> {
        let due = slots_due(ticks, self.began.elapsed().as_secs());
        let done = self.done.load(Relaxed);
        if done + CHUNK > due {
            return None;
        }
        // Whoever is more than a sweep behind need not do it twice.
        let from = done.max(due.saturating_sub(SLOT_COUNT as u64));
        let claimed = self
            .done
            .compare_exchange(done, from + CHUNK, Relaxed, Relaxed);
        claimed.ok().map(|_| {
            (from..from + CHUNK)
                .filter_map(|number| SlotId::new((number % SLOT_COUNT as u64) as u16))
        })
    }
}

/// Slots that should have been gone over by now.
fn slots_due(ticks: u64, seconds: u64) -> u64 {
    let all = SLOT_COUNT as u64;
    ticks * (all / TICKS) + seconds * all / SECONDS
}

/// Goes over the next slots if it is time, until about so many keys were seen.
pub(crate) fn sweep(node: &Node, keys: usize) {
    let mut seen = 0;
    while seen < keys {
        let Some(slots) = node.eviction.sweep.claim(node.eviction.ticks()) else {
            return;
        };
        for slot in slots.filter(|slot| node.store.keys_in(*slot) > 0) {
            // One that is in use is passed over: it comes round again in time.
            if let Some(mut guard) = node.store.try_lock_internal(slot) {
                // The time is asked for under the lock, so that no mark is younger.
                let usage = node.eviction.usage(clock::now());
                guard.sweep_marks(&usage);
                seen += guard.len();
            }
        }
        // Empty slots take time, too.
        seen += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimed(sweep: &Sweep, ticks: u64) -> Vec<u16> {
        let slots = std::iter::from_fn(|| sweep.claim(ticks)).flatten();
        slots.map(SlotId::number).collect()
    }

    #[test]
    fn every_slot_is_gone_over_once_in_128_ticks() {
        let sweep = Sweep::new();
        let mut slots = Vec::new();
        for tick in 1..=128 {
            slots.extend(claimed(&sweep, tick));
        }
        assert_eq!(slots, (0..SLOT_COUNT as u16).collect::<Vec<_>>());
    }

    #[test]
    fn a_sweep_that_is_far_behind_goes_over_every_slot_once() {
        let sweep = Sweep::new();
        let mut slots = claimed(&sweep, 10_000);
        slots.sort_unstable();
        assert_eq!(slots, (0..SLOT_COUNT as u16).collect::<Vec<_>>());
    }

    #[test]
    fn a_sweep_takes_ten_minutes_at_most() {
        assert_eq!(slots_due(0, 600), SLOT_COUNT as u64);
        assert_eq!(slots_due(128, 600), 2 * SLOT_COUNT as u64);
    }
}
