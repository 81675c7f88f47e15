//! Workloads on a whole local cluster: real, small processes under the controllers and the node agent.

mod names;
mod support;

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{
    ConfigMap, Event, Namespace, PersistentVolumeClaim, Pod, Service,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::api::{
    Api, DeleteParams, EvictParams, ListParams, LogParams, Patch, PatchParams, PostParams,
};
use serde_json::json;
use support::{Cluster, eventually};

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
