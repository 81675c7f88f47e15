//! What the demonstration measured, for people and for scripts.

use std::fmt;

use serde::Serialize;

use crate::load::{Audit, Tally};

/// The numbers of one demonstration. Names and units are an interface: scripts read them as JSON.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Whether every phase finished within its bound and scaling lost nothing.
    pub passed: bool,
    /// What went wrong, if anything.
    pub failure: Option<String>,
    /// Keys that were written before the load began.
    pub keys: usize,
    /// Seconds from the `CacheCluster`'s creation until it was Ready.
    pub ready_seconds: Option<f64>,
    /// Writes that the cluster acknowledged, in all phases.
    pub acknowledged_writes: u64,
    /// Seconds that writing all keys once took.
    pub fill_seconds: Option<f64>,
    /// Seconds from raising the number of shards until it was Ready again.
    pub scale_out_seconds: Option<f64>,
    /// Seconds from lowering it until it was Ready again.
    pub scale_in_seconds: Option<f64>,
    /// Slots that changed their shard, out and in.
    pub slots_moved: usize,
    /// Commands that the client gave up on while slots moved.
    pub scaling_client_errors: u64,
    /// Reads that missed an acknowledged write while slots moved.
    pub scaling_stale_reads: u64,
    /// Acknowledged writes that were gone after scaling.
    pub scaling_writes_lost: u64,
    /// Milliseconds without an acknowledged write to the killed primary's slots.
    pub failover_write_gap_ms: Option<u64>,
    /// Commands that the client gave up on around the kill.
    pub failover_client_errors: u64,
    /// Acknowledged writes that were gone after the kill: replication is asynchronous.
    pub failover_writes_lost: u64,
    /// Seconds from the kill until it was Ready again, with every replica in sync.
    pub heal_seconds: Option<f64>,
    /// Some of the errors, stale reads and losses, in words.
    pub remarks: Vec<String>,
}

impl Report {
    pub(super) fn scaled(&mut self, tally: &Tally, audit: &Audit) {
        self.scaling_client_errors += tally.errors;
        self.scaling_stale_reads += tally.stale_reads;
        self.scaling_writes_lost += audit.lost_writes + audit.alien_values;
        self.remark("scaling", tally, audit);
    }

    pub(super) fn failed_over(&mut self, tally: &Tally, audit: &Audit) {
        self.failover_client_errors += tally.errors;
        self.failover_writes_lost += audit.lost_writes + audit.alien_values;
        self.failover_write_gap_ms = tally
            .write_gap
            .map(|gap| u64::try_from(gap.as_millis()).unwrap_or(u64::MAX));
        self.remark("failover", tally, audit);
    }

    fn remark(&mut self, phase: &str, tally: &Tally, audit: &Audit) {
        let remarks = tally.samples.iter().chain(&audit.samples);
        self.remarks
            .extend(remarks.map(|remark| format!("{phase}: {remark}")));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: String| writeln!(f, "  {name:<52} {value:>12}");
        line(
            "CacheCluster created until Ready",
            seconds(self.ready_seconds),
        )?;
        line(
            &format!("writing {} keys", self.keys),
            seconds(self.fill_seconds),
        )?;
        line(
            "acknowledged writes in all",
            self.acknowledged_writes.to_string(),
        )?;
        line("3 -> 5 shards under load", seconds(self.scale_out_seconds))?;
        line("5 -> 3 shards under load", seconds(self.scale_in_seconds))?;
        line("slots moved", self.slots_moved.to_string())?;
        line(
            "client errors while scaling",
            self.scaling_client_errors.to_string(),
        )?;
        line(
            "stale reads while scaling",
            self.scaling_stale_reads.to_string(),
        )?;
        line(
            "acknowledged writes lost by scaling",
            self.scaling_writes_lost.to_string(),
        )?;
        let gap = self
            .failover_write_gap_ms
            .map_or("-".to_owned(), |gap| format!("{gap} ms"));
        line("SIGKILL of a primary: write gap of its slots", gap)?;
        line(
            "SIGKILL of a primary: until Ready again",
            seconds(self.heal_seconds),
        )?;
        line(
            "client errors around the kill",
            self.failover_client_errors.to_string(),
        )?;
        line(
            "acknowledged writes lost by the kill",
            self.failover_writes_lost.to_string(),
        )?;
        for remark in &self.remarks {
            writeln!(f, "  note: {remark}")?;
        }
        match &self.failure {
            Some(failure) => write!(f, "FAILED: {failure}"),
            None => write!(f, "PASSED"),
        }
    }
}

fn seconds(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |seconds| format!("{seconds:.1} s"))
}
