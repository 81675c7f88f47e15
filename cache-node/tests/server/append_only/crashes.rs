//! What is left after a kill, at any moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use redis::Commands;

use super::{assert_tidy, await_written, folder, info, manifest, on};
use crate::content::fill;
use crate::process::{Server, ask, eventually, try_ask};
use crate::redis_server::check_aof;

/// A small ring: writers wait for the file instead of overrunning it, and nothing is missing.
#[test]
fn writers_that_are_faster_than_the_disk_wait_for_it() {
    let args = [&on("everysec")[..], &["--repl-backlog-size", "16384"]].concat();
    let mut server = Server::start(&args);
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let mut connection = server.connect();
            scope.spawn(move || {
                for round in 0..40 {
                    let mut pipe = redis::pipe();
                    for number in 0..100 {
                        let key = format!("{writer}:{round}:{number}");
                        pipe.set(key, "v".repeat(number * 3));
                    }
                    let _: redis::Value = pipe.query(&mut connection).unwrap();
                }
                let () = connection
                    .set(format!("big:{writer}"), "b".repeat(300_000))
                    .unwrap();
            });
        }
    });
    let connection = &mut server.connect();
    let keys: i64 = ask(connection, "DBSIZE");
    assert_eq!(keys, 4 * 4001);
    await_written(connection);
    server.restart(&args);
    let connection = &mut server.connect();
    assert_eq!(ask::<i64>(connection, "DBSIZE"), keys);
    assert_eq!(ask::<i64>(connection, "STRLEN big:3"), 300_000);
}

/// Begins a snapshot, writes 10,000 keys, is killed, and starts again: what is left of them in each mode.
#[test]
fn what_is_left_of_ten_thousand_writes_during_a_snapshot() {
    let snapshots = vec!["--save", "3600 100000000"];
    let both = [&on("always")[..], &snapshots].concat();
    let modes = [
        ("cache only", vec![], 0..=0),
        ("snapshots", snapshots, 0..=0),
        ("append-only file, always", on("always"), 10_000..=10_000),
        ("append-only file, everysec", on("everysec"), 9_000..=10_000),
        ("append-only file, no", on("no"), 9_000..=10_000),
        ("both, always", both, 10_000..=10_000),
    ];
    for (name, args, expected) in modes {
        let mut server = Server::start(&args);
        let connection = &mut server.connect();
        fill(connection);
        if name != "cache only" {
            ask::<String>(connection, "BGSAVE");
            eventually("the snapshot's moment", || {
                let info = info(connection);
                let begun = info.get::<u64>("current_save_slots_processed").unwrap_or(0) > 0;
                (begun || info.get::<u64>("rdb_saves") > Some(0)).then_some(())
            });
        }
        for hundred in 0..100 {
            let mut pipe = redis::pipe();
            for number in 0..100 {
                pipe.set(format!("new:{}", hundred * 100 + number), number);
            }
            let _: redis::Value = pipe.query(connection).unwrap();
            if hundred == 90 && ["everysec", "no"].iter().any(|mode| name.ends_with(mode)) {
                // What was written a while ago is in the file.
                await_written(connection);
            }
        }
        server.kill();
        server.restart(&args);
        let keys: Vec<Vec<u8>> = server.connect().keys("new:*").unwrap();
        println!("{name}: of 10,000 writes {} are left", keys.len());
        assert!(expected.contains(&keys.len()), "{name}: {}", keys.len());
    }
}

/// Writes a known sequence; answers the number of the last write of which it was told that it is on the disk.
fn write_in_order(port: u16, always: bool, begun: &AtomicU64) -> u64 {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap();
    let Ok(mut connection) = client.get_connection() else {
        return 0;
    };
    let mut count = connection
        .get::<_, Option<u64>>("{c}ount")
        .ok()
        .flatten()
        .unwrap_or(0);
    let mut confirmed = 0;
    loop {
        count += 1;
        begun.store(count, SeqCst);
        let mut pipe = redis::pipe();
        if count % 2 == 0 {
            pipe.atomic();
        }
        pipe.set("{c}ount", count).rpush("{c}log", count);
        pipe.set(
            format!("filler:{}", count % 300),
            "x".repeat(count as usize % 900),
        );
        if pipe.query::<redis::Value>(&mut connection).is_err() {
            return confirmed;
        }
        if always {
            confirmed = count;
        } else if count % 16 == 0 {
            match try_ask::<Vec<u64>>(&mut connection, "WAITAOF 1 0 0") {
                Ok(reached) => {
                    assert_eq!(reached[0], 1);
                    confirmed = count;
                }
                Err(_) => return confirmed,
            }
        }
        if count % 211 == 0
            && try_ask::<redis::Value>(&mut connection, "BGREWRITEAOF")
                .is_err_and(|why| why.is_io_error())
        {
            return confirmed;
        }
    }
}

/// However often it is killed, in the middle of rewrites too, it starts again with everything that it said is on the disk, and with
/// nothing in between missing.
fn crash(mode: &str, rounds: u64) {
    let mut server = Server::start(&on(mode));
    let mut least = 0;
    for round in 0..rounds {
        let begun = Arc::new(AtomicU64::new(0));
        // Not in a scope, which would wait for it when this fails before the server has ended.
        let writer = std::thread::spawn({
            let (port, begun) = (server.port, Arc::clone(&begun));
            let always = mode == "always";
            move || write_in_order(port, always, &begun)
        });
        eventually("a write", || (begun.load(SeqCst) > 0).then_some(()));
        let (began, moment) = (
            Instant::now(),
            Duration::from_micros(round * 7919 % 150_000),
        );
        eventually("the moment", || (began.elapsed() >= moment).then_some(()));
        server.kill();
        let confirmed = writer.join().unwrap();
        least = least.max(confirmed);
        server.restart(&on(mode));
        let connection = &mut server.connect();
        // A kill may tear the last write; the start has repaired that.
        if round % 10 == 0 {
            check_aof(&manifest(&folder(&server)));
        }
        let count: u64 = connection
            .get::<_, Option<u64>>("{c}ount")
            .unwrap()
            .unwrap_or(0);
        let log: Vec<u64> = connection.lrange("{c}log", 0, -1).unwrap();
        assert!(count >= least, "round {round}: {count} of {least}");
        assert!(count <= begun.load(SeqCst), "round {round}");
        assert!(
            log.iter().copied().eq(1..=log.len() as u64),
            "round {round}"
        );
        let length = log.len() as u64;
        if length + 1 == count {
            // The file ended between the two; they go on together.
            let () = connection.rpush("{c}log", count).unwrap();
        } else {
            assert_eq!(length, count, "round {round}");
        }
        assert_tidy(&folder(&server));
    }
    assert!(least > 0);
}

#[test]
fn a_kill_at_any_moment_loses_nothing_that_was_confirmed() {
    crash("always", 8);
    crash("everysec", 8);
}

#[test]
#[ignore = "takes minutes: cargo test -p cache-node --test server crash_500_always -- --ignored"]
fn crash_500_always() {
    crash("always", 500);
}

#[test]
#[ignore = "takes minutes: cargo test -p cache-node --test server crash_500_everysec -- --ignored"]
fn crash_500_everysec() {
    crash("everysec", 500);
}
