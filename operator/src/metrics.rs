//! What the operator counts. Labels are few and bounded: an object's name is only one of what few objects have and alerts must tell apart, the
//! operator's vote.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

/// The operator's metrics, in a registry of their own.
pub struct Metrics {
    registry: Registry,
    /// Passes, by outcome: changed, unchanged, failed.
    pub passes: IntCounterVec,
    /// Seconds that a pass took.
    pub seconds: Histogram,
    /// Errors, by category.
    pub errors: IntCounterVec,
    /// Steps carried out, by kind and outcome.
    pub steps: IntCounterVec,
    /// Slots that arrived where they belong.
    pub slots_moved: IntCounter,
    /// Replicas promoted, by how.
    pub promotions: IntCounterVec,
    /// Writes to the Kubernetes API, by kind of object.
    pub writes: IntCounterVec,
    /// 1 while this process leads.
    pub leader: IntGauge,
    /// See [`WitnessSeries`].
    witness_votes: IntGaugeVec,
    witness_last_vote: IntGaugeVec,
}

/// Names the cluster of a series.
const CLUSTER: [&str; 2] = ["namespace", "name"];

/// What is told of the operator's vote in one cluster, until this is dropped.
pub struct WitnessSeries {
    metrics: Arc<Metrics>,
    cluster: [String; 2],
}

impl WitnessSeries {
    /// Of a vote that is not there yet.
    pub fn new(metrics: Arc<Metrics>, namespace: String, name: String) -> Self {
        let series = Self {
            metrics,
            cluster: [namespace, name],
        };
        series.gauges().votes(false);
        series
    }

    /// What sets them. Nobody sees it any more when the series are dropped.
    pub fn gauges(&self) -> WitnessGauges {
        let Metrics {
            witness_votes,
            witness_last_vote,
            ..
        } = &*self.metrics;
        WitnessGauges {
            votes: witness_votes.with_label_values(&self.cluster),
            last_vote: witness_last_vote.with_label_values(&self.cluster),
        }
    }
}

impl Drop for WitnessSeries {
    fn drop(&mut self) {
        let Self { metrics, cluster } = self;
        for family in [&metrics.witness_votes, &metrics.witness_last_vote] {
            // Only a series that is not there cannot be removed.
            let _ = family.remove_label_values(cluster);
        }
    }
}

/// Tells of the vote in one cluster. Cheap to clone.
#[derive(Clone)]
pub struct WitnessGauges {
    votes: IntGauge,
    last_vote: IntGauge,
}

impl WitnessGauges {
    /// Whether it can vote now.
    pub fn votes(&self, now: bool) {
        self.votes.set(now.into());
    }

    /// It has voted at that time.
    pub fn voted(&self, at: Timestamp) {
        self.last_vote.set(at.as_second());
    }
}

impl Metrics {
    /// Metrics that are all zero.
    ///
    /// # Errors
    /// Only if two metrics had the same name, which their test excludes.
    pub fn new() -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, label: &[&str]| {
            IntCounterVec::new(Opts::new(format!("cache_operator_{name}"), help), label)
        };
        let gauges = |name: &str, help: &str| {
            IntGaugeVec::new(Opts::new(format!("cache_operator_{name}"), help), &CLUSTER)
        };
        let metrics = Self {
            registry: Registry::new(),
            passes: counters("reconciles_total", "Passes over a cluster.", &["outcome"])?,
            seconds: Histogram::with_opts(
                HistogramOpts::new("cache_operator_reconcile_seconds", "Duration of a pass.")
                    .buckets(vec![
                        0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
                    ]),
            )?,
            errors: counters("errors_total", "Errors of passes and steps.", &["category"])?,
            steps: counters("steps_total", "Steps carried out.", &["step", "outcome"])?,
            slots_moved: IntCounter::new(
                "cache_operator_slots_moved_total",
                "Slots that arrived where they belong.",
            )?,
            promotions: counters("promotions_total", "Replicas promoted.", &["how"])?,
            writes: counters(
                "api_writes_total",
                "Writes to the Kubernetes API.",
                &["kind"],
            )?,
            leader: IntGauge::new("cache_operator_leader", "1 while this process leads.")?,
            witness_votes: gauges(
                "witness_votes",
                "1 while this process votes as the third voter of a cluster of two nodes, 0 while it should and cannot.",
            )?,
            witness_last_vote: gauges(
                "witness_last_vote_timestamp_seconds",
                "Unix time at which it last wrote a vote or an entry of the log of such a cluster down; 0 if this process never did.",
            )?,
        };
        let registry = &metrics.registry;
        registry.register(Box::new(metrics.passes.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        registry.register(Box::new(metrics.errors.clone()))?;
        registry.register(Box::new(metrics.steps.clone()))?;
        registry.register(Box::new(metrics.slots_moved.clone()))?;
        registry.register(Box::new(metrics.promotions.clone()))?;
        registry.register(Box::new(metrics.writes.clone()))?;
        registry.register(Box::new(metrics.leader.clone()))?;
        registry.register(Box::new(metrics.witness_votes.clone()))?;
        registry.register(Box::new(metrics.witness_last_vote.clone()))?;
        Ok(metrics)
    }

    /// All metrics in Prometheus's text format.
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::warn!(%error, "metrics could not be written");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_shown_in_prometheus_format() {
        let metrics = Metrics::new().unwrap();
        metrics.passes.with_label_values(&["changed"]).inc();
        let text = metrics.text();
        assert!(
            text.contains("cache_operator_reconciles_total{outcome=\"changed\"} 1"),
            "{text}"
        );
        assert!(text.contains("cache_operator_leader 0"));
    }

    #[test]
    fn a_vote_is_told_until_its_series_end() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let series = WitnessSeries::new(metrics.clone(), "shop".to_owned(), "carts".to_owned());
        let votes = r#"cache_operator_witness_votes{name="carts",namespace="shop"}"#;
        let last =
            r#"cache_operator_witness_last_vote_timestamp_seconds{name="carts",namespace="shop"}"#;
        let text = metrics.text();
        assert!(text.contains(&format!("{votes} 0")), "{text}");
        assert!(text.contains(&format!("{last} 0")), "{text}");

        let gauges = series.gauges();
        gauges.votes(true);
        gauges.voted(Timestamp::from_second(1_700_000_000).unwrap());
        let text = metrics.text();
        assert!(text.contains(&format!("{votes} 1")), "{text}");
        assert!(text.contains(&format!("{last} 1700000000")), "{text}");

        drop(series);
        gauges.votes(true);
        assert!(!metrics.text().contains("carts"));
    }
}
