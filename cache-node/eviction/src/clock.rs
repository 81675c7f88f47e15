//! The node's coarse logical time: it advances by insertions, so that a stamp of ten bits is worth the same in a busy and in a quiet
//! cache, small or large.
//!
//! Owns the arithmetic of stamps, which wrap; must never read a real clock. In quiet times the node may tick by wall time as well.

/// Ticks in one turnover, which is as many insertions as there are keys. With more, the metadata would wrap sooner and no policy
/// would miss less.
const TICKS_PER_TURNOVER: u64 = 16;

/// A point in the node's logical time, modulo 1024.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stamp(u16);

impl Stamp {
    /// Bits that a stamp takes in a key's metadata.
    pub const BITS: u32 = 10;
    /// Ages stay below this.
    pub(crate) const SPAN: u16 = 1 << Self::BITS;
    /// The sweep keeps ages at or below this, which leaves a sweep 256 ticks (16 turnovers) to come round before a stamp would wrap
    /// and look young.
    pub const OLDEST: u16 = Self::SPAN - 256;

    /// The stamp of this tick; only the lower ten bits count.
    pub const fn new(tick: u16) -> Self {
        Self(tick % Self::SPAN)
    }

    /// The stamp as a number below 1024.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Ticks from `earlier` to this stamp, below 1024.
    pub const fn since(self, earlier: Self) -> u16 {
        self.0.wrapping_sub(earlier.0) % Self::SPAN
    }

    /// The stamp this many ticks before.
    pub(crate) const fn back(self, ticks: u16) -> Self {
        Self::new(self.0.wrapping_sub(ticks))
    }

    /// The stamp of the next tick.
    #[must_use]
    pub const fn next(self) -> Self {
        Self::new(self.0 + 1)
    }
}

/// The time that a handler gives to the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Logical time, for every kind but LFU.
    pub stamp: Stamp,
    /// Wall time in minutes from any start, for LFU's decay.
    pub minutes: u32,
}

/// Insertions that make one tick when there are this many keys.
pub const fn insertions_per_tick(keys: u64) -> u64 {
    let insertions = keys / TICKS_PER_TURNOVER;
    if insertions == 0 { 1 } else { insertions }
}

/// The logical clock in its single-threaded form. Workers that share one keep a stamp and a count of insertions in atomics instead
/// and use [`insertions_per_tick`] alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    stamp: Stamp,
    insertions: u64,
}

impl Clock {
    /// Counts an insertion into a cache that now has this many keys.
    pub fn inserted(&mut self, keys: u64) {
        self.insertions += 1;
        if self.insertions >= insertions_per_tick(keys) {
            self.insertions = 0;
            self.stamp = self.stamp.next();
        }
    }

    /// The present stamp.
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turnover_takes_sixteen_ticks() {
        for keys in [16, 1_600, 160_000] {
            let mut clock = Clock::default();
            (0..keys).for_each(|_| clock.inserted(keys));
            assert_eq!(clock.stamp(), Stamp::new(16), "{keys} keys");
        }
    }

    #[test]
    fn ages_survive_the_wrap() {
        let before = Stamp::new(1020);
        let after = (0..10).fold(before, |stamp, _| stamp.next());
        assert_eq!(after.since(before), 10);
        assert_eq!(after.back(10), before);
    }
}
