//! Replication between real processes.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::processes::{Process, dump, eventually};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

pub(crate) async fn info(connection: &mut MultiplexedConnection) -> BTreeMap<String, String> {
    let text: String = redis::cmd("INFO")
        .query_async(connection)
        .await
        .expect("INFO");
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

pub(crate) async fn follow(replica: &mut MultiplexedConnection, primary: &Process) {
    follow_port(replica, primary.port()).await;
}

/// Follows what is behind a port of this machine.
pub(crate) async fn follow_port(replica: &mut MultiplexedConnection, port: u16) {
    let _: () = redis::cmd("REPLICAOF")
        .arg("127.0.0.1")
        .arg(port)
        .query_async(replica)
        .await
        .expect("REPLICAOF");
    wait_for_link(replica).await;
}

/// Waits until so many replicas have what was written.
pub(crate) async fn wait(primary: &mut MultiplexedConnection, replicas: u32) {
    let reached: u32 = redis::cmd("WAIT")
        .arg(replicas)
        .arg(20_000)
        .query_async(primary)
        .await
        .expect("WAIT");
    assert_eq!(reached, replicas);
}

pub(crate) async fn wait_for_link(replica: &mut MultiplexedConnection) {
    let up = async || {
        let role = redis::cmd("ROLE").query_async(replica).await;
        role.is_ok_and(|role: (String, String, u16, String, u64)| role.3 == "connected")
    };
    eventually("the link is up", up).await;
}

#[tokio::test]
async fn a_replica_has_everything_after_full_sync_and_continuous_writes() {
    let primary = Process::start(&[]).await;
    let replica = Process::start(&[]).await;
    let mut writer = primary.connect().await;
    for number in 0..5000 {
        let _: () = writer
            .set(format!("key:{number}"), format!("before:{number}"))
            .await
            .expect("SET");
    }
    let mut on_replica = replica.connect().await;
    let _: () = on_replica.set("stale", "must go").await.expect("SET");
    let mut background = primary.connect().await;
    let writing = tokio::spawn(async move {
        for round in 0..20_000u32 {
            let key = format!("key:{}", round % 7000);
            if round % 11 == 0 {
                let _: () = background.del(&key).await.expect("DEL");
            } else {
                let more = format!(":{round}");
                let _: () = background.append(&key, more).await.expect("APPEND");
            }
        }
    });
    follow(&mut on_replica, &primary).await;
    writing.await.expect("no panic");
    let acknowledged: u32 = redis::cmd("WAIT")
        .arg(1)
        .arg(5000)
        .query_async(&mut writer)
        .await
        .expect("WAIT");
    assert_eq!(acknowledged, 1);
    let (here, there) = (dump(&mut writer).await, dump(&mut on_replica).await);
    assert!(here.len() > 5000);
    assert_eq!(here, there);
    let written: redis::RedisResult<()> = on_replica.set("k", "v").await;
    assert_eq!(written.expect_err("read only").code(), Some("READONLY"));
}

#[tokio::test]
async fn wait_counts_replicas_and_gives_up_in_time() {
    let primary = Process::start(&[]).await;
    let replica = Process::start(&[]).await;
    let mut writer = primary.connect().await;
    let mut on_replica = replica.connect().await;
    follow(&mut on_replica, &primary).await;
    for number in 0..50 {
        let _: () = writer.set("k", number).await.expect("SET");
        let count: u32 = redis::cmd("WAIT")
            .arg(1)
            .arg(5000)
            .query_async(&mut writer)
            .await
            .expect("WAIT");
        assert_eq!(count, 1);
        let value: u32 = on_replica.get("k").await.expect("GET");
        assert_eq!(value, number);
    }
    let count: u32 = redis::cmd("WAIT")
        .arg(2)
        .arg(100)
        .query_async(&mut writer)
        .await
        .expect("WAIT");
    assert_eq!(count, 1);
    let refused: redis::RedisResult<u32> = redis::cmd("WAIT")
        .arg(1)
        .arg(1)
        .query_async(&mut on_replica)
        .await;
    assert!(refused.is_err());
    let refused: redis::RedisResult<(u32, u32)> = redis::cmd("WAITAOF")
        .arg(1)
        .arg(0)
        .arg(1)
        .query_async(&mut writer)
        .await;
    assert!(
        refused
            .expect_err("no append-only file")
            .to_string()
            .contains("appendonly")
    );
}

#[tokio::test]
async fn flushall_during_a_sync_empties_the_replica_too() {
    let primary = Process::start(&[]).await;
    let replica = Process::start(&[]).await;
    let mut writer = primary.connect().await;
    for round in 0..5u32 {
        for number in 0..2000 {
            let _: () = writer
                .set(format!("{round}:{number}"), "x".repeat(200))
                .await
                .expect("SET");
        }
        let mut on_replica = replica.connect().await;
        let _: () = redis::cmd("REPLICAOF")
            .arg("NO")
            .arg("ONE")
            .query_async(&mut on_replica)
            .await
            .expect("NO ONE");
        let _: () = redis::cmd("REPLICAOF")
            .arg(primary.host())
            .arg(primary.port())
            .query_async(&mut on_replica)
            .await
            .expect("REPLICAOF");
        tokio::time::sleep(Duration::from_millis(u64::from(round) * 3)).await;
        let _: () = redis::cmd("FLUSHALL")
            .query_async(&mut writer)
            .await
            .expect("FLUSHALL");
        let _: () = writer.set("after", round).await.expect("SET");
        wait_for_link(&mut on_replica).await;
        let count: u32 = redis::cmd("WAIT")
            .arg(1)
            .arg(5000)
            .query_async(&mut writer)
            .await
            .expect("WAIT");
        assert_eq!(count, 1);
        assert_eq!(dump(&mut writer).await, dump(&mut on_replica).await);
    }
}

#[tokio::test]
async fn a_replica_resyncs_when_its_primary_comes_back_or_changes() {
    let mut primary = Process::start(&[]).await;
    let other = Process::start(&[]).await;
    let replica = Process::start(&[]).await;
    let mut on_replica = replica.connect().await;
    let _: () = other.connect().await.set("of", "other").await.expect("SET");
    let _: () = primary
        .connect()
        .await
        .set("of", "first")
        .await
        .expect("SET");
    follow(&mut on_replica, &primary).await;
    primary.restart().await;
    let _: () = primary
        .connect()
        .await
        .set("of", "second life")
        .await
        .expect("SET");
    wait_for_link(&mut on_replica).await;
    let value = async || {
        on_replica
            .get::<_, Option<String>>("of")
            .await
            .ok()
            .flatten()
            == Some("second life".to_owned())
    };
    eventually("the replica copies the restarted primary", value).await;
    follow(&mut on_replica, &other).await;
    let value: String = on_replica.get("of").await.expect("GET");
    assert_eq!(value, "other");
    let _: () = redis::cmd("REPLICAOF")
        .arg("NO")
        .arg("ONE")
        .query_async(&mut on_replica)
        .await
        .expect("NO ONE");
    let _: () = on_replica
        .set("of", "myself")
        .await
        .expect("writable again");
    assert_eq!(info(&mut on_replica).await["role"], "master");
}

#[tokio::test]
async fn info_and_role_show_both_sides() {
    let primary = Process::start(&["--requirepass", "secret"]).await;
    let replica = Process::start(&["--requirepass", "secret"]).await;
    let mut writer = primary.connect().await;
    let mut on_replica = replica.connect().await;
    follow(&mut on_replica, &primary).await;
    let _: () = writer.set("k", "v").await.expect("SET");
    let _: u32 = redis::cmd("WAIT")
        .arg(1)
        .arg(5000)
        .query_async(&mut writer)
        .await
        .expect("WAIT");
    let (here, there) = (info(&mut writer).await, info(&mut on_replica).await);
    assert_eq!(here["role"], "master");
    assert_eq!(here["connected_slaves"], "1");
    assert!(
        here["slave0"].contains(&format!("port={},state=online", replica.port())),
        "{here:?}"
    );
    assert_eq!(there["role"], "slave");
    assert_eq!(there["master_port"], primary.port().to_string());
    assert_eq!(there["slave_repl_offset"], here["master_repl_offset"]);
    let role: (String, String, u16, String, u64) = redis::cmd("ROLE")
        .query_async(&mut on_replica)
        .await
        .expect("ROLE");
    assert_eq!((role.0.as_str(), role.3.as_str()), ("slave", "connected"));
}

/// `WAITAOF` counts the replicas that have it on their disks, and only those.
#[tokio::test]
async fn waitaof_counts_the_replicas_with_a_file() {
    let primary = Process::start(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let mut writer = primary.connect().await;
    let mut replicas = Vec::new();
    for sync in ["always", "everysec"] {
        replicas.push(Process::start(&["--appendonly", "yes", "--appendfsync", sync]).await);
    }
    replicas.push(Process::start(&[]).await);
    for replica in &replicas {
        follow(&mut replica.connect().await, &primary).await;
    }
    let mut waitaof = async |local: u32, wanted: u32, limit: u32| -> (u32, u32) {
        let _: () = writer.incr("n", 1).await.expect("INCR");
        redis::cmd("WAITAOF")
            .arg(local)
            .arg(wanted)
            .arg(limit)
            .query_async(&mut writer)
            .await
            .expect("WAITAOF")
    };
    for round in 0..5 {
        let (here, there) = waitaof(1, 2, 20_000).await;
        assert_eq!((here, there), (1, 2), "{round}");
    }
    // The third has no file.
    let (_, there) = waitaof(0, 3, 1_500).await;
    assert_eq!(there, 2);
    // What was counted is on their disks.
    for replica in &mut replicas[..2] {
        replica.restart().await;
        let mut connection = replica.connect().await;
        eventually("the file is loaded", async || {
            let n: redis::RedisResult<u32> = connection.get("n").await;
            n.is_ok_and(|n| n == 6)
        })
        .await;
    }
}
