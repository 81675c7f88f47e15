//! Replicas that come back: they get what is missing, not everything; and primaries that have lost their data.

use std::time::Duration;

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use crate::cluster::Cluster;
use crate::processes::{Process, eventually};
use crate::replication::{follow, follow_port, info, wait, wait_for_link};
use crate::slow_link::SlowLink;

async fn number(connection: &mut MultiplexedConnection, name: &str) -> u64 {
    info(connection).await[name].parse().expect("a number")
}

async fn replica_of_none(connection: &mut MultiplexedConnection) {
    let _: () = redis::cmd("REPLICAOF")
        .arg("NO")
        .arg("ONE")
        .query_async(connection)
        .await
        .expect("REPLICAOF NO ONE");
}

async fn set(connection: &mut MultiplexedConnection, key: &str, value: &str) {
    let _: () = connection.set(key, value).await.expect("SET");
}

#[tokio::test]
async fn after_a_failover_the_others_go_on_where_they_are() {
    let (first, second, third) = (
        Process::start(&[]).await,
        Process::start(&[]).await,
        Process::start(&[]).await,
    );
    let (mut on_first, mut on_second, mut on_third) = (
        first.connect().await,
        second.connect().await,
        third.connect().await,
    );
    follow(&mut on_second, &first).await;
    follow(&mut on_third, &first).await;
    set(&mut on_first, "a", "1").await;
    // Several effects, all slots, and a transaction: the logs are the same byte for byte.
    let _: () = redis::pipe()
        .atomic()
        .cmd("MSET")
        .arg(&["b", "2", "c", "3"])
        .cmd("RPUSH")
        .arg(&["list", "x", "y"])
        .query_async(&mut on_first)
        .await
        .expect("EXEC");
    let _: () = redis::cmd("FLUSHALL")
        .query_async(&mut on_first)
        .await
        .expect("FLUSHALL");
    set(&mut on_first, "a", "2").await;
    wait(&mut on_first, 2).await;
    let old = info(&mut on_first).await["master_replid"].clone();
    let full = number(&mut on_second, "sync_full").await;
    replica_of_none(&mut on_second).await;
    eventually("a new history begins", async || {
        info(&mut on_second).await["master_replid2"] == old
    })
    .await;
    set(&mut on_second, "b", "new").await;
    follow(&mut on_third, &second).await;
    follow(&mut on_first, &second).await;
    wait(&mut on_second, 2).await;
    assert_eq!(number(&mut on_second, "sync_full").await, full);
    assert_eq!(number(&mut on_second, "sync_partial_ok").await, 2);
    let (of_second, of_third) = (info(&mut on_second).await, info(&mut on_third).await);
    assert_eq!(of_second["master_replid"], of_third["master_replid"]);
    assert_eq!(
        of_second["master_repl_offset"],
        of_third["master_repl_offset"]
    );
    for connection in [&mut on_first, &mut on_third] {
        let values: Vec<Option<String>> = connection
            .mget(&["a", "b", "c", "list"])
            .await
            .expect("MGET");
        assert_eq!(values, [Some("2".into()), Some("new".into()), None, None]);
    }
}

#[tokio::test]
async fn one_that_has_gone_its_own_way_gets_everything_anew() {
    let (first, second) = (Process::start(&[]).await, Process::start(&[]).await);
    let (mut on_first, mut on_second) = (first.connect().await, second.connect().await);
    follow(&mut on_second, &first).await;
    set(&mut on_first, "a", "1").await;
    wait(&mut on_first, 1).await;
    replica_of_none(&mut on_second).await;
    eventually("it is writable", async || {
        let set: redis::RedisResult<()> = on_second.set("mine", "1").await;
        set.is_ok()
    })
    .await;
    set(&mut on_first, "a", "2").await;
    follow(&mut on_first, &second).await;
    assert_eq!(number(&mut on_second, "sync_full").await, 1);
    let values: Vec<Option<String>> = on_first.mget(&["a", "mine"]).await.expect("MGET");
    assert_eq!(values, [Some("1".into()), Some("1".into())]);
}

