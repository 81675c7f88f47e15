//! How long something took, time after time: a histogram that one thread writes and others read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::Counter;

/// Upper bounds of the buckets in microseconds, both ends of what matters to a client; one more bucket has what took longer.
pub const BOUNDS_MICROS: [u64; 14] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000,
];

const BUCKETS: usize = BOUNDS_MICROS.len() + 1;

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Durations {
    counts: [Counter; BUCKETS],
    nanos: Counter,
    longest: AtomicU64,
}

impl Durations {
    /// Counts one, from the one thread that writes.
    #[inline]
    pub fn record(&self, took: Duration) {
        let nanos = took.as_nanos() as u64;
        let fits = |bound: &u64| nanos <= bound * 1_000;
        let bucket = BOUNDS_MICROS.iter().position(fits);
        self.counts[bucket.unwrap_or(BUCKETS - 1)].add(1);
        self.nanos.add(nanos);
        if nanos > self.longest.load(Relaxed) {
            self.longest.store(nanos, Relaxed);
        }
    }

    /// Sets everything to zero.
    pub fn reset(&self) {
        self.counts.iter().for_each(Counter::reset);
        self.nanos.reset();
        self.longest.store(0, Relaxed);
    }

    /// What was counted so far.
    pub fn spread(&self) -> Spread {
        Spread {
            counts: std::array::from_fn(|bucket| self.counts[bucket].get()),
            total: Duration::from_nanos(self.nanos.get()),
            longest: Duration::from_nanos(self.longest.load(Relaxed)),
        }
    }
}

/// What a histogram, or several together, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// How many were in each bucket, not in those below it.
    pub counts: [u64; BUCKETS],
    /// All of them together.
    pub total: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Spread {
    /// Adds what another histogram counted.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.longest = self.longest.max(other.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_lies_in_the_first_bucket_that_it_fits_into() {
        let durations = Durations::default();
        for micros in [50, 51, 2_000_000] {
            durations.record(Duration::from_micros(micros));
        }
        let spread = durations.spread();
        assert_eq!(spread.counts[0], 1);
        assert_eq!(spread.counts[1], 1);
        assert_eq!(spread.counts[BUCKETS - 1], 1);
        assert_eq!(spread.total, Duration::from_micros(2_000_101));
        assert_eq!(spread.longest, Duration::from_secs(2));
        durations.reset();
        assert_eq!(durations.spread(), Spread::default());
    }

    #[test]
    fn histograms_add_up_and_the_longest_of_them_stays() {
        let (one, other) = (Durations::default(), Durations::default());
        one.record(Duration::from_micros(10));
        other.record(Duration::from_micros(20));
        let mut sum = one.spread();
        sum.add(&other.spread());
        assert_eq!(sum.counts[0], 2);
        assert_eq!(sum.total, Duration::from_micros(30));
        assert_eq!(sum.longest, Duration::from_micros(20));
    }
}
