//! The text of `INFO`, section by section, in Redis's format.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use crate::clock;
use crate::command::{REDIS_VERSION, commands};
use crate::node::Node;
use crate::persistence::Report;
use crate::process;

/// A section: its name, its title, whether it is shown unless asked for, and its text.
struct Section {
    name: &'static str,
    title: &'static str,
    default: bool,
    write: fn(&Node, &mut String) -> std::fmt::Result,
}

const fn section(
    name: &'static str,
    title: &'static str,
    default: bool,
    write: fn(&Node, &mut String) -> std::fmt::Result,
) -> Section {
    Section {
        name,
        title,
        default,
        write,
    }
}

static SECTIONS: &[Section] = &[
    section("server", "Server", true, server),
    section("clients", "Clients", true, clients),
    section("memory", "Memory", true, memory),
    section("persistence", "Persistence", true, persistence),
    section("stats", "Stats", true, stats),
    section("replication", "Replication", true, replication),
    section("cpu", "CPU", true, cpu),
    section("modules", "Modules", true, |_, _| Ok(())),
    section("commandstats", "Commandstats", false, command_stats),
    section("errorstats", "Errorstats", true, error_stats),
    section("cluster", "Cluster", true, cluster),
    section("keyspace", "Keyspace", true, keyspace),
];

/// The sections with these names; `default`, `all` and `everything` name several. Without a name: the default ones.
pub(crate) fn info(node: &Node, names: &[String]) -> String {
    let named = |name: &str| names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name));
    let all = named("all") || named("everything");
    let default = names.is_empty() || named("default");
    let mut text = String::new();
    for section in SECTIONS {
        if all || (default && section.default) || named(section.name) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            // Writing to a string does not fail.
            let _ = write!(text, "# {}\r\n", section.title);
            let _ = (section.write)(node, &mut text);
        }
    }
    text
}

fn mode(node: &Node) -> &'static str {
    if node.cluster.enabled() {
        "cluster"
    } else {
        "standalone"
    }
}

fn server(node: &Node, text: &mut String) -> std::fmt::Result {
    let settings = node.config.get();
    let uptime = node.started.elapsed().as_secs();
    write!(
        text,
        "redis_version:{REDIS_VERSION}\r\nserver_name:evenkeel\r\nevenkeel_version:{}\r\nredis_mode:{}\r\nos:{} {}\r\narch_bits:{}\r\n\
         process_id:{}\r\nrun_id:{}\r\ntcp_port:{}\r\nserver_time_usec:{}\r\nuptime_in_seconds:{uptime}\r\nuptime_in_days:{}\r\n\
         hz:10\r\nio_threads_active:{}\r\n",
        env!("CARGO_PKG_VERSION"),
        mode(node),
        std::env::consts::OS,
        std::env::consts::ARCH,
        usize::BITS,
        std::process::id(),
        node.run_id,
        settings.port,
        clock::now_micros(),
        uptime / 86_400,
        settings.threads,
    )
}

fn clients(node: &Node, text: &mut String) -> std::fmt::Result {
    let clients = node.clients.all();
    let blocked = clients.iter().filter(|client| client.blocked.load(Relaxed));
    let watching = clients
        .iter()
        .map(|client| client.watching.load(Relaxed))
        .filter(|keys| *keys > 0);
    let (watching_clients, watched_keys) =
        watching.fold((0, 0), |(clients, keys), more| (clients + 1, keys + more));
    write!(
        text,
        "connected_clients:{}\r\nmaxclients:{}\r\nblocked_clients:{}\r\ntracking_clients:0\r\npubsub_clients:0\r\n\
         watching_clients:{watching_clients}\r\ntotal_watched_keys:{watched_keys}\r\n",
        clients.len(),
        node.config.get().maxclients,
        blocked.count(),
    )
}

/// `1.50M`, as in Redis.
fn human(bytes: usize) -> String {
    let units = [
        (1_u64 << 40, "T"),
        (1 << 30, "G"),
        (1 << 20, "M"),
        (1 << 10, "K"),
    ];
    match units.iter().find(|(unit, _)| bytes as u64 >= *unit) {
        Some((unit, name)) => format!("{:.2}{name}", bytes as f64 / *unit as f64),
        None => format!("{bytes}B"),
    }
}

