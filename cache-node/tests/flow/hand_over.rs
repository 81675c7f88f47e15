//! A primary hands its slots over to its replica: nothing that was acknowledged is lost.

use std::time::Duration;

use nix::sys::signal::Signal;
use redis::RedisError;
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, ask};
use crate::processes::{Process, eventually};
use crate::replication::follow;
use crate::writers::Writers;

async fn some_writes(writers: &Writers, more: u64) {
    let until = writers.writes() + more;
    eventually("writers get on", async || writers.writes() >= until).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_failover_under_load_loses_no_acknowledged_write() {
    let cluster = Cluster::start(3, &[0], true).await;
    let mut client = cluster.client().await;
    let writers = Writers::start(&client, 4, &[]);
    some_writes(&writers, 500).await;
    let (mut primary, mut replica) = (0, 3);
    for _ in 0..3 {
        let answer: String = ask(&mut cluster.connect(replica).await, "CLUSTER FAILOVER").await;
        assert_eq!(answer, "OK");
        cluster.wait_for_owner(0, replica).await;
        some_writes(&writers, 500).await;
        cluster.wait_for_link(primary).await;
        (primary, replica) = (replica, primary);
    }
    let records = writers.stop().await;
    println!("longest gap: {:?}", records.gap());
    assert_eq!(records.errors(), Vec::<&String>::new());
    records.verify(&mut client).await;
}

/// Sends a command to each of two connections, and waits until both wait for the reply.
async fn blocked(process: &Process, commands: [&'static str; 2]) -> [JoinHandle<RedisError>; 2] {
    let mut waiting = vec![];
    for command in commands {
        let mut connection = process.connect().await;
        let words: Vec<&str> = command.split(' ').collect();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        waiting.push(tokio::spawn(async move {
            let answer = command.query_async::<redis::Value>(&mut connection).await;
            answer.expect_err("an answer with what is not so")
        }));
    }
    let mut looker = process.connect().await;
    eventually("both wait", async || {
        let info: redis::InfoDict = ask(&mut looker, "INFO clients").await;
        info.get::<usize>("blocked_clients") == Some(2)
    })
    .await;
    waiting.try_into().expect("two")
}

async fn are_let_go(waiting: [JoinHandle<RedisError>; 2]) {
    for task in waiting {
        let error = tokio::time::timeout(Duration::from_secs(10), task).await;
        let error = error.expect("it still waits").expect("it ends");
        assert_eq!(error.code(), Some("UNBLOCKED"), "{error}");
    }
}

/// What they wait for is not this node's to say any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_wait_for_replicas_are_let_go_when_the_primary_becomes_one() {
    let cluster = Cluster::start(3, &[0], true).await;
    let waiting = blocked(&cluster.nodes[0], ["WAIT 5 0", "WAITAOF 0 5 0"]).await;
    let _: String = ask(&mut cluster.connect(3).await, "CLUSTER FAILOVER").await;
    are_let_go(waiting).await;

    let (alone, other) = (Process::start(&[]).await, Process::start(&[]).await);
    let waiting = blocked(&alone, ["WAIT 5 0", "WAITAOF 0 5 0"]).await;
    follow(&mut alone.connect().await, &other).await;
    are_let_go(waiting).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_told_to_end_hands_over_first() {
    let mut cluster = Cluster::start(3, &[0], true).await;
    let mut client = cluster.client().await;
    let writers = Writers::start(&client, 4, &[]);
    some_writes(&writers, 500).await;
    cluster.nodes[0].signal(Signal::SIGTERM);
    assert!(cluster.nodes[0].ended().await);
    some_writes(&writers, 500).await;
    let records = writers.stop().await;
    println!("longest gap: {:?}", records.gap());
    records.verify(&mut client).await;
    let role: redis::Value = ask(&mut cluster.connect(3).await, "ROLE").await;
    let redis::Value::Array(role) = role else {
        panic!("an array");
    };
    let role: String = redis::from_redis_value(role[0].clone()).expect("text");
    assert_eq!(role, "master");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_replica_does_not_hold_the_primary_up_for_ever() {
    let cluster = Cluster::start(3, &[0], true).await;
    let mut client = cluster.client().await;
    let writers = Writers::start(&client, 2, &[]);
    some_writes(&writers, 200).await;
    let mut replica = cluster.connect(3).await;
    cluster.nodes[0].signal(Signal::SIGSTOP);
    let refused = redis::cmd("CLUSTER")
        .arg("FAILOVER")
        .query_async::<String>(&mut replica)
        .await;
    cluster.nodes[0].signal(Signal::SIGCONT);
    assert!(refused.is_err(), "the primary cannot have answered");
    some_writes(&writers, 200).await;
    let records = writers.stop().await;
    records.verify(&mut client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_restarted_empty_never_wipes_its_replica() {
    let mut cluster = Cluster::start(3, &[0], true).await;
    let mut client = cluster.client().await;
    let writers = Writers::start(&client, 2, &[]);
    some_writes(&writers, 500).await;
    let records = writers.stop().await;
    let waited: u32 = ask(&mut cluster.connect(0).await, "WAIT 1 5000").await;
    assert_eq!(waited, 1);
    let keys: usize = ask(&mut cluster.connect(3).await, "DBSIZE").await;
    assert!(keys > 0);
    cluster.nodes[0].restart().await;
    cluster.wait_for_owner(0, 3).await;
    cluster.wait_for_link(0).await;
    let kept: usize = ask(&mut cluster.connect(3).await, "DBSIZE").await;
    assert_eq!(kept, keys);
    records.verify(&mut client).await;
}
