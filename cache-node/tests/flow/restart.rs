//! Nodes that come back with what they saved, and go on where they were.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use nix::sys::signal::Signal;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use crate::cluster::Cluster;
use crate::processes::{Process, dump, eventually};
use crate::replication::{follow, info, wait, wait_for_link};

/// Saves when it ends, and at no other time.
const SAVES: [&str; 2] = ["--save", "86400 1000000000"];

/// Has an append-only file.
const APPENDS: [&str; 2] = ["--appendonly", "yes"];

/// Writes that change what is there, and one that expires at once. Nothing is left to be removed afterwards: a node that comes back as a
/// primary would do that itself, and go its own way.
async fn write(connection: &mut MultiplexedConnection, round: u32) {
    for number in 0..200 {
        let key = format!("key:{}", number % 150);
        let _: () = connection
            .append(key, format!("{round}:{number};"))
            .await
            .expect("APPEND");
    }
    let before = size(connection).await;
    let _: () = connection.pset_ex("gone", "v", 20).await.expect("PSETEX");
    eventually("it has expired and is removed", async || {
        size(connection).await == before
    })
    .await;
}

/// How many keys there are, with those that have expired and are not removed yet.
async fn size(connection: &mut MultiplexedConnection) -> usize {
    let size = redis::cmd("DBSIZE").query_async(connection).await;
    size.expect("DBSIZE")
}

/// Ends the process as an administrator does.
async fn end(process: &mut Process) {
    process.signal(Signal::SIGTERM);
    assert!(process.ended().await);
}

/// A connection to a process that has loaded what it saved.
pub(crate) async fn loaded(process: &Process) -> MultiplexedConnection {
    let mut connection = process.connect().await;
    eventually("it is loaded", async || {
        info(&mut connection).await["loading"] == "0"
    })
    .await;
    connection
}

/// The append-only file has a base of the data that are here now, and everything since.
pub(crate) async fn wait_for_file(connection: &mut MultiplexedConnection) {
    eventually("everything is in the append-only file", async || {
        let info = info(connection).await;
        let is = |name: &str, value: &str| info[name] == value;
        is("aof_enabled", "1") && is("aof_rewrite_in_progress", "0") && is("aof_buffer_length", "0")
    })
    .await;
}

/// Full and partial syncs that the process has served.
async fn served(connection: &mut MultiplexedConnection) -> (u32, u32) {
    let info = info(connection).await;
    let number = |name: &str| info[name].parse().expect("a number");
    (number("sync_full"), number("sync_partial_ok"))
}

/// The same is in both, and what has expired is gone.
async fn same(here: &mut MultiplexedConnection, there: &mut MultiplexedConnection) {
    let seen = dump(here).await;
    assert_eq!(seen, dump(there).await);
    for side in [here, there] {
        eventually("what has expired is gone", async || {
            size(side).await == seen.len()
        })
        .await;
    }
}

/// A primary and its replica, both with these options, and with some data.
async fn pair(args: &[&str]) -> (Process, MultiplexedConnection, Process) {
    let (primary, replica) = (Process::start(args).await, Process::start(args).await);
    follow(&mut replica.connect().await, &primary).await;
    let mut writer = primary.connect().await;
    write(&mut writer, 1).await;
    wait(&mut writer, 1).await;
    (primary, writer, replica)
}

/// A replica that keeps its data so restarts, and gets what it has missed.
async fn restart_a_replica(keeps: &[&str]) {
    let primary = Process::start(&[]).await;
    let upstream = format!("127.0.0.1 {}", primary.port());
    let mut replica = Process::start(&[keeps, &["--replicaof", &upstream]].concat()).await;
    let mut writer = primary.connect().await;
    wait_for_link(&mut replica.connect().await).await;
    write(&mut writer, 1).await;
    wait(&mut writer, 1).await;
    for round in 2..4 {
        if keeps == APPENDS {
            wait_for_file(&mut replica.connect().await).await;
        }
        end(&mut replica).await;
        write(&mut writer, round).await;
        replica.restart().await;
        let mut on_replica = loaded(&replica).await;
        wait_for_link(&mut on_replica).await;
        wait(&mut writer, 1).await;
        same(&mut writer, &mut on_replica).await;
        assert_eq!(served(&mut writer).await, (1, round - 1));
    }
}

