//! The text of `/metrics`, in Prometheus's format, gathered when it is asked for.

mod durations;

use std::sync::atomic::Ordering::Relaxed;

use prometheus::{
    CounterVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::command::commands;
use crate::node::Node;
use crate::process;
use crate::stats::Spread;

/// Gathers values under their names.
struct Gatherer(Registry);

impl Gatherer {
    fn gauge(&self, name: &str, help: &str, value: u64) -> prometheus::Result<()> {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        self.0.register(Box::new(gauge))
    }

    fn counter(&self, name: &str, help: &str, value: u64) -> prometheus::Result<()> {
        let counter = IntCounter::new(name, help)?;
        counter.inc_by(value);
        self.0.register(Box::new(counter))
    }

    fn durations(&self, name: &str, help: &str, spread: Spread) -> prometheus::Result<()> {
        let collected = durations::Collected::new(name, help, spread)?;
        self.0.register(Box::new(collected))
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (String, u64)>,
    ) -> prometheus::Result<()> {
        let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
        for (value, count) in values {
            counters.with_label_values(&[value.as_str()]).inc_by(count);
        }
        self.0.register(Box::new(counters))
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (String, u64)>,
    ) -> prometheus::Result<()> {
        let gauges = IntGaugeVec::new(Opts::new(name, help), &[label])?;
        for (value, level) in values {
            let level = i64::try_from(level).unwrap_or(i64::MAX);
            gauges.with_label_values(&[value.as_str()]).set(level);
        }
        self.0.register(Box::new(gauges))
    }
}

/// All metrics as text.
pub(crate) fn text(node: &Node) -> prometheus::Result<String> {
    let gatherer = Gatherer(Registry::new());
    process_metrics(node, &gatherer)?;
    command_metrics(node, &gatherer)?;
    worker_metrics(node, &gatherer)?;
    data_metrics(node, &gatherer)?;
    eviction_metrics(node, &gatherer)?;
    log_metrics(node, &gatherer)?;
    persistence_metrics(node, &gatherer)?;
    replication_metrics(node, &gatherer)?;
    cluster_metrics(node, &gatherer)?;
    node.replication.metrics.register(&gatherer.0)?;
    node.migrations.metrics.register(&gatherer.0)?;
    node.persistence.aof.metrics.register(&gatherer.0)?;
    TextEncoder::new().encode_to_string(&gatherer.0.gather())
}

fn process_metrics(node: &Node, to: &Gatherer) -> prometheus::Result<()> {
    to.gauges(
        "evenkeel_info",
        "Version of this node; always 1.",
        "version",
        [(env!("CARGO_PKG_VERSION").to_owned(), 1)],
    )?;
    to.gauge(
        "evenkeel_start_time_seconds",
        "When the process started, in seconds since the epoch.",
        node.started_at / 1000,
    )?;
    to.gauge(
        "evenkeel_resident_memory_bytes",
        "Memory of the process that is resident.",
        process::resident_bytes() as u64,
    )?;
    let (system, user) = process::cpu_seconds();
    let cpu = CounterVec::new(
        Opts::new("evenkeel_cpu_seconds_total", "Processor time used."),
        &["mode"],
    )?;
    cpu.with_label_values(&["system"]).inc_by(system);
    cpu.with_label_values(&["user"]).inc_by(user);
    to.0.register(Box::new(cpu))
}

fn persistence_metrics(node: &Node, to: &Gatherer) -> prometheus::Result<()> {
    let report = node.persistence.report(node);
    to.counter(
        "evenkeel_snapshots_saved_total",
        "Snapshots that were saved.",
        report.saves,
    )?;
    to.counter(
        "evenkeel_snapshots_failed_total",
        "Snapshots that could not be saved.",
        report.failures,
    )?;
    to.gauge(
        "evenkeel_snapshot_last_success",
        "Whether the last snapshot was saved; 1 before the first.",
        u64::from(report.last_ok),
    )?;
    to.gauge(
        "evenkeel_snapshot_last_saved_seconds",
        "When the data set was last saved, in seconds since the epoch; the start before the first time.",
        report.saved_at / 1000,
    )?;
    to.gauge(
        "evenkeel_snapshot_changes",
        "Changes to keys since the data set was last saved.",
        report.changes,
    )?;
    to.gauge(
        "evenkeel_snapshot_saving_slots",
        "Slots of 16384 that are written of the snapshot that is being saved; 0 when there is none.",
        report
            .saving
            .map_or(0, |saving| saving.slots.load(Relaxed) as u64),
    )?;
    to.gauge(
        "evenkeel_loading",
        "Whether a snapshot, an append-only file or a full sync is being loaded.",
        u64::from(node.is_loading()),
    )?;
    append_only_metrics(node, to, report.rewriting.is_some())
}

fn append_only_metrics(node: &Node, to: &Gatherer, rewriting: bool) -> prometheus::Result<()> {
    let report = node.persistence.aof.report(node);
    for (name, help, value) in [
        (
            "evenkeel_aof_enabled",
            "Whether the append-only file is in force.",
            u64::from(report.in_force),
        ),
        (
            "evenkeel_aof_writable",
            "Whether it can be written; writes are refused while it cannot.",
            u64::from(report.trouble.is_none()),
        ),
        (
            "evenkeel_aof_size_bytes",
            "Bytes of the append-only file.",
            report.size,
        ),
        (
            "evenkeel_aof_base_size_bytes",
            "Bytes that it had after the last rewrite.",
            report.base_size,
        ),
        (
            "evenkeel_aof_behind_bytes",
            "Bytes of the log that are not written to the append-only file yet.",
            report.behind,
        ),
        (
            "evenkeel_aof_unsynced_bytes",
            "Bytes of the log that are not on the disk yet.",
            report.unsynced,
        ),
        (
            "evenkeel_aof_rewriting",
            "Whether the append-only file is being rewritten.",
            u64::from(rewriting),
        ),
    ] {
        to.gauge(name, help, value)?;
    }
    Ok(())
}

fn command_metrics(node: &Node, to: &Gatherer) -> prometheus::Result<()> {
    let totals = node.stats.command_totals();
    let seconds = CounterVec::new(
        Opts::new(
            "evenkeel_command_seconds_total",
            "Time spent in commands, by command.",
        ),
        &["command"],
    )?;
    let (mut calls, mut failures) = (Vec::new(), Vec::new());
    for (known, total) in commands().all().iter().zip(totals) {
        if total.calls == 0 && total.failed == 0 {
            continue;
        }
        let name = known.full_name();
        seconds
            .with_label_values(&[name.as_str()])
            .inc_by(total.nanos as f64 / 1e9);
        failures.push((name.clone(), total.failed));
        calls.push((name, total.calls));
    }
    to.counters(
        "evenkeel_command_calls_total",
        "Commands executed, by command.",
        "command",
        calls,
    )?;
    to.counters(
        "evenkeel_command_failures_total",
        "Commands that answered an error, by command.",
        "command",
        failures,
    )?;
    to.0.register(Box::new(seconds))?;
    to.counters(
        "evenkeel_errors_total",
        "Errors answered, by code.",
        "code",
        node.stats.errors(),
    )
}

fn worker_metrics(node: &Node, to: &Gatherer) -> prometheus::Result<()> {
    let workers = node.stats.workers();
    let connections = workers
        .iter()
        .enumerate()
        .map(|(index, worker)| (index.to_string(), worker.connections.load(Relaxed)));
    to.gauges(
        "evenkeel_connections",
        "Connections open now, by worker.",
        "worker",
        connections,
    )?;
    let stats = &node.stats;
    for (name, help, value) in [
        (
            "evenkeel_connections_accepted_total",
            "Connections accepted.",
            stats.connections.load(Relaxed),
        ),
        (
            "evenkeel_connections_refused_total",
            "Connections refused because of maxclients.",
            stats.refused.load(Relaxed),
        ),
        (
            "evenkeel_received_bytes_total",
            "Bytes received from clients.",
            stats.sum(|worker| worker.bytes_in.get()),
        ),
        (
            "evenkeel_sent_bytes_total",
            "Bytes sent to clients.",
            stats.sum(|worker| worker.bytes_out.get()),
        ),
        (
            "evenkeel_hits_total",
            "Lookups by reading commands that found a key.",
            stats.sum(|worker| worker.hits.get()),
        ),
        (
            "evenkeel_misses_total",
            "Lookups by reading commands that found no key.",
            stats.sum(|worker| worker.misses.get()),
        ),
        (
            "evenkeel_expired_keys_total",
            "Keys removed because they had expired.",
            stats.expired_keys(),
        ),
        (
            "evenkeel_evicted_keys_total",
            "Keys removed to make room.",
            stats.evicted.load(Relaxed),
        ),
    ] {
        to.counter(name, help, value)?;
    }
    to.durations(
        "evenkeel_worker_stall_seconds",
        "How long a worker did one thing, such as a connection's turn, and served nobody else.",
        stats.stalls(),
    )?;
    to.durations(
        "evenkeel_walk_lock_seconds",
        "How long all slots were locked for the beginning of a snapshot.",
        node.store.walk_locks().spread(),
    )
}

fn data_metrics(node: &Node, to: &Gatherer) -> prometheus::Result<()> {
    let shown = node.count_keys();
    let stored = node.store.count_keys(|_| true);
    for (name, help, value) in [
        (
            "evenkeel_keys",
            "Keys in the slots of this node's shard.",
            shown,
        ),
        (
            "evenkeel_keys_foreign",
            "Keys in other slots: those of a running import, or about to be dropped.",
            stored.saturating_sub(shown),
        ),
        (
            "evenkeel_keys_volatile",
            "Keys with an expiry.",
            node.store.count_volatile(|slot| node.shows(slot)),
        ),
        (
            "evenkeel_memory_used_bytes",
            "Memory of the data set.",
            node.store.memory().used(),
        ),
        (
            "evenkeel_memory_limit_bytes",
            "maxmemory; 0: no limit.",
            node.config.get().maxmemory,
        ),
        (
            "evenkeel_garbage_pending",
            "Big values that wait to be freed.",
            crate::store::pending_garbage(),
        ),
    ] {
        to.gauge(name, help, value as u64)?;
    }
    Ok(())
}

fn eviction_metrics(node: &Node, to: &Gatherer) -> prometheus::Result<()> {
    to.gauges(
        "evenkeel_eviction_policy",
        "The eviction policy in force: maxmemory-policy; always 1.",
        "policy",
        [(node.eviction.choice().policy.to_string(), 1)],
    )?;
    to.gauges(
        "evenkeel_eviction_choice",
        "What keys are evicted by; under auto, what it has chosen. Always 1.",
        "kind",
        [(node.eviction.kind_name().to_owned(), 1)],
    )?;
    let (ghosts, auto) = node.eviction.bytes();
    to.gauges(
        "evenkeel_eviction_memory_bytes",
        "Memory that eviction takes: for keys evicted lately, and for auto's miniature caches.",
        "part",
        [
            ("ghosts".to_owned(), ghosts as u64),
            ("auto".to_owned(), auto as u64),
        ],
    )
}

fn log_metrics(node: &Node, to: &Gatherer) -> prometheus::Result<()> {
    to.counter(
        "evenkeel_log_offset_bytes",
        "End of the log: bytes of effects since its beginning.",
        node.log.end(),
    )?;
    to.gauge(
        "evenkeel_log_held_bytes",
        "Bytes of effects that the log holds for its readers.",
        node.log.held().0 as u64,
    )?;
    to.gauge(
        "evenkeel_log_disk_bytes",
        "Bytes of the log held on disk for slow readers.",
        node.log.held_on_disk(),
    )?;
    let lags = node.log.lags().into_iter();
    to.gauges(
        "evenkeel_log_reader_lag_bytes",
        "Bytes of the log that a reader has not read.",
        "reader",
        lags.map(|lag| (lag.name, lag.bytes)),
    )?;
    to.gauge(
        "evenkeel_log_readers",
        "Replicas and migrations that read the log.",
        node.log.readers() as u64,
    )
}

fn replication_metrics(node: &Node, to: &Gatherer) -> prometheus::Result<()> {
    let replicas = node.replication.replicas.list();
    let end = node.log.end();
    to.gauges(
        "evenkeel_replica_behind_bytes",
        "Bytes of the log that a connected replica has not acknowledged.",
        "replica",
        replicas.iter().map(|replica| {
            let behind = end.saturating_sub(replica.acknowledged());
            (replica.node.to_string(), behind)
        }),
    )?;
    if node.is_replica() {
        to.gauge(
            "evenkeel_replication_link_up",
            "Whether the link to the primary is up and its data are here.",
            u64::from(node.replication.is_link_up()),
        )?;
        to.gauge(
            "evenkeel_replication_applied_bytes",
            "Offset of the primary's log that is applied here.",
            node.replication.applied(),
        )?;
    }
    Ok(())
}

fn cluster_metrics(node: &Node, to: &Gatherer) -> prometheus::Result<()> {
    let view = node.cluster.view();
    let role = if node.is_replica() {
        "replica"
    } else {
        "primary"
    };
    to.gauges(
        "evenkeel_role",
        "Role of this node; always 1.",
        "role",
        [(role.to_owned(), 1)],
    )?;
    to.gauge(
        "evenkeel_cluster_enabled",
        "Whether cluster mode is on.",
        u64::from(view.enabled),
    )?;
    if !view.enabled {
        return Ok(());
    }
    let slots = view.topology.shard_of(view.myself);
    let liveness = node.cluster.liveness();
    let suspected = liveness.peers.values().filter(|peer| peer.suspected);
    for (name, help, value) in [
        (
            "evenkeel_cluster_topology_index",
            "Index of the newest topology known here.",
            view.topology.index,
        ),
        (
            "evenkeel_cluster_members",
            "Members of the cluster.",
            view.topology.members.len() as u64,
        ),
        (
            "evenkeel_cluster_serving_primary",
            "Whether this node serves as its shard's primary.",
            u64::from(view.is_serving_primary()),
        ),
        (
            "evenkeel_cluster_lacks_lease",
            "Whether this node is a primary that takes no writes, because no majority of the voters has confirmed it in time.",
            u64::from(view.is_serving_primary() && node.cluster.lacks_lease()),
        ),
        (
            "evenkeel_cluster_leader",
            "Whether this node leads the voters.",
            u64::from(liveness.leader == Some(view.myself)),
        ),
        (
            "evenkeel_cluster_quorum",
            "Whether a leader with a majority of the voters behind it is known here: without one nothing is decided.",
            u64::from(liveness.quorum),
        ),
        (
            "evenkeel_cluster_suspected",
            "Members that this node does not hear.",
            suspected.count() as u64,
        ),
        (
            "evenkeel_cluster_shard_slots",
            "Slots of this node's shard.",
            slots.map_or(0, |(_, shard)| shard.slots.len() as u64),
        ),
        (
            "evenkeel_cluster_migrations",
            "Slot migrations that run in the cluster.",
            view.topology.migrations.len() as u64,
        ),
    ] {
        to.gauge(name, help, value)?;
    }
    to.counter(
        "evenkeel_cluster_promotions_total",
        "Times that this node has become the primary of its shard since it started.",
        view.terms,
    )?;
    let refusals = node.cluster.refusals();
    to.counters(
        "evenkeel_bus_connections_refused_total",
        "Connections of the cluster bus that this node refused, or over which another node was not who it should be, by reason.",
        "reason",
        refusals.map(|(reason, count)| (reason.to_owned(), count)),
    )
}