#[tokio::test]
async fn a_replica_of_a_replica_has_the_same() {
    let (first, second, third) = (
        Process::start(&[]).await,
        Process::start(&[]).await,
        Process::start(&[]).await,
    );
    let (mut on_first, mut on_second, mut on_third) = (
        first.connect().await,
        second.connect().await,
        third.connect().await,
    );
    set(&mut on_first, "before", "1").await;
    follow(&mut on_second, &first).await;
    follow(&mut on_third, &second).await;
    set(&mut on_first, "after", "2").await;
    eventually("it arrives", async || {
        on_third
            .get::<_, Option<String>>("after")
            .await
            .ok()
            .flatten()
            .is_some()
    })
    .await;
    let before: Option<String> = on_third.get("before").await.expect("GET");
    assert_eq!(before.as_deref(), Some("1"));
    // The log is the same all along, so that the last one can go on at the first.
    follow(&mut on_third, &first).await;
    assert_eq!(number(&mut on_first, "sync_partial_ok").await, 1);
}

#[tokio::test]
async fn a_primary_that_comes_back_empty_does_not_wipe_its_replica() {
    let mut primary = Process::start(&[]).await;
    let replica = Process::start(&[]).await;
    let mut on_replica = replica.connect().await;
    set(&mut primary.connect().await, "key", "value").await;
    follow(&mut on_replica, &primary).await;
    primary.restart().await;
    eventually("it is refused", async || {
        info(&mut on_replica)
            .await
            .contains_key("evenkeel_sync_refused")
    })
    .await;
    let value: Option<String> = on_replica.get("key").await.expect("GET");
    assert_eq!(value.as_deref(), Some("value"));
    assert_eq!(info(&mut on_replica).await["master_link_status"], "down");
    // Who says it again means it.
    follow(&mut on_replica, &primary).await;
    let value: Option<String> = on_replica.get("key").await.expect("GET");
    assert_eq!(value, None);
}

#[tokio::test]
async fn old_data_are_served_until_the_new_are_whole() {
    let (old, new, replica) = (
        Process::start(&[]).await,
        Process::start(&[]).await,
        Process::start(&[]).await,
    );
    let (mut on_new, mut on_replica) = (new.connect().await, replica.connect().await);
    set(&mut old.connect().await, "of", "old").await;
    follow(&mut on_replica, &old).await;
    let value = "x".repeat(10_000);
    for key in 0..200 {
        set(&mut on_new, &format!("key:{key}"), &value).await;
    }
    set(&mut on_new, "of", "new").await;
    let link = SlowLink::to(new.port(), 500_000).await;
    let _: () = redis::cmd("REPLICAOF")
        .arg("127.0.0.1")
        .arg(link.port)
        .query_async(&mut on_replica)
        .await
        .expect("REPLICAOF");
    eventually("the sync runs", async || {
        info(&mut on_replica).await["master_sync_in_progress"] == "1"
    })
    .await;
    let mut seen = 0;
    loop {
        let keys = ["of", "key:0", "key:199"];
        let values: Vec<Option<String>> = on_replica.mget(&keys).await.expect("it answers");
        if values[0].as_deref() == Some("new") {
            assert!(values.iter().all(Option::is_some));
            break;
        }
        assert_eq!(values, [Some("old".to_owned()), None, None]);
        seen += 1;
        if seen == 20 {
            link.set_rate(u64::MAX);
        }
    }
    assert!(seen > 1);
    wait_for_link(&mut on_replica).await;
}

#[tokio::test]
async fn writes_are_refused_with_too_few_replicas() {
    let primary = Process::start(&[
        "--min-replicas-to-write",
        "1",
        "--min-replicas-max-lag",
        "5",
    ])
    .await;
    let mut writer = primary.connect().await;
    let refused: redis::RedisResult<()> = writer.set("a", "1").await;
    assert!(
        refused
            .expect_err("refused")
            .to_string()
            .contains("NOREPLICAS")
    );
    let nothing: Option<String> = writer.get("a").await.expect("reads go on");
    assert_eq!(nothing, None);
    let mut replica = Process::start(&[]).await;
    follow(&mut replica.connect().await, &primary).await;
    set(&mut writer, "a", "1").await;
    replica.kill();
    eventually("they are refused again", async || {
        let set: redis::RedisResult<()> = writer.set("a", "2").await;
        set.is_err()
    })
    .await;
}

/// Resident bytes of a process.
fn resident(process: &Process) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", process.pid())).expect("it runs");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .expect("VmRSS");
    let kilobytes: u64 = line
        .split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .expect("a number");
    kilobytes << 10
}