#[tokio::test]
async fn a_replica_that_restarts_gets_what_it_has_missed() {
    restart_a_replica(&SAVES).await;
}

#[tokio::test]
async fn a_replica_that_restarts_with_an_append_only_file_gets_what_it_has_missed() {
    restart_a_replica(&APPENDS).await;
}

/// A primary that keeps its data so restarts, and its replica goes on.
async fn restart_a_primary(keeps: &[&str]) {
    let (mut primary, _, replica) = pair(keeps).await;
    let mut on_replica = replica.connect().await;
    for round in 2..4 {
        // Not waited for: the primary does that at its end.
        let mut writer = primary.connect().await;
        write(&mut writer, round).await;
        // It may be removed before the end, or by the primary that comes back.
        let _: () = writer.pset_ex("soon", "v", 1).await.expect("PSETEX");
        end(&mut primary).await;
        primary.restart().await;
        let mut writer = loaded(&primary).await;
        wait_for_link(&mut on_replica).await;
        write(&mut writer, round + 100).await;
        wait(&mut writer, 1).await;
        same(&mut writer, &mut on_replica).await;
        assert_eq!(served(&mut writer).await, (0, 1));
    }
}

#[tokio::test]
async fn replicas_go_on_with_a_primary_that_restarts() {
    restart_a_primary(&SAVES).await;
}

#[tokio::test]
async fn replicas_go_on_with_a_primary_that_restarts_with_an_append_only_file() {
    restart_a_primary(&APPENDS).await;
}

/// A primary that has lost what a replica has is not copied before an administrator says so, however often that happens.
#[tokio::test]
async fn a_primary_that_goes_back_to_its_snapshot_is_refused() {
    let (mut primary, mut writer, replica) = pair(&SAVES).await;
    let mut on_replica = replica.connect().await;
    let _: () = redis::cmd("SAVE")
        .query_async(&mut writer)
        .await
        .expect("SAVE");
    // The second time, the replica knows the history by another name than the one that was saved.
    for round in 2..4 {
        let _: () = writer.set("later", round).await.expect("SET");
        wait(&mut writer, 1).await;
        primary.restart().await;
        writer = loaded(&primary).await;
        eventually("the replica says why it does not follow", async || {
            let info = info(&mut on_replica).await;
            let refused = info.get("evenkeel_sync_refused");
            refused.is_some_and(|refused| refused.contains("went back"))
        })
        .await;
        let later: Option<u32> = on_replica.get("later").await.expect("GET");
        assert_eq!(later, Some(round));
        follow(&mut on_replica, &primary).await;
        let later: Option<u32> = on_replica.get("later").await.expect("GET");
        assert_eq!(later, None);
    }
    // From here on the replica is where a clean restart leaves it.
    end(&mut primary).await;
    primary.restart().await;
    writer = loaded(&primary).await;
    wait_for_link(&mut on_replica).await;
    assert_eq!(served(&mut writer).await, (0, 1));
}

/// A primary that keeps its data so ends, and comes back as a replica of its successor.
async fn end_a_primary(keeps: &[&str]) {
    let (mut first, _, second) = pair(keeps).await;
    let mut on_second = second.connect().await;
    end(&mut first).await;
    let _: () = redis::cmd("REPLICAOF")
        .arg("NO")
        .arg("ONE")
        .query_async(&mut on_second)
        .await
        .expect("REPLICAOF NO ONE");
    write(&mut on_second, 2).await;
    first.restart().await;
    let mut on_first = loaded(&first).await;
    follow(&mut on_first, &second).await;
    write(&mut on_second, 3).await;
    wait(&mut on_second, 1).await;
    assert_eq!(served(&mut on_second).await, (0, 1));
    same(&mut on_first, &mut on_second).await;
}

