//! Shards come and go under load, and nothing that was acknowledged is lost.

use cache_operator::api::Health;
use e2e::caches::{self, Cache};
use e2e::load::{Pressure, Workload};
use e2e::{faults, nodes};
use nix::sys::signal::Signal;

use crate::bench::{self, BOUND, Bench, say};
use crate::python;

const KEYS: usize = 5_000;

async fn filled(cache: &Cache) -> Workload {
    let work = Workload::new(&cache.addresses().await.unwrap(), "rust:", KEYS).unwrap();
    work.fill(|_| ()).await.unwrap();
    work
}

async fn nothing_lost(work: &Workload) {
    let audit = work.verify().await.unwrap();
    assert_eq!(
        (audit.lost_writes, audit.alien_values),
        (0, 0),
        "{:?}",
        audit.samples
    );
}

async fn scale(cache: &Cache, shards: i32) {
    cache.scale(shards).await.unwrap();
    cache.wait_ready(BOUND, say).await.unwrap();
}

#[test]
fn redis_rs_and_redis_py_lose_nothing_and_see_no_error_through_3_5_3() {
    bench::run_heavy("clients", async |bench: &Bench| {
        let cache = bench.ready_cache(3, 1).await;
        let work = filled(&cache).await;
        let python = python::Load::start(&cache.addresses().await.unwrap()[0]).await;
        let load = work.start(Pressure::default()).await.unwrap();
        scale(&cache, 5).await;
        assert_eq!(
            nodes::owners(&cache.addresses().await.unwrap())
                .await
                .unwrap()
                .len(),
            5
        );
        scale(&cache, 3).await;
        cache.wait_pods(6, BOUND).await.unwrap();
        let tally = load.stop().await;
        assert_eq!(
            (tally.errors, tally.stale_reads),
            (0, 0),
            "{:?}",
            tally.samples
        );
        assert!(tally.acknowledged_writes > 1_000, "{tally}");
        nothing_lost(&work).await;

        python.finish().await;
    });
}

#[test]
fn shards_raised_again_in_the_middle_of_a_drain_converge() {
    bench::run_heavy("again", async |bench: &Bench| {
        let cache = bench.ready_cache(4, 0).await;
        let work = filled(&cache).await;
        cache.scale(2).await.unwrap();
        let draining = |cluster: &cache_operator::api::CacheCluster| {
            let status = cluster.status.as_ref();
            status.is_some_and(|status| {
                status
                    .shard_status
                    .iter()
                    .any(|shard| shard.health == Health::Draining)
            })
        };
        cache.wait("draining", BOUND, draining, say).await.unwrap();
        scale(&cache, 4).await;
        assert_eq!(
            nodes::owners(&cache.addresses().await.unwrap())
                .await
                .unwrap()
                .len(),
            4
        );
        nothing_lost(&work).await;
    });
}

#[test]
fn a_shard_whose_primary_is_stopped_is_not_removed_before_it_is_drained() {
    bench::run_heavy("stopped", async |bench: &Bench| {
        if !bench::local_only(bench) {
            return;
        }
        let cache = bench.ready_cache(3, 1).await;
        let work = filled(&cache).await;
        let pods = cache.pods().await.unwrap();
        let owners = nodes::owners(&cache.addresses().await.unwrap())
            .await
            .unwrap();
        let doomed = pods
            .iter()
            .find(|pod| {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                name.starts_with("cache-s2-")
                    && caches::address(pod).is_some_and(|address| owners.contains_key(&address))
            })
            .and_then(caches::address)
            .expect("shard 2 has a primary");
        let process = faults::signal(&doomed, Signal::SIGSTOP).await.unwrap();
        cache.scale(2).await.unwrap();
        let says_why = |cluster: &cache_operator::api::CacheCluster| {
            let conditions = cluster.status.iter().flat_map(|status| &status.conditions);
            conditions
                .into_iter()
                .any(|condition| condition.type_ != "Available" && condition.message.contains("s2"))
        };
        cache
            .wait("saying why it waits", BOUND, says_why, say)
            .await
            .unwrap();
        let others: Vec<String> = pods
            .iter()
            .filter_map(caches::address)
            .filter(|address| *address != doomed)
            .collect();
        let covered: usize = nodes::owners(&others)
            .await
            .unwrap()
            .values()
            .map(cache_node::slot::SlotSet::len)
            .sum();
        assert_eq!(covered, 16_384);
        // It may have been restarted by its liveness probe meanwhile.
        let _ = faults::signal_process(process, Signal::SIGCONT);
        cache.wait_ready(BOUND, say).await.unwrap();
        cache.wait_pods(4, BOUND).await.unwrap();
        nothing_lost(&work).await;
    });
}
