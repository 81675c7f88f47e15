//! Stock kubectl against the server's TLS face.
//!
//! Pods do not run as processes here: a stand-in for the kubelet says that they do.

mod cluster;
#[path = "../common/kubelet.rs"]
mod kubelet;

use cluster::Cluster;

const SHELVES: &str = include_str!("shelves.yaml");
const SHELF: &str = include_str!("shelf.yaml");
const STATEFUL_SET: &str = include_str!("stateful-set.yaml");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_finds_out_what_is_served() {
    let cluster = Cluster::start().await;
    let resources = cluster.succeeds(&["api-resources"]).await;
    for line in [
        "statefulsets",
        "poddisruptionbudgets",
        "customresourcedefinitions",
        "leases",
    ] {
        assert!(
            resources.contains(line),
            "{line} is missing in:\n{resources}"
        );
    }
    assert!(
        cluster
            .succeeds(&["api-versions"])
            .await
            .contains("discovery.k8s.io/v1")
    );
    assert!(
        cluster
            .succeeds(&["version"])
            .await
            .contains("Server Version: v1.36.2")
    );
    let explained = cluster
        .succeeds(&["explain", "statefulset.spec.updateStrategy"])
        .await;
    assert!(explained.contains("FIELD: updateStrategy"), "{explained}");
    assert!(cluster.succeeds(&["get", "nodes"]).await.contains("node1"));
    assert_eq!(
        cluster
            .succeeds(&["auth", "can-i", "create", "pods"])
            .await
            .trim(),
        "yes"
    );
    assert!(
        cluster
            .succeeds(&["auth", "whoami"])
            .await
            .contains("kubernetes-admin")
    );
    let denied = cluster
        .fails(&["auth", "can-i", "get", "pods", "--as=somebody"])
        .await;
    assert!(denied.contains("no"), "{denied}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_edits_an_object_in_every_way() {
    let cluster = Cluster::start().await;
    cluster.succeeds(&["create", "namespace", "shop"]).await;
    cluster
        .succeeds(&["create", "configmap", "c", "--from-literal=a=1"])
        .await;
    cluster
        .succeeds(&["label", "configmap", "c", "colour=red"])
        .await;
    cluster
        .succeeds(&["annotate", "configmap", "c", "note=text"])
        .await;
    cluster
        .succeeds(&["patch", "configmap", "c", "-p", r#"{"data":{"b":"2"}}"#])
        .await;
    let patch = r#"[{"op":"test","path":"/data/b","value":"2"},{"op":"replace","path":"/data/b","value":"3"}]"#;
    cluster
        .succeeds(&["patch", "configmap", "c", "--type=json", "-p", patch])
        .await;
    cluster
        .succeeds(&[
            "patch",
            "configmap",
            "c",
            "--type=merge",
            "-p",
            r#"{"data":{"a":null}}"#,
        ])
        .await;
    cluster
        .edits("s/b: \"3\"/b: \"4\"/", &["edit", "configmap", "c"])
        .await;
    let map = cluster
        .succeeds(&[
            "get",
            "configmap",
            "c",
            "-o",
            "jsonpath={.data}{.metadata.labels.colour}",
        ])
        .await;
    assert_eq!(map, r#"{"b":"4"}red"#);
    let listed = cluster
        .succeeds(&["get", "configmaps", "-A", "-l", "colour=red", "-o", "wide"])
        .await;
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(
        cluster
            .succeeds(&["describe", "configmap", "c"])
            .await
            .contains("colour=red")
    );
    cluster
        .succeeds(&["create", "secret", "generic", "s", "--from-literal=k=v"])
        .await;
    assert!(
        cluster
            .succeeds(&["describe", "secret", "s"])
            .await
            .contains("k:  1 bytes")
    );
    cluster.succeeds(&["create", "token", "default"]).await;
    cluster.succeeds(&["delete", "configmap", "c"]).await;
    let gone = cluster.fails(&["get", "configmap", "c"]).await;
    assert!(
        gone.contains(r#"Error from server (NotFound): configmaps "c" not found"#),
        "{gone}"
    );
    cluster
        .succeeds(&["delete", "namespace", "shop", "--timeout=30s"])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_applies_on_both_sides_and_sees_differences() {
    let cluster = Cluster::start().await;
    cluster.applies(&["apply", "-f", "-"], SHELVES).await;
    cluster
        .succeeds(&[
            "wait",
            "--for=condition=Established",
            "crd/shelves.demo.example.com",
            "--timeout=10s",
        ])
        .await;
    cluster.applies(&["apply", "-f", "-"], SHELF).await;
    assert!(
        cluster
            .applies(&["apply", "-f", "-"], SHELF)
            .await
            .contains("unchanged")
    );
    let bigger = SHELF.replace("shards: 3", "shards: 5");
    let difference = cluster.differs(&["diff", "-f", "-"], &bigger).await;
    assert!(
        difference.contains("-  shards: 3") && difference.contains("+  shards: 5"),
        "{difference}"
    );
    assert!(
        cluster
            .applies(&["apply", "-f", "-"], &bigger)
            .await
            .contains("configured")
    );
    let conflict = cluster
        .refuses(
            &["apply", "--server-side", "--field-manager=other", "-f", "-"],
            SHELF,
        )
        .await;
    assert!(conflict.contains(r#"conflict with "kubectl-client-side-apply" using demo.example.com/v1alpha1: .spec.shards"#), "{conflict}");
    cluster
        .applies(
            &["apply", "--server-side", "--force-conflicts", "-f", "-"],
            SHELF,
        )
        .await;
    cluster
        .succeeds(&["scale", "shelf/a", "--replicas=4"])
        .await;
    assert_eq!(
        cluster
            .succeeds(&["get", "sh", "a", "-o", "jsonpath={.spec.shards}"])
            .await,
        "4"
    );
    let status = r#"{"status":{"shards":4,"conditions":[{"type":"Ready","status":"True"}]}}"#;
    cluster
        .succeeds(&[
            "patch",
            "shelf",
            "a",
            "--subresource=status",
            "--type=merge",
            "-p",
            status,
        ])
        .await;
    cluster
        .succeeds(&["wait", "--for=condition=Ready", "shelf/a", "--timeout=10s"])
        .await;
    let table = cluster.succeeds(&["get", "shelves"]).await;
    assert!(table.contains("NAME   SHARDS   READY   AGE"), "{table}");
    assert!(
        cluster
            .succeeds(&["explain", "shelf.spec"])
            .await
            .contains("shards")
    );
    assert!(
        cluster
            .succeeds(&["describe", "shelf", "a"])
            .await
            .contains("Shards:")
    );
    let bad = cluster
        .refuses(
            &["apply", "-f", "-"],
            &SHELF.replace("shards: 3", "shards: 0"),
        )
        .await;
    assert!(
        bad.contains("spec.shards in body should be greater than or equal to 1"),
        "{bad}"
    );
    let unknown = cluster
        .refuses(
            &["apply", "-f", "-"],
            &SHELF
                .replace("shards: 3", "shard: 3")
                .replace("name: a", "name: b"),
        )
        .await;
    assert!(
        unknown.contains(r#"unknown field "spec.shard""#),
        "{unknown}"
    );
    cluster
        .succeeds(&["delete", "crd", "shelves.demo.example.com", "--timeout=30s"])
        .await;
    cluster.fails(&["get", "shelves"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_follows_a_stateful_set() {
    let cluster = Cluster::start().await;
    cluster.applies(&["apply", "-f", "-"], STATEFUL_SET).await;
    cluster
        .succeeds(&["rollout", "status", "statefulset/db", "--timeout=30s"])
        .await;
    let pods = cluster.succeeds(&["get", "pods", "-l", "app=db"]).await;
    assert!(pods.contains("db-0   1/1     Running"), "{pods}");
    let described = cluster.succeeds(&["describe", "statefulset", "db"]).await;
    assert!(described.contains("SuccessfulCreate"), "{described}");
    assert!(
        cluster
            .succeeds(&["describe", "pod", "db-0"])
            .await
            .contains("StatefulSet/db")
    );
    assert!(
        cluster
            .succeeds(&["get", "events"])
            .await
            .contains("SuccessfulCreate")
    );
    assert!(
        cluster
            .succeeds(&["get", "all"])
            .await
            .contains("statefulset.apps/db")
    );
    for kind in [
        "node",
        "service",
        "pdb",
        "endpoints",
        "endpointslices",
        "serviceaccount",
        "namespace",
    ] {
        cluster.succeeds(&["describe", kind]).await;
    }
    cluster
        .succeeds(&["scale", "statefulset", "db", "--replicas=3"])
        .await;
    cluster
        .succeeds(&[
            "wait",
            "--for=jsonpath={.status.readyReplicas}=3",
            "statefulset/db",
            "--timeout=30s",
        ])
        .await;
    cluster.succeeds(&["cordon", "node1"]).await;
    assert!(
        cluster
            .succeeds(&["get", "node", "node1"])
            .await
            .contains("SchedulingDisabled")
    );
    let drained = cluster.fails(&["drain", "node1", "--timeout=3s"]).await;
    assert!(
        drained.contains("Cannot evict pod as it would violate the pod's disruption budget"),
        "{drained}"
    );
    cluster.succeeds(&["uncordon", "node1"]).await;
    cluster
        .succeeds(&[
            "wait",
            "--for=jsonpath={.status.readyReplicas}=3",
            "statefulset/db",
            "--timeout=30s",
        ])
        .await;
    cluster
        .succeeds(&["delete", "pod", "db-0", "--timeout=30s"])
        .await;
    cluster
        .succeeds(&["wait", "--for=condition=Ready", "pod/db-0", "--timeout=30s"])
        .await;
    let seen = cluster
        .watches(
            &["get", "pods", "-w"],
            &["delete", "pod", "db-1", "--timeout=30s"],
            "Terminating",
        )
        .await;
    assert!(seen.starts_with("NAME"), "{seen}");
    cluster
        .applies(&["delete", "--timeout=30s", "-f", "-"], STATEFUL_SET)
        .await;
    cluster
        .succeeds(&[
            "wait",
            "--for=delete",
            "pod",
            "-l",
            "app=db",
            "--timeout=30s",
        ])
        .await;
}
