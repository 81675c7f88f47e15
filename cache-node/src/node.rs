//! [`Node`]: the process's shared state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use cache_eviction::LfuConfig;

use crate::clients::Clients;
use crate::clock::{self, Millis};
use crate::cluster::{Cluster, View};
use crate::command::{Flags, Known, Session};
use crate::config::{Config, Settings};
use crate::eviction::{self, Choice, Eviction, Pressure};
use crate::log::{Log, Scope};
use crate::migration::Migrations;
use crate::pause::Pause;
use crate::persistence::Persistence;
use crate::replication::Replication;
use crate::resp::{Args, encode_request, request_len};
use crate::shutdown::Shutdown;
use crate::slot::{SlotId, SlotSet};
use crate::slowlog::{Slow, SlowLog, shortened};
use crate::stats::Stats;
use crate::store::Store;

/// The process's shared state, passed round as `Arc<Node>`.
pub struct Node {
    /// The settings in force.
    pub config: Config,
    /// The data set.
    pub store: Store,
    /// Which keys go when memory is short.
    pub(crate) eviction: Eviction,
    /// How much of `maxmemory` is not the data set's.
    pub(crate) pressure: Pressure,
    /// The effects of all writes.
    pub log: Arc<Log>,
    /// This node's part in the cluster.
    pub cluster: Cluster,
    /// The connections.
    pub clients: Clients,
    /// Counters.
    pub stats: Stats,
    /// The latest slow commands.
    pub slowlog: SlowLog,
    /// `CLIENT PAUSE`.
    pub pause: Pause,
    /// The end of the process.
    pub shutdown: Shutdown,
    /// Whether expired keys are removed in the background (`DEBUG SET-ACTIVE-EXPIRE`).
    pub active_expiry: AtomicBool,
    /// Drawn at start, 40 hexadecimal digits.
    pub run_id: String,
    /// When the process started.
    pub started: Instant,
    /// When the process started, on the wall clock.
    pub started_at: Millis,
    /// `slowlog-log-slower-than`, where every command looks.
    slow_micros: AtomicI64,
    /// `maxmemory`, where every write looks.
    maxmemory: AtomicUsize,
    /// `min-replicas-to-write`, where every write looks.
    min_replicas: AtomicUsize,
    /// `synchronous-replicas`, where every reply is given.
    synchronous: AtomicUsize,
    /// Copies of this node's data, and the primary that it copies.
    pub replication: Replication,
    /// The data on disk.
    pub persistence: Persistence,
    /// Slots that come and go.
    pub migrations: Arc<Migrations>,
}

impl Node {
    /// The state of a process that starts now.
    pub fn new(config: Config, cluster: Cluster) -> Self {
        let settings = config.snapshot();
        let started_at = clock::now();
        Self {
            store: Store::new(),
            eviction: Eviction::new(eviction_choice(&settings), settings.maxmemory > 0),
            pressure: Pressure::default(),
            log: Arc::new(Log::new(settings.repl_backlog_size)),
            cluster,
            clients: Clients::new(&settings),
            stats: Stats::default(),
            slowlog: SlowLog::default(),
            pause: Pause::default(),
            shutdown: Shutdown::default(),
            active_expiry: AtomicBool::new(true),
            run_id: format!(
                "{:016x}{:016x}{:08x}",
                rand::random::<u64>(),
                rand::random::<u64>(),
                rand::random::<u32>()
            ),
            started: Instant::now(),
            started_at,
            persistence: Persistence::new(started_at),
            slow_micros: AtomicI64::new(settings.slowlog_log_slower_than),
            maxmemory: AtomicUsize::new(settings.maxmemory),
            min_replicas: AtomicUsize::new(min_replicas(&settings)),
            synchronous: AtomicUsize::new(settings.synchronous_replicas),
            replication: Replication::default(),
            migrations: Arc::default(),
            config,
        }
    }

    /// Brings what is derived from the settings up to date after they changed.
    pub fn settings_changed(&self) {
        let settings = self.config.get();
        self.slow_micros
            .store(settings.slowlog_log_slower_than, Relaxed);
        self.maxmemory.store(settings.maxmemory, Relaxed);
        self.min_replicas.store(min_replicas(&settings), Relaxed);
        self.synchronous
            .store(settings.synchronous_replicas, Relaxed);
        self.eviction
            .adopt(eviction_choice(&settings), settings.maxmemory > 0);
        self.log.set_capacity(settings.repl_backlog_size);
        self.spill_log();
        self.clients.adopt(&settings);
        crate::telemetry::set_level(settings.loglevel);
    }

    /// Has the log keep on disk what slow readers have not read, as far as the settings allow.
    pub fn spill_log(&self) {
        let settings = self.config.get();
        let limit = settings.repl_backlog_disk_size as u64;
        if let Err(error) = self.log.spill_into(&settings.dir, limit) {
            tracing::warn!(%error, "no thread for the log's segments: slow readers will have to start over");
        }
    }

    /// Whether another node is the primary of this one's data.
    pub fn is_replica(&self) -> bool {
        if self.cluster.enabled() {
            self.cluster.peek().my_primary().is_some()
        } else {
            self.replication.is_configured()
        }
    }

    /// Whether the data must not be seen: a snapshot is being loaded, or they are a replica's and a mixture of old and new.
    pub fn is_loading(&self) -> bool {
        self.persistence.is_loading() || self.replication.is_incomplete() && self.is_replica()
    }

    /// The password by which nodes of one cluster know each other: all have the same `requirepass`.
    pub fn peer_password(&self) -> Option<String> {
        let settings = self.config.get();
        (!settings.requirepass.is_empty()).then(|| settings.requirepass.clone())
    }

