//! Nodes that come back with what they saved, and go on where they were.

use nix::sys::signal::Signal;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use crate::processes::{Process, dump, eventually};
use crate::replication::{follow, info, wait_for_link};

/// Saves when it ends, and at no other time.
const SAVES: [&str; 2] = ["--save", "86400 1000000000"];

async fn fill(connection: &mut MultiplexedConnection, round: u32) {
    for number in 0..200 {
        let key = format!("key:{}", number % 150);
        let _: () = connection
            .append(key, format!("{round}:{number};"))
            .await
            .expect("APPEND");
    }
    // It expires while the other one is away.
    let _: () = redis::cmd("SET")
        .arg(format!("short:{round}"))
        .arg("x")
        .arg("PX")
        .arg(300)
        .query_async(connection)
        .await
        .expect("SET");
}

async fn wait(primary: &mut MultiplexedConnection) {
    let reached: u32 = redis::cmd("WAIT")
        .arg(1)
        .arg(20_000)
        .query_async(primary)
        .await
        .expect("WAIT");
    assert_eq!(reached, 1);
}

/// Ends the process as an administrator does, and starts it again when the keys that are short-lived have expired.
async fn restart(process: &mut Process) {
    process.signal(Signal::SIGTERM);
    assert!(process.ended().await);
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    process.restart().await;
    let mut connection = process.connect().await;
    eventually("the snapshot is loaded", async || {
        info(&mut connection).await["loading"] == "0"
    })
    .await;
}

async fn syncs(connection: &mut MultiplexedConnection) -> (String, String) {
    let info = info(connection).await;
    (info["sync_full"].clone(), info["sync_partial_ok"].clone())
}

/// The same is in both, and nothing of it is left that has expired.
async fn same(here: &mut MultiplexedConnection, there: &mut MultiplexedConnection) {
    eventually("what has expired is gone on both sides", async || {
        let here: usize = redis::cmd("DBSIZE")
            .query_async(here)
            .await
            .expect("DBSIZE");
        let there: usize = redis::cmd("DBSIZE")
            .query_async(there)
            .await
            .expect("DBSIZE");
        (here, there) == (150, 150)
    })
    .await;
    assert_eq!(dump(here).await, dump(there).await);
}

#[tokio::test]
async fn a_replica_that_restarts_gets_what_it_has_missed() {
    let primary = Process::start(&[]).await;
    let upstream = format!("127.0.0.1 {}", primary.port());
    let mut replica = Process::start(&[&SAVES[..], &["--replicaof", &upstream]].concat()).await;
    let mut writer = primary.connect().await;
    wait_for_link(&mut replica.connect().await).await;
    fill(&mut writer, 1).await;
    wait(&mut writer).await;
    for round in 2..4 {
        replica.signal(Signal::SIGTERM);
        assert!(replica.ended().await);
        fill(&mut writer, round).await;
        replica.restart().await;
        let mut on_replica = replica.connect().await;
        wait_for_link(&mut on_replica).await;
        wait(&mut writer).await;
        same(&mut writer, &mut on_replica).await;
        let partial = (round - 1).to_string();
        assert_eq!(syncs(&mut writer).await, ("1".to_owned(), partial));
    }
}

#[tokio::test]
async fn replicas_go_on_with_a_primary_that_restarts() {
    let mut primary = Process::start(&SAVES).await;
    let replica = Process::start(&[]).await;
    let mut on_replica = replica.connect().await;
    follow(&mut on_replica, &primary).await;
    let mut writer = primary.connect().await;
    fill(&mut writer, 1).await;
    wait(&mut writer).await;
    for round in 2..4 {
        restart(&mut primary).await;
        writer = primary.connect().await;
        wait_for_link(&mut on_replica).await;
        fill(&mut writer, round).await;
        wait(&mut writer).await;
        same(&mut writer, &mut on_replica).await;
        assert_eq!(syncs(&mut writer).await, ("0".to_owned(), "1".to_owned()));
    }
}

/// A primary that has lost what a replica has is not copied before an administrator says so.
#[tokio::test]
async fn a_primary_that_goes_back_to_its_snapshot_is_refused() {
    let mut primary = Process::start(&SAVES).await;
    let replica = Process::start(&[]).await;
    let mut on_replica = replica.connect().await;
    follow(&mut on_replica, &primary).await;
    let mut writer = primary.connect().await;
    fill(&mut writer, 1).await;
    let _: () = redis::cmd("SAVE")
        .query_async(&mut writer)
        .await
        .expect("SAVE");
    let _: () = writer.set("later", "1").await.expect("SET");
    wait(&mut writer).await;
    primary.restart().await;
    eventually("the replica says why it does not follow", async || {
        let info = info(&mut on_replica).await;
        let refused = info.get("evenkeel_sync_refused");
        refused.is_some_and(|refused| refused.contains("went back"))
    })
    .await;
    let later: Option<String> = on_replica.get("later").await.expect("GET");
    assert_eq!(later.as_deref(), Some("1"));
    follow(&mut on_replica, &primary).await;
    let later: Option<String> = on_replica.get("later").await.expect("GET");
    assert_eq!(later, None);
}
