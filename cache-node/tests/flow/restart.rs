//! Nodes that come back with what they saved, and go on where they were.

use nix::sys::signal::Signal;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;

use crate::processes::{Process, dump, eventually};
use crate::replication::{follow, info, wait_for_link};

/// Saves when it ends, and at no other time.
const SAVES: [&str; 2] = ["--save", "86400 1000000000"];

/// Writes that change what is there, and one that expires at once.
async fn write(connection: &mut MultiplexedConnection, round: u32) {
    for number in 0..200 {
        let key = format!("key:{}", number % 150);
        let _: () = connection
            .append(key, format!("{round}:{number};"))
            .await
            .expect("APPEND");
    }
    let _: () = connection.pset_ex("gone", "v", 20).await.expect("PSETEX");
    eventually("it has expired", async || {
        let there: redis::RedisResult<bool> = connection.exists("gone").await;
        there.is_ok_and(|there| !there)
    })
    .await;
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

/// Ends the process as an administrator does.
async fn end(process: &mut Process) {
    process.signal(Signal::SIGTERM);
    assert!(process.ended().await);
}

/// A connection to a process that has loaded what it saved.
async fn loaded(process: &Process) -> MultiplexedConnection {
    let mut connection = process.connect().await;
    eventually("the snapshot is loaded", async || {
        info(&mut connection).await["loading"] == "0"
    })
    .await;
    connection
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
            let size: redis::RedisResult<usize> = redis::cmd("DBSIZE").query_async(side).await;
            size.is_ok_and(|size| size == seen.len())
        })
        .await;
    }
}

/// A primary with these options and its replica, with some data in both.
async fn pair(args: &[&str]) -> (Process, MultiplexedConnection, Process) {
    let (primary, replica) = (Process::start(args).await, Process::start(&[]).await);
    follow(&mut replica.connect().await, &primary).await;
    let mut writer = primary.connect().await;
    write(&mut writer, 1).await;
    wait(&mut writer).await;
    (primary, writer, replica)
}

#[tokio::test]
async fn a_replica_that_restarts_gets_what_it_has_missed() {
    let primary = Process::start(&[]).await;
    let upstream = format!("127.0.0.1 {}", primary.port());
    let mut replica = Process::start(&[&SAVES[..], &["--replicaof", &upstream]].concat()).await;
    let mut writer = primary.connect().await;
    wait_for_link(&mut replica.connect().await).await;
    write(&mut writer, 1).await;
    wait(&mut writer).await;
    for round in 2..4 {
        end(&mut replica).await;
        write(&mut writer, round).await;
        replica.restart().await;
        let mut on_replica = loaded(&replica).await;
        wait_for_link(&mut on_replica).await;
        wait(&mut writer).await;
        same(&mut writer, &mut on_replica).await;
        assert_eq!(served(&mut writer).await, (1, round - 1));
    }
}

#[tokio::test]
async fn replicas_go_on_with_a_primary_that_restarts() {
    let (mut primary, _, replica) = pair(&SAVES).await;
    let mut on_replica = replica.connect().await;
    for round in 2..4 {
        // Not waited for: the primary does that at its end.
        write(&mut primary.connect().await, round).await;
        end(&mut primary).await;
        primary.restart().await;
        let mut writer = loaded(&primary).await;
        wait_for_link(&mut on_replica).await;
        write(&mut writer, round + 100).await;
        wait(&mut writer).await;
        same(&mut writer, &mut on_replica).await;
        assert_eq!(served(&mut writer).await, (0, 1));
    }
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
        wait(&mut writer).await;
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

#[tokio::test]
async fn a_primary_that_ended_goes_on_as_a_replica_of_its_successor() {
    let (mut first, _, second) = pair(&SAVES).await;
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
    wait(&mut on_second).await;
    assert_eq!(served(&mut on_second).await, (0, 1));
    same(&mut on_first, &mut on_second).await;
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
        wait(&mut writer).await;
        assert_eq!(served(&mut writer).await.0, round);
        same(&mut writer, &mut on_replica).await;
    }
}
