//! How long a container that keeps ending waits before its next start. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The rule of the delays: the first restart is immediate, then they double.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffPolicy {
    /// The delay of the second restart (Kubernetes: 10 s).
    pub base: Duration,
    /// The longest delay (Kubernetes: 5 min).
    pub max: Duration,
    /// A run this long clears the memory of earlier ends (Kubernetes: 10 min).
    pub reset: Duration,
}

impl Default for BackoffPolicy {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(10),
            max: Duration::from_secs(300),
            reset: Duration::from_secs(600),
        }
    }
}

/// One container's memory of its ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    next: Duration,
}

impl Backoff {
    /// Notes an end after a run from `started` to `ended`; returns the delay before the next start.
    pub fn after_end(
        &mut self,
        policy: BackoffPolicy,
        started: Timestamp,
        ended: Timestamp,
    ) -> Duration {
        let ran = ended.duration_since(started);
        if SignedDuration::try_from(policy.reset).is_ok_and(|reset| ran >= reset) {
            self.next = Duration::ZERO;
        }
        let delay = self.next;
        self.next = if delay.is_zero() {
            policy.base
        } else {
            delay.saturating_mul(2)
        }
        .min(policy.max);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_a_limit_and_a_long_run_resets_them() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..8)
            .map(|_| {
                backoff
                    .after_end(BackoffPolicy::default(), at(0), at(1))
                    .as_secs()
            })
            .collect();
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(
            backoff.after_end(BackoffPolicy::default(), at(0), at(600)),
            Duration::ZERO
        );
    }
}
