//! Full syncs that come from another replica.

use nix::sys::signal::Signal;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use crate::cluster::Cluster;
use crate::processes::{Process, dump, eventually};
use crate::replication::{follow, info, wait};

/// Full syncs that a node has sent.
async fn sent(node: &mut MultiplexedConnection) -> u32 {
    info(node).await["sync_full"].parse().expect("a number")
}

async fn write(primary: &mut MultiplexedConnection, round: u32) {
    let mut pipe = redis::pipe();
    for number in 0..2000 {
        pipe.set(format!("key:{number}"), format!("{round}:{number}"))
            .ignore();
    }
    pipe.append("rounds", round).ignore();
    let _: () = pipe.query_async(primary).await.expect("writes");
}

/// A primary with data, and a replica of it.
async fn pair() -> (Process, Process) {
    let (primary, replica) = (Process::start(&[]).await, Process::start(&[]).await);
    let (mut on_primary, mut on_replica) = (primary.connect().await, replica.connect().await);
    write(&mut on_primary, 1).await;
    follow(&mut on_replica, &primary).await;
    wait(&mut on_primary, 1).await;
    assert_eq!(sent(&mut on_primary).await, 1);
    (primary, replica)
}

#[tokio::test]
async fn the_second_replica_copies_the_first_and_goes_on_with_the_primary() {
    let (primary, first) = pair().await;
    let second = Process::start(&[]).await;
    let (mut on_primary, mut on_first, mut on_second) = (
        primary.connect().await,
        first.connect().await,
        second.connect().await,
    );
    // What it has of its own goes with the copy.
    let _: () = on_second.set("own", "1").await.expect("SET");
    follow(&mut on_second, &primary).await;
    assert_eq!(sent(&mut on_primary).await, 1);
    assert_eq!(sent(&mut on_first).await, 1);
    let replication = info(&mut on_second).await;
    assert_eq!(replication["master_port"], primary.port().to_string());
    assert_eq!(info(&mut on_primary).await["connected_slaves"], "2");
    eventually("the first replica is left", async || {
        info(&mut on_first).await["connected_slaves"] == "0"
    })
    .await;
    write(&mut on_primary, 2).await;
    wait(&mut on_primary, 2).await;
    assert_eq!(dump(&mut on_second).await, dump(&mut on_primary).await);
}

#[tokio::test]
async fn the_primary_sends_it_where_the_replica_refuses() {
    let (primary, first) = pair().await;
    let _: () = redis::cmd("CONFIG")
        .arg(&["SET", "requirepass", "secret"])
        .query_async(&mut first.connect().await)
        .await
        .expect("CONFIG SET");
    let second = Process::start(&[]).await;
    let (mut on_primary, mut on_second) = (primary.connect().await, second.connect().await);
    follow(&mut on_second, &primary).await;
    assert_eq!(sent(&mut on_primary).await, 2);
    assert_eq!(dump(&mut on_second).await, dump(&mut on_primary).await);
}

#[tokio::test]
async fn the_primary_sends_it_where_the_replica_says_nothing() {
    let (primary, first) = pair().await;
    let second = Process::start(&[]).await;
    let (mut on_primary, mut on_second) = (primary.connect().await, second.connect().await);
    first.signal(Signal::SIGSTOP);
    follow(&mut on_second, &primary).await;
    assert_eq!(sent(&mut on_primary).await, 2);
    assert_eq!(dump(&mut on_second).await, dump(&mut on_primary).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_the_replicas_of_a_shard_help_each_other() {
    let cluster = Cluster::start(3, &[0, 0], true).await;
    let mut client = cluster.client().await;
    for number in 0..500 {
        let _: () = client.set(number, "v").await.expect("SET");
    }
    let mut on_primary = cluster.connect(0).await;
    wait(&mut on_primary, 2).await;
    let keys = cluster.keys_in(0, 0, 5460).await;
    cluster.insist(4, "CLUSTER RESET").await;
    assert_eq!(cluster.keys_in(4, 0, 5460).await, 0);
    let before = (
        sent(&mut on_primary).await,
        sent(&mut cluster.connect(3).await).await,
    );
    let back = format!("CLUSTER MEET 127.0.0.1 {}", cluster.nodes[4].port());
    cluster.insist(0, &back).await;
    let replicate = format!("CLUSTER REPLICATE {}", cluster.ids[0]);
    cluster.insist(4, &replicate).await;
    cluster.wait_for_link(4).await;
    wait(&mut on_primary, 2).await;
    assert_eq!(cluster.keys_in(4, 0, 5460).await, keys);
    let after = (
        sent(&mut on_primary).await,
        sent(&mut cluster.connect(3).await).await,
    );
    assert_eq!(after, (before.0, before.1 + 1));
    // A replica of another shard asks in vain.
    let refused: redis::RedisResult<String> = redis::cmd("EVENKEEL.SYNC")
        .arg(4)
        .arg(&cluster.ids[1])
        .arg(1)
        .arg(&cluster.ids[0])
        .arg(1)
        .arg("0".repeat(40))
        .arg(0)
        .arg("copy-only")
        .query_async(&mut cluster.connect(3).await)
        .await;
    assert!(refused.is_err());
}