#[tokio::test]
async fn a_primary_that_ended_goes_on_as_a_replica_of_its_successor() {
    end_a_primary(&SAVES).await;
}

#[tokio::test]
async fn a_primary_that_ended_goes_on_with_its_append_only_file_as_a_replica() {
    end_a_primary(&APPENDS).await;
}

/// A place says something about the data as long as nobody else has changed them, and be it for a moment.
#[tokio::test]
async fn one_that_was_written_to_in_between_gets_everything_anew() {
    let (primary, mut writer, mut replica) = pair(&SAVES).await;
    let mut on_replica = replica.connect().await;
    for round in 2..5 {
        if round == 2 {
            end(&mut replica).await;
            replica.restart().await;
            on_replica = loaded(&replica).await;
        }
        // Both write as much: the offsets are the same, the data are not.
        let _: () = redis::pipe()
            .cmd("REPLICAOF")
            .arg("NO")
            .arg("ONE")
            .cmd("SET")
            .arg("mine")
            .arg(round)
            .query_async(&mut on_replica)
            .await
            .expect("it is a primary for a moment");
        let _: () = writer.set("ours", round).await.expect("SET");
        follow(&mut on_replica, &primary).await;
        wait(&mut writer, 1).await;
        assert_eq!(served(&mut writer).await.0, round);
        same(&mut writer, &mut on_replica).await;
    }
}

/// What is written behind a place is in no history that others know.
#[tokio::test]
async fn one_that_was_written_to_behind_the_place_in_its_file_gets_everything_anew() {
    let (primary, mut writer, mut replica) = pair(&APPENDS).await;
    wait_for_file(&mut replica.connect().await).await;
    end(&mut replica).await;
    replica.restart().await;
    let mut on_replica = loaded(&replica).await;
    follow(&mut on_replica, &primary).await;
    assert_eq!(served(&mut writer).await, (1, 1));
    end(&mut replica).await;
    replica.restart().await;
    let mut on_replica = loaded(&replica).await;
    let _: () = on_replica.set("mine", "1").await.expect("SET");
    let _: () = writer.set("ours", "1").await.expect("SET");
    end(&mut replica).await;
    replica.restart().await;
    let mut on_replica = loaded(&replica).await;
    follow(&mut on_replica, &primary).await;
    wait(&mut writer, 1).await;
    assert_eq!(served(&mut writer).await, (2, 1));
    same(&mut writer, &mut on_replica).await;
}

/// What was killed knows no place, also when its file had one before.
#[tokio::test]
async fn a_replica_that_was_killed_with_its_append_only_file_gets_everything_anew() {
    let (primary, mut writer, mut replica) = pair(&APPENDS).await;
    let mut on_replica = replica.connect().await;
    for round in 1..4 {
        wait_for_file(&mut on_replica).await;
        replica.restart().await;
        on_replica = loaded(&replica).await;
        follow(&mut on_replica, &primary).await;
        wait_for_file(&mut on_replica).await;
        end(&mut replica).await;
        replica.restart().await;
        on_replica = loaded(&replica).await;
        follow(&mut on_replica, &primary).await;
        assert_eq!(served(&mut writer).await, (1 + round, round));
        write(&mut writer, 1 + round).await;
        wait(&mut writer, 1).await;
        same(&mut writer, &mut on_replica).await;
    }
}

#[tokio::test]
async fn a_primary_that_was_killed_with_its_append_only_file_begins_another_history() {
    let (mut primary, _, replica) = pair(&APPENDS).await;
    let mut on_replica = replica.connect().await;
    for round in 2..4 {
        end(&mut primary).await;
        primary.restart().await;
        let mut writer = loaded(&primary).await;
        wait_for_link(&mut on_replica).await;
        write(&mut writer, round).await;
        wait(&mut writer, 1).await;
        assert_eq!(served(&mut writer).await, (0, 1));
        wait_for_file(&mut writer).await;
        primary.restart().await;
        let mut writer = loaded(&primary).await;
        wait_for_link(&mut on_replica).await;
        wait(&mut writer, 1).await;
        assert_eq!(served(&mut writer).await, (1, 0));
        same(&mut writer, &mut on_replica).await;
    }
}

