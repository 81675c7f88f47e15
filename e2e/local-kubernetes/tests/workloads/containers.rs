//! The life of a container: restarts, logs, probes, its surroundings, its end.

use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod};
use kube::api::{Api, DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::support::{self, Cluster, eventually};

#[tokio::test]
async fn a_crashing_container_backs_off_and_keeps_its_previous_log() {
    let cluster = Cluster::start().await;
    let pods: Api<Pod> = cluster.api();
    cluster.create_pod("crash", json!({"containers": [{"name": "c", "image": "tools", "command": ["sh", "-c", "echo run; exit 3"]}]})).await;
    eventually("it waits in CrashLoopBackOff", || async {
        support::container(&pods, "crash")
            .await
            .is_some_and(|status| {
                support::waiting(&status) == "CrashLoopBackOff" && status.restart_count >= 2
            })
    })
    .await;
    let status = support::container(&pods, "crash").await.expect("a status");
    let last = status
        .last_state
        .and_then(|state| state.terminated)
        .expect("an end");
    assert_eq!((last.exit_code, last.reason.as_deref()), (3, Some("Error")));
    assert_eq!(
        pods.logs(
            "crash",
            &LogParams {
                previous: true,
                ..LogParams::default()
            }
        )
        .await
        .expect("a log"),
        "run\n"
    );
    let events: Api<Event> = cluster.api();
    eventually("there are counted events", || async {
        let events = events
            .list(&ListParams::default())
            .await
            .expect("events")
            .items;
        let has = |reason: &str| {
            events
                .iter()
                .any(|event| event.reason.as_deref() == Some(reason))
        };
        ["Scheduled", "Pulled", "Created", "Started", "BackOff"]
            .into_iter()
            .all(has)
            && events.iter().any(|event| event.count.unwrap_or(0) > 1)
    })
    .await;
    cluster.end().await;
}

#[tokio::test]
async fn probes_decide_readiness_and_restarts() {
    let cluster = Cluster::start().await;
    let pods: Api<Pod> = cluster.api();
    let script = "touch $DIR/live $DIR/ready; sleep 1000";
    let probe = |file: &str| json!({"exec": {"command": ["sh", "-c", format!("test -e $DIR/{file}")]}, "periodSeconds": 1, "failureThreshold": 1});
    cluster.create_pod("probed", json!({"terminationGracePeriodSeconds": 1, "volumes": [{"name": "v", "emptyDir": {}}], "containers": [{"name": "c", "image": "tools",
        "command": ["sh", "-c", script], "env": [{"name": "DIR", "value": "/state"}], "volumeMounts": [{"name": "v", "mountPath": "/state"}],
        "startupProbe": {"exec": {"command": ["sh", "-c", "test -e $DIR/live"]}, "periodSeconds": 1}, "readinessProbe": probe("ready"), "livenessProbe": probe("live")}]})).await;
    eventually("it is ready", || async {
        support::is_ready_named(&pods, "probed").await
    })
    .await;
    let volume = cluster.volume(&pods, "probed", "v").await;
    std::fs::remove_file(volume.join("ready")).expect("removed");
    eventually("it is not ready", || async {
        !support::is_ready_named(&pods, "probed").await
    })
    .await;
    std::fs::write(volume.join("ready"), "").expect("written");
    eventually("it is ready again", || async {
        support::is_ready_named(&pods, "probed").await
    })
    .await;
    std::fs::remove_file(volume.join("live")).expect("removed");
    eventually("it was restarted and is ready", || async {
        support::container(&pods, "probed")
            .await
            .is_some_and(|status| status.restart_count == 1 && status.ready)
    })
    .await;
    cluster.end().await;
}

#[tokio::test]
async fn an_http_server_gets_its_address_config_and_traffic() {
    let cluster = Cluster::start().await;
    let pods: Api<Pod> = cluster.api();
    let maps: Api<ConfigMap> = cluster.api();
    let map = |text: &str| -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": "site"}, "data": {"index.html": text}}))
            .expect("a ConfigMap")
    };
    maps.create(&PostParams::default(), &map("one"))
        .await
        .expect("created");
    cluster.create_pod("web", json!({"volumes": [{"name": "site", "configMap": {"name": "site"}}], "containers": [{"name": "c", "image": "tools",
        "command": ["python3", "-m", "http.server", "--bind", "$(POD_IP)", "--directory", "/site", "8080"],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}], "ports": [{"name": "web", "containerPort": 8080}],
        "volumeMounts": [{"name": "site", "mountPath": "/site"}], "readinessProbe": {"httpGet": {"port": "web"}, "periodSeconds": 1}}]})).await;
    eventually("it is ready", || async {
        support::is_ready_named(&pods, "web").await
    })
    .await;
    let ip = pods
        .get("web")
        .await
        .expect("a pod")
        .status
        .and_then(|status| status.pod_ip)
        .expect("an address");
    assert!(ip.starts_with("127."), "{ip}");
    assert!(
        support::http_get(&format!("{ip}:8080"), "/index.html")
            .await
            .ends_with("one")
    );
    maps.patch(
        "site",
        &PatchParams::default(),
        &Patch::Merge(json!({"data": {"index.html": "two"}})),
    )
    .await
    .expect("patched");
    eventually("the new text is served", || async {
        support::http_get(&format!("{ip}:8080"), "/index.html")
            .await
            .ends_with("two")
    })
    .await;
    cluster.end().await;
}

#[tokio::test]
async fn grace_is_given_and_shortened() {
    let cluster = Cluster::start().await;
    let pods: Api<Pod> = cluster.api();
    let stubborn = json!({"terminationGracePeriodSeconds": 600, "containers": [{"name": "c", "image": "tools", "command": ["sh", "-c", "trap '' TERM; while true; do sleep 1; done"]}]});
    cluster.create_pod("stubborn", stubborn).await;
    eventually("it runs", || async {
        support::is_ready_named(&pods, "stubborn").await
    })
    .await;
    pods.delete("stubborn", &DeleteParams::default())
        .await
        .expect("marked");
    eventually("it is terminating", || async {
        pods.get("stubborn")
            .await
            .is_ok_and(|pod| pod.metadata.deletion_grace_period_seconds == Some(600))
    })
    .await;
    pods.delete("stubborn", &DeleteParams::default().grace_period(1))
        .await
        .expect("marked again");
    eventually("it is gone", || async {
        pods.get_opt("stubborn").await.expect("an answer").is_none()
    })
    .await;
    cluster.end().await;
}
