//! Counters of slot migrations.

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// Counters of slot migrations; read by `/metrics`.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Migrations that ended, by operation and outcome.
    pub ended: IntCounterVec,
    /// Slots that left this node.
    pub slots: IntCounter,
    /// Keys sent with their slots.
    pub keys: IntCounter,
    /// Bytes of content and changes sent.
    pub bytes: IntCounter,
    /// Connections to a target that went on with what it had.
    pub resumed: IntCounter,
    /// Milliseconds for which moving slots were paused.
    pub paused_ms: IntCounter,
}

fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::with_opts(Opts::new(name, help)).expect("a constant, valid name")
}

impl Default for Metrics {
    fn default() -> Self {
        let ended = Opts::new(
            "evenkeel_slot_migrations_ended_total",
            "Slot migrations that ended, by operation and outcome.",
        );
        Self {
            ended: IntCounterVec::new(ended, &["operation", "outcome"])
                .expect("constant, valid names"),
            slots: counter(
                "evenkeel_slot_migration_slots_total",
                "Slots that were migrated away from this node.",
            ),
            keys: counter(
                "evenkeel_slot_migration_keys_total",
                "Keys sent by slot migrations.",
            ),
            bytes: counter(
                "evenkeel_slot_migration_bytes_total",
                "Bytes of content and changes sent by slot migrations.",
            ),
            resumed: counter(
                "evenkeel_slot_migrations_resumed_total",
                "Times that an interrupted slot migration went on with what its target had.",
            ),
            paused_ms: counter(
                "evenkeel_slot_migration_paused_milliseconds_total",
                "Time for which moving slots were paused.",
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
        let collectors: [Box<dyn Collector>; 6] = [
            Box::new(self.ended.clone()),
            Box::new(self.slots.clone()),
            Box::new(self.keys.clone()),
            Box::new(self.bytes.clone()),
            Box::new(self.resumed.clone()),
            Box::new(self.paused_ms.clone()),
        ];
        collectors
            .into_iter()
            .try_for_each(|collector| registry.register(collector))
    }
}
