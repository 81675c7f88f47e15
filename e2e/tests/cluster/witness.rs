//! Two nodes, of which either may fail, because the operator is the third voter.

use std::time::{Duration, Instant};

use e2e::caches::Cache;
use e2e::load::Workload;
use e2e::{faults, nodes};
use kube::api::{Patch, PatchParams};
use nix::sys::signal::Signal;
use redis::InfoDict;
use serde_json::json;

use crate::bench::{self, BOUND, Bench, say};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Longer than all that nodes wait for: a node timeout is two seconds.
const LONG: Duration = Duration::from_secs(5);

/// A line of a node's `CLUSTER INFO`.
pub(crate) async fn told(address: &str, name: &str) -> Option<String> {
    let mut connection = nodes::connect(address).await.ok()?;
    let mut info = redis::cmd("CLUSTER");
    let text: String = info.arg("INFO").query_async(&mut connection).await.ok()?;
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

/// Whether a node takes a write.
async fn takes_write(address: &str) -> bool {
    let Ok(mut connection) = nodes::connect(address).await else {
        return false;
    };
    let mut set = redis::cmd("SET");
    let written = set.arg("witness").arg(1).query_async(&mut connection).await;
    written.is_ok_and(|()| true)
}

/// Whether a node is a replica that has had all of its primary's data.
async fn follows(address: &str) -> bool {
    let Ok(mut connection) = nodes::connect(address).await else {
        return false;
    };
    let mut info = redis::cmd("INFO");
    let asked = info.arg("replication").query_async(&mut connection).await;
    asked.is_ok_and(|info: InfoDict| {
        let text = |name| info.get::<String>(name).unwrap_or_default();
        text("role") == "slave"
            && text("master_link_status") == "up"
            && text("master_sync_in_progress") == "0"
    })
}

/// Looks again and again whether something is so.
async fn wait(what: &str, is_so: impl AsyncFn() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < BOUND, "not in time: {what}");
        tokio::time::sleep(LOOK).await;
    }
    began.elapsed()
}

/// The two nodes vote, and so does the operator.
pub(crate) async fn wait_for_votes(cache: &Cache) {
    wait("all three vote", async || {
        let addresses = cache.addresses().await.unwrap_or_default();
        for address in &addresses {
            let voters = told(address, "cluster_voters").await.unwrap_or_default();
            let witness = told(address, "cluster_witness").await.unwrap_or_default();
            let id = witness.split('@').next().unwrap_or_default();
            if voters.split(',').count() != 3 || id.is_empty() || !voters.contains(id) {
                return false;
            }
        }
        addresses.len() == 2
    })
    .await;
}

/// What the operator's metrics say of its vote: whether it votes, and when it did last.
async fn vote(bench: &Bench) -> (i64, i64) {
    let text = bench.platform.operator_metrics().await.unwrap();
    let value = |name| {
        let series = format!(
            "cache_operator_witness_{name}{{name=\"cache\",namespace=\"{}\"}} ",
            bench.namespace
        );
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(&series));
        lines.next().unwrap().parse().unwrap()
    };
    (value("votes"), value("last_vote_timestamp_seconds"))
}

/// The addresses of primary and replica.
async fn pair(cache: &Cache) -> (String, String) {
    let addresses = cache.addresses().await.unwrap();
    let owners = nodes::owners(&addresses).await.unwrap();
    let primary = owners.keys().next().unwrap().clone();
    let replica = addresses.into_iter().find(|address| *address != primary);
    (primary, replica.unwrap())
}

/// The operator changes nothing any more, but still votes.
async fn pause(cache: &Cache) {
    let patch = Patch::Merge(json!({"spec": {"paused": true}}));
    let parameters = PatchParams::default();
    cache
        .api()
        .patch(cache.name(), &parameters, &patch)
        .await
        .unwrap();
}

#[test]
fn the_replica_of_two_nodes_follows_its_primary_by_the_operators_vote() {
    bench::run_heavy("witness", async |bench: &Bench| {
        if !bench::local_only(bench) {
            return;
        }
        let cache = bench.ready_cache(1, 1).await;
        wait_for_votes(&cache).await;
        let (votes, before) = vote(bench).await;
        assert_eq!(votes, 1);
        assert!(before > 0, "it has voted for its own seat");
        // So that it is the nodes that promote.
        pause(&cache).await;

        let (primary, replica) = pair(&cache).await;
        nodes::wait_replicated(&cache.addresses().await.unwrap(), BOUND)
            .await
            .unwrap();
        let stopped = faults::signal(&primary, Signal::SIGSTOP).await.unwrap();
        let time = wait("the replica follows a silent primary", async || {
            takes_write(&replica).await
        })
        .await;
        say(&format!(
            "the replica took a write {time:?} after its primary was stopped"
        ));
        faults::signal_process(stopped, Signal::SIGCONT).unwrap();
        wait("it is copied again", async || follows(&primary).await).await;
        nodes::wait_replicated(std::slice::from_ref(&replica), BOUND)
            .await
            .unwrap();

        let (primary, replica) = (replica, primary);
        faults::kill(&cache, &primary).await.unwrap();
        let time = wait("the replica follows a killed primary", async || {
            takes_write(&replica).await
        })
        .await;
        say(&format!(
            "the replica took a write {time:?} after its primary was killed"
        ));
        let (votes, now) = vote(bench).await;
        assert!(votes == 1 && now > before, "{votes}, {now} after {before}");
        let generation = told(&replica, "cluster_generation").await;
        assert_eq!(
            generation.as_deref(),
            Some("1"),
            "the group was formed anew"
        );
    });
}

