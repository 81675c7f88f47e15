//! The scheduler's edge: gives pods without a node to the node that `pick` names, one at a time.

pub mod affinity;
pub mod pick;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::select;
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::context::{self, Context, Error};
use super::pods;
use crate::event_recorder::Recorder;

const SCHEDULER: &str = "default-scheduler";

/// Runs until shutdown.
pub(super) async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let recorder = Recorder::new(
        context.client.clone(),
        context.clock.clone(),
        SCHEDULER,
        None,
    );
    let pods = watcher(
        Api::<Pod>::all(context.client.clone()),
        watcher::Config::default(),
    )
    .default_backoff()
    .map(drop);
    let nodes = watcher(
        Api::<Node>::all(context.client.clone()),
        watcher::Config::default(),
    )
    .default_backoff()
    .map(drop);
    let mut changes = select(pods.boxed(), nodes.boxed()).ready_chunks(256);
    loop {
        let change = tokio::select! {
            () = shutdown.cancelled() => return,
            change = changes.next() => change,
        };
        if change.is_none() {
            return;
        }
        while let Err(error) = schedule_all(&context, &recorder).await {
            tracing::debug!(%error, "scheduling failed");
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
            }
        }
    }
}

fn waits_for_node(pod: &Pod) -> bool {
    let Some(spec) = pod.spec.as_ref() else {
        return false;
    };
    let ours = spec.scheduler_name.as_deref().unwrap_or(SCHEDULER) == SCHEDULER;
    let gated = spec
        .scheduling_gates
        .as_ref()
        .is_some_and(|gates| !gates.is_empty());
    ours && !gated && spec.node_name.is_none() && pods::is_active(pod)
}

async fn schedule_all(context: &Context, recorder: &Recorder) -> Result<(), Error> {
    let all = Api::<Pod>::all(context.client.clone());
    let mut pods = all.list(&ListParams::default()).await?.items;
    let mut waiting: Vec<_> = pods
        .iter()
        .filter(|pod| waits_for_node(pod))
        .cloned()
        .collect();
    if waiting.is_empty() {
        return Ok(());
    }
    let nodes = Api::<Node>::all(context.client.clone())
        .list(&ListParams::default())
        .await?
        .items;
    waiting.sort_by_key(|pod| {
        let priority = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.priority)
            .unwrap_or(0);
        (
            std::cmp::Reverse(priority),
            pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
            pod.name_any(),
        )
    });
    for pod in waiting {
        match pick::pick(&pod, &nodes, &pods) {
            Ok(node) => {
                bind(context, recorder, &pod, &node).await?;
                // Seen as bound by the next pod of this round.
                if let Some(spec) = pods
                    .iter_mut()
                    .find(|other| other.uid() == pod.uid())
                    .and_then(|pod| pod.spec.as_mut())
                {
                    spec.node_name = Some(node);
                }
            }
            Err(unschedulable) => {
                report(context, recorder, &pod, &unschedulable.to_string()).await?;
            }
        }
    }
    Ok(())
}

async fn bind(context: &Context, recorder: &Recorder, pod: &Pod, node: &str) -> Result<(), Error> {
    let namespace = pod.namespace().unwrap_or_default();
    let api = Api::<Pod>::namespaced(context.client.clone(), &namespace);
    let binding = Binding {
        metadata: ObjectMeta {
            name: pod.metadata.name.clone(),
            namespace: pod.namespace(),
            uid: pod.uid(),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            kind: Some("Node".into()),
            name: Some(node.into()),
            ..ObjectReference::default()
        },
    };
    let params = PostParams {
        field_manager: Some(SCHEDULER.into()),
        ..PostParams::default()
    };
    let bound: Result<serde_json::Value, _> = api
        .create_subresource("binding", &pod.name_any(), &params, &binding)
        .await;
    match bound {
        Err(error) if context::is_not_found(&error) || context::is_conflict(&error) => {
            return Ok(());
        }
        other => drop(other?),
    }
    let message = format!(
        "Successfully assigned {namespace}/{} to {node}",
        pod.name_any()
    );
    recorder.normal(pod, "Scheduled", &message).await;
    Ok(())
}

/// Writes the condition and the event once for each new reason.
async fn report(
    context: &Context,
    recorder: &Recorder,
    pod: &Pod,
    message: &str,
) -> Result<(), Error> {
    let before = pods::condition(pod, "PodScheduled");
    if before.is_some_and(|condition| {
        condition.status == "False" && condition.message.as_deref() == Some(message)
    }) {
        return Ok(());
    }
    let since = before
        .filter(|condition| condition.status == "False")
        .and_then(|condition| condition.last_transition_time.clone());
    let condition = PodCondition {
        type_: "PodScheduled".into(),
        status: "False".into(),
        reason: Some("Unschedulable".into()),
        message: Some(message.into()),
        last_transition_time: since
            .or_else(|| Some(Time(crate::moment::whole_second(context.clock.now())))),
        observed_generation: pod.metadata.generation,
        ..PodCondition::default()
    };
    let api = Api::<Pod>::namespaced(context.client.clone(), &pod.namespace().unwrap_or_default());
    let params = PatchParams {
        field_manager: Some(SCHEDULER.into()),
        ..PatchParams::default()
    };
    let patch = json!({"status": {"conditions": [condition]}});
    match api
        .patch_status(&pod.name_any(), &params, &Patch::Strategic(&patch))
        .await
    {
        Err(error) if !context::is_not_found(&error) => return Err(error.into()),
        _ => {}
    }
    recorder.warning(pod, "FailedScheduling", message).await;
    Ok(())
}
