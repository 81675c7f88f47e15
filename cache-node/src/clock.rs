//! Time as the data set sees it: milliseconds since the Unix epoch.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
pub type Millis = u64;

/// The wall clock, in milliseconds since the Unix epoch.
pub fn now() -> Millis {
    since_epoch().as_millis() as Millis
}

/// The wall clock, in microseconds since the Unix epoch.
pub fn now_micros() -> u64 {
    since_epoch().as_micros() as u64
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// How long a thread may go by the monotonic clock before it looks at the wall clock again, which may have been set.
const TRUSTED: Duration = Duration::from_millis(5);

thread_local! {
    /// When this thread last looked at the wall clock, and what it saw.
    static SEEN: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
}

/// The wall clock at `now`, as time since the epoch.
fn wall_at(now: Instant) -> Duration {
    if let Some((then, wall)) = SEEN.get() {
        let passed = now.saturating_duration_since(then);
        if passed < TRUSTED {
            return wall + passed;
        }
    }
    let wall = since_epoch();
    SEEN.set(Some((now, wall)));
    wall
}

/// The time in a turn of a connection: of the clock that measures commands anyway, which follows the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct TurnClock {
    /// The wall clock at `start`.
    wall: Duration,
    start: Instant,
    now: Instant,
}

impl TurnClock {
    /// A turn that begins now.
    pub fn start() -> Self {
        let start = Instant::now();
        Self {
            wall: wall_at(start),
            start,
            now: start,
        }
    }

    /// When the turn began.
    pub fn began(&self) -> Instant {
        self.start
    }

    /// The present command's time, in milliseconds since the epoch.
    pub fn now(&self) -> Millis {
        (self.wall + (self.now - self.start)).as_millis() as Millis
    }

    /// The present command is over, and the next begins; answers how long it took.
    pub fn lap(&mut self) -> Duration {
        let before = std::mem::replace(&mut self.now, Instant::now());
        self.now - before
    }
}

/// Length of a [`Tick`] in milliseconds.
pub const TICK_MILLIS: u64 = 128;

/// November 2023; a `u32` of ticks from here reaches the year 2041.
const TICK_ORIGIN: Millis = 1_700_000_000_000;

/// A coarse time that fits into four bytes: last access and expiry calendar use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u32);

impl Tick {
    /// The tick that `time` lies in; saturates at both ends.
    pub fn at(time: Millis) -> Self {
        Self::saturating(time.saturating_sub(TICK_ORIGIN) / TICK_MILLIS)
    }

    /// The first tick that begins at or after `time`; saturates at both ends.
    pub fn after(time: Millis) -> Self {
        Self::saturating(time.saturating_sub(TICK_ORIGIN).div_ceil(TICK_MILLIS))
    }

    /// Milliseconds from `earlier` to this tick, 0 when it is not earlier.
    pub fn millis_since(self, earlier: Tick) -> u64 {
        u64::from(self.0.saturating_sub(earlier.0)) * TICK_MILLIS
    }

    fn saturating(ticks: u64) -> Self {
        Self(u32::try_from(ticks).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_lies_not_before_its_tick() {
        let time = TICK_ORIGIN + 5 * TICK_MILLIS + 1;
        assert_eq!(Tick::at(time), Tick(5));
        assert_eq!(Tick::after(time), Tick(6));
        assert_eq!(Tick::after(u64::MAX), Tick(u32::MAX));
        assert_eq!(Tick::at(0), Tick(0));
        assert_eq!(Tick(9).millis_since(Tick(5)), 4 * TICK_MILLIS);
    }
}
