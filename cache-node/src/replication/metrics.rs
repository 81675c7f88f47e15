//! Counters of replication.

use prometheus::core::Collector;
use prometheus::{IntCounter, Opts, Registry};

/// Counters of replication; read by `/metrics`.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Full syncs that this node began to receive.
    pub full_syncs: IntCounter,
    /// Times that this node went on where it was, without a full sync.
    pub partial_syncs: IntCounter,
    /// Full syncs that this node has had from another replica.
    pub sibling_syncs: IntCounter,
    /// Full syncs for which this node has named another replica.
    pub sent_to_siblings: IntCounter,
    /// Full syncs that this node began to send.
    pub served_full: IntCounter,
    /// Times that a replica of this node went on where it was.
    pub served_partial: IntCounter,
    /// Transfers that ended because their reader of the log was too slow.
    pub overruns: IntCounter,
}

fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::with_opts(Opts::new(name, help)).expect("a constant, valid name")
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            full_syncs: counter(
                "evenkeel_replication_full_syncs_total",
                "Full syncs that this node began to receive.",
            ),
            partial_syncs: counter(
                "evenkeel_replication_partial_syncs_total",
                "Times that this node went on copying where it was, without a full sync.",
            ),
            sibling_syncs: counter(
                "evenkeel_replication_full_syncs_from_replicas_total",
                "Full syncs that this node has had from another replica of its primary.",
            ),
            sent_to_siblings: counter(
                "evenkeel_replication_full_syncs_left_to_replicas_total",
                "Full syncs for which this node has sent a replica to another one.",
            ),
            served_full: counter(
                "evenkeel_replication_full_syncs_served_total",
                "Full syncs that this node began to send.",
            ),
            served_partial: counter(
                "evenkeel_replication_partial_syncs_served_total",
                "Times that a replica of this node went on where it was, without a full sync.",
            ),
            overruns: counter(
                "evenkeel_replication_overruns_total",
                "Transfers that ended because their reader fell behind by more than repl-backlog-size.",
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
        let collectors: [Box<dyn Collector>; 7] = [
            Box::new(self.served_full.clone()),
            Box::new(self.served_partial.clone()),
            Box::new(self.partial_syncs.clone()),
            Box::new(self.full_syncs.clone()),
            Box::new(self.sibling_syncs.clone()),
            Box::new(self.sent_to_siblings.clone()),
            Box::new(self.overruns.clone()),
        ];
        collectors
            .into_iter()
            .try_for_each(|collector| registry.register(collector))
    }
}
