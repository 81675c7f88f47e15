//! Primaries are replaced on purpose, and clients do not notice.

use std::time::Duration;

use e2e::caches::{self, Cache};
use e2e::load::{Pressure, Workload};
use e2e::nodes;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::DeleteParams;
use kube::runtime::wait::{await_condition, conditions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bench::{self, BOUND, Bench, say};
use crate::python;

/// Where nodes serve their metrics.
const METRICS_PORT: u16 = 9121;

/// Between two looks at the replicas.
const POLL: Duration = Duration::from_millis(100);

/// Pods by whether they are primaries.
async fn pods(cache: &Cache) -> (Vec<Pod>, Vec<Pod>) {
    let owners = nodes::owners(&cache.addresses().await.unwrap())
        .await
        .unwrap();
    let pods = cache.pods().await.unwrap();
    pods.into_iter()
        .partition(|pod| caches::address(pod).is_some_and(|address| owners.contains_key(&address)))
}

/// Sum of a metric over the nodes.
async fn metric(cache: &Cache, name: &str) -> f64 {
    let mut sum = 0.0;
    for address in cache.addresses().await.unwrap() {
        let (host, _) = address.rsplit_once(':').unwrap();
        let mut stream = TcpStream::connect((host, METRICS_PORT)).await.unwrap();
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let line = answer.lines().find_map(|line| line.strip_prefix(name));
        sum += line.expect(name).trim().parse::<f64>().unwrap();
    }
    sum
}

async fn whole(cache: &Cache) {
    cache.wait_pods(6, BOUND).await.unwrap();
    cache.wait_ready(BOUND, say).await.unwrap();
    let settled = async {
        while !nodes::settled(&cache.addresses().await.unwrap()).await {
            tokio::time::sleep(POLL).await;
        }
    };
    let settled = tokio::time::timeout(BOUND, settled).await;
    settled.expect("the replicas do not follow");
}

#[test]
fn redis_rs_and_redis_py_lose_nothing_and_see_no_error_through_planned_hand_overs() {
    bench::run_heavy("hand-over", async |bench: &Bench| {
        let cache = bench.ready_cache(3, 1).await;
        let addresses = cache.addresses().await.unwrap();
        let work = Workload::new(&addresses, "rust:", 5_000).unwrap();
        work.fill(|_| ()).await.unwrap();
        whole(&cache).await;
        let python = python::Load::start(&addresses[0]).await;
        let load = work.start(Pressure::default()).await.unwrap();

        for _ in 0..3 {
            let (_, replicas) = pods(&cache).await;
            for replica in replicas {
                let address = caches::address(&replica).unwrap();
                let mut connection = nodes::connect(&address).await.unwrap();
                let () = redis::cmd("CLUSTER")
                    .arg("FAILOVER")
                    .query_async(&mut connection)
                    .await
                    .unwrap();
            }
            whole(&cache).await;
        }
        let leaders = metric(&cache, "evenkeel_cluster_leader").await;
        let promoted = metric(&cache, "evenkeel_cluster_promotions_total").await;
        let pauses = metric(&cache, "evenkeel_hand_over_pause_seconds_count").await;
        let abandoned = metric(&cache, "evenkeel_hand_overs_abandoned_total").await;
        let shards = 3.0;
        assert_eq!((leaders, abandoned), (1.0, 0.0));
        assert_eq!((promoted, pauses), (3.0 * shards, 3.0 * shards));

        let (primaries, _) = pods(&cache).await;
        for primary in primaries {
            let (pods, name) = (cache.pods_api(), primary.name_any());
            let uid = primary.uid().unwrap();
            let deleted = conditions::is_deleted(&uid);
            pods.delete(&name, &DeleteParams::default()).await.unwrap();
            let gone = tokio::time::timeout(BOUND, await_condition(pods, &name, deleted)).await;
            gone.expect("the pod does not end").unwrap();
            whole(&cache).await;
        }

        let tally = load.stop().await;
        let seen = (tally.errors, tally.stale_reads);
        assert_eq!(seen, (0, 0), "{:?}", tally.samples);
        assert!(tally.acknowledged_writes > 1_000, "{tally}");
        let audit = work.verify().await.unwrap();
        assert_eq!(audit.lost_writes, 0, "{:?}", audit.samples);
        python.finish().await;
    });
}
