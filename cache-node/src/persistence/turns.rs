//! How a thread that has long work leaves the processor to others.

use std::time::{Duration, Instant};

/// It works no longer than this at a time, about, where others want the processor: a worker that had to wait for the scheduler's next turn
/// would answer nobody for milliseconds.
const TURN: Duration = Duration::from_micros(500);

/// The turns of a thread.
pub(super) struct Turns(Instant);

impl Turns {
    /// A turn begins.
    pub(super) fn begin() -> Self {
        Self(Instant::now())
    }

    /// To be called between two pieces of work: lets others have the processor when the turn is over.
    pub(super) fn give_way(&mut self) {
        if self.0.elapsed() >= TURN {
            std::thread::yield_now();
            self.0 = Instant::now();
        }
    }
}
