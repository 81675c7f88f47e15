//! Tests of the scheduler's choice.

use serde_json::{Value, json};

use super::*;

fn node(name: &str, zone: &str) -> Node {
    serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"cpu": "2", "memory": "1Gi", "pods": "110"}},
    }))
    .expect("a Node")
}

fn nodes() -> Vec<Node> {
    vec![node("n1", "a"), node("n2", "a"), node("n3", "b")]
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "literals read better by value"
)]
fn pod(name: &str, at: Option<&str>, spec: Value) -> Pod {
    let mut pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "t", "labels": {"app": "db"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u", "controller": true}]},
        "spec": spec,
    }))
    .expect("a Pod");
    pod.spec.get_or_insert_default().node_name = at.map(str::to_string);
    pod
}

fn plain(cpu: &str) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]})
}

fn apart(key: &str) -> Value {
    let term = json!({"topologyKey": key, "labelSelector": {"matchLabels": {"app": "db"}}});
    json!({"containers": [{"name": "c"}], "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
}

#[test]
fn pods_of_one_owner_spread_over_nodes_and_zones() {
    let mut placed: Vec<Pod> = Vec::new();
    for index in 0..6 {
        let name = format!("db-{index}");
        let at = pick(&pod(&name, None, plain("100m")), &nodes(), &placed).expect("a node");
        placed.push(pod(&name, Some(&at), plain("100m")));
    }
    let on = |name: &str| {
        placed
            .iter()
            .filter(|pod| {
                pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(name)
            })
            .count()
    };
    assert_eq!((on("n1"), on("n2"), on("n3")), (2, 2, 2));
    assert_eq!(
        placed[1]
            .spec
            .as_ref()
            .and_then(|spec| spec.node_name.as_deref()),
        Some("n3"),
        "the other zone comes second"
    );
}

#[test]
fn required_anti_affinity_holds_in_both_directions() {
    let hosts = "kubernetes.io/hostname";
    let placed = [
        pod("db-0", Some("n1"), apart(hosts)),
        pod("db-1", Some("n2"), plain("1")),
    ];
    assert_eq!(
        pick(&pod("db-2", None, apart(hosts)), &nodes(), &placed).as_deref(),
        Ok("n3")
    );
    let zones = pod("db-2", None, apart("topology.kubernetes.io/zone"));
    assert_eq!(pick(&zones, &nodes(), &placed[..1]).as_deref(), Ok("n3"));
    let refused = pick(&pod("db-2", None, plain("1")), &nodes()[..1], &placed[..1])
        .expect_err("n1 has a pod that wants to be alone");
    assert!(
        refused
            .to_string()
            .contains("1 node(s) didn't satisfy existing pods anti-affinity rules"),
        "{refused}"
    );
}

#[test]
fn reasons_are_counted_in_kubernetes_words() {
    let mut nodes = nodes();
    nodes[0].spec.get_or_insert_default().unschedulable = Some(true);
    let full = [
        pod("x", Some("n2"), plain("1500m")),
        pod("y", Some("n3"), plain("2")),
    ];
    let refused = pick(&pod("db-0", None, plain("1")), &nodes, &full).expect_err("no node suits");
    assert_eq!(
        refused.to_string(),
        "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu. \
         preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
    let none = pick(&pod("db-0", None, plain("1")), &[], &[]).expect_err("no node at all");
    assert_eq!(none.to_string(), "no nodes available to schedule pods");
}

#[test]
fn taints_selectors_and_unready_nodes_exclude() {
    let mut nodes = nodes();
    nodes[0].spec =
        serde_json::from_value(json!({"taints": [{"key": "k", "effect": "NoSchedule"}]}))
            .expect("a spec");
    nodes[1]
        .status
        .as_mut()
        .and_then(|status| status.conditions.as_mut())
        .expect("conditions")[0]
        .status = "Unknown".into();
    assert_eq!(
        pick(&pod("db-0", None, plain("1")), &nodes, &[]).as_deref(),
        Ok("n3")
    );
    let tolerant = json!({"containers": [], "tolerations": [{"key": "k", "operator": "Exists"}], "nodeSelector": {"kubernetes.io/hostname": "n1"}});
    assert_eq!(
        pick(&pod("db-0", None, tolerant), &nodes, &[]).as_deref(),
        Ok("n1")
    );
}

#[test]
fn spread_constraints_limit_the_skew() {
    let constraint = json!({"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "db"}}});
    let spec = json!({"containers": [], "topologySpreadConstraints": [constraint]});
    let placed = [pod("db-0", Some("n3"), spec.clone())];
    let at = pick(&pod("db-1", None, spec), &nodes(), &placed).expect("a node");
    assert!(at == "n1" || at == "n2");
}

#[test]
fn preferences_decide_between_suitable_nodes() {
    let term = json!({"weight": 100, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "db"}}}});
    let spec = json!({"containers": [], "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}});
    let others: Vec<_> = (0..3)
        .map(|index| pod(&format!("x{index}"), Some("n3"), json!({"containers": []})))
        .collect();
    let mut placed = vec![
        pod("db-0", Some("n1"), spec.clone()),
        pod("db-1", Some("n2"), spec.clone()),
    ];
    placed.extend(others.into_iter().map(|mut pod| {
        pod.metadata.labels = None;
        pod
    }));
    assert_eq!(
        pick(&pod("db-2", None, spec), &nodes(), &placed).as_deref(),
        Ok("n3")
    );
}
