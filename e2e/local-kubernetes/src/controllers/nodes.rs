//! The node lifecycle controller's edge: nodes without heartbeats become Unknown and tainted, their pods unready and, when
//! they no longer tolerate it, deleted; pods of nodes that no longer exist are removed.

pub mod health;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::select_all;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::context::{self, Context, Error};
use super::pods;

/// The namespace of the nodes' heartbeats.
pub const LEASE_NAMESPACE: &str = "kube-node-lease";

/// How soon a node that could not be attended to is looked at again.
const RETRY: jiff::SignedDuration = jiff::SignedDuration::from_millis(500);

/// Runs until shutdown.
pub(super) async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let client = &context.client;
    // Heartbeats are not watched: they are looked up when a node would be lost without one.
    let mut changes = select_all([
        watcher(Api::<Node>::all(client.clone()), watcher::Config::default())
            .default_backoff()
            .map(drop)
            .boxed(),
        watcher(Api::<Pod>::all(client.clone()), watcher::Config::default())
            .default_backoff()
            .map(drop)
            .boxed(),
    ])
    .ready_chunks(256);
    loop {
        let wait = match pass(&context).await {
            Ok(Some(next)) => Duration::try_from(next.duration_since(context.clock.now()))
                .unwrap_or_default()
                .max(context::SOON),
            Ok(None) => Duration::from_secs(3600),
            Err(error) => {
                tracing::debug!(%error, "node pass failed");
                Duration::from_millis(500)
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
            change = changes.next() => if change.is_none() { return },
        }
    }
}

/// Looks at all nodes once; returns when something becomes due without any change.
async fn pass(context: &Context) -> Result<Option<Timestamp>, Error> {
    let api = Api::<Node>::all(context.client.clone());
    let nodes = api.list(&ListParams::default()).await?.items;
    let leases = Api::<Lease>::namespaced(context.client.clone(), LEASE_NAMESPACE)
        .list(&ListParams::default())
        .await?
        .items;
    let leases: BTreeMap<_, _> = leases
        .iter()
        .map(|lease| (lease.name_any(), lease))
        .collect();
    let pods = Api::<Pod>::all(context.client.clone())
        .list(&ListParams::default())
        .await?
        .items;
    let now = context.clock.now();
    let mut next = None;
    let mut due = |at: Timestamp| next = Some(next.map_or(at, |next: Timestamp| next.min(at)));
    for node in &nodes {
        let lease = leases.get(&node.name_any()).copied();
        let next = attend(context, &api, node, lease, &pods, now).await;
        // What ails one node or pod must not keep the others waiting.
        match next {
            Ok(at) => at.into_iter().for_each(&mut due),
            Err(error) => {
                tracing::debug!(%error, node = node.name_any(), "could not attend to a node");
                due(now.checked_add(RETRY).unwrap_or(now));
            }
        }
    }
    let names: BTreeSet<_> = nodes.iter().map(ResourceExt::name_any).collect();
    for pod in &pods {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
        if node.is_some_and(|node| !names.contains(node)) {
            remove_orphan(context, pod).await?;
        }
    }
    Ok(next)
}

/// Looks at one node and its pods; returns when something becomes due without any change.
async fn attend(
    context: &Context,
    api: &Api<Node>,
    node: &Node,
    lease: Option<&Lease>,
    pods: &[Pod],
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let lost_at = health::lost_at(node, lease, context.options.node_grace);
    let mut dates = Vec::new();
    let mut node = node.clone();
    if lost_at > now {
        dates.push(lost_at);
    } else if health::readiness(&node) != "Unknown" {
        node = mark_unknown(context, api, &node, now).await?;
    }
    let taints = health::taints(&node, now);
    let present = node.spec.as_ref().and_then(|spec| spec.taints.clone());
    if present.unwrap_or_default() != taints {
        node.spec.get_or_insert_default().taints = Some(taints);
        node = api
            .replace(&node.name_any(), &context::post(), &node)
            .await?;
    }
    for pod in pods.iter().filter(|pod| runs_on(pod, &node)) {
        if health::readiness(&node) == "Unknown" && pods::is_ready(pod) {
            mark_unready(context, pod, now).await?;
        }
        let leaves = health::evicted_at(pod, &node, context.options.max_toleration);
        match leaves.filter(|_| !pods::is_terminating(pod)) {
            Some(at) if at <= now => evict(context, pod, now).await?,
            other => dates.extend(other),
        }
    }
    Ok(dates.into_iter().min())
}

fn runs_on(pod: &Pod, node: &Node) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == node.metadata.name.as_deref()
        && !pods::is_finished(pod)
}

fn manager() -> PatchParams {
    PatchParams {
        field_manager: Some(context::MANAGER.into()),
        ..PatchParams::default()
    }
}

async fn mark_unknown(
    context: &Context,
    api: &Api<Node>,
    node: &Node,
    now: Timestamp,
) -> Result<Node, Error> {
    let mut lost = node.clone();
    lost.status.get_or_insert_default().conditions = Some(health::unknown_conditions(node, now));
    let lost = api
        .replace_status(&node.name_any(), &context::post(), &lost)
        .await?;
    let message = format!("Node {} status is now: NodeNotReady", node.name_any());
    context
        .recorder
        .normal(node, "NodeNotReady", &message)
        .await;
    Ok(lost)
}

async fn patch_condition(
    context: &Context,
    pod: &Pod,
    condition: serde_json::Value,
) -> Result<(), Error> {
    let api = Api::<Pod>::namespaced(context.client.clone(), &pod.namespace().unwrap_or_default());
    let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [condition]}});
    match api
        .patch_status(&pod.name_any(), &manager(), &Patch::Strategic(&patch))
        .await
    {
        Err(error) if !context::is_not_found(&error) && !context::is_conflict(&error) => {
            Err(error.into())
        }
        _ => Ok(()),
    }
}

async fn mark_unready(context: &Context, pod: &Pod, now: Timestamp) -> Result<(), Error> {
    let time = crate::clock::rfc3339(now);
    patch_condition(
        context,
        pod,
        json!({"type": "Ready", "status": "False", "lastTransitionTime": time}),
    )
    .await?;
    context
        .recorder
        .warning(pod, "NodeNotReady", "Node is not ready")
        .await;
    Ok(())
}

async fn evict(context: &Context, pod: &Pod, now: Timestamp) -> Result<(), Error> {
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint", "lastTransitionTime": crate::clock::rfc3339(now),
    });
    patch_condition(context, pod, condition).await?;
    let api = Api::<Pod>::namespaced(context.client.clone(), &pod.namespace().unwrap_or_default());
    context
        .recorder
        .normal(
            pod,
            "TaintManagerEviction",
            &format!(
                "Marking for deletion Pod {}/{}",
                pod.namespace().unwrap_or_default(),
                pod.name_any()
            ),
        )
        .await;
    context::deleted(
        api.delete(&pod.name_any(), &context::precondition(&pod.metadata))
            .await,
    )?;
    Ok(())
}

/// Nobody is left to end the pod of a node that no longer exists.
async fn remove_orphan(context: &Context, pod: &Pod) -> Result<(), Error> {
    let api = Api::<Pod>::namespaced(context.client.clone(), &pod.namespace().unwrap_or_default());
    let now = DeleteParams::default()
        .grace_period(0)
        .preconditions(Preconditions {
            uid: pod.uid(),
            resource_version: None,
        });
    context::deleted(api.delete(&pod.name_any(), &now).await)?;
    Ok(())
}