    /// Whether this node decides what becomes of the keys of `slot`: expires and evicts them. Replicas leave that to their primary, and
    /// a slot that is being imported belongs to its source.
    pub fn rules(&self, slot: SlotId) -> bool {
        self.rules_in(&self.cluster.peek(), slot)
    }

    /// The same in a view at hand.
    pub(crate) fn rules_in(&self, view: &View, slot: SlotId) -> bool {
        if view.enabled {
            view.is_serving_primary() && owns(view, slot)
        } else {
            !self.replication.is_configured()
        }
    }

    /// Whether the keys of `slot` are shown by commands that look at all keys: those of this node's own shard.
    pub fn shows(&self, slot: SlotId) -> bool {
        let view = self.cluster.peek();
        !view.enabled || owns(&view, slot)
    }

    /// The slots that [`Node::shows`], as of one moment.
    pub fn shown_slots(&self) -> SlotSet {
        let view = self.cluster.peek();
        if !view.enabled {
            return SlotSet::full();
        }
        let shard = view.topology.shard_of(view.myself);
        shard.map_or_else(SlotSet::new, |(_, shard)| shard.slots.clone())
    }

    /// Number of keys in the slots that are shown.
    pub fn count_keys(&self) -> usize {
        self.store.count_keys(|slot| self.shows(slot))
    }

    /// Whether `CLIENT PAUSE` keeps back a command with these properties.
    pub fn is_paused(&self, flags: Flags) -> bool {
        self.pause.holds(flags)
    }

    /// Whether this is a primary with fewer good replicas than `min-replicas-to-write` or `synchronous-replicas`.
    #[inline]
    pub fn lacks_replicas(&self) -> bool {
        let wanted = self.min_replicas.load(Relaxed);
        wanted > 0 && self.has_fewer_replicas_than(wanted)
    }

    #[cold]
    fn has_fewer_replicas_than(&self, wanted: usize) -> bool {
        let most_lag = self.config.get().min_replicas_max_lag;
        !self.is_replica() && self.replication.replicas.count_good(most_lag) < wanted
    }

    /// How many replicas must have what a reply says before it is given (`synchronous-replicas`).
    #[inline]
    pub fn synchronous(&self) -> usize {
        self.synchronous.load(Relaxed)
    }

    /// Resolves when there are as many replicas as are needed to write, or when this is no new primary any more.
    pub(crate) async fn has_replicas(&self) {
        let mut news = self.replication.replicas.news();
        while self.lacks_replicas() && self.cluster.is_new_primary() {
            let left = self.cluster.new_for().unwrap_or_default();
            // What has changed is looked at in any case.
            let _ = tokio::time::timeout(left, news.changed()).await;
        }
    }

    /// `maxmemory`; 0: no limit.
    pub fn memory_limit(&self) -> usize {
        self.maxmemory.load(Relaxed)
    }

    /// Makes room for `need` more bytes if `maxmemory` is reached; false when a command that needs memory must be refused.
    #[inline]
    pub fn make_room(&self, need: usize) -> bool {
        let limit = self.memory_limit();
        limit == 0 || eviction::make_room(self, limit, need)
    }

    /// Bytes that are held for clients and for the log.
    pub fn overhead(&self) -> usize {
        self.clients.bytes() + self.log.held().0 + self.replication.bytes_beside()
    }

    /// Tells the log that a key has expired or was evicted. The caller holds its slot's lock.
    pub(crate) fn log_removal(&self, slot: SlotId, key: &[u8]) {
        let effect = [b"DEL".as_slice(), key].into_iter();
        if self.log.is_recording() {
            let mut bytes = Vec::with_capacity(32 + key.len());
            encode_request(&mut bytes, effect);
            self.log.append(Scope::Slot(slot), &bytes);
        } else {
            self.log.skip(request_len(effect));
        }
    }

    /// A command has run: counts it, and notes it if it was slow.
    pub fn finished(&self, session: &Session, known: Known, args: Args<'_>, took: Duration) {
        session.stats.count_calls(known.id, 1, took);
        let threshold = self.slow_micros.load(Relaxed);
        if threshold >= 0 && took.as_micros() >= threshold as u128 {
            self.note_slow(session, args, took);
        }
    }

    #[cold]
    fn note_slow(&self, session: &Session, args: Args<'_>, took: Duration) {
        let client = &session.client;
        let slow = Slow {
            id: 0,
            time: clock::now() / 1000,
            took,
            args: shortened(args),
            peer: client
                .peer
                .map_or_else(String::new, |peer| peer.to_string()),
            name: client.labels().name,
        };
        self.slowlog.add(slow, self.config.get().slowlog_max_len);
    }
}

/// With how many replicas a primary takes writes at all.
fn min_replicas(settings: &Settings) -> usize {
    settings
        .min_replicas_to_write
        .max(settings.synchronous_replicas)
}

fn eviction_choice(settings: &Settings) -> Choice {
    Choice {
        policy: settings.maxmemory_policy,
        weight: settings.maxmemory_eviction_size_weight,
        samples: settings.maxmemory_samples,
        lfu: LfuConfig {
            log_factor: settings.lfu_log_factor,
            decay_minutes: settings.lfu_decay_time,
        },
    }
}

/// Whether the shard of this node owns `slot`.
fn owns(view: &View, slot: SlotId) -> bool {
    match (view.topology.owner(slot), view.me()) {
        (Some((shard, _)), Some(me)) => shard == me.shard,
        _ => false,
    }
}
