//! Objects that go with others, and a cluster in which nothing happens.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::json;

use crate::support::{self, Cluster, eventually};

#[tokio::test]
async fn a_namespace_is_emptied_before_it_goes() {
    let cluster = Cluster::start().await;
    cluster
        .create_set("db", 1, json!(["sh", "-c", "sleep 1000"]), json!({}))
        .await;
    let pods: Api<Pod> = cluster.api();
    eventually("it is ready", || async {
        support::is_ready_named(&pods, "db-0").await
    })
    .await;
    let maps: Api<ConfigMap> = cluster.api();
    eventually("the root certificate is there", || async {
        maps.get_opt("kube-root-ca.crt")
            .await
            .expect("an answer")
            .is_some()
    })
    .await;
    let namespaces: Api<Namespace> = Api::all(cluster.client());
    namespaces
        .delete("t", &DeleteParams::default())
        .await
        .expect("deleted");
    eventually("the namespace is gone", || async {
        namespaces.get_opt("t").await.expect("an answer").is_none()
    })
    .await;
    let everywhere: Api<Pod> = Api::all(cluster.client());
    assert!(
        everywhere
            .list(&ListParams::default())
            .await
            .expect("pods")
            .items
            .is_empty()
    );
    cluster.end().await;
}

#[tokio::test]
async fn an_idle_cluster_writes_nothing_but_heartbeats() {
    let cluster = Cluster::start().await;
    let pods: Api<Pod> = cluster.api();
    cluster
        .create_service(
            "h",
            json!({"clusterIP": "None", "selector": {"app": "db"}, "ports": [{"port": 80}]}),
        )
        .await;
    cluster
        .create_set("db", 2, json!(["sh", "-c", "sleep 1000"]), json!({}))
        .await;
    eventually("both are ready", || async {
        support::ready_count(&pods).await == 2
    })
    .await;
    let quiet = cluster.quiet_for(Duration::from_secs(4)).await;
    assert!(quiet, "something was written although nothing happened");
    cluster.end().await;
}

#[tokio::test]
async fn owners_wait_for_or_free_their_dependents() {
    let cluster = Cluster::start().await;
    let maps: Api<ConfigMap> = cluster.api();
    let create = |name: &'static str, owner: Option<ConfigMap>| {
        let owners: Vec<_> = owner.iter().map(|owner| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner.name_any(), "uid": owner.uid(), "blockOwnerDeletion": true})).collect();
        let map: ConfigMap =
            serde_json::from_value(json!({"metadata": {"name": name, "ownerReferences": owners}}))
                .expect("a ConfigMap");
        let maps = maps.clone();
        async move {
            maps.create(&PostParams::default(), &map)
                .await
                .expect("created")
        }
    };
    let gone = |name: &'static str| {
        let maps = maps.clone();
        async move { maps.get_opt(name).await.expect("an answer").is_none() }
    };
    let first = create("first", None).await;
    let child = create("child", Some(first)).await;
    create("grandchild", Some(child)).await;
    maps.delete("first", &DeleteParams::foreground())
        .await
        .expect("marked");
    eventually("all three are gone", || async {
        gone("first").await && gone("child").await && gone("grandchild").await
    })
    .await;

    let second = create("second", None).await;
    create("freed", Some(second)).await;
    maps.delete("second", &DeleteParams::orphan())
        .await
        .expect("marked");
    eventually("the owner is gone", || gone("second")).await;
    let freed = maps.get("freed").await.expect("it stays");
    assert!(freed.owner_references().is_empty());

    let mut absent = freed.clone();
    absent.metadata.uid = Some("11111111-1111-1111-1111-111111111111".into());
    create("lost", Some(absent)).await;
    eventually("the child of an absent owner is collected", || gone("lost")).await;
    cluster.end().await;
}
