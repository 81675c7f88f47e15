//! The table of options.

use cache_eviction::Policy;

use super::options::Setting;
use super::rows::{constant, number, option, size, switch, text};
use super::settings::{AppendFsync, LogLevel};
use super::value::{
    addresses, clients_memory, file_name, number, output_limits, replicaof, save_points, secret,
    show_addresses, show_clients_memory, show_output_limits, show_save_points, show_yes_no, size,
    yes_no,
};

const ANY: std::ops::RangeInclusive<usize> = 0..=usize::MAX;
const SECONDS: std::ops::RangeInclusive<i64> = 0..=i32::MAX as i64;
const PORT: std::ops::RangeInclusive<i64> = 0..=65_535;

/// All options, in the order of the help.
pub static OPTIONS: &[Setting] = &[
    number!("Network", "port", 1..=65_535, port, "Port for clients.").fixed(),
    option(
        "Network",
        "bind",
        "ADDRESS...",
        "Addresses to listen on.",
        |settings| show_addresses(&settings.bind),
        |settings, value| {
            settings.bind = addresses(value)?;
            if settings.bind.is_empty() {
                return Err("must name an address at least".to_owned());
            }
            Ok(())
        },
    )
    .fixed(),
    number!(
        "Network",
        "timeout",
        SECONDS,
        timeout,
        "Seconds after which an idle client is disconnected; 0: never."
    ),
    number!(
        "Network",
        "tcp-keepalive",
        SECONDS,
        tcp_keepalive,
        "Seconds between keep-alive probes; 0: none."
    ),
    number!(
        "Network",
        "tcp-backlog",
        PORT,
        tcp_backlog,
        "Length of the queue of connections to be accepted."
    )
    .fixed(),
    number!(
        "Network",
        "maxclients",
        1..=1_000_000,
        maxclients,
        "Most connections at a time."
    ),
    text!(
        "Network",
        "requirepass",
        "PASSWORD",
        requirepass,
        "Password that clients must give; empty: none."
    ),
    size!(
        "Network",
        "client-query-buffer-limit",
        (1 << 20..=2 << 30),
        client_query_buffer_limit,
        "Most bytes of unfinished and queued commands of a client."
    ),
    option(
        "Network",
        "client-output-buffer-limit",
        "normal HARD SOFT SECONDS",
        "A client is closed at HARD bytes of replies, or SOFT bytes for SECONDS; 0: never. Other classes mean nothing here.",
        |settings| show_output_limits(settings.client_output_buffer_limit),
        |settings, value| output_limits(value, &mut settings.client_output_buffer_limit),
    ),
    size!(
        "Network",
        "proto-max-bulk-len",
        (1 << 20..=1 << 30),
        proto_max_bulk_len,
        "Longest argument of a command, and longest string."
    ),
    option(
        "Process",
        "dir",
        "DIRECTORY",
        "Where the node keeps its identity and topology.",
        |settings| settings.dir.display().to_string(),
        |settings, value| {
            settings.dir = value.into();
            Ok(())
        },
    )
    .fixed(),
    number!(
        "Process",
        "threads",
        1..=1024,
        threads,
        "Worker threads; unless given, one for each processor that may be used."
    )
    .fixed()
    .alias("io-threads"),
    option(
        "Process",
        "loglevel",
        "debug|verbose|notice|warning",
        "How much is logged.",
        |settings| {
            let level = LogLevel::ALL
                .iter()
                .find(|(level, _)| *level == settings.loglevel);
            level.map_or("", |(_, name)| *name).to_owned()
        },
        |settings, value| {
            let level = LogLevel::ALL
                .iter()
                .find(|(_, name)| name.eq_ignore_ascii_case(value));
            settings.loglevel = level
                .ok_or("must be one of debug, verbose, notice, warning")?
                .0;
            Ok(())
        },
    ),
    option(
        "Process",
        "log-format",
        "text|json",
        "Form of log lines.",
        |settings| {
            if settings.logformat_json {
                "json"
            } else {
                "text"
            }
            .to_owned()
        },
        |settings, value| {
            settings.logformat_json = match value {
                "json" => true,
                "text" => false,
                _ => return Err("must be 'text' or 'json'".to_owned()),
            };
            Ok(())
        },
    )
    .fixed(),
    number!(
        "Process",
        "shutdown-timeout",
        0..=86_400,
        shutdown_timeout,
        "Seconds that a shutdown may take to hand over and finish."
    ),
    number!(
        "Process",
        "metrics-port",
        PORT,
        metrics_port,
        "Port of /metrics, /livez and /readyz; 0: none."
    )
    .fixed(),
    option(
        "Process",
        "metrics-bind",
        "ADDRESS...",
        "Addresses of the metrics port; unless given, those of 'bind'.",
        |settings| show_addresses(&settings.metrics_bind),
        |settings, value| {
            settings.metrics_bind = addresses(value)?;
            Ok(())
        },
    )
    .fixed(),
    option(
        "Cluster",
        "cluster-enabled",
        "yes|no",
        "Whether this node is part of a cluster.",
        |settings| show_yes_no(settings.cluster_enabled),
        |settings, value| {
            settings.cluster_enabled = yes_no(value)?;
            Ok(())
        },
    )
    .fixed(),
    number!(
        "Cluster",
        "cluster-port",
        PORT,
        cluster_port,
        "Port of the cluster bus; 0: the client port + 10000."
    )
    .fixed(),
    text!(
        "Cluster",
        "cluster-announce-ip",
        "ADDRESS",
        cluster_announce_ip,
        "Address told to clients and nodes; empty: the first of 'bind'."
    )
    .fixed(),
    text!(
        "Cluster",
        "cluster-announce-hostname",
        "NAME",
        cluster_announce_hostname,
        "Host name told to clients and nodes."
    )
    .fixed(),
    number!(
        "Cluster",
        "cluster-announce-port",
        PORT,
        cluster_announce_port,
        "Client port told to others; 0: 'port'."
    )
    .fixed(),
    number!(
        "Cluster",
        "cluster-announce-bus-port",
        PORT,
        cluster_announce_bus_port,
        "Bus port told to others; 0: 'cluster-port'."
    )
    .fixed(),
    number!(
        "Cluster",
        "cluster-node-timeout",
        50..=3_600_000,
        cluster_node_timeout,
        "Milliseconds of silence after which a node is suspected."
    )
    .fixed(),
    option(
        "Cluster",
        "cluster-secret",
        "SECRET",
        "What all nodes of the cluster know and others must not, at least 16 bytes; empty: whoever reaches the bus port can speak there.",
        |settings| settings.cluster_secret.clone(),
        |settings, value| {
            settings.cluster_secret = secret(value)?;
            Ok(())
        },
    )
    .fixed()
    .secret(),
    text!(
        "Cluster",
        "cluster-secret-file",
        "FILE",
        cluster_secret_file,
        "File that holds the secret in place of 'cluster-secret'; white space round it does not count. Empty: none."
    )
    .fixed(),
    constant!(
        "Cluster",
        "cluster-require-full-coverage",
        "no",
        "slots that are served stay served"
    ),
    size!(
        "Memory",
        "maxmemory",
        ANY,
        maxmemory,
        "Most memory of the node: data, buffers and fragmentation; 0: no limit."
    ),
    option(
        "Memory",
        "maxmemory-clients",
        "BYTES|PERCENT%",
        "Most memory of all clients, in bytes or as a part of maxmemory; beyond it the biggest are closed. 0: no limit.",
        |settings| show_clients_memory(settings.maxmemory_clients),
        |settings, value| {
            settings.maxmemory_clients = clients_memory(value)?;
            Ok(())
        },
    ),
    option(
        "Memory",
        "maxmemory-policy",
        "POLICY",
        "What makes room: noeviction; allkeys- or volatile- with lru, lfu, lrm, random or s3; volatile-ttl; allkeys-fifo; or auto.",
        |settings| settings.maxmemory_policy.to_string(),
        |settings, value| {
            settings.maxmemory_policy = value.parse().map_err(|_| {
                let names: Vec<_> = Policy::all().map(|policy| policy.to_string()).collect();
                format!("must be one of {}", names.join(", "))
            })?;
            Ok(())
        },
    ),
    option(
        "Memory",
        "maxmemory-eviction-size-weight",
        "0|0.5|1",
        "How much size counts in the s3 policies: 0 spares bytes fetched anew, 1 spares requests, 0.5 is between.",
        |settings| settings.maxmemory_eviction_size_weight.to_string(),
        |settings, value| {
            settings.maxmemory_eviction_size_weight = value
                .parse()
                .map_err(|_| "must be 0, 0.5 or 1".to_owned())?;
            Ok(())
        },
    ),
    number!(
        "Memory",
        "lfu-log-factor",
        0..=1_000_000,
        lfu_log_factor,
        "How many uses a step of the counter takes in the lfu policies."
    ),
    number!(
        "Memory",
        "lfu-decay-time",
        0..=1_000_000,
        lfu_decay_time,
        "Minutes after which the counter falls by one in the lfu policies; 0: never."
    ),
    number!(
        "Memory",
        "maxmemory-samples",
        1..=64,
        maxmemory_samples,
        "Keys looked at, at least, to find one to evict."
    ),
    number!(
        "Memory",
        "hash-max-listpack-entries",
        0..=1_000_000,
        hash_max_listpack_entries,
        "Most fields of a packed hash."
    )
    .alias("hash-max-ziplist-entries"),
    number!(
        "Memory",
        "hash-max-listpack-value",
        0..=1_000_000,
        hash_max_listpack_value,
        "Longest field name or value of a packed hash."
    )
    .alias("hash-max-ziplist-value"),
    number!(
        "Memory",
        "list-max-listpack-size",
        -5..=1_000_000,
        list_max_listpack_size,
        "Most elements of a packed list; -1 to -5: as many as fit into 4 KiB."
    )
    .alias("list-max-ziplist-size"),
    number!(
        "Memory",
        "set-max-listpack-entries",
        0..=1_000_000,
        set_max_listpack_entries,
        "Most members of a packed set."
    ),
    number!(
        "Memory",
        "set-max-listpack-value",
        0..=1_000_000,
        set_max_listpack_value,
        "Longest member of a packed set."
    ),
    number!(
        "Memory",
        "zset-max-listpack-entries",
        0..=1_000_000,
        zset_max_listpack_entries,
        "Most members of a packed sorted set."
    )
    .alias("zset-max-ziplist-entries"),
    number!(
        "Memory",
        "zset-max-listpack-value",
        0..=1_000_000,
        zset_max_listpack_value,
        "Longest member of a packed sorted set."
    )
    .alias("zset-max-ziplist-value"),
    option(
        "Replication",
        "replicaof",
        "HOST PORT",
        "Copies that node from the start on, outside cluster mode; REPLICAOF changes it while the process runs. Empty: nobody.",
        |settings| {
            let shown = settings.replicaof.as_ref();
            shown.map_or_else(String::new, |(host, port)| format!("{host} {port}"))
        },
        |settings, value| {
            settings.replicaof = replicaof(value)?;
            Ok(())
        },
    )
    .alias("slaveof")
    .fixed(),
    size!(
        "Replication",
        "repl-backlog-size",
        (16 << 10..=1 << 40),
        repl_backlog_size,
        "Bytes of the log that are held for replicas and migrations."
    ),
    size!(
        "Replication",
        "repl-backlog-disk-size",
        (0..=1 << 50),
        repl_backlog_disk_size,
        "Bytes of the log that are held on disk, in dir, while a reader is slow; 0: none."
    ),
    number!(
        "Replication",
        "min-replicas-to-write",
        0..=1_000_000,
        min_replicas_to_write,
        "Writes are refused with fewer connected replicas than this."
    )
    .alias("min-slaves-to-write"),
    number!(
        "Replication",
        "min-replicas-max-lag",
        0..=86_400,
        min_replicas_max_lag,
        "Seconds after which a replica that says nothing does not count for min-replicas-to-write; 0: it always counts."
    )
    .alias("min-slaves-max-lag"),
    number!(
        "Replication",
        "synchronous-replicas",
        0..=5,
        synchronous_replicas,
        "A write is answered when so many replicas have it, and a read when they have what it shows; 0: at once. In cluster mode, a failover loses no write that was answered."
    ),
    number!(
        "Replication",
        "repl-timeout",
        1..=86_400,
        repl_timeout,
        "Seconds of silence after which a replication link is given up."
    ),
    number!(
        "Diagnosis",
        "slowlog-log-slower-than",
        -1..=i64::MAX,
        slowlog_log_slower_than,
        "Microseconds from which a command is slow; negative: never."
    ),
    number!(
        "Diagnosis",
        "slowlog-max-len",
        0..=1_000_000,
        slowlog_max_len,
        "Most entries of the slow log."
    ),
    constant!(
        "Diagnosis",
        "latency-monitor-threshold",
        "0",
        "latency events are not sampled, see /metrics and SLOWLOG"
    ),
    option(
        "Persistence",
        "save",
        "SECONDS CHANGES...",
        "A snapshot is saved after SECONDS if there were so many CHANGES; pairs may follow each other. Empty: never by itself.",
        |settings| show_save_points(&settings.save),
        |settings, value| {
            settings.save = save_points(value)?;
            Ok(())
        },
    ),
    option(
        "Persistence",
        "dbfilename",
        "NAME",
        "The snapshot's file in 'dir'. It is loaded at the start.",
        |settings| settings.dbfilename.clone(),
        |settings, value| {
            settings.dbfilename = file_name(value)?;
            Ok(())
        },
    ),
    switch!(
        "Persistence",
        "rdbcompression",
        rdbcompression,
        "Whether strings of more than 20 bytes are compressed in snapshots."
    ),
    switch!(
        "Persistence",
        "rdbchecksum",
        rdbchecksum,
        "Whether snapshots end with a checksum."
    ),
    switch!(
        "Persistence",
        "stop-writes-on-bgsave-error",
        stop_writes_on_bgsave_error,
        "Whether writes are refused while there are save points and the last save failed."
    ),
    switch!(
        "Persistence",
        "appendonly",
        appendonly,
        "Whether every write goes to the append-only file. It is loaded at the start, and not the snapshot."
    ),
    option(
        "Persistence",
        "appendfsync",
        "always|everysec|no",
        "When the append-only file is sent to the disk: before a write is acknowledged, once a second, or when the system sees fit.",
        |settings| {
            let found = AppendFsync::ALL
                .iter()
                .find(|(policy, _)| *policy == settings.appendfsync);
            found.map_or("", |(_, name)| *name).to_owned()
        },
        |settings, value| {
            let found = AppendFsync::ALL
                .iter()
                .find(|(_, name)| name.eq_ignore_ascii_case(value));
            settings.appendfsync = found.ok_or("must be one of always, everysec, no")?.0;
            Ok(())
        },
    ),
    option(
        "Persistence",
        "appenddirname",
        "NAME",
        "The folder of the append-only file's parts, in 'dir'.",
        |settings| settings.appenddirname.clone(),
        |settings, value| {
            settings.appenddirname = file_name(value)?;
            Ok(())
        },
    )
    .fixed(),
    option(
        "Persistence",
        "appendfilename",
        "NAME",
        "What the names of the append-only file's parts begin with.",
        |settings| settings.appendfilename.clone(),
        |settings, value| {
            settings.appendfilename = file_name(value)?;
            Ok(())
        },
    )
    .fixed(),
    number!(
        "Persistence",
        "auto-aof-rewrite-percentage",
        0..=i32::MAX as i64,
        auto_aof_rewrite_percentage,
        "The append-only file is rewritten when it has grown by so many hundredths since the last time; 0: never by itself."
    ),
    size!(
        "Persistence",
        "auto-aof-rewrite-min-size",
        ANY,
        auto_aof_rewrite_min_size,
        "A smaller append-only file is not rewritten by itself."
    ),
    switch!(
        "Persistence",
        "aof-load-truncated",
        aof_load_truncated,
        "Whether an append-only file that ends in the middle of a command is cut there and loaded."
    ),
    constant!(
        "Persistence",
        "aof-use-rdb-preamble",
        "yes",
        "the base of the append-only file is a snapshot"
    ),
    constant!(
        "Persistence",
        "no-appendfsync-on-rewrite",
        "no",
        "a rewrite changes nothing about what can be lost"
    ),
    constant!(
        "Compatibility",
        "databases",
        "1",
        "there is one database, as in a cluster"
    ),
    constant!(
        "Compatibility",
        "notify-keyspace-events",
        "",
        "there are no keyspace events yet"
    ),
    constant!(
        "Compatibility",
        "protected-mode",
        "no",
        "use 'bind' and 'requirepass'"
    ),
    constant!(
        "Compatibility",
        "daemonize",
        "no",
        "the process stays in the foreground"
    ),
    constant!(
        "Compatibility",
        "activedefrag",
        "no",
        "there is no active defragmentation"
    ),
    constant!(
        "Compatibility",
        "lazyfree-lazy-eviction",
        "yes",
        "big values are always freed in the background"
    ),
    constant!(
        "Compatibility",
        "lazyfree-lazy-expire",
        "yes",
        "big values are always freed in the background"
    ),
    constant!(
        "Compatibility",
        "lazyfree-lazy-user-del",
        "yes",
        "big values are always freed in the background"
    ),
];
