//! Counters of the append-only file.

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, Opts, Registry};

/// Counters of the append-only file; read by `/metrics`.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// How long an fsync took, in seconds.
    pub(crate) fsync: Histogram,
    /// Writes and fsyncs that failed.
    pub(crate) failures: IntCounter,
    /// Rewrites that succeeded.
    pub(crate) rewrites: IntCounter,
    /// Rewrites that failed.
    pub(crate) failed_rewrites: IntCounter,
    /// Times that a command waited because the file was far behind the log.
    pub(crate) delayed: IntCounter,
}

fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::with_opts(Opts::new(name, help)).expect("a constant, valid name")
}

impl Default for Metrics {
    fn default() -> Self {
        let buckets = prometheus::exponential_buckets(0.000_05, 4.0, 10)
            .expect("a positive start and a factor above one");
        let fsync = HistogramOpts::new(
            "evenkeel_aof_fsync_seconds",
            "How long it took to send the append-only file to the disk.",
        )
        .buckets(buckets);
        Self {
            fsync: Histogram::with_opts(fsync).expect("a constant, valid name"),
            failures: counter(
                "evenkeel_aof_failures_total",
                "Writes to the append-only file, or to the disk below it, that failed.",
            ),
            rewrites: counter(
                "evenkeel_aof_rewrites_total",
                "Rewrites of the append-only file that succeeded.",
            ),
            failed_rewrites: counter(
                "evenkeel_aof_rewrites_failed_total",
                "Rewrites of the append-only file that failed or were given up.",
            ),
            delayed: counter(
                "evenkeel_aof_delayed_writes_total",
                "Times that a command waited because the append-only file was far behind the log.",
            ),
        }
    }
}

impl Metrics {
    /// Adds the counters to `registry`.
    ///
    /// # Errors
    ///
    /// One of them is there already.
    pub fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        let collectors: [Box<dyn Collector>; 5] = [
            Box::new(self.fsync.clone()),
            Box::new(self.failures.clone()),
            Box::new(self.rewrites.clone()),
            Box::new(self.failed_rewrites.clone()),
            Box::new(self.delayed.clone()),
        ];
        collectors
            .into_iter()
            .try_for_each(|collector| registry.register(collector))
    }
}
