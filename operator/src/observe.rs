//! Observing a cluster: Kubernetes's objects and every node's own view.
//!
//! Reads only. What it saw is plain data; judging it is the planner's work.

mod kubernetes;
mod nodes;
mod parse;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, stream};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1 as core;
use kube::ResourceExt;

use crate::names;

pub use nodes::{NodeError, Nodes, RedisNodes};
pub use parse::ParseError;
pub use state::{
    Member, Migration, MigrationState, NodeId, NodeState, NodeView, Observed, Pod, Vote, Witness,
};

/// Nodes asked at once.
const ASKED_AT_ONCE: usize = 64;

/// Observes a cluster: its pods and StatefulSets as Kubernetes has them, and what each pod's node says, all asked at once.
pub async fn observe(
    cluster: &str,
    pods: &[Arc<core::Pod>],
    sets: &[Arc<StatefulSet>],
    nodes: &dyn Nodes,
) -> Observed {
    let named = pods.iter().filter_map(|object| {
        let place = names::pod_place(cluster, &object.name_any())?;
        Some((place, kubernetes::pod(object)))
    });
    let pods: BTreeMap<_, _> = stream::iter(named)
        .map(|(place, mut pod)| async move {
            if let Some(ip) = &pod.ip {
                match nodes.view(cluster, ip).await {
                    Ok(view) => pod.node = Some(view),
                    Err(error) => tracing::debug!(pod = %place, %error, "node does not answer"),
                }
            }
            (place, pod)
        })
        .buffer_unordered(ASKED_AT_ONCE)
        .collect()
        .await;
    Observed {
        pods,
        shards: sets.iter().filter_map(|set| shard(cluster, set)).collect(),
        vote: Vote::Off,
    }
}

fn shard(cluster: &str, set: &StatefulSet) -> Option<(u32, i32)> {
    let index = names::shard_index(cluster, &set.name_any())?;
    let asked = set.spec.as_ref().and_then(|spec| spec.replicas);
    Some((index, asked.unwrap_or(1)))
}
