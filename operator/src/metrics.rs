//! What the operator counts. Labels are few and bounded: never an object's name.

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
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
}