/// The place is at the end of whatever files are in force then.
#[tokio::test]
async fn a_file_that_was_rewritten_or_begun_anew_has_a_place_as_well() {
    let (primary, mut writer, mut replica) = pair(&APPENDS).await;
    for (round, what, partial) in [
        (2, "rewrite", 1),
        (3, "begin anew", 2),
        (4, "switch off", 2),
    ] {
        let mut on_replica = replica.connect().await;
        wait_for_file(&mut on_replica).await;
        match what {
            "rewrite" => ask(&mut on_replica, "BGREWRITEAOF").await,
            "begin anew" => {
                switch_off(&mut on_replica).await;
                ask(&mut on_replica, "CONFIG SET appendonly yes").await;
                wait_for_file(&mut on_replica).await;
            }
            _ => {
                // The place that was there is void when this is behind it.
                write(&mut writer, round).await;
                wait(&mut writer, 1).await;
                wait_for_file(&mut on_replica).await;
                switch_off(&mut on_replica).await;
            }
        }
        write(&mut writer, round).await;
        wait(&mut writer, 1).await;
        end(&mut replica).await;
        replica.restart().await;
        let mut on_replica = loaded(&replica).await;
        follow(&mut on_replica, &primary).await;
        wait(&mut writer, 1).await;
        assert_eq!(served(&mut writer).await.1, partial, "{what}");
        same(&mut writer, &mut on_replica).await;
    }
}

async fn switch_off(connection: &mut MultiplexedConnection) {
    ask(connection, "CONFIG SET appendonly no").await;
    eventually("there is no append-only file", async || {
        info(connection).await["aof_enabled"] == "0"
    })
    .await;
}

async fn ask(connection: &mut MultiplexedConnection, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let _: redis::Value = redis::cmd(words[0])
        .arg(&words[1..])
        .query_async(connection)
        .await
        .expect(line);
}

/// Its end does not wait for writes that never end, and what it has then is a place all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_ends_under_writes_gets_what_it_has_missed() {
    let (primary, mut writer, mut replica) = pair(&APPENDS).await;
    wait_for_file(&mut replica.connect().await).await;
    let over = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let (mut connection, over) = (primary.connect().await, Arc::clone(&over));
        async move {
            let mut pipe = redis::pipe();
            for number in 0..100 {
                pipe.set(format!("key:{number}"), "v".repeat(100)).ignore();
            }
            while !over.load(Relaxed) {
                let _: () = pipe.query_async(&mut connection).await.expect("SET");
            }
        }
    });
    for round in 1..3 {
        end(&mut replica).await;
        replica.restart().await;
        let mut on_replica = loaded(&replica).await;
        follow(&mut on_replica, &primary).await;
        assert_eq!(served(&mut writer).await, (1, round));
    }
    over.store(true, Relaxed);
    writing.await.expect("no panic");
    wait(&mut writer, 1).await;
    same(&mut writer, &mut replica.connect().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_hands_over_at_its_end_goes_on_as_a_replica() {
    let mut cluster = Cluster::start_with(3, &[0], true, &APPENDS).await;
    wait_for_file(&mut cluster.connect(3).await).await;
    let mut client = cluster.client().await;
    for round in 0..2 {
        for number in 0..300 {
            let key = format!("key:{number}");
            let _: () = client.set(key, round).await.expect("SET");
        }
        if round == 0 {
            end(&mut cluster.nodes[0]).await;
        }
    }
    cluster.nodes[0].restart().await;
    cluster.wait_for_link(0).await;
    let (mut here, mut there) = (cluster.connect(3).await, cluster.connect(0).await);
    assert_eq!(served(&mut here).await, (0, 1));
    wait(&mut here, 1).await;
    ask(&mut there, "READONLY").await;
    same(&mut here, &mut there).await;
}
