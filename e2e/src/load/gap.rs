//! How long a part of the cluster took no write: the widest gap between acknowledgements. Pure; time is handed in.

use std::time::Duration;

use cache_node::slot::{SlotId, SlotSet};

/// Watches the acknowledgements of some slots.
#[derive(Clone, Debug)]
pub struct GapMeter {
    slots: SlotSet,
    last: Duration,
    widest: Duration,
}

impl GapMeter {
    /// Watches `slots` from `now` on, where `now` is any clock's reading, the same clock's from here on.
    #[must_use]
    pub fn new(slots: SlotSet, now: Duration) -> Self {
        Self {
            slots,
            last: now,
            widest: Duration::ZERO,
        }
    }

    /// A write to `slot` was acknowledged.
    pub fn acknowledged(&mut self, slot: SlotId, now: Duration) {
        if self.slots.contains(slot) {
            self.widest = self.widest(now);
            self.last = now;
        }
    }

    /// The widest gap until `now`; one that still goes on counts.
    #[must_use]
    pub fn widest(&self, now: Duration) -> Duration {
        self.widest.max(now.saturating_sub(self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widest_gap_of_the_watched_slots_counts_also_while_it_lasts() {
        let (watched, other) = (SlotId::of(b"a"), SlotId::of(b"b"));
        let mut slots = SlotSet::new();
        slots.insert(watched);
        let at = Duration::from_millis;
        let mut meter = GapMeter::new(slots, at(100));
        meter.acknowledged(watched, at(110));
        meter.acknowledged(other, at(150));
        meter.acknowledged(watched, at(190));
        meter.acknowledged(watched, at(200));
        assert_eq!(meter.widest(at(200)), at(80));
        assert_eq!(meter.widest(at(300)), at(100));
    }
}
