//! The settings themselves, with their defaults.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use cache_eviction::{Policy, SizeWeight};

use crate::store::{AllLimits, PackLimits};

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// Much.
    Verbose,
    /// What matters in production.
    #[default]
    Notice,
    /// Only what needs attention.
    Warning,
}

impl LogLevel {
    pub(super) const ALL: [(Self, &'static str); 4] = [
        (Self::Debug, "debug"),
        (Self::Verbose, "verbose"),
        (Self::Notice, "notice"),
        (Self::Warning, "warning"),
    ];

    /// The level in `tracing`'s terms.
    pub fn filter(self) -> tracing::Level {
        match self {
            Self::Debug => tracing::Level::TRACE,
            Self::Verbose => tracing::Level::DEBUG,
            Self::Notice => tracing::Level::INFO,
            Self::Warning => tracing::Level::WARN,
        }
    }
}

/// When a connection whose replies are not taken is closed, as in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimits {
    /// At so many bytes at once; 0: never.
    pub hard: usize,
    /// At so many bytes for [`OutputLimits::seconds`]; 0: never.
    pub soft: usize,
    /// See [`OutputLimits::soft`].
    pub seconds: u64,
}

/// When the data set is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    /// After so many seconds,
    pub seconds: u64,
    /// if there were at least so many changes.
    pub changes: u64,
}

/// When the append-only file is sent to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppendFsync {
    /// Before a write is acknowledged.
    Always,
    /// Once a second.
    #[default]
    EverySecond,
    /// When the operating system sees fit.
    Never,
}

impl AppendFsync {
    pub(super) const ALL: [(Self, &'static str); 3] = [
        (Self::Always, "always"),
        (Self::EverySecond, "everysec"),
        (Self::Never, "no"),
    ];
}

/// Most bytes of a packed collection, which lies in its key's entry.
const PACKED_BYTES: usize = 4096;

/// Most memory of all connections together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientsMemory {
    /// In bytes; 0: no limit.
    Bytes(usize),
    /// In hundredths of `maxmemory`; no limit without that.
    Percent(u8),
}

impl ClientsMemory {
    /// A part of a small `maxmemory` is never less than this.
    const LEAST: usize = 1 << 20;

    /// Bytes, under this `maxmemory`; `usize::MAX`: no limit.
    pub fn bytes(self, maxmemory: usize) -> usize {
        match self {
            Self::Bytes(0) => usize::MAX,
            Self::Bytes(bytes) => bytes,
            Self::Percent(_) if maxmemory == 0 => usize::MAX,
            Self::Percent(percent) => (maxmemory / 100 * usize::from(percent)).max(Self::LEAST),
        }
    }
}

