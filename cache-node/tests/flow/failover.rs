//! Primaries fail, and nobody but the nodes is there to do something about it.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use redis::RedisResult;

use crate::cluster::{Cluster, ask};
use crate::processes::{Process, eventually};
use crate::writers::Writers;

async fn some_writes(writers: &Writers, more: u64) {
    let until = writers.writes() + more;
    eventually("writers get on", async || writers.writes() >= until).await;
}

async fn set(cluster: &Cluster, node: usize, key: &str) -> RedisResult<String> {
    let mut connection = cluster.connect(node).await;
    redis::cmd("SET")
        .arg(key)
        .arg("v")
        .query_async(&mut connection)
        .await
}

/// A key in a slot of the first shard of three.
const KEY_OF_FIRST: &str = "{b}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_primary_is_followed_by_its_replica() {
    let mut cluster = Cluster::start(3, &[0, 1, 2], true).await;
    let mut client = cluster.client().await;
    let writers = Writers::start(&client, 2, &[]);
    some_writes(&writers, 500).await;
    for primary in 0..3 {
        let replica = primary + 3;
        cluster.nodes[primary].kill();
        let began = Instant::now();
        let first_slot = primary * 16384 / 3;
        for viewer in (0..6).filter(|viewer| *viewer != primary) {
            cluster
                .wait_for_owner_at(viewer, first_slot as u16, replica)
                .await;
        }
        println!("followed after {:?}", began.elapsed());
        some_writes(&writers, 500).await;
        cluster.nodes[primary].restart().await;
        cluster.wait_for_link(primary).await;
    }
    let records = writers.stop().await;
    println!("longest gap: {:?}", records.gap());
    records.verify_but_the_last(&mut client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_was_stopped_takes_no_write_beside_its_successor() {
    let cluster = Cluster::start(3, &[0], true).await;
    set(&cluster, 0, KEY_OF_FIRST).await.expect("SET");
    cluster.nodes[0].signal(Signal::SIGSTOP);
    for viewer in 1..4 {
        cluster.wait_for_owner_at(viewer, 0, 3).await;
    }
    let mut connection = cluster.connect(3).await;
    let _: () = ask(&mut connection, &format!("SET {KEY_OF_FIRST} new")).await;
    // It waits in the stopped process, which does not know yet what has happened.
    let asking = tokio::spawn({
        let client = cluster.nodes[0].url();
        async move {
            let client = redis::Client::open(client).expect("an address");
            let mut connection = client
                .get_multiplexed_async_connection_with_config(
                    &redis::AsyncConnectionConfig::new()
                        .set_connection_timeout(Some(Duration::from_secs(30)))
                        .set_response_timeout(Some(Duration::from_secs(30))),
                )
                .await
                .expect("a connection");
            redis::cmd("SET")
                .arg(KEY_OF_FIRST)
                .arg("old")
                .query_async::<String>(&mut connection)
                .await
        }
    });
    cluster.nodes[0].signal(Signal::SIGCONT);
    let refused = asking.await.expect("no panic").expect_err("refused");
    let code = refused.code().unwrap_or_default().to_owned();
    assert!(
        ["MOVED", "CLUSTERDOWN"].contains(&code.as_str()),
        "{refused}"
    );
    let value: String = ask(&mut connection, &format!("GET {KEY_OF_FIRST}")).await;
    assert_eq!(value, "new");
    cluster.wait_for_link(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_there_are_reads_and_no_writes() {
    let mut cluster = Cluster::start(3, &[], true).await;
    set(&cluster, 0, KEY_OF_FIRST).await.expect("SET");
    cluster.nodes[1].kill();
    cluster.nodes[2].kill();
    eventually("writes are refused", async || {
        set(&cluster, 0, KEY_OF_FIRST)
            .await
            .is_err_and(|error| error.code() == Some("CLUSTERDOWN"))
    })
    .await;
    let value: String = ask(
        &mut cluster.connect(0).await,
        &format!("GET {KEY_OF_FIRST}"),
    )
    .await;
    assert_eq!(value, "v");
    cluster.nodes[1].restart().await;
    eventually("writes are taken again", async || {
        set(&cluster, 0, KEY_OF_FIRST).await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_may_become_primary_is_not_emptied_by_a_transaction() {
    let cluster = Cluster::start(3, &[0], true).await;
    set(&cluster, 0, KEY_OF_FIRST).await.expect("SET");
    let copied: u32 = ask(&mut cluster.connect(0).await, "WAIT 1 5000").await;
    let mut replica = cluster.connect(3).await;
    let _: () = ask(&mut replica, "MULTI").await;
    let _: String = ask(&mut replica, "FLUSHALL").await;
    let executed: RedisResult<redis::Value> = redis::cmd("EXEC").query_async(&mut replica).await;
    let refused = executed.expect_err("refused");
    assert_eq!(refused.code(), Some("READONLY"), "{refused}");
    let keys: u32 = ask(&mut replica, "DBSIZE").await;
    assert_eq!((copied, keys), (1, 1));
}

/// Kills all nodes and starts them again.
async fn restart_all(cluster: &mut Cluster) {
    cluster.nodes.iter_mut().for_each(Process::kill);
    let began = Instant::now();
    for node in &mut cluster.nodes {
        node.restart().await;
    }
    println!("started after {:?}", began.elapsed());
    eventually("writes are taken in every shard", async || {
        let mut taken = 0;
        for (shard, key) in ["{b}", "{c}", "{a}"].iter().enumerate() {
            let replica = shard + 3;
            for node in [shard, replica] {
                taken += u32::from(set(cluster, node, key).await.is_ok());
            }
        }
        taken == 3
    })
    .await;
    println!("served after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_which_all_nodes_restart_is_served_again() {
    let mut cluster = Cluster::start(3, &[0, 1, 2], true).await;
    restart_all(&mut cluster).await;
    for replica in 3..6 {
        cluster.wait_for_link(replica).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_shard_goes_on_with_what_its_replica_has_saved() {
    let mut cluster = Cluster::start(3, &[0, 1, 2], true).await;
    set(&cluster, 0, KEY_OF_FIRST).await.expect("SET");
    let copied: u32 = ask(&mut cluster.connect(0).await, "WAIT 1 5000").await;
    assert_eq!(copied, 1);
    let _: () = ask(&mut cluster.connect(3).await, "SAVE").await;
    for node in [0, 3] {
        cluster.nodes[node].kill();
    }
    cluster.nodes[0].restart().await;
    cluster.nodes[3].restart().await;
    cluster.wait_for_owner(0, 3).await;
    cluster.wait_for_link(0).await;
    let value: String = ask(
        &mut cluster.connect(3).await,
        &format!("GET {KEY_OF_FIRST}"),
    )
    .await;
    assert_eq!(value, "v");
}
