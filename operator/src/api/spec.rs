//! What the user asks for.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{CacheClusterStatus, Quantity};

/// What the cluster should be. Only a name is needed: every field has a default.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[kube(
    group = "cache.evenkeel.dev",
    version = "v1alpha1",
    kind = "CacheCluster",
    namespaced,
    shortname = "cc",
    category = "all",
    status = "CacheClusterStatus",
    derive = "PartialEq",
    cel,
    doc = "A sharded, replicated in-memory cache that speaks the Redis protocol in cluster mode.",
    scale(
        spec_replicas_path = ".spec.shards",
        status_replicas_path = ".status.shards",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Shards",
        type_ = "integer",
        json_path = ".spec.shards",
        description = "Shards asked for"
    ),
    printcolumn(
        name = "Ready",
        type_ = "integer",
        json_path = ".status.readyShards",
        description = "Shards that serve with all their replicas in sync"
    ),
    printcolumn(
        name = "Slots",
        type_ = "integer",
        json_path = ".status.slotsCovered",
        description = "Slots that are served, of 16384"
    ),
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.phase",
        description = "What is going on, in one word"
    ),
    printcolumn(
        name = "Endpoint",
        type_ = "string",
        json_path = ".status.endpoint",
        description = "Where clients connect",
        priority = 1
    ),
    printcolumn(
        name = "Image",
        type_ = "string",
        json_path = ".spec.image",
        description = "Image of the data plane",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since creation"
    ),
    validation = Rule::new("self.spec.synchronousReplicas <= self.spec.replicasPerShard").message("spec.synchronousReplicas must be at most spec.replicasPerShard"),
    validation = Rule::new("self.metadata.name.size() <= 40").message("metadata.name must be at most 40 characters, because pod names and labels are derived from it"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("metadata.name must be a DNS label: lower-case letters, digits and '-', beginning with a letter")
)]
#[serde(rename_all = "camelCase")]
pub struct CacheClusterSpec {
    /// Number of shards that the 16384 slots are spread over, 1 to 500. May be raised and lowered at any time: slots move while they are served.
    #[serde(default = "default_shards")]
    #[schemars(range(min = 1, max = 500))]
    pub shards: i32,

    /// Replicas of each shard's primary, 0 to 5. With 0 a lost pod loses the keys of its shard.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 0, max = 5))]
    pub replicas_per_shard: i32,

    /// Replicas that must have a write before it is answered, 0 to replicasPerShard. With 0, replication is asynchronous: a failover may lose
    /// the last writes. Otherwise it loses no write that was answered, and reads show only what it cannot lose; with fewer connected replicas,
    /// writes are refused. Fewer than replicasPerShard keep a shard writable when one replica is away.
    #[serde(default)]
    #[schemars(range(min = 0, max = 5))]
    pub synchronous_replicas: i32,

    /// Image of the data plane. A change is used by pods when they are created anew.
    #[serde(default = "default_image")]
    #[schemars(length(min = 1, max = 512))]
    pub image: String,

    /// CPU and memory of each pod. The memory limit is required, because maxmemory is a share of it.
    #[serde(default)]
    pub resources: Resources,

    /// How much of a pod's memory keys may use, and what happens when it is used up.
    #[serde(default)]
    pub memory: Memory,

    /// Further directives of cache-node's configuration file, for example `timeout: "300"`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "config_schema")]
    #[x_kube(
        validation = Rule::new("!('maxmemory' in self)").message("config.maxmemory is derived: set resources.limits.memory and memory.maxMemoryPercent instead"),
        validation = Rule::new("!('maxmemory-policy' in self)").message("config.maxmemory-policy is derived: set memory.evictionPolicy instead"),
        validation = Rule::new("!('save' in self) && !('appendonly' in self)").message("config.save and config.appendonly: persistence is not supported yet"),
        validation = Rule::new("self.all(key, !(key in ['port', 'bind', 'dir', 'cluster-enabled', 'cluster-port', 'cluster-announce-ip', 'cluster-announce-hostname', 'cluster-announce-port', 'cluster-announce-bus-port', 'metrics-port', 'metrics-bind', 'requirepass']))").message("config must not set port, bind, dir, cluster-enabled, cluster-port, cluster-announce-*, metrics-* or requirepass: the operator sets the addresses of its pods"),
        validation = Rule::new("self.all(key, key in ['maxmemory', 'maxmemory-policy', 'save', 'appendonly', 'port', 'bind', 'dir', 'cluster-enabled', 'cluster-port', 'cluster-announce-ip', 'cluster-announce-hostname', 'cluster-announce-port', 'cluster-announce-bus-port', 'metrics-port', 'metrics-bind', 'requirepass', 'cluster-node-timeout', 'threads', 'timeout', 'tcp-keepalive', 'maxclients', 'repl-backlog-size', 'maxmemory-eviction-size-weight', 'maxmemory-samples', 'lfu-log-factor', 'lfu-decay-time', 'loglevel', 'shutdown-timeout'])").message("config may set only cluster-node-timeout, threads, timeout, tcp-keepalive, maxclients, repl-backlog-size, maxmemory-eviction-size-weight, maxmemory-samples, lfu-log-factor, lfu-decay-time, loglevel and shutdown-timeout"),
        validation = Rule::new("self.all(key, self[key].matches('^[ -~]+$'))").message("config values must be one line of printable text and not empty")
    )]
    pub config: BTreeMap<String, String>,

    /// Where pods may run.
    #[serde(default)]
    pub placement: Placement,

    /// Stops the operator from changing anything. The data plane goes on as it is.
    #[serde(default)]
    pub paused: bool,
}

