//! Counters of replication.

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, Opts, Registry};

/// Upper bounds of pauses for hand-overs, in seconds.
const PAUSES: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0];

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
    /// How long this node as a primary paused its slots for each hand-over, in seconds.
    pub pauses: Histogram,
    /// Hand-overs after which this node was still the primary.
    pub abandoned: IntCounter,
}

fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::with_opts(Opts::new(name, help)).expect("a constant, valid name")
}

fn pauses() -> Histogram {
    let options = HistogramOpts::new(
        "evenkeel_hand_over_pause_seconds",
        "How long this node as a primary paused its slots for each hand-over to a replica, whatever came of it.",
    );
    Histogram::with_opts(options.buckets(PAUSES.to_vec())).expect("constant, valid options")
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
            pauses: pauses(),
            abandoned: counter(
                "evenkeel_hand_overs_abandoned_total",
                "Hand-overs to a replica after which this node was still the primary.",
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
        let collectors: [Box<dyn Collector>; 9] = [
            Box::new(self.served_full.clone()),
            Box::new(self.served_partial.clone()),
            Box::new(self.partial_syncs.clone()),
            Box::new(self.full_syncs.clone()),
            Box::new(self.sibling_syncs.clone()),
            Box::new(self.sent_to_siblings.clone()),
            Box::new(self.overruns.clone()),
            Box::new(self.pauses.clone()),
            Box::new(self.abandoned.clone()),
        ];
        collectors
            .into_iter()
            .try_for_each(|collector| registry.register(collector))
    }
}
