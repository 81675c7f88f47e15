//! A primary hands its slots over to its replica: nothing that was acknowledged is lost.

use nix::sys::signal::Signal;

use crate::cluster::{Cluster, ask};
use crate::processes::eventually;
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
