//! StatefulSets and Deployments bring pods into being, and roll them.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::support::{self, Cluster, eventually};

#[tokio::test]
async fn a_stateful_set_is_created_scaled_healed_and_deleted() {
    let cluster = Cluster::start().await;
    let sets: Api<StatefulSet> = cluster.api();
    let pods: Api<Pod> = cluster.api();
    cluster
        .create_service(
            "h",
            json!({"clusterIP": "None", "selector": {"app": "db"}, "ports": [{"port": 80}]}),
        )
        .await;
    let template = json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]});
    cluster
        .create_set(
            "db",
            2,
            json!([
                "sh",
                "-c",
                "echo I am $POD_NAME; trap 'exit 0' TERM; sleep 1000 & wait"
            ]),
            template,
        )
        .await;
    eventually("two pods are available", || async {
        status(&sets, "db").await.available_replicas == Some(2)
    })
    .await;
    let first = pods.get("db-0").await.expect("a pod");
    assert_eq!(first.labels()["statefulset.kubernetes.io/pod-name"], "db-0");
    let set = status(&sets, "db").await;
    assert_eq!(
        (
            set.current_replicas,
            set.updated_replicas,
            set.collision_count
        ),
        (Some(2), Some(2), Some(0))
    );
    assert_eq!(set.current_revision, set.update_revision);
    eventually("claims are bound", || async {
        let claims: Api<PersistentVolumeClaim> = cluster.api();
        claims
            .list(&ListParams::default())
            .await
            .expect("claims")
            .items
            .iter()
            .filter(|claim| {
                claim
                    .status
                    .as_ref()
                    .and_then(|status| status.phase.as_deref())
                    == Some("Bound")
            })
            .count()
            == 2
    })
    .await;
    assert_eq!(
        pods.logs("db-0", &LogParams::default())
            .await
            .expect("a log"),
        "I am db-0\n"
    );

    sets.patch_scale(
        "db",
        &PatchParams::default(),
        &Patch::Merge(json!({"spec": {"replicas": 3}})),
    )
    .await
    .expect("scaled");
    eventually("three pods are ready", || async {
        status(&sets, "db").await.ready_replicas == Some(3)
    })
    .await;
    pods.delete("db-1", &DeleteParams::default())
        .await
        .expect("deleted");
    eventually("db-1 is another pod", || async {
        pods.get_opt("db-1")
            .await
            .expect("an answer")
            .is_some_and(|pod| pod.uid() != first.uid() && support::is_ready(&pod))
    })
    .await;
    sets.patch_scale(
        "db",
        &PatchParams::default(),
        &Patch::Merge(json!({"spec": {"replicas": 1}})),
    )
    .await
    .expect("scaled");
    eventually("one pod is left", || async {
        pods.list(&ListParams::default())
            .await
            .expect("pods")
            .items
            .len()
            == 1
    })
    .await;

    sets.delete("db", &DeleteParams::background())
        .await
        .expect("deleted");
    eventually("its pods are collected", || async {
        pods.list(&ListParams::default())
            .await
            .expect("pods")
            .items
            .is_empty()
    })
    .await;
    let claims: Api<PersistentVolumeClaim> = cluster.api();
    assert_eq!(
        claims
            .list(&ListParams::default())
            .await
            .expect("claims")
            .items
            .len(),
        3,
        "claims are kept"
    );
    cluster.end().await;
}

async fn status(
    sets: &Api<StatefulSet>,
    name: &str,
) -> k8s_openapi::api::apps::v1::StatefulSetStatus {
    sets.get(name)
        .await
        .expect("a set")
        .status
        .unwrap_or_default()
}

#[tokio::test]
async fn a_deployment_rolls_to_its_new_template() {
    let cluster = Cluster::start().await;
    let deployments: Api<Deployment> = cluster.api();
    let pods: Api<Pod> = cluster.api();
    let deployment: Deployment = serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "tools", "command": ["sleep", "1000"]}]}}}}))
    .expect("a Deployment");
    deployments
        .create(&PostParams::default(), &deployment)
        .await
        .expect("created");
    let complete = |revision: &'static str| {
        let deployments = deployments.clone();
        async move {
            let deployment = deployments.get("web").await.expect("a Deployment");
            let status = deployment.status.clone().unwrap_or_default();
            deployment
                .annotations()
                .get("deployment.kubernetes.io/revision")
                .map(String::as_str)
                == Some(revision)
                && (
                    status.updated_replicas,
                    status.replicas,
                    status.available_replicas,
                ) == (Some(2), Some(2), Some(2))
        }
    };
    eventually("the first rollout is complete", || complete("1")).await;
    deployments
        .patch(
            "web",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}})),
        )
        .await
        .expect("patched");
    eventually("the second rollout is complete", || complete("2")).await;
    eventually("only new pods are left", || async {
        pods.list(&ListParams::default())
            .await
            .expect("pods")
            .items
            .iter()
            .all(|pod| pod.annotations().contains_key("a"))
    })
    .await;
    deployments
        .delete("web", &DeleteParams::background())
        .await
        .expect("deleted");
    eventually("its pods are collected", || async {
        pods.list(&ListParams::default())
            .await
            .expect("pods")
            .items
            .is_empty()
    })
    .await;
    cluster.end().await;
}

#[tokio::test(start_paused = true)]
async fn hollow_pods_live_on_paused_time() {
    let cluster = Cluster::start_hollow().await;
    let pods: Api<Pod> = cluster.api();
    let start = tokio::time::Instant::now();
    let slow = json!({"minReadySeconds": 600});
    cluster
        .create_set("db", 3, json!(["cache-node"]), slow)
        .await;
    let sets: Api<StatefulSet> = cluster.api();
    loop {
        if status(&sets, "db").await.available_replicas == Some(3) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(1200));
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    assert!(
        start.elapsed() >= Duration::from_secs(600),
        "ten minutes of virtual time have passed"
    );
    assert_eq!(support::ready_count(&pods).await, 3);
    cluster.end().await;
}