fn memory(node: &Node, text: &mut String) -> std::fmt::Result {
    let memory = node.store.memory();
    memory.publish();
    let settings = node.config.get();
    let (log_bytes, _) = node.log.held();
    let (ghosts, auto) = node.eviction.bytes();
    let used = memory.used() + log_bytes + ghosts + auto;
    let resident = process::resident_bytes();
    let peak = memory.peak().max(used);
    write!(
        text,
        "used_memory:{used}\r\nused_memory_human:{}\r\nused_memory_rss:{resident}\r\nused_memory_rss_human:{}\r\n\
         used_memory_peak:{peak}\r\nused_memory_peak_human:{}\r\nused_memory_dataset:{}\r\nmaxmemory:{}\r\nmaxmemory_human:{}\r\n\
         maxmemory_policy:{}\r\neviction_choice:{}\r\nmem_eviction_ghosts:{ghosts}\r\nmem_eviction_auto:{auto}\r\nmem_fragmentation_ratio:{:.2}\r\nmem_clients_normal:{}\r\nmem_replication_backlog:{log_bytes}\r\n\
         mem_not_counted_for_evict:0\r\nmem_allocator:arena+jemalloc\r\nlazyfree_pending_objects:{}\r\n",
        human(used),
        human(resident),
        human(peak),
        memory.used(),
        settings.maxmemory,
        human(settings.maxmemory),
        settings.maxmemory_policy,
        node.eviction.kind_name(),
        resident as f64 / used.max(1) as f64,
        node.clients.bytes(),
        crate::store::pending_garbage(),
    )
}

fn persistence(node: &Node, text: &mut String) -> std::fmt::Result {
    let report = node.persistence.report(node);
    let seconds_since = |began: u64| clock::now().saturating_sub(began) / 1000;
    let current = report.saving.as_ref().map_or(-1, |saving| {
        seconds_since(saving.began.load(Relaxed)) as i64
    });
    write!(
        text,
        "loading:{}\r\nasync_loading:0\r\nrdb_changes_since_last_save:{}\r\nrdb_bgsave_in_progress:{}\r\nrdb_last_save_time:{}\r\n\
         rdb_last_bgsave_status:{}\r\nrdb_last_bgsave_time_sec:{}\r\nrdb_current_bgsave_time_sec:{current}\r\nrdb_saves:{}\r\n\
         rdb_failed_saves:{}\r\n",
        u8::from(node.is_loading()),
        report.changes,
        u8::from(report.saving.is_some()),
        report.saved_at / 1000,
        if report.last_ok { "ok" } else { "err" },
        report.last_took.map_or(-1, |took| took.as_secs() as i64),
        report.saves,
        report.failures,
    )?;
    append_only(node, &report, text)?;
    if let Some(saving) = &report.saving {
        write!(
            text,
            "current_save_bytes:{}\r\ncurrent_save_slots_processed:{}\r\ncurrent_save_slots_total:{}\r\n",
            saving.bytes.load(Relaxed),
            saving.slots.load(Relaxed),
            crate::slot::SLOT_COUNT,
        )?;
    }
    if let Some(loading) = &report.loading {
        let (total, loaded) = (
            loading.bytes_total.load(Relaxed),
            loading.bytes.load(Relaxed),
        );
        let began = loading.began.load(Relaxed);
        let left = seconds_since(began) * total.saturating_sub(loaded) / loaded.max(1);
        write!(
            text,
            "loading_start_time:{}\r\nloading_total_bytes:{total}\r\nloading_loaded_bytes:{loaded}\r\nloading_loaded_perc:{:.2}\r\n\
             loading_loaded_keys:{}\r\nloading_eta_seconds:{left}\r\n",
            began / 1000,
            100.0 * loaded as f64 / total.max(1) as f64,
            loading.keys.load(Relaxed),
        )?;
    }
    Ok(())
}

fn append_only(node: &Node, report: &Report, text: &mut String) -> std::fmt::Result {
    let aof = node.persistence.aof.report(node);
    let current = report.rewriting.as_ref().map_or(-1, |rewriting| {
        (clock::now().saturating_sub(rewriting.began.load(Relaxed)) / 1000) as i64
    });
    write!(
        text,
        "aof_enabled:{}\r\naof_rewrite_in_progress:{}\r\naof_rewrite_scheduled:{}\r\naof_last_rewrite_time_sec:{}\r\n\
         aof_current_rewrite_time_sec:{current}\r\naof_last_bgrewrite_status:{}\r\naof_last_write_status:{}\r\n\
         aof_rewrites:{}\r\n",
        u8::from(aof.in_force),
        u8::from(report.rewriting.is_some()),
        u8::from(report.rewrite_scheduled),
        report.rewrite_took.map_or(-1, |took| took.as_secs() as i64),
        if report.rewrite_ok { "ok" } else { "err" },
        if aof.trouble.is_none() { "ok" } else { "err" },
        node.persistence.aof.metrics.rewrites.get(),
    )?;
    if aof.in_force {
        write!(
            text,
            "aof_current_size:{}\r\naof_base_size:{}\r\naof_pending_rewrite:0\r\naof_buffer_length:{}\r\naof_unsynced_bytes:{}\r\n\
             aof_pending_bio_fsync:{}\r\naof_delayed_fsync:{}\r\n",
            aof.size,
            aof.base_size,
            aof.behind,
            aof.unsynced,
            u8::from(aof.syncing),
            aof.delayed,
        )?;
    }
    Ok(())
}