/// One replica takes 1 MB a second of what is written as fast as it goes: that costs the primary its ring and a part of the disk, and the
/// replica no second full sync.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_replica_costs_the_ring_and_no_full_sync() {
    let primary = Process::start(&["--repl-backlog-size", "8mb"]).await;
    let (mut writer, replica) = (primary.connect().await, Process::start(&[]).await);
    let mut on_replica = replica.connect().await;
    let link = SlowLink::to(primary.port(), 1 << 20).await;
    follow_port(&mut on_replica, link.port).await;
    let value = "x".repeat(10_000);
    // Some keys over and over: the data set does not grow.
    let mut round = 0;
    let mut write = async |megabytes: u64| {
        for _ in 0..megabytes {
            let mut pipe = redis::pipe();
            for key in 0..100 {
                pipe.set(format!("key:{key}"), format!("{round}:{value}"))
                    .ignore();
            }
            let _: () = pipe.query_async(&mut writer).await.expect("SET");
            round += 1;
        }
    };
    write(20).await;
    let before = resident(&primary);
    write(400).await;
    let more = resident(&primary).saturating_sub(before);
    assert!(more < 32 << 20, "{more} bytes more");
    let mut writer = primary.connect().await;
    let (full, disk) = (
        number(&mut writer, "sync_full").await,
        number(&mut writer, "log_disk_bytes").await,
    );
    assert!(
        full == 1 && disk > 300 << 20,
        "{full} full syncs, {disk} bytes on disk"
    );
    assert_eq!(number(&mut writer, "repl_backlog_size").await, 8 << 20);
    link.set_rate(u64::MAX);
    wait(&mut writer, 1).await;
    assert_eq!(number(&mut writer, "sync_full").await, 1);
    let (here, there): (String, String) = (
        writer.get("key:99").await.expect("GET"),
        on_replica.get("key:99").await.expect("GET"),
    );
    assert_eq!(here, there);
    assert!(here.starts_with("419:"));
    eventually("the disk is free again", async || {
        number(&mut writer, "log_disk_bytes").await == 0
    })
    .await;
}

/// Writes twice as fast as the replica takes them, and several times what the disk may hold: writers wait, and nothing starts over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_wait_for_a_replica_before_the_disk_is_full() {
    let sizes = [
        "--repl-backlog-size",
        "2mb",
        "--repl-backlog-disk-size",
        "16mb",
    ];
    let primary = Process::start(&sizes).await;
    let (mut writer, replica) = (primary.connect().await, Process::start(&[]).await);
    let mut on_replica = replica.connect().await;
    let link = SlowLink::to(primary.port(), 4 << 20).await;
    follow_port(&mut on_replica, link.port).await;
    let value = "x".repeat(10_000);
    for round in 0..56_u32 {
        let mut pipe = redis::pipe();
        for key in 0..100 {
            pipe.set(format!("key:{key}"), format!("{round}:{value}"))
                .ignore();
        }
        let _: () = pipe.query_async(&mut writer).await.expect("SET");
        // Never faster than this: how fast it was says what it may cost to wait.
        tokio::time::sleep(Duration::from_millis(125)).await;
    }
    link.set_rate(u64::MAX);
    wait(&mut writer, 1).await;
    assert_eq!(number(&mut writer, "sync_full").await, 1);
    let (here, there): (String, String) = (
        writer.get("key:99").await.expect("GET"),
        on_replica.get("key:99").await.expect("GET"),
    );
    assert_eq!(here, there);
}

/// One that has left and dropped its copy does not go on where it was when it comes back: nothing of it is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_reset_gets_everything_when_it_comes_back() {
    let cluster = Cluster::start(3, &[0], true).await;
    let mut client = cluster.client().await;
    for number in 0..500 {
        let _: () = client.set(number, "v").await.expect("SET");
    }
    wait(&mut cluster.connect(0).await, 1).await;
    let keys = cluster.keys_in(0, 0, 5460).await;
    assert_eq!(cluster.keys_in(3, 0, 5460).await, keys);
    cluster.insist(3, "CLUSTER RESET").await;
    assert_eq!(cluster.keys_in(3, 0, 5460).await, 0);
    let back = format!("CLUSTER MEET 127.0.0.1 {}", cluster.nodes[3].port());
    cluster.insist(0, &back).await;
    let replicate = format!("CLUSTER REPLICATE {}", cluster.ids[0]);
    cluster.insist(3, &replicate).await;
    cluster.wait_for_link(3).await;
    eventually("all keys are there", async || {
        cluster.keys_in(3, 0, 5460).await == keys
    })
    .await;
}
