//! The server's time: wall-clock time that advances with tokio's clock, so that paused time in tests reaches
//! timestamps too.

use jiff::Timestamp;
use tokio::time::Instant;

/// A clock that started at some wall-clock time and follows tokio's clock from there.
#[derive(Clone, Debug)]
pub struct Clock {
    started: Timestamp,
    instant: Instant,
}

impl Clock {
    /// A clock that shows the wall-clock time now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            started: Timestamp::now(),
            instant: Instant::now(),
        }
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let elapsed = jiff::SignedDuration::try_from(self.instant.elapsed()).unwrap_or_default();
        self.started.checked_add(elapsed).unwrap_or(Timestamp::MAX)
    }
}

/// A moment as Kubernetes writes it: RFC 3339 in UTC, whole seconds.
#[must_use]
pub fn rfc3339(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A moment with microseconds, as `MicroTime` fields hold it.
#[must_use]
pub fn rfc3339_micro(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// A moment without its fraction: what a `Time` field keeps, so that a written status equals the one read back.
#[must_use]
pub fn whole_second(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
}
