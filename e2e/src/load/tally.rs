//! What a load saw: answers, errors, stale reads.

use std::fmt;
use std::time::Duration;

use super::gap::GapMeter;

/// How many different error texts are kept for the report.
const SAMPLES: usize = 5;

/// Counts of one load, from its start to its stop.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Writes that the cluster acknowledged.
    pub acknowledged_writes: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Commands that the client gave up on, after its own redirections and retries.
    pub errors: u64,
    /// Reads that found less than what had been acknowledged before they began.
    pub stale_reads: u64,
    /// Some of the errors, in words.
    pub samples: Vec<String>,
    /// The widest gap between acknowledged writes of the watched slots, if any were watched.
    pub write_gap: Option<Duration>,
    pub(super) meter: Option<GapMeter>,
}

impl Tally {
    pub(super) fn error(&mut self, what: &str, key: &str, error: &redis::RedisError) {
        self.errors += 1;
        if self.samples.len() < SAMPLES {
            self.samples.push(format!("{what} of {key}: {error}"));
        }
    }

    pub(super) fn stale(&mut self, key: &str, found: Option<u64>, floor: u64) {
        self.stale_reads += 1;
        if self.samples.len() < SAMPLES {
            self.samples.push(format!(
                "read of {key} found {found:?} after {floor} was acknowledged"
            ));
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            acknowledged_writes,
            reads,
            errors,
            stale_reads,
            ..
        } = self;
        write!(
            f,
            "{acknowledged_writes} writes acknowledged, {reads} reads, {errors} client errors, {stale_reads} stale reads"
        )
    }
}
