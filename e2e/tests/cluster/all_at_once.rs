//! All nodes of a cluster are lost at once. Nothing that they had in memory is left, and the cluster takes writes again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use e2e::caches::Cache;
use e2e::load::Workload;
use e2e::{faults, nodes};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;

use crate::bench::{self, BOUND, Bench, say};

const SHARDS: usize = 3;
const NODES: usize = 2 * SHARDS;
const VOTERS: usize = 5;
const POLL: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug)]
enum Loss {
    /// The containers end without warning; the pods stay, with their addresses and node ids.
    Containers,
    /// The pods are deleted, and hand over to each other while they end.
    Pods,
    /// The pods are deleted without warning.
    PodsWithoutGrace,
}

/// What is another one when a container or its pod was replaced.
fn lives(pods: &[Pod]) -> BTreeSet<String> {
    let running = |pod: &Pod| {
        let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
        let started = status.state.as_ref()?.running.as_ref()?;
        let id = status.container_id.as_ref()?;
        started.started_at.as_ref()?;
        pod.metadata.deletion_timestamp.is_none().then_some(())?;
        Some(format!("{} {id}", pod.uid()?))
    };
    pods.iter().filter_map(running).collect()
}

async fn strike(cache: &Cache, loss: Loss) {
    let addresses = cache.addresses().await.unwrap();
    let harm = addresses.iter().map(async |address| match loss {
        Loss::Containers => faults::kill(cache, address).await,
        Loss::Pods => faults::delete(cache, address, &DeleteParams::default()).await,
        Loss::PodsWithoutGrace => {
            faults::delete(cache, address, &DeleteParams::default().grace_period(0)).await
        }
    });
    for done in join_all(harm).await {
        done.unwrap();
    }
}

/// Waits until so many containers run that did not run `before`.
async fn wait_replaced(cache: &Cache, before: &BTreeSet<String>) {
    let replaced = async {
        loop {
            let now = lives(&cache.pods().await.unwrap());
            if now.len() == NODES && now.is_disjoint(before) {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let replaced = tokio::time::timeout(BOUND, replaced).await;
    replaced.expect("not all nodes were replaced");
}

async fn wait_whole(cache: &Cache) {
    let start = Instant::now();
    while let Err(not_yet) = is_whole(cache).await {
        assert!(start.elapsed() < BOUND, "{not_yet:#}");
        tokio::time::sleep(POLL).await;
    }
}

async fn is_whole(cache: &Cache) -> anyhow::Result<()> {
    nodes::whole(&cache.addresses().await?, VOTERS, SHARDS).await
}

#[test]
fn a_cluster_that_loses_all_nodes_at_once_takes_writes_again() {
    bench::run_heavy("all-at-once", async |bench: &Bench| {
        if !bench::local_only(bench) {
            return;
        }
        let cache = bench.ready_cache(SHARDS as i32, 1).await;
        wait_whole(&cache).await;
        for loss in [Loss::Containers, Loss::PodsWithoutGrace, Loss::Pods] {
            let addresses = cache.addresses().await.unwrap();
            let before = Workload::new(&addresses, "before:", 1_000).unwrap();
            before.fill(|_| ()).await.unwrap();
            let lost = lives(&cache.pods().await.unwrap());
            assert_eq!(lost.len(), NODES);

            strike(&cache, loss).await;
            wait_replaced(&cache, &lost).await;
            let last = Instant::now();
            wait_whole(&cache).await;
            let elapsed = last.elapsed();
            say(&format!("{loss:?}: whole {elapsed:?} after the last node"));

            let addresses = cache.addresses().await.unwrap();
            let after = Workload::new(&addresses, "after:", 1_000).unwrap();
            after.fill(|_| ()).await.unwrap();
            assert_eq!(after.verify().await.unwrap().lost_writes, 0, "{loss:?}");
            cache.wait_ready(BOUND, say).await.unwrap();
        }
    });
}
