//! Nodes that all come back at other addresses find each other by their host names, with nobody's help.
//!
//! What the operator makes keeps its identity only as long as the pod (`emptyDir`), so these nodes are a StatefulSet of the
//! test's own, which has claims, and the operator has no part in it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cache_operator::names;
use e2e::{install, nodes};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::bench::{self, BOUND, Bench, say};

const SHARDS: usize = 3;
const NODES: usize = 2 * SHARDS;
const NAME: &str = "own";

/// Addresses by the pod's name.
type Addresses = BTreeMap<String, String>;

/// A headless Service and the nodes behind it, each with a claim and told to announce its host name as the operator tells it.
fn manifests(namespace: &str) -> [Value; 2] {
    let labels = json!({"app": NAME});
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let args = [
        "--cluster-enabled",
        "yes",
        "--cluster-node-timeout",
        "2000",
        "--bind",
        "$(POD_IP)",
        "--cluster-announce-hostname",
        &format!("$(POD_NAME).{NAME}.{namespace}.svc"),
        "--threads",
        "1",
        "--dir",
        "/data",
    ];
    let container = json!({
        "name": names::CONTAINER, "image": "ghcr.io/evenkeel/cache-node", "command": ["cache-node"], "args": args,
        "env": [field("POD_IP", "status.podIP"), field("POD_NAME", "metadata.name")],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    });
    let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let metadata = json!({"name": NAME, "namespace": namespace});
    [
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"clusterIP": "None", "publishNotReadyAddresses": true, "selector": labels, "ports": [{"name": "bus", "port": names::BUS_PORT}]}}),
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata,
            "spec": {"serviceName": NAME, "replicas": NODES, "podManagementPolicy": "Parallel", "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}, "volumeClaimTemplates": [claim]}}),
    ]
}

/// The pods that exist.
async fn pods(api: &Api<Pod>) -> Vec<Pod> {
    let selector = ListParams::default().labels(&format!("app={NAME}"));
    api.list(&selector).await.unwrap().items
}

/// Waits for all pods to run at addresses that are not among `before`.
async fn wait_addresses(api: &Api<Pod>, before: &Addresses) -> Addresses {
    let mut found = Addresses::new();
    eventually("all nodes run at new addresses", async || {
        found.clear();
        for pod in pods(api).await {
            let running = |status: &&k8s_openapi::api::core::v1::PodStatus| {
                status.phase.as_deref() == Some("Running")
            };
            let status = pod.status.as_ref().filter(running);
            let ip = status.and_then(|status| status.pod_ip.clone());
            let ip = ip.filter(|ip| before.get(&pod.name_any()) != Some(ip));
            found.extend(ip.map(|ip| (pod.name_any(), ip)));
        }
        found.len() == NODES
    })
    .await;
    found
}

/// Waits until a condition holds.
async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < BOUND, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn ask<T: redis::FromRedisValue>(ip: &str, command: &str) -> Result<T> {
    let mut connection = nodes::connect(&format!("{ip}:{}", names::CLIENT_PORT)).await?;
    let mut words = command.split(' ');
    let mut cmd = redis::cmd(words.next().unwrap_or_default());
    words.for_each(|word| {
        cmd.arg(word);
    });
    cmd.query_async(&mut connection)
        .await
        .with_context(|| format!("{ip}: {command}"))
}

/// Repeats a command until it is done: leaders change while a cluster forms.
async fn insist(ip: &str, command: &str) {
    eventually(command, async || {
        ask::<redis::Value>(ip, command).await.is_ok()
    })
    .await;
}

/// Node ids by the pod's name.
async fn ids(addresses: &Addresses) -> BTreeMap<String, String> {
    let mut ids = BTreeMap::new();
    for (pod, ip) in addresses {
        eventually(&format!("{pod} answers"), async || {
            let id = ask::<String>(ip, "CLUSTER MYID").await.ok();
            ids.extend(id.map(|id| (pod.clone(), id)));
            ids.contains_key(pod)
        })
        .await;
    }
    ids
}

