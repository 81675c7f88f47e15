//! Slots move while they are written.

use nix::sys::signal::Signal;
use redis::AsyncCommands;

use crate::cluster::{Cluster, ask};
use crate::processes::eventually;
use crate::writers::Writers;

/// The slots that the tests move.
const FIRST: u16 = 0;
const LAST: u16 = 2000;

/// A hash tag for each of `count` slots between `first` and `last`.
fn tags(first: u16, last: u16, count: usize) -> Vec<String> {
    (0u32..)
        .map(|number| format!("t{number}"))
        .filter(|tag| {
            (first..=last).contains(&cache_node::slot::SlotId::of(tag.as_bytes()).number())
        })
        .take(count)
        .collect()
}

async fn some_writes(writers: &Writers, more: u64) {
    let until = writers.writes() + more;
    eventually("writers get on", async || writers.writes() >= until).await;
}

async fn fill(cluster: &Cluster, tags: &[String], keys: usize) {
    let mut client = cluster.client().await;
    for number in 0..keys {
        let tag = &tags[number % tags.len()];
        let _: () = client
            .set(format!("{{{tag}}}:filled:{number}"), "x".repeat(100))
            .await
            .expect("SET");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_move_under_continuous_writes_without_losing_one() {
    let cluster = Cluster::start(3, &[0, 1], true).await;
    let mut client = cluster.client().await;
    let tags = tags(FIRST, LAST, 50);
    fill(&cluster, &tags, 5000).await;
    let writers = Writers::start(&client, 6, &tags);
    some_writes(&writers, 500).await;
    let (mut from, mut to) = (0, 1);
    for _ in 0..4 {
        cluster.migrate(from, to, FIRST, LAST).await;
        cluster.wait_for_job(from, "success").await;
        cluster.wait_for_job(to, "success").await;
        cluster.wait_for_owner(FIRST, to).await;
        some_writes(&writers, 300).await;
        eventually("the source has dropped the slots", async || {
            cluster.keys_in(from, FIRST, LAST).await == 0
        })
        .await;
        (from, to) = (to, from);
    }
    let records = writers.stop().await;
    let job = &cluster.jobs(0).await[0];
    println!("longest gap: {:?}; {job:?}", records.gap());
    assert_eq!(records.errors(), Vec::<&String>::new());
    records.verify(&mut client).await;
    // Replicas of both sides hold what their primaries hold.
    for (primary, replica) in [(0, 3), (1, 4)] {
        let waited: u32 = ask(&mut cluster.connect(primary).await, "WAIT 1 5000").await;
        assert_eq!(waited, 1);
        let here = cluster.keys_in(primary, FIRST, LAST).await;
        eventually("the replica holds the same", async || {
            cluster.keys_in(replica, FIRST, LAST).await == here
        })
        .await;
        let digest = contents(&cluster, primary, &tags).await;
        assert_eq!(digest, contents(&cluster, replica, &tags).await);
    }
}

/// Keys with values in the tags' slots, as a node holds them.
async fn contents(cluster: &Cluster, node: usize, tags: &[String]) -> Vec<(String, String)> {
    let mut connection = cluster.connect(node).await;
    let _: () = ask(&mut connection, "READONLY").await;
    let mut contents = Vec::new();
    for tag in tags {
        let slot = cache_node::slot::SlotId::of(tag.as_bytes());
        let command = format!("CLUSTER GETKEYSINSLOT {slot} 100000");
        let keys: Vec<String> = ask(&mut connection, &command).await;
        for key in keys {
            let value: redis::RedisResult<String> = connection.get(&key).await;
            if let Ok(value) = value {
                contents.push((key, value));
            }
        }
    }
    contents.sort();
    // Some tags have the same slot.
    contents.dedup();
    contents
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_migrations_run_at_once() {
    let cluster = Cluster::start(3, &[], false).await;
    let mut client = cluster.client().await;
    let tags = tags(0, 16383, 100);
    fill(&cluster, &tags, 2000).await;
    let writers = Writers::start(&client, 4, &tags);
    let command = format!(
        "CLUSTER MIGRATESLOTS SLOTSRANGE 0 2999 5000 5999 NODE {} SLOTSRANGE 8000 11999 NODE {}",
        cluster.ids[1], cluster.ids[2]
    );
    cluster.insist(0, &command).await;
    eventually("both jobs succeed", async || {
        let jobs = cluster.jobs(0).await;
        jobs.len() == 2 && jobs.iter().all(|job| job["state"] == "success")
    })
    .await;
    for (slot, node) in [(0, 1), (5999, 1), (3000, 0), (8000, 2), (12000, 0)] {
        cluster.wait_for_owner(slot, node).await;
    }
    let records = writers.stop().await;
    assert_eq!(records.errors(), Vec::<&String>::new());
    records.verify(&mut client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_migration_leaves_everything_at_the_source() {
    let cluster = Cluster::start(3, &[], true).await;
    let mut client = cluster.client().await;
    let tags = tags(FIRST, LAST, 20);
    let writers = Writers::start(&client, 2, &tags);
    some_writes(&writers, 100).await;
    // A target that is stopped accepts nothing: the job stays where it is.
    cluster.nodes[1].signal(Signal::SIGSTOP);
    cluster.migrate(0, 1, FIRST, LAST).await;
    let answer: String = ask(
        &mut cluster.connect(0).await,
        "CLUSTER CANCELSLOTMIGRATIONS",
    )
    .await;
    assert_eq!(answer, "OK");
    cluster.wait_for_job(0, "cancelled").await;
    cluster.nodes[1].signal(Signal::SIGCONT);
    some_writes(&writers, 100).await;
    let records = writers.stop().await;
    records.verify(&mut client).await;
    cluster.wait_for_owner(FIRST, 0).await;
    eventually("nothing stays at the target", async || {
        cluster.keys_in(1, FIRST, LAST).await == 0
    })
    .await;
    let none = redis::cmd("CLUSTER")
        .arg("CANCELSLOTMIGRATIONS")
        .query_async::<String>(&mut cluster.connect(0).await)
        .await;
    assert!(none.is_err());
}

/// Fills the slots, begins to move them, and returns when some have been sent and many have not. So many replicas of the source have
/// everything before.
async fn begin_and_stop_half_way(cluster: &Cluster, tags: &[String], replicas: u32) {
    let mut client = cluster.client().await;
    let value = "x".repeat(50_000);
    for number in 0..600 {
        let tag = &tags[number % tags.len()];
        let key = format!("{{{tag}}}:big:{number}");
        let _: () = client.set(key, &value).await.expect("SET");
    }
    let wait = format!("WAIT {replicas} 20000");
    let waited: u32 = ask(&mut cluster.connect(0).await, &wait).await;
    assert_eq!(waited, replicas);
    cluster.migrate(0, 1, FIRST, LAST).await;
    eventually("some slots have been sent", async || {
        let jobs = cluster.jobs(0).await;
        jobs[0]["state"] == "success"
            || jobs[0]["bytes_moved"]
                .parse::<u64>()
                .is_ok_and(|sent| sent > 0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_dies_is_reached_again_when_it_is_back() {
    let mut cluster = Cluster::start(3, &[], true).await;
    let mut client = cluster.client().await;
    let tags = tags(FIRST, LAST, 20);
    let writers = Writers::start(&client, 2, &tags);
    // Stopped first, so that the transfer cannot be over when it is killed.
    cluster.nodes[1].signal(Signal::SIGSTOP);
    cluster.migrate(0, 1, FIRST, LAST).await;
    some_writes(&writers, 100).await;
    cluster.nodes[1].kill();
    eventually("the source says what is wrong", async || {
        let job = &cluster.jobs(0).await[0];
        job["state"] == "connecting" && !job["message"].is_empty()
    })
    .await;
    some_writes(&writers, 100).await;
    cluster.wait_for_owner_at(0, FIRST, 0).await;
    cluster.nodes[1].restart().await;
    cluster.wait_for_job(0, "success").await;
    cluster.wait_for_owner(FIRST, 1).await;
    some_writes(&writers, 100).await;
    let records = writers.stop().await;
    records.verify(&mut client).await;
    assert_eq!(cluster.jobs(0).await[0]["message"], "");
}

/// The connection is lost when half of the slots are at the target: the other half follows over the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_transfer_goes_on_where_it_was() {
    let cluster = Cluster::start(3, &[], true).await;
    let mut client = cluster.client().await;
    let tags = tags(FIRST, LAST, 200);
    let writers = Writers::start(&client, 2, &tags);
    some_writes(&writers, 500).await;
    begin_and_stop_half_way(&cluster, &tags, 0).await;
    // What it has not read stays in the connection, until the source takes it for lost.
    cluster.nodes[1].signal(Signal::SIGSTOP);
    let over = async || cluster.jobs(0).await[0]["state"] == "success";
    eventually("the source gives the connection up", async || {
        over().await || cluster.jobs(0).await[0]["state"] == "connecting"
    })
    .await;
    some_writes(&writers, 500).await;
    let was_over = over().await;
    cluster.nodes[1].signal(Signal::SIGCONT);
    cluster.wait_for_job(0, "success").await;
    cluster.wait_for_job(1, "success").await;
    let info: String = ask(&mut cluster.connect(0).await, "INFO stats").await;
    assert!(
        was_over || info.contains("evenkeel_slot_migrations_resumed:1\r\n"),
        "{info}"
    );
    some_writes(&writers, 500).await;
    let records = writers.stop().await;
    records.verify(&mut client).await;
    assert!(cluster.keys_in(1, FIRST, LAST).await >= 600);
    eventually("the source has dropped the slots", async || {
        cluster.keys_in(0, FIRST, LAST).await == 0
    })
    .await;
}

/// The successor of a source, and of a target, goes on with the migration by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_outlives_the_primaries_of_both_sides() {
    for (dies, successor) in [(0, 3), (1, 4)] {
        let mut cluster = Cluster::start(3, &[0, 1], true).await;
        let tags = tags(FIRST, LAST, 200);
        begin_and_stop_half_way(&cluster, &tags, 1).await;
        cluster.nodes[dies].kill();
        cluster.insist(successor, "CLUSTER FAILOVER FORCE").await;
        let (source, target) = if dies == 0 { (3, 1) } else { (0, 4) };
        cluster.wait_for_owner_at(2, FIRST, target).await;
        assert_eq!(cluster.keys_in(target, FIRST, LAST).await, 600);
        eventually("the source has dropped the slots", async || {
            cluster.keys_in(source, FIRST, LAST).await == 0
        })
        .await;
        let contents = contents(&cluster, target, &tags).await;
        assert_eq!(contents.len(), 600);
        assert!(contents.iter().all(|(_, value)| value.len() == 50_000));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_of_the_target_does_not_take_the_moving_slots_along() {
    let cluster = Cluster::start(3, &[], true).await;
    let tags = tags(FIRST, LAST, 200);
    begin_and_stop_half_way(&cluster, &tags, 0).await;
    let _: () = ask(&mut cluster.connect(1).await, "FLUSHALL").await;
    let over = cluster.jobs(0).await[0]["state"] == "success";
    cluster.wait_for_job(0, "success").await;
    // Had it been over before, the slots were the target's to flush.
    if !over {
        assert!([0, 600].contains(&cluster.keys_in(1, FIRST, LAST).await));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_expire_on_time_while_they_move() {
    let cluster = Cluster::start(3, &[], true).await;
    let mut client = cluster.client().await;
    let tags = tags(FIRST, LAST, 20);
    for number in 0..200 {
        let tag = &tags[number % tags.len()];
        let (short, long) = (
            format!("{{{tag}}}:short:{number}"),
            format!("{{{tag}}}:long:{number}"),
        );
        let _: () = redis::cmd("SET")
            .arg(&short)
            .arg(1)
            .arg("PX")
            .arg(100 + number * 5)
            .query_async(&mut client)
            .await
            .expect("SET");
        let _: () = redis::cmd("SET")
            .arg(&long)
            .arg(1)
            .arg("PX")
            .arg(2000)
            .query_async(&mut client)
            .await
            .expect("SET");
        let persisted: bool = client.persist(&long).await.expect("PERSIST");
        assert!(persisted);
    }
    cluster.migrate(0, 1, FIRST, LAST).await;
    cluster.wait_for_job(0, "success").await;
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    for number in 0..200 {
        let tag = &tags[number % tags.len()];
        let short: Option<u8> = client
            .get(format!("{{{tag}}}:short:{number}"))
            .await
            .expect("GET");
        let long: Option<u8> = client
            .get(format!("{{{tag}}}:long:{number}"))
            .await
            .expect("GET");
        assert_eq!((short, long), (None, Some(1)), "{number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staged_keys_are_not_seen_at_the_target() {
    let cluster = Cluster::start(3, &[], true).await;
    let tags = tags(FIRST, LAST, 20);
    fill(&cluster, &tags, 1000).await;
    let before: usize = ask(&mut cluster.connect(1).await, "DBSIZE").await;
    assert_eq!(before, 0);
    cluster.migrate(0, 1, FIRST, LAST).await;
    cluster.wait_for_job(0, "success").await;
    let after: usize = ask(&mut cluster.connect(1).await, "DBSIZE").await;
    assert_eq!(after, 1000);
    eventually("the source shows none of them", async || {
        let left: usize = ask(&mut cluster.connect(0).await, "DBSIZE").await;
        left == 0
    })
    .await;
}
