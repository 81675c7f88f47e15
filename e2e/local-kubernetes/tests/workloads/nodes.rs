//! Machines that are drained, or lost.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::api::{Api, EvictParams, PostParams};
use serde_json::json;

use crate::support::{self, Cluster, eventually};

#[tokio::test]
async fn a_drain_respects_the_budget() {
    let cluster = Cluster::start().await;
    let pods: Api<Pod> = cluster.api();
    let budgets: Api<PodDisruptionBudget> = cluster.api();
    cluster
        .create_set("db", 2, json!(["sh", "-c", "sleep 1000"]), json!({}))
        .await;
    let budget = serde_json::from_value(json!({"metadata": {"name": "db"}, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "db"}}}})).expect("a budget");
    budgets
        .create(&PostParams::default(), &budget)
        .await
        .expect("created");
    eventually("one disruption is allowed", || async {
        budgets
            .get("db")
            .await
            .expect("a budget")
            .status
            .is_some_and(|status| status.disruptions_allowed == Some(1))
    })
    .await;
    let node = pods
        .get("db-0")
        .await
        .expect("a pod")
        .spec
        .and_then(|spec| spec.node_name)
        .expect("a node");
    cluster
        .inner()
        .agent()
        .cordon(&node, true)
        .await
        .expect("cordoned");
    pods.evict("db-0", &EvictParams::default())
        .await
        .expect("evicted");
    let refused = pods
        .evict("db-1", &EvictParams::default())
        .await
        .expect_err("the budget is spent");
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 429));
    eventually("db-0 is ready elsewhere", || async {
        pods.get_opt("db-0")
            .await
            .expect("an answer")
            .is_some_and(|pod| {
                support::is_ready(&pod)
                    && pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) != Some(&node)
            })
    })
    .await;
    eventually("a disruption is allowed again", || async {
        budgets
            .get("db")
            .await
            .expect("a budget")
            .status
            .is_some_and(|status| status.disruptions_allowed == Some(1))
    })
    .await;
    cluster.end().await;
}

#[tokio::test]
async fn a_killed_node_is_noticed_and_comes_back() {
    let cluster = Cluster::start().await;
    let pods: Api<Pod> = cluster.api();
    cluster
        .create_set("db", 3, json!(["sh", "-c", "sleep 1000"]), json!({}))
        .await;
    eventually("all are ready", || async {
        support::ready_count(&pods).await == 3
    })
    .await;
    let before = pods.get("db-0").await.expect("a pod");
    let node = before
        .spec
        .as_ref()
        .and_then(|spec| spec.node_name.clone())
        .expect("a node");
    cluster
        .inner()
        .agent()
        .kill_node(&node)
        .await
        .expect("killed");
    eventually("its pod is not ready and being deleted", || async {
        pods.get("db-0")
            .await
            .is_ok_and(|pod| !support::is_ready(&pod) && pod.metadata.deletion_timestamp.is_some())
    })
    .await;
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(cluster.client());
    let lost = nodes.get(&node).await.expect("a node");
    assert!(
        lost.spec
            .and_then(|spec| spec.taints)
            .is_some_and(|taints| taints
                .iter()
                .any(|taint| taint.key == "node.kubernetes.io/unreachable"))
    );
    cluster
        .inner()
        .agent()
        .restart_node(&node)
        .expect("restarted");
    eventually("db-0 is ready as a new pod", || async {
        pods.get_opt("db-0")
            .await
            .expect("an answer")
            .is_some_and(|pod| pod.uid() != before.uid() && support::is_ready(&pod))
    })
    .await;
    cluster.end().await;
}
