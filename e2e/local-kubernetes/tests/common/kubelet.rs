//! A stand-in for the kubelet: pods on its one node run at once and end at once when they are deleted.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const NODE: &str = "node1";
/// How long a pod takes to run.
const START: Duration = Duration::from_millis(1200);

/// Runs until `stop`.
pub(crate) async fn run(client: Client, stop: CancellationToken) {
    let nodes: Api<Node> = Api::all(client.clone());
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": NODE},
        "status": {
            "capacity": {"cpu": "8", "memory": "16Gi", "pods": "110"},
            "allocatable": {"cpu": "8", "memory": "16Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": now(), "lastTransitionTime": now()}],
        },
    }))
    .expect("the node is well-formed");
    nodes
        .create(&PostParams::default(), &node)
        .await
        .expect("a new server has no nodes");
    let pods: Api<Pod> = Api::all(client.clone());
    let mut changes = watcher(pods, watcher::Config::default())
        .applied_objects()
        .boxed();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(Ok(pod)) = changes.next() => drop(tokio::spawn(care(client.clone(), pod))),
        }
    }
}

fn now() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

async fn care(client: Client, pod: Pod) {
    let spec = pod.spec.clone().unwrap_or_default();
    if spec.node_name.as_deref() != Some(NODE) {
        return;
    }
    let pods: Api<Pod> = Api::namespaced(client, &pod.namespace().unwrap_or_default());
    if pod.metadata.deletion_timestamp.is_some() {
        let grace = pod
            .metadata
            .deletion_grace_period_seconds
            .unwrap_or_default();
        tokio::time::sleep(Duration::from_secs(grace.unsigned_abs())).await;
        let _ = pods
            .delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
            .await;
        return;
    }
    if pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        != Some("Pending")
    {
        return;
    }
    tokio::time::sleep(START).await;
    let status = json!({"status": running(&pod)});
    let _ = pods
        .patch_status(
            &pod.name_any(),
            &PatchParams::default(),
            &Patch::Strategic(&status),
        )
        .await;
}

fn running(pod: &Pod) -> Value {
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": now()});
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers).map(|container| {
        json!({
            "name": container.name, "image": container.image, "imageID": "", "ready": true, "restartCount": 0,
            "started": true, "state": {"running": {"startedAt": now()}}, "lastState": {},
        })
    });
    json!({
        "phase": "Running",
        "podIP": "127.0.0.1",
        "hostIP": "127.0.0.1",
        "startTime": now(),
        "conditions": (["Initialized", "Ready", "ContainersReady"].map(condition)),
        "containerStatuses": (containers.collect::<Vec<_>>()),
    })
}
