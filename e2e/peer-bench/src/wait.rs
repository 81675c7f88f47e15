//! Waiting for a condition, with a bound.

use std::thread;
use std::time::{Duration, Instant};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(20);

/// Looks at short intervals until `look` finds something; `None` when the time is over.
pub fn until<T>(bound: Duration, look: impl FnMut() -> Option<T>) -> Option<T> {
    every(INTERVAL, bound, look)
}

/// Looks at such intervals until `look` finds something; `None` when the time is over.
pub fn every<T>(
    interval: Duration,
    bound: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> Option<T> {
    let end = Instant::now() + bound;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::park_timeout(interval);
    }
}

/// Lets time pass, for what happens in it is measured.
pub fn pass_until(end: Instant) {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
    }
}
