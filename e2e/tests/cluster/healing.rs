//! A lost primary is replaced by its replica, and comes back as one.

use e2e::caches::Cache;
use e2e::load::Workload;
use e2e::{demo, faults, nodes};
use kube::ResourceExt;
use kube::api::DeleteParams;

use crate::bench::{self, BOUND, Bench, say};

async fn filled(cache: &Cache) -> Workload {
    let addresses = cache.addresses().await.unwrap();
    let work = Workload::new(&addresses, "heal:", 2_000).unwrap();
    work.fill(|_| ()).await.unwrap();
    nodes::wait_replicated(&addresses, BOUND).await.unwrap();
    work
}

#[test]
fn a_killed_and_a_deleted_primary_are_replaced_without_losing_what_was_replicated() {
    bench::run_heavy("healing", async |bench: &Bench| {
        let cache = bench.ready_cache(3, 1).await;
        let work = filled(&cache).await;

        let owners = nodes::owners(&cache.addresses().await.unwrap())
            .await
            .unwrap();
        let victim = owners.keys().next().unwrap();
        faults::kill(&cache, victim).await.unwrap();
        demo::wait_healed(&cache, victim, BOUND, &say)
            .await
            .unwrap();
        assert_eq!(work.verify().await.unwrap().lost_writes, 0);

        let owners = nodes::owners(&cache.addresses().await.unwrap())
            .await
            .unwrap();
        let pods = cache.pods().await.unwrap();
        let primary = |pod: &&k8s_openapi::api::core::v1::Pod| {
            e2e::caches::address(pod).is_some_and(|address| owners.contains_key(&address))
        };
        let pod = pods.iter().find(primary).unwrap();
        let address = e2e::caches::address(pod).unwrap();
        cache
            .pods_api()
            .delete(&pod.name_any(), &DeleteParams::default())
            .await
            .unwrap();
        demo::wait_healed(&cache, &address, BOUND, &say)
            .await
            .unwrap();
        cache.wait_pods(6, BOUND).await.unwrap();
        assert_eq!(work.verify().await.unwrap().lost_writes, 0);
    });
}
