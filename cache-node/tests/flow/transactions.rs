//! Transactions on replicas: whole or not at all, in the data and in the log.

use redis::aio::MultiplexedConnection;

use crate::processes::{Process, eventually};
use crate::replication::{follow, follow_port, info};
use crate::restart::{loaded, wait_for_file};
use crate::slow_link::SlowLink;

/// Keys of a transaction, in many slots.
const KEYS: usize = 40;

fn key(number: usize) -> String {
    format!("key:{number}")
}

/// Sets all keys to the same value, as one transaction.
fn transaction(round: usize, filler: usize) -> redis::Pipeline {
    let mut pipe = redis::pipe();
    pipe.atomic();
    for number in 0..KEYS {
        pipe.set(key(number), format!("{round}:{}", "x".repeat(filler)))
            .ignore();
    }
    pipe
}

/// The rounds whose values are there.
async fn rounds(connection: &mut MultiplexedConnection) -> Vec<String> {
    let mut mget = redis::cmd("MGET");
    for number in 0..KEYS {
        mget.arg(key(number));
    }
    let values: Vec<String> = mget.query_async(connection).await.expect("all are there");
    let mut rounds: Vec<String> = values
        .iter()
        .filter_map(|value| Some(value.split_once(':')?.0.to_owned()))
        .collect();
    rounds.dedup();
    rounds
}

#[tokio::test]
async fn a_rewrite_on_a_replica_does_not_cut_them() {
    let primary = Process::start(&[]).await;
    let args = ["--appendonly", "yes", "--appendfsync", "no"];
    let mut replica = Process::start(&args).await;
    let mut on_replica = replica.connect().await;
    follow(&mut on_replica, &primary).await;
    let mut writer = primary.connect().await;
    let writing = tokio::spawn(async move {
        let mut round = 0;
        // Until the primary is killed.
        loop {
            let result: redis::RedisResult<()> =
                transaction(round, 100).query_async(&mut writer).await;
            if result.is_err() {
                return;
            }
            round += 1;
        }
    });
    for _ in 0..10 {
        wait_for_file(&mut on_replica).await;
        let _: String = redis::cmd("BGREWRITEAOF")
            .query_async(&mut on_replica)
            .await
            .expect("BGREWRITEAOF");
        eventually("the rewrite is done", async || {
            info(&mut on_replica).await["aof_rewrite_in_progress"] == "0"
        })
        .await;
        // In the middle of the next transactions.
        replica.restart().await;
        on_replica = loaded(&replica).await;
        assert_eq!(rounds(&mut on_replica).await.len(), 1);
        follow(&mut on_replica, &primary).await;
    }
    drop(primary);
    writing.await.expect("no panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_on_its_way_when_the_primary_dies_is_not_there() {
    let mut primary = Process::start(&[]).await;
    let args = ["--appendonly", "yes", "--appendfsync", "no"];
    let mut replica = Process::start(&args).await;
    let (mut writer, mut on_replica) = (primary.connect().await, replica.connect().await);
    // A transaction takes a tenth of a second.
    let link = SlowLink::to(primary.port(), 4 << 20).await;
    follow_port(&mut on_replica, link.port).await;
    for round in 0..20 {
        let _: () = transaction(round, 10_000)
            .query_async(&mut writer)
            .await
            .expect("EXEC");
    }
    eventually("some are there", async || {
        !rounds_if_there(&mut on_replica).await.is_empty()
    })
    .await;
    primary.kill();
    let _: () = redis::cmd("REPLICAOF")
        .arg("NO")
        .arg("ONE")
        .query_async(&mut on_replica)
        .await
        .expect("REPLICAOF NO ONE");
    let left = rounds(&mut on_replica).await;
    assert_eq!(left.len(), 1, "{left:?}");
    assert_ne!(left, ["19"], "all of them are there already");
    // The file goes on with whole transactions.
    for round in 100..103 {
        let _: () = transaction(round, 10)
            .query_async(&mut on_replica)
            .await
            .expect("EXEC");
    }
    wait_for_file(&mut on_replica).await;
    replica.restart().await;
    assert_eq!(rounds(&mut loaded(&replica).await).await, ["102"]);
}

async fn rounds_if_there(connection: &mut MultiplexedConnection) -> Vec<String> {
    let there: bool = redis::cmd("EXISTS")
        .arg(key(KEYS - 1))
        .query_async(connection)
        .await
        .expect("EXISTS");
    match there {
        true => rounds(connection).await,
        false => Vec::new(),
    }
}
