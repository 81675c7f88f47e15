//! The operator is killed at random moments of a change, and the next one finishes it.

use std::time::Duration;

use e2e::load::Workload;
use e2e::nodes;
use rand::Rng;

use crate::bench::{self, BOUND, Bench, say};

/// Kills in all; every other one is in a scale-in.
fn rounds() -> usize {
    std::env::var("E2E_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(4)
}

#[test]
fn an_operator_killed_at_random_moments_is_continued_by_the_next() {
    bench::run_heavy("operator", async |bench: &Bench| {
        let cache = bench.ready_cache(2, 1).await;
        let work = Workload::new(&cache.addresses().await.unwrap(), "op:", 2_000).unwrap();
        work.fill(|_| ()).await.unwrap();
        for round in 0..rounds() {
            let shards = if round % 2 == 0 { 3 } else { 2 };
            cache.scale(shards).await.unwrap();
            let moment = Duration::from_millis(rand::rng().random_range(0..6_000));
            tokio::time::sleep(moment).await;
            say(&format!(
                "round {round}: to {shards} shards, the operator is killed after {moment:?}"
            ));
            bench.platform.kill_operator().await.unwrap();
            cache.wait_ready(BOUND, say).await.unwrap();
            let owners = nodes::owners(&cache.addresses().await.unwrap())
                .await
                .unwrap();
            assert_eq!(owners.len(), usize::try_from(shards).unwrap());
            let audit = work.verify().await.unwrap();
            assert_eq!(audit.lost_writes, 0, "{:?}", audit.samples);
        }
    });
}
