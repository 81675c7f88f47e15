//! What the operator saw last.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator saw when it looked last. Written only when something changed.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CacheClusterStatus {
    /// The generation of the spec that this status answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// What is going on, in one word.
    #[serde(default)]
    pub phase: Phase,

    /// Label selector of the cluster's pods, for the scale subresource.
    #[serde(default)]
    pub selector: String,

    /// Shards that exist, those that are drained included.
    #[serde(default)]
    pub shards: i32,

    /// Shards asked for whose primary serves and whose replicas are all in sync.
    #[serde(default)]
    pub ready_shards: i32,

    /// Slots that a serving primary owns, of 16384.
    #[serde(default)]
    pub slots_covered: i32,

    /// Where clients connect: host and port of the client Service.
    #[serde(default)]
    pub endpoint: String,

    /// Ready, Available, Progressing, SlotsCovered, Rebalanced and QuorumHealthy.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,

    /// One entry a shard.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["index".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shard_status: Vec<ShardStatus>,

    /// Slots on the move, when there are any, or the last rebalance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebalance: Option<RebalanceStatus>,
}

/// What is going on, in one word.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[allow(
    missing_docs,
    reason = "a doc comment on a variant would turn the schema's enum into a oneOf"
)]
pub enum Phase {
    #[default]
    Pending,
    Forming,
    Ready,
    Rebalancing,
    Progressing,
    Degraded,
    Paused,
}

/// A shard as it was seen last.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardStatus {
    /// The shard's number; its pods are called NAME-s<index>-<ordinal>.
    pub index: i32,

    /// Pod of the primary; empty when there is none.
    #[serde(default)]
    pub primary: String,

    /// Pods of the replicas that are in sync.
    #[serde(default)]
    pub replicas: Vec<String>,

    /// The slots it owns, as in CLUSTER NODES.
    #[serde(default)]
    pub slots: String,

    /// Number of slots it owns.
    #[serde(default)]
    pub slot_count: i32,

    /// How it is.
    pub health: Health,

    /// Why it is so, when it is not healthy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// How a shard is: Degraded serves without all its replicas, Down does not serve.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[allow(
    missing_docs,
    reason = "a doc comment on a variant would turn the schema's enum into a oneOf"
)]
pub enum Health {
    Healthy,
    Starting,
    Degraded,
    Down,
    Draining,
}

/// Progress of moving slots between shards.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RebalanceStatus {
    /// Slots that this rebalance moves in all.
    pub planned_slots: i32,

    /// Slots of them that have arrived.
    pub moved_slots: i32,

    /// Moves under way, for example `s0 -> s3 1024 slots`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub active_moves: Vec<String>,

    /// Moves that failed since the last one that succeeded.
    pub failed_attempts: i32,

    /// What the newest failed move said.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_error: String,
}