/// Makes one cluster of the nodes: the first ones have the slots, each of the others follows one of them.
async fn form(addresses: &Addresses, ids: &BTreeMap<String, String>) {
    let ips: Vec<_> = addresses.values().collect();
    let ids: Vec<_> = ids.values().collect();
    for ip in &ips[1..] {
        insist(ips[0], &format!("CLUSTER MEET {ip} {}", names::CLIENT_PORT)).await;
    }
    for (ip, id) in ips.iter().zip(&ids) {
        eventually(&format!("{id} knows all"), async || {
            let nodes = ask::<String>(ip, "CLUSTER NODES").await;
            nodes.is_ok_and(|nodes| nodes.lines().count() == NODES)
        })
        .await;
    }
    for shard in 0..SHARDS {
        let (first, last) = (shard * 16384 / SHARDS, (shard + 1) * 16384 / SHARDS - 1);
        insist(ips[shard], &format!("CLUSTER ADDSLOTSRANGE {first} {last}")).await;
        let replicate = format!("CLUSTER REPLICATE {}", ids[shard]);
        insist(ips[SHARDS + shard], &replicate).await;
    }
    for ip in &ips {
        eventually("all slots are served", async || {
            field(ip, "cluster_state").await.as_deref() == Some("ok")
        })
        .await;
    }
}

/// A line of a node's `CLUSTER INFO`.
async fn field(ip: &str, name: &str) -> Option<String> {
    let info: String = ask(ip, "CLUSTER INFO").await.ok()?;
    let found = info
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    found.map(str::to_owned)
}

/// Whether a node hears all members, sees them where they are, and knows a leader with a majority.
async fn sees_all(ip: &str, addresses: &Addresses, ids: &BTreeMap<String, String>) -> bool {
    let Ok(nodes) = ask::<String>(ip, "CLUSTER NODES").await else {
        return false;
    };
    let seen = |(pod, id): (&String, &String)| {
        let place = format!("{id} {}:{}@", addresses[pod], names::CLIENT_PORT);
        let line = nodes.lines().find(|line| line.starts_with(&place));
        line.is_some_and(|line| line.contains(" connected") && !line.contains("fail"))
    };
    ids.iter().all(seen)
        && field(ip, "cluster_quorum").await.as_deref() == Some("yes")
        && field(ip, "cluster_leader")
            .await
            .is_some_and(|leader| !leader.is_empty())
}

async fn scale(sets: &Api<StatefulSet>, replicas: usize) {
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    sets.patch_scale(NAME, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

#[test]
fn nodes_that_all_come_back_at_other_addresses_find_each_other_by_name() {
    bench::run_heavy("addresses", async |bench: &Bench| {
        if !bench::names_resolve(bench) {
            return;
        }
        let client = bench.platform.client();
        for manifest in manifests(&bench.namespace) {
            install::apply(client, &manifest).await.unwrap();
        }
        let api: Api<Pod> = Api::namespaced(client.clone(), &bench.namespace);
        let sets: Api<StatefulSet> = Api::namespaced(client.clone(), &bench.namespace);
        let mut addresses = wait_addresses(&api, &Addresses::new()).await;
        let known = ids(&addresses).await;
        form(&addresses, &known).await;
        for way in ["deleted", "scaled to none and back"] {
            if way == "deleted" {
                let selector = ListParams::default().labels(&format!("app={NAME}"));
                api.delete_collection(&DeleteParams::default(), &selector)
                    .await
                    .unwrap();
            } else {
                scale(&sets, 0).await;
                eventually("no pod is left", async || pods(&api).await.is_empty()).await;
                scale(&sets, NODES).await;
            }
            let former = std::mem::take(&mut addresses);
            addresses = wait_addresses(&api, &former).await;
            let last = Instant::now();
            assert_eq!(ids(&addresses).await, known, "claims keep identities");
            for (pod, ip) in &addresses {
                eventually(&format!("{pod} sees all others"), async || {
                    sees_all(ip, &addresses, &known).await
                })
                .await;
            }
            say(&format!(
                "{way}: all see each other {:?} after the last one runs",
                last.elapsed()
            ));
        }
    });
}