fn stats(node: &Node, text: &mut String) -> std::fmt::Result {
    let stats = &node.stats;
    let closed = &node.clients.closed;
    let sum = |counter: fn(&crate::stats::WorkerStats) -> u64| stats.sum(counter);
    write!(
        text,
        "total_connections_received:{}\r\ntotal_commands_processed:{}\r\ninstantaneous_ops_per_sec:{}\r\ntotal_net_input_bytes:{}\r\n\
         total_net_output_bytes:{}\r\nrejected_connections:{}\r\nevicted_clients:{}\r\n\
         client_query_buffer_limit_disconnections:{}\r\nclient_output_buffer_limit_disconnections:{}\r\nexpired_keys:{}\r\nevicted_keys:{}\r\nkeyspace_hits:{}\r\n\
         keyspace_misses:{}\r\ntotal_error_replies:{}\r\nlog_end_offset:{}\r\nlog_readers:{}\r\nlog_disk_bytes:{}\r\n\
         sync_full:{}\r\nsync_partial_ok:{}\r\nevenkeel_slot_migrations_resumed:{}\r\nevenkeel_longest_stall_usec:{}\r\nevenkeel_longest_walk_lock_usec:{}\r\n",
        stats.connections.load(Relaxed),
        stats.total_calls(),
        stats.rate.load(Relaxed),
        sum(|worker| worker.bytes_in.get()),
        sum(|worker| worker.bytes_out.get()),
        stats.refused.load(Relaxed),
        closed.evicted.load(Relaxed),
        closed.query.load(Relaxed),
        closed.output.load(Relaxed),
        stats.expired_keys(),
        stats.evicted.load(Relaxed),
        sum(|worker| worker.hits.get()),
        sum(|worker| worker.misses.get()),
        stats.errors().values().sum::<u64>(),
        node.log.end(),
        node.log.readers(),
        node.log.held_on_disk(),
        node.replication.metrics.served_full.get(),
        node.replication.metrics.served_partial.get(),
        node.migrations.metrics.resumed.get(),
        stats.stalls().longest.as_micros(),
        node.store.walk_locks().spread().longest.as_micros(),
    )
}

fn replication(node: &Node, text: &mut String) -> std::fmt::Result {
    text.push_str(&crate::replication::report::info(node));
    Ok(())
}

fn cpu(_: &Node, text: &mut String) -> std::fmt::Result {
    let (system, user) = process::cpu_seconds();
    write!(
        text,
        "used_cpu_sys:{system:.6}\r\nused_cpu_user:{user:.6}\r\n"
    )
}

fn command_stats(node: &Node, text: &mut String) -> std::fmt::Result {
    let totals = node.stats.command_totals();
    for (known, total) in commands().all().iter().zip(totals) {
        if total.calls > 0 || total.failed > 0 {
            let micros = total.nanos / 1000;
            let per_call = micros as f64 / total.calls.max(1) as f64;
            write!(
                text,
                "cmdstat_{}:calls={},usec={micros},usec_per_call={per_call:.2},rejected_calls=0,failed_calls={}\r\n",
                known.full_name(),
                total.calls,
                total.failed,
            )?;
        }
    }
    Ok(())
}

fn error_stats(node: &Node, text: &mut String) -> std::fmt::Result {
    for (code, count) in node.stats.errors() {
        write!(text, "errorstat_{code}:count={count}\r\n")?;
    }
    Ok(())
}

fn cluster(node: &Node, text: &mut String) -> std::fmt::Result {
    write!(
        text,
        "cluster_enabled:{}\r\n",
        u8::from(node.cluster.enabled())
    )
}

fn keyspace(node: &Node, text: &mut String) -> std::fmt::Result {
    let keys = node.count_keys();
    if keys > 0 {
        let volatile = node.store.count_volatile(|slot| node.shows(slot));
        write!(text, "db0:keys={keys},expires={volatile},avg_ttl=0\r\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_in_redis() {
        assert_eq!(human(100), "100B");
        assert_eq!(human(1536), "1.50K");
        assert_eq!(human(3 << 30), "3.00G");
    }
}
