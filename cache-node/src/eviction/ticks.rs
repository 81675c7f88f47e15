//! The node's logical clock, which all workers share: it advances by insertions, and in quiet times by wall time.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use cache_eviction::{Stamp, insertions_per_tick};

use crate::clock::Millis;

/// In quiet times a tick is at least so long, and at most [`LONGEST`]; between the two, 512 of them make a turnover.
const SHORTEST: Millis = 10_000;
const LONGEST: Millis = 60_000;

/// Ticks that are told apart.
const SPAN: usize = 1 << Stamp::BITS;

/// A thread counts up to so many insertions, and up to a part of a tick, before it adds them to what all count.
const BATCH: u64 = 64;
const BATCHES_A_TICK: u64 = 64;

thread_local! {
    static PENDING: Cell<u64> = const { Cell::new(0) };
}

/// The clock.
pub(super) struct Ticks {
    /// Ticks since the start.
    now: AtomicU64,
    /// Insertions since the start.
    inserted: AtomicU64,
    /// With so many insertions, the next tick is due.
    next: AtomicU64,
    /// Insertions that make a tick.
    per_tick: AtomicU64,
    /// When each tick began, in seconds since the epoch.
    began: Box<[AtomicU32]>,
    last: AtomicU64,
    /// Insertions at the last [`Ticks::keep`].
    inserted_before: AtomicU64,
}

impl Ticks {
    pub(super) fn new(now: Millis) -> Self {
        let seconds = (now / 1000) as u32;
        Self {
            now: AtomicU64::new(0),
            inserted: AtomicU64::new(0),
            next: AtomicU64::new(1),
            per_tick: AtomicU64::new(1),
            began: (0..SPAN).map(|_| AtomicU32::new(seconds)).collect(),
            last: AtomicU64::new(now),
            inserted_before: AtomicU64::new(0),
        }
    }

    /// Ticks since the start.
    pub(super) fn count(&self) -> u64 {
        self.now.load(Relaxed)
    }

    /// The present tick's stamp.
    pub(super) fn stamp(&self) -> Stamp {
        Stamp::new(self.count() as u16)
    }

    /// Counts an insertion; `now` and `keys`, the time and the number of keys, are asked for once a tick.
    pub(super) fn inserted(&self, now: impl FnOnce() -> Millis, keys: impl FnOnce() -> usize) {
        let pending = PENDING.get() + 1;
        let batch = (self.per_tick.load(Relaxed) / BATCHES_A_TICK).clamp(1, BATCH);
        if pending < batch {
            PENDING.set(pending);
            return;
        }
        PENDING.set(0);
        let inserted = self.inserted.fetch_add(pending, Relaxed) + pending;
        let next = self.next.load(Relaxed);
        if inserted < next {
            return;
        }
        let per_tick = insertions_per_tick(keys() as u64);
        self.per_tick.store(per_tick, Relaxed);
        // If another thread was faster, it has ticked.
        let claimed = self
            .next
            .compare_exchange(next, inserted + per_tick, Relaxed, Relaxed);
        if claimed.is_ok() {
            self.tick(now());
        }
    }

    fn tick(&self, now: Millis) {
        let tick = self.now.fetch_add(1, Relaxed) + 1;
        self.began[tick as usize % SPAN].store((now / 1000) as u32, Relaxed);
        self.last.store(now, Relaxed);
    }

    /// Once a second: lets the clock tick in quiet times. `turns_over`: whether keys are evicted, so that there are turnovers.
    pub(super) fn keep(&self, now: Millis, keys: usize, turns_over: bool) {
        let inserted = self.inserted.load(Relaxed);
        let rate = inserted - self.inserted_before.swap(inserted, Relaxed);
        let turnover = (keys as u64 * 1000).checked_div(rate);
        let length = match turnover {
            _ if !turns_over => SHORTEST,
            Some(turnover) => (turnover / 512).clamp(SHORTEST, LONGEST),
            None => LONGEST,
        };
        if now.saturating_sub(self.last.load(Relaxed)) >= length {
            self.tick(now);
        }
    }

    /// Seconds from the beginning of the tick this many ticks ago until `now`; 0 in the present tick.
    pub(super) fn seconds_since(&self, ticks: u16, now: Millis) -> u64 {
        if ticks == 0 {
            return 0;
        }
        let then = (self.count() as usize).wrapping_sub(usize::from(ticks)) % SPAN;
        (now / 1000).saturating_sub(u64::from(self.began[then].load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turnover_takes_sixteen_ticks_at_any_size() {
        for keys in [1_u64, 16, 1_000, 160_000] {
            PENDING.set(0);
            let ticks = Ticks::new(0);
            // The first insertion ticks and looks at the number of keys.
            ticks.inserted(|| 0, || keys as usize);
            assert_eq!(ticks.count(), 1);
            (0..keys).for_each(|_| ticks.inserted(|| 0, || keys as usize));
            let expected = 1 + keys.min(16);
            assert!(ticks.count().abs_diff(expected) <= 1, "{keys} keys");
        }
    }

    #[test]
    fn threads_that_insert_at_once_tick_once_each_time() {
        let ticks = Ticks::new(0);
        ticks.inserted(|| 0, || 16_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..40_000).for_each(|_| ticks.inserted(|| 0, || 16_000)));
            }
        });
        // 160 ticks are due; those of a thread's last batch may be missing.
        assert!((155..=162).contains(&ticks.count()), "{}", ticks.count());
    }

    #[test]
    fn in_quiet_times_the_wall_clock_ticks() {
        let ticks = Ticks::new(1_000_000);
        ticks.keep(1_005_000, 100, false);
        assert_eq!(ticks.count(), 0);
        ticks.keep(1_010_000, 100, false);
        assert_eq!(ticks.count(), 1);
        ticks.keep(1_030_000, 100, true);
        assert_eq!(ticks.count(), 1);
        ticks.keep(1_070_000, 100, true);
        assert_eq!(ticks.count(), 2);
        assert_eq!(ticks.seconds_since(0, 1_075_000), 0);
        assert_eq!(ticks.seconds_since(1, 1_075_000), 65);
    }
}
