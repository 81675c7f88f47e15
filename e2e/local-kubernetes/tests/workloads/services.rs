//! Services lead to pods that are ready.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::support::{self, Cluster, eventually};

#[tokio::test]
async fn endpoints_follow_readiness() {
    let cluster = Cluster::start().await;
    let services: Api<Service> = cluster.api();
    cluster.create_service("db", json!({"selector": {"app": "db"}, "ports": [{"name": "x", "port": 80, "targetPort": 8080}]})).await;
    cluster
        .create_set("db", 2, json!(["sh", "-c", "sleep 1000"]), json!({}))
        .await;
    let endpoints: Api<k8s_openapi::api::core::v1::Endpoints> = cluster.api();
    let count = || async {
        let all = endpoints
            .get_opt("db")
            .await
            .expect("an answer")
            .and_then(|endpoints| endpoints.subsets)
            .unwrap_or_default();
        all.iter()
            .flat_map(|subset| subset.addresses.iter().flatten())
            .count()
    };
    eventually("both are addresses", || async { count().await == 2 }).await;
    let sets: Api<StatefulSet> = cluster.api();
    sets.patch_scale(
        "db",
        &PatchParams::default(),
        &Patch::Merge(json!({"spec": {"replicas": 0}})),
    )
    .await
    .expect("scaled");
    eventually("none is left", || async { count().await == 0 }).await;
    services
        .delete("db", &DeleteParams::default())
        .await
        .expect("deleted");
    cluster.end().await;
}

#[tokio::test]
async fn a_service_address_leads_to_ready_pods() {
    let cluster = Cluster::start().await;
    let pods: Api<Pod> = cluster.api();
    cluster
        .create_service(
            "web",
            json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "web"}]}),
        )
        .await;
    cluster.create_pod("web", json!({"containers": [{"name": "c", "image": "tools",
        "command": ["python3", "-m", "http.server", "--bind", "$(POD_IP)", "8080"],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}], "ports": [{"name": "web", "containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": "web"}, "periodSeconds": 1}}]})).await;
    eventually("it is ready", || async {
        support::is_ready_named(&pods, "web").await
    })
    .await;
    let services: Api<Service> = cluster.api();
    let ip = services
        .get("web")
        .await
        .expect("a Service")
        .spec
        .and_then(|spec| spec.cluster_ip)
        .expect("an address");
    eventually("the service answers", || async {
        support::try_http_get(&format!("{ip}:80"), "/")
            .await
            .is_some_and(|answer| answer.contains("200 OK"))
    })
    .await;
    cluster.end().await;
}