/// All settings. Names and meanings are redis-server's where it has them.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    missing_docs,
    reason = "each field is described in the table of options"
)]
pub struct Settings {
    pub port: u16,
    pub bind: Vec<IpAddr>,
    pub dir: PathBuf,
    pub threads: usize,
    pub timeout: u64,
    pub tcp_keepalive: u64,
    pub tcp_backlog: u32,
    pub maxclients: usize,
    pub requirepass: String,
    pub client_query_buffer_limit: usize,
    pub client_output_buffer_limit: OutputLimits,
    pub maxmemory_clients: ClientsMemory,
    pub proto_max_bulk_len: usize,
    pub cluster_enabled: bool,
    pub cluster_port: u16,
    pub cluster_announce_ip: String,
    pub cluster_announce_hostname: String,
    pub cluster_announce_port: u16,
    pub cluster_announce_bus_port: u16,
    pub cluster_node_timeout: u64,
    pub cluster_secret: String,
    pub cluster_secret_file: String,
    pub maxmemory: usize,
    pub maxmemory_policy: Policy,
    pub maxmemory_eviction_size_weight: SizeWeight,
    pub lfu_log_factor: u32,
    pub lfu_decay_time: u32,
    pub maxmemory_samples: usize,
    pub hash_max_listpack_entries: usize,
    pub hash_max_listpack_value: usize,
    pub list_max_listpack_size: i64,
    pub set_max_listpack_entries: usize,
    pub set_max_listpack_value: usize,
    pub zset_max_listpack_entries: usize,
    pub zset_max_listpack_value: usize,
    pub save: Vec<SavePoint>,
    pub dbfilename: String,
    pub rdbcompression: bool,
    pub rdbchecksum: bool,
    pub stop_writes_on_bgsave_error: bool,
    pub appendonly: bool,
    pub appendfsync: AppendFsync,
    pub appendfilename: String,
    pub appenddirname: String,
    pub auto_aof_rewrite_percentage: u64,
    pub auto_aof_rewrite_min_size: usize,
    pub aof_load_truncated: bool,
    /// Whom to copy from the start on.
    pub replicaof: Option<(String, u16)>,
    pub repl_backlog_size: usize,
    pub repl_backlog_disk_size: usize,
    pub min_replicas_to_write: usize,
    pub synchronous_replicas: usize,
    pub min_replicas_max_lag: u64,
    pub repl_timeout: u64,
    pub slowlog_log_slower_than: i64,
    pub slowlog_max_len: usize,
    pub loglevel: LogLevel,
    pub logformat_json: bool,
    pub shutdown_timeout: u64,
    pub metrics_port: u16,
    pub metrics_bind: Vec<IpAddr>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            port: 6379,
            bind: vec![
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(Ipv6Addr::LOCALHOST),
            ],
            dir: PathBuf::from("."),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            timeout: 0,
            tcp_keepalive: 300,
            tcp_backlog: 511,
            maxclients: 10_000,
            requirepass: String::new(),
            client_query_buffer_limit: 1 << 30,
            client_output_buffer_limit: OutputLimits {
                hard: 1 << 30,
                soft: 0,
                seconds: 0,
            },
            maxmemory_clients: ClientsMemory::Percent(50),
            proto_max_bulk_len: 512 << 20,
            cluster_enabled: false,
            cluster_port: 0,
            cluster_announce_ip: String::new(),
            cluster_announce_hostname: String::new(),
            cluster_announce_port: 0,
            cluster_announce_bus_port: 0,
            cluster_node_timeout: 2000,
            cluster_secret: String::new(),
            cluster_secret_file: String::new(),
            maxmemory: 0,
            maxmemory_policy: Policy::NoEviction,
            maxmemory_eviction_size_weight: SizeWeight::default(),
            lfu_log_factor: 10,
            lfu_decay_time: 1,
            maxmemory_samples: 16,
            hash_max_listpack_entries: 128,
            hash_max_listpack_value: 64,
            list_max_listpack_size: -2,
            set_max_listpack_entries: 128,
            set_max_listpack_value: 64,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
            save: Vec::new(),
            dbfilename: "dump.rdb".to_owned(),
            rdbcompression: true,
            rdbchecksum: true,
            stop_writes_on_bgsave_error: true,
            appendonly: false,
            appendfsync: AppendFsync::default(),
            appendfilename: "appendonly.aof".to_owned(),
            appenddirname: "appendonlydir".to_owned(),
            auto_aof_rewrite_percentage: 100,
            auto_aof_rewrite_min_size: 64 << 20,
            aof_load_truncated: true,
            replicaof: None,
            repl_backlog_size: 64 << 20,
            repl_backlog_disk_size: 1 << 30,
            min_replicas_to_write: 0,
            synchronous_replicas: 0,
            min_replicas_max_lag: 10,
            repl_timeout: 60,
            slowlog_log_slower_than: 10_000,
            slowlog_max_len: 128,
            loglevel: LogLevel::default(),
            logformat_json: false,
            shutdown_timeout: 10,
            metrics_port: 0,
            metrics_bind: Vec::new(),
        }
    }
}

impl Settings {
    /// Until when collections stay packed.
    pub fn all_limits(&self) -> AllLimits {
        let limits = |entries, value| PackLimits {
            entries,
            value,
            bytes: PACKED_BYTES,
        };
        // Negative sizes of lists are of 4 KiB and more, which is beyond what a packed value may have anyway.
        let list_entries = usize::try_from(self.list_max_listpack_size).unwrap_or(usize::MAX);
        AllLimits {
            hash: limits(self.hash_max_listpack_entries, self.hash_max_listpack_value),
            list: limits(list_entries, PACKED_BYTES),
            set: limits(self.set_max_listpack_entries, self.set_max_listpack_value),
            sorted_set: limits(self.zset_max_listpack_entries, self.zset_max_listpack_value),
        }
    }

    /// The port of the cluster bus.
    pub fn bus_port(&self) -> u16 {
        if self.cluster_port == 0 {
            self.port.wrapping_add(10_000)
        } else {
            self.cluster_port
        }
    }
}