#[test]
fn two_nodes_go_on_without_the_operator_and_get_its_vote_back() {
    bench::run_heavy("absence", async |bench: &Bench| {
        let cache = bench.ready_cache(1, 1).await;
        wait_for_votes(&cache).await;
        let (primary, _) = pair(&cache).await;
        let witness = told(&primary, "cluster_witness").await;
        bench.platform.kill_operator().await.unwrap();
        // Its next process has another address.
        wait("it is back elsewhere", async || {
            assert!(
                takes_write(&primary).await,
                "writes stop without the operator"
            );
            told(&primary, "cluster_witness").await != witness
        })
        .await;
        let id = |witness: &str| witness.split('@').next().map(ToOwned::to_owned);
        let now = told(&primary, "cluster_witness").await.unwrap();
        assert_eq!(id(&now), id(&witness.unwrap()), "it is another witness");
        wait_for_votes(&cache).await;
        assert_eq!(pair(&cache).await.0, primary);
    });
}

#[test]
fn a_silent_operator_matters_only_when_a_node_is_lost_too() {
    bench::run_heavy("silence", async |bench: &Bench| {
        if !bench::local_only(bench) {
            return;
        }
        let cache = bench.ready_cache(1, 1).await;
        wait_for_votes(&cache).await;
        pause(&cache).await;
        let (primary, replica) = pair(&cache).await;

        bench.platform.signal_operator(Signal::SIGSTOP).unwrap();
        let began = Instant::now();
        while began.elapsed() < LONG {
            assert!(
                takes_write(&primary).await,
                "writes stop without the operator"
            );
        }
        assert_eq!(pair(&cache).await.0, primary);
        let stopped = faults::signal(&primary, Signal::SIGSTOP).await.unwrap();
        let began = Instant::now();
        while began.elapsed() < LONG {
            assert!(!takes_write(&replica).await, "one of three has promoted it");
        }
        bench.platform.signal_operator(Signal::SIGCONT).unwrap();
        let time = wait("the replica follows", async || takes_write(&replica).await).await;
        say(&format!(
            "the replica took a write {time:?} after the operator went on"
        ));
        faults::signal_process(stopped, Signal::SIGCONT).unwrap();
        wait("it is copied again", async || follows(&primary).await).await;
    });
}

#[test]
fn three_nodes_need_no_witness() {
    bench::run_heavy("three", async |bench: &Bench| {
        let cache = bench.ready_cache(1, 1).await;
        wait_for_votes(&cache).await;
        let (primary, _) = pair(&cache).await;
        cache.apply(&bench::manifest(1, 2)).await.unwrap();
        wait("only members vote", async || {
            let voters = told(&primary, "cluster_voters").await.unwrap_or_default();
            let witness = told(&primary, "cluster_witness").await;
            voters.split(',').count() == 3 && witness.as_deref() == Some("")
        })
        .await;
        cache.apply(&bench::manifest(1, 1)).await.unwrap();
        cache.wait_pods(2, BOUND).await.unwrap();
        wait_for_votes(&cache).await;
    });
}

#[test]
fn what_two_nodes_have_survives_while_the_api_server_is_away_and_a_node_fails_too() {
    bench::run_apart("api-away", async |bench: &Bench| {
        let cache = bench.ready_cache(1, 1).await;
        wait_for_votes(&cache).await;
        let addresses = cache.addresses().await.unwrap();
        let (primary, replica) = pair(&cache).await;
        let work = Workload::new(&addresses, "away:", 500).unwrap();
        work.fill(|_| ()).await.unwrap();
        nodes::wait_replicated(&addresses, BOUND).await.unwrap();

        // Without it no process is started again either.
        bench.platform.stop_api_server(true).unwrap();
        faults::signal(&replica, Signal::SIGKILL).await.unwrap();
        wait("the primary takes no writes alone", async || {
            !takes_write(&primary).await
        })
        .await;
        bench.platform.stop_api_server(false).unwrap();
        wait("the primary takes writes", async || {
            takes_write(&primary).await
        })
        .await;
        wait("the replica is copied again", async || {
            follows(&replica).await
        })
        .await;
        wait_for_votes(&cache).await;
        assert_eq!(work.verify().await.unwrap().lost_writes, 0);

        nodes::wait_replicated(&addresses, BOUND).await.unwrap();
        bench.platform.stop_api_server(true).unwrap();
        faults::signal(&primary, Signal::SIGKILL).await.unwrap();
        let began = Instant::now();
        while began.elapsed() < LONG {
            assert!(!takes_write(&replica).await, "one of three has promoted it");
        }
        bench.platform.stop_api_server(false).unwrap();
        let time = wait("the replica follows", async || takes_write(&replica).await).await;
        say(&format!(
            "the replica took a write {time:?} after the API server was back"
        ));
        wait("it is copied again", async || follows(&primary).await).await;
        assert_eq!(work.verify().await.unwrap().lost_writes, 0);
        cache.wait_ready(BOUND, say).await.unwrap();
    });
}