fn default_shards() -> i32 {
    3
}

fn default_replicas() -> i32 {
    1
}

fn default_image() -> String {
    format!("ghcr.io/evenkeel/cache-node:{}", super::VERSION)
}

fn config_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": {"type": "string", "maxLength": 256},
    })
}

/// CPU and memory of each pod.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.limits) && has(self.limits.memory)").message("resources.limits.memory is required: maxmemory is memory.maxMemoryPercent of it"),
    validation = Rule::new("!has(self.limits) || !has(self.limits.memory) || !has(self.requests) || !has(self.requests.memory) || quantity(string(self.requests.memory)).compareTo(quantity(string(self.limits.memory))) <= 0").message("resources.requests.memory must not exceed resources.limits.memory"),
    validation = Rule::new("!has(self.limits) || !has(self.limits.cpu) || !has(self.requests) || !has(self.requests.cpu) || quantity(string(self.requests.cpu)).compareTo(quantity(string(self.limits.cpu))) <= 0").message("resources.requests.cpu must not exceed resources.limits.cpu")
)]
pub struct Resources {
    /// What the scheduler reserves. A resource that has only a limit is reserved up to its limit.
    #[serde(default, skip_serializing_if = "ResourceList::is_empty")]
    pub requests: ResourceList,

    /// What a pod may use at most. `memory` is required.
    #[serde(default, skip_serializing_if = "ResourceList::is_empty")]
    pub limits: ResourceList,
}

impl Default for Resources {
    fn default() -> Self {
        let memory = Some(Quantity::new("256Mi"));
        Self {
            requests: ResourceList {
                cpu: Some(Quantity::new("100m")),
                memory: memory.clone(),
            },
            limits: ResourceList { cpu: None, memory },
        }
    }
}

/// An amount of CPU and memory.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceList {
    /// Cores: `2`, or `500m` for half a core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quantity")]
    pub cpu: Option<Quantity>,

    /// Bytes: `4Gi`, `512Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quantity")]
    pub memory: Option<Quantity>,
}

impl ResourceList {
    fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

/// How much of a pod's memory keys may use, and what happens when it is used up.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Memory {
    /// Share of resources.limits.memory that keys may use (maxmemory), in percent, 1 to 95. The rest is for connections, replication and the process.
    #[schemars(range(min = 1, max = 95))]
    pub max_memory_percent: i32,

    /// What a write does when maxmemory is used up: noeviction refuses it, the others remove keys to make room. auto finds out which way of choosing them misses least.
    pub eviction_policy: EvictionPolicy,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            max_memory_percent: 75,
            eviction_policy: EvictionPolicy::Auto,
        }
    }
}

/// Which keys make room for a write when memory is used up: the names that `maxmemory-policy` takes.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(
    missing_docs,
    reason = "a doc comment on a variant would turn the schema's enum into a oneOf"
)]
pub enum EvictionPolicy {
    Auto,
    #[serde(rename = "noeviction")]
    NoEviction,
    #[serde(rename = "allkeys-s3")]
    AllkeysS3,
    AllkeysLru,
    AllkeysLfu,
    AllkeysLrm,
    AllkeysFifo,
    AllkeysRandom,
    #[serde(rename = "volatile-s3")]
    VolatileS3,
    VolatileLru,
    VolatileLfu,
    VolatileLrm,
    VolatileRandom,
    VolatileTtl,
}

impl EvictionPolicy {
    /// The name that the `maxmemory-policy` directive takes.
    pub fn directive(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::NoEviction => "noeviction",
            Self::AllkeysS3 => "allkeys-s3",
            Self::AllkeysLru => "allkeys-lru",
            Self::AllkeysLfu => "allkeys-lfu",
            Self::AllkeysLrm => "allkeys-lrm",
            Self::AllkeysFifo => "allkeys-fifo",
            Self::AllkeysRandom => "allkeys-random",
            Self::VolatileS3 => "volatile-s3",
            Self::VolatileLru => "volatile-lru",
            Self::VolatileLfu => "volatile-lfu",
            Self::VolatileLrm => "volatile-lrm",
            Self::VolatileRandom => "volatile-random",
            Self::VolatileTtl => "volatile-ttl",
        }
    }
}

/// Where pods may run.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Placement {
    /// Whether pods of one shard run on different nodes: Preferred where possible, Required always (a pod waits for a node), None does not matter.
    pub shard_anti_affinity: ShardAntiAffinity,
}

/// Whether pods of one shard run on different nodes.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[allow(
    missing_docs,
    reason = "a doc comment on a variant would turn the schema's enum into a oneOf"
)]
pub enum ShardAntiAffinity {
    #[default]
    Preferred,
    Required,
    None,
}
