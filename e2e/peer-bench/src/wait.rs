//! Waiting for a condition, with a bound.

use std::thread;
use std::time::{Duration, Instant};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(20);

/// Looks at short intervals until `look` finds something; `None` when the time is over.
pub fn until<T>(bound: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + bound;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::park_timeout(INTERVAL);
    }
}
