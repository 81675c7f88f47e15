//! An operator that reaches the API server and none of the nodes leaves them alone, and says that it does not see them.

use std::collections::BTreeMap;
use std::time::Duration;

use cache_operator::api::CacheCluster;
use e2e::apart::Apart;
use e2e::caches::Cache;
use e2e::load::{Pressure, Workload};
use e2e::nodes::{self, Owners};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use crate::bench::{self, BOUND, Bench, say};
use crate::witness;

/// How long the operator is left without its nodes: many of its passes.
fn cut_off_time() -> Duration {
    let seconds = std::env::var("E2E_CUT_OFF_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(60))
}

/// All that an operator could change.
#[derive(Debug, PartialEq)]
struct Scene {
    /// Uid by name: a pod that was replaced has another one.
    pods: BTreeMap<String, Option<String>>,
    /// Generation by name: it counts the changes of what is wanted.
    sets: BTreeMap<String, Option<i64>>,
    owners: Owners,
    /// Generation and epoch of the topology.
    topology: Vec<Option<String>>,
}

async fn scene(bench: &Bench, cache: &Cache) -> Scene {
    let pods = cache.pods().await.unwrap();
    let client = bench.platform.client().clone();
    let sets: Api<StatefulSet> = Api::namespaced(client, &bench.namespace);
    let sets = sets.list(&ListParams::default()).await.unwrap();
    let addresses = cache.addresses().await.unwrap();
    let mut topology = vec![];
    for name in ["cluster_generation", "cluster_current_epoch"] {
        topology.push(witness::told(&addresses[0], name).await);
    }
    Scene {
        pods: pods.iter().map(|pod| (pod.name_any(), pod.uid())).collect(),
        sets: sets
            .iter()
            .map(|set| (set.name_any(), set.metadata.generation))
            .collect(),
        owners: nodes::owners(&addresses).await.unwrap(),
        topology,
    }
}

/// The status of every condition, and its reason.
fn conditions(cluster: &CacheCluster) -> BTreeMap<&str, (&str, &str)> {
    let conditions = cluster.status.iter().flat_map(|status| &status.conditions);
    conditions
        .map(|one| {
            (
                one.type_.as_str(),
                (one.status.as_str(), one.reason.as_str()),
            )
        })
        .collect()
}

fn is_not_reached(cluster: &CacheCluster) -> bool {
    let conditions = conditions(cluster);
    ["Ready", "Available", "SlotsCovered", "QuorumHealthy"]
        .iter()
        .all(|type_| conditions.get(type_) == Some(&("Unknown", "NodesNotReached")))
}

/// What may be written of a cluster that is not seen: what is known of it, and the operator's own vote.
fn is_harmless(request: &str) -> bool {
    let about = [
        "/cacheclusters/cache/status",
        "/events",
        "/configmaps/cache-witness-",
    ];
    about.iter().any(|path| request.contains(path))
}

/// Two shards, or two nodes, which have the operator as third voter.
async fn is_left_alone(bench: &Bench, shards: i32) {
    let cache = bench.ready_cache(shards, 1).await;
    if shards == 1 {
        witness::wait_for_votes(&cache).await;
    }
    let addresses = cache.addresses().await.unwrap();
    let work = Workload::new(&addresses, "cut-off:", 2_000).unwrap();
    work.fill(|_| ()).await.unwrap();
    let load = work.start(Pressure::default()).await.unwrap();
    let before = scene(bench, &cache).await;
    let since = Timestamp::now();

    let cut_off = bench.platform.cut_operator_off().await.unwrap();
    cache
        .wait("not reached", BOUND, is_not_reached, say)
        .await
        .unwrap();
    tokio::time::sleep(cut_off_time()).await;
    let cluster = cache.api().get(cache.name()).await.unwrap();
    assert!(is_not_reached(&cluster), "{:?}", conditions(&cluster));
    assert_eq!(scene(bench, &cache).await, before);
    let written = bench.platform.write_requests(&bench.namespace, since);
    let harm: Vec<_> = written.iter().filter(|one| !is_harmless(one)).collect();
    assert_eq!(harm, Vec::<&String>::new());

    let tally = load.stop().await;
    assert_eq!(tally.errors, 0, "{:?}", tally.samples);
    assert!(tally.acknowledged_writes > 0);
    bench.platform.reconnect_operator(cut_off).await.unwrap();
    let cluster = cache.wait_ready(BOUND, say).await.unwrap();
    let quorum = conditions(&cluster)["QuorumHealthy"];
    assert_eq!(quorum, ("True", "Quorum"));
    let after = scene(bench, &cache).await;
    assert_eq!(
        (after.pods, after.sets, after.owners),
        (before.pods, before.sets, before.owners)
    );
    assert_eq!(work.verify().await.unwrap().lost_writes, 0);
}

fn run(name: &str, shards: i32) {
    if let Some(why) = Apart::unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    bench::run_apart(name, async |bench: &Bench| {
        is_left_alone(bench, shards).await;
    });
}

#[test]
fn a_healthy_cluster_is_left_alone_by_an_operator_that_is_cut_off() {
    run("cut-off", 2);
}

#[test]
fn two_nodes_are_left_alone_by_a_witness_that_is_cut_off() {
    run("cut-off-witness", 1);
}
