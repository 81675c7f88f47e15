//! Snapshots: saved while everything goes on, loaded again, read by others, and refused when they are damaged.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use redis::{Commands, Connection};

use crate::content::{content, fill};
use crate::process::{Ending, Server, ask, error, eventually, try_ask};
use crate::redis_server::{RedisServer, check_rdb};

fn persistence(connection: &mut Connection) -> redis::InfoDict {
    ask(connection, "INFO persistence")
}

fn snapshot(server: &Server) -> std::path::PathBuf {
    server.dir().join("dump.rdb")
}

#[test]
fn what_was_saved_is_there_after_a_kill() {
    let mut server = Server::start(&[]);
    let connection = &mut server.connect();
    fill(connection);
    let () = connection.set("after", "1").unwrap();
    let before = content(connection);
    ask::<()>(connection, "SET gone v PX 1");
    ask::<()>(connection, "SAVE");
    ask::<()>(connection, "SET after 2");
    server.kill();
    server.restart(&[]);
    let connection = &mut server.connect();
    assert_eq!(content(connection), before);
    assert_eq!(ask::<i64>(connection, "EXISTS gone"), 0);
    assert_eq!(
        persistence(connection).get::<u64>("rdb_changes_since_last_save"),
        Some(0)
    );
}

#[test]
fn a_snapshot_is_one_moment_of_many_writes() {
    let mut server = Server::start(&[]);
    let ended = AtomicBool::new(false);
    // Each pair of counters is set by one command, in slots of their own.
    let pairs = 500;
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let (mut connection, ended) = (server.connect(), &ended);
            scope.spawn(move || {
                let mut number = 0;
                while !ended.load(SeqCst) {
                    let pair = (number * 7 + writer) % pairs;
                    number += 1;
                    let () = redis::cmd("MSET")
                        .arg(format!("left:{writer}:{pair}"))
                        .arg(number)
                        .arg(format!("right:{writer}:{pair}"))
                        .arg(number)
                        .query(&mut connection)
                        .unwrap();
                    if number % 50 == 0 {
                        let () = connection.rpush(format!("list:{writer}"), number).unwrap();
                        let () = connection
                            .set(format!("length:{writer}"), number / 50)
                            .unwrap();
                    }
                }
            });
        }
        let _ended = Ending(&ended);
        let connection = &mut server.connect();
        for _ in 0..3 {
            let calls: u64 = ask::<redis::InfoDict>(connection, "INFO stats")
                .get("total_commands_processed")
                .unwrap();
            eventually("more writes", || {
                let now: u64 = ask::<redis::InfoDict>(connection, "INFO stats")
                    .get("total_commands_processed")
                    .unwrap();
                (now > calls + 2000).then_some(())
            });
            ask::<()>(connection, "SAVE");
        }
    });
    server.kill();
    server.restart(&[]);
    let mut connection = server.connect();
    for writer in 0..2 {
        for pair in 0..pairs {
            let (left, right): (Option<u64>, Option<u64>) = redis::cmd("MGET")
                .arg(format!("left:{writer}:{pair}"))
                .arg(format!("right:{writer}:{pair}"))
                .query(&mut connection)
                .unwrap();
            assert_eq!(left, right, "pair {pair} of writer {writer}");
        }
        let length: u64 = connection.llen(format!("list:{writer}")).unwrap();
        let told: Option<u64> = connection.get(format!("length:{writer}")).unwrap();
        assert!([0, 1].contains(&(length - told.unwrap_or(0))));
    }
}

#[test]
fn save_points_save_by_themselves() {
    let server = Server::start(&["--save", "3600 1000000 1 3"]);
    let connection = &mut server.connect();
    ask::<()>(connection, "MSET a 1 b 2");
    assert_eq!(
        persistence(connection).get::<u64>("rdb_changes_since_last_save"),
        Some(2)
    );
    assert!(!snapshot(&server).exists());
    ask::<()>(connection, "SET c 3");
    eventually("a save", || {
        let info = persistence(connection);
        (info.get::<u64>("rdb_saves") == Some(1)).then_some(())
    });
    let info = persistence(connection);
    assert_eq!(info.get::<u64>("rdb_changes_since_last_save"), Some(0));
    assert!(snapshot(&server).exists());
}

#[test]
fn the_end_of_the_process_saves_if_it_should() {
    let mut server = Server::start(&[]);
    ask::<()>(&mut server.connect(), "SET k 1");
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    assert!(!snapshot(&server).exists());
    server.restart(&["--save", "3600 1"]);
    ask::<()>(&mut server.connect(), "SET k 2");
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    server.restart(&["--save", "3600 1"]);
    let connection = &mut server.connect();
    assert_eq!(ask::<String>(connection, "GET k"), "2");
    ask::<()>(connection, "SET k 3");
    let _ = try_ask::<()>(connection, "SHUTDOWN NOSAVE");
    assert_eq!(server.wait().code(), Some(0));
    server.restart(&[]);
    let connection = &mut server.connect();
    assert_eq!(ask::<String>(connection, "GET k"), "2");
    ask::<()>(connection, "SET k 4");
    let _ = try_ask::<()>(connection, "SHUTDOWN SAVE");
    assert_eq!(server.wait().code(), Some(0));
    server.restart(&[]);
    assert_eq!(ask::<String>(&mut server.connect(), "GET k"), "4");
}

#[test]
fn a_save_that_fails_stops_writes_until_one_succeeds() {
    let server = Server::start(&["--save", "3600 1000000"]);
    let connection = &mut server.connect();
    ask::<()>(connection, "SET k 1");
    ask::<()>(connection, "SAVE");
    // A folder in the snapshot's place cannot be replaced by a file.
    std::fs::create_dir(server.dir().join("folder")).unwrap();
    ask::<()>(connection, "CONFIG SET dbfilename folder");
    assert!(error(connection, "SAVE").starts_with("ERR the data set was not saved"));
    let info = persistence(connection);
    assert_eq!(info.get::<String>("rdb_last_bgsave_status").unwrap(), "err");
    assert_eq!(info.get::<u64>("rdb_failed_saves"), Some(1));
    assert!(error(connection, "SET k 2").starts_with("MISCONF"));
    ask::<()>(connection, "MULTI");
    assert!(error(connection, "SET k 2").starts_with("MISCONF"));
    assert!(error(connection, "EXEC").starts_with("EXECABORT"));
    assert_eq!(ask::<i64>(connection, "GET k"), 1);
    assert!(!std::fs::read_dir(server.dir()).unwrap().any(|entry| {
        let name = entry.unwrap().file_name();
        name.to_string_lossy().starts_with("temp-")
    }));
    ask::<()>(connection, "CONFIG SET stop-writes-on-bgsave-error no");
    ask::<()>(connection, "SET k 3");
    ask::<()>(connection, "CONFIG SET stop-writes-on-bgsave-error yes");
    ask::<()>(connection, "CONFIG SET dbfilename dump.rdb");
    ask::<()>(connection, "SAVE");
    ask::<()>(connection, "SET k 4");
}

#[test]
fn a_damaged_snapshot_is_refused_with_its_offset() {
    let mut server = Server::start(&[]);
    let connection = &mut server.connect();
    fill(connection);
    ask::<()>(connection, "SAVE");
    server.kill();
    let whole = std::fs::read(snapshot(&server)).unwrap();
    std::fs::write(snapshot(&server), &whole[..whole.len() / 2]).unwrap();
    let (code, text) = server.fails(&[]);
    assert_eq!(code, Some(1));
    let place = format!("dump.rdb: byte {}: it ends in the middle", whole.len() / 2);
    assert!(text.contains(&place), "{text}");
    let mut flipped = whole.clone();
    flipped[whole.len() / 3] ^= 4;
    std::fs::write(snapshot(&server), flipped).unwrap();
    let (code, text) = server.fails(&[]);
    assert_eq!(code, Some(1));
    assert!(text.contains("dump.rdb: byte "), "{text}");
    // An older version, without a checksum: the checksum is left over.
    let mut older = whole.clone();
    older[8] = b'1';
    std::fs::write(snapshot(&server), older).unwrap();
    let (code, text) = server.fails(&[]);
    assert_eq!(code, Some(1));
    let place = format!(
        "byte {}: damaged: there is something behind the end",
        whole.len() - 8
    );
    assert!(text.contains(&place), "{text}");
    // Whatever is refused stays as it is.
    assert_eq!(
        std::fs::metadata(snapshot(&server)).unwrap().len(),
        whole.len() as u64
    );
    std::fs::write(snapshot(&server), whole).unwrap();
    server.restart(&[]);
}

#[test]
fn one_save_at_a_time() {
    let server = Server::start(&[]);
    let connection = &mut server.connect();
    assert!(error(connection, "BGSAVE CANCEL").contains("not in progress"));
    assert!(error(connection, "BGSAVE now").starts_with("ERR syntax error"));
    let mut begun = 0;
    for _ in 0..20 {
        match try_ask::<String>(connection, "BGSAVE") {
            Ok(answer) => {
                assert_eq!(answer, "Background saving started");
                begun += 1;
            }
            Err(why) => assert!(why.to_string().contains("already in progress"), "{why}"),
        }
        ask::<String>(connection, "BGSAVE SCHEDULE");
    }
    assert!(begun >= 1);
    eventually("the end of all saves", || {
        let info = persistence(connection);
        (info.get::<u64>("rdb_bgsave_in_progress") == Some(0)
            && info.get::<u64>("rdb_saves") >= Some(2))
        .then_some(())
    });
    let saved: u64 = ask(connection, "LASTSAVE");
    assert!(saved > 1_700_000_000);
}

#[test]
fn snapshots_of_others_are_loaded() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut server = Server::start(&[]);
    let connection = &mut server.connect();
    fill(connection);
    let expected = content(connection);
    let mut seen = 0;
    for entry in std::fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rdb") {
            continue;
        }
        server.kill();
        std::fs::copy(&path, snapshot(&server)).unwrap();
        server.restart(&[]);
        assert_eq!(
            content(&mut server.connect()),
            expected,
            "{}",
            path.display()
        );
        seen += 1;
    }
    assert_eq!(seen, 4);
}

#[test]
fn redis_reads_snapshots_and_ours_are_read_by_it() {
    for compression in ["yes", "no"] {
        let server = Server::start(&["--rdbcompression", compression]);
        let ours = &mut server.connect();
        fill(ours);
        ask::<()>(ours, "SAVE");
        check_rdb(&snapshot(&server));
        let redis = RedisServer::start(&snapshot(&server));
        let theirs = &mut redis.connect();
        let expected = content(ours);
        assert_eq!(content(theirs), expected);
        ask::<()>(theirs, "SAVE");
        std::fs::copy(redis.snapshot(), snapshot(&server)).unwrap();
        let mut server = server;
        server.kill();
        server.restart(&[]);
        let ours = &mut server.connect();
        assert_eq!(content(ours), expected);
        for key in expected.keys() {
            let dump = |from: &mut Connection| -> Vec<u8> {
                redis::cmd("DUMP").arg(key).query(from).unwrap()
            };
            let restore = |to: &mut Connection, dump: Vec<u8>| {
                let mut restore = redis::cmd("RESTORE");
                restore.arg("copy").arg(0).arg(dump).arg("REPLACE");
                restore.query::<()>(to).unwrap();
                content(to).remove(b"copy".as_slice()).unwrap()
            };
            let (mine, yours) = (dump(ours), dump(theirs));
            assert_eq!(restore(ours, yours).1, expected[key].1);
            assert_eq!(restore(theirs, mine).1, expected[key].1);
        }
    }
}

#[test]
fn restore_refuses_what_is_wrong() {
    let server = Server::start(&[]);
    let connection = &mut server.connect();
    ask::<()>(connection, "SET k value");
    let dump: Vec<u8> = ask(connection, "DUMP k");
    assert_eq!(ask::<Option<Vec<u8>>>(connection, "DUMP missing"), None);
    let mut restore = |arguments: &[&str], dump: &[u8]| -> String {
        let mut command = redis::cmd("RESTORE");
        command.arg(arguments[0]).arg(arguments[1]).arg(dump);
        command.arg(&arguments[2..]);
        match command.query::<String>(connection) {
            Ok(answer) => answer,
            Err(why) => format!(
                "{} {}",
                why.code().unwrap_or_default(),
                why.detail().unwrap_or_default()
            ),
        }
    };
    assert_eq!(
        restore(&["k", "0"], &dump),
        "BUSYKEY Target key name already exists."
    );
    assert!(restore(&["l", "-1"], &dump).contains("Invalid TTL value"));
    assert!(restore(&["l", "0", "FREQ", "256"], &dump).contains("Invalid FREQ value"));
    assert!(restore(&["l", "0", "HOW"], &dump).contains("syntax error"));
    for at in 0..dump.len() {
        let mut damaged = dump.clone();
        damaged[at] ^= 1;
        let answer = restore(&["l", "0"], &damaged);
        assert!(answer.contains("version or checksum are wrong"), "{answer}");
    }
    assert_eq!(restore(&["l", "0"], &dump), "OK");
    assert_eq!(restore(&["m", "1", "ABSTTL"], &dump), "OK");
    assert_eq!(
        restore(&["k", "100000", "REPLACE", "IDLETIME", "5"], &dump),
        "OK"
    );
    assert_eq!(ask::<String>(connection, "GET l"), "value");
    assert_eq!(ask::<i64>(connection, "EXISTS m"), 0);
    assert!(ask::<i64>(connection, "PTTL k") > 50_000);
}

/// Counts up in one key and asks for saves; answers what was saved for sure: the highest count before a save that was seen to succeed.
fn count_and_save(port: u16, counted: &AtomicU64) -> u64 {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap();
    let Ok(mut connection) = client.get_connection() else {
        return 0;
    };
    let (mut saved, mut count): (u64, u64) = (
        0,
        connection
            .get::<_, Option<u64>>("count")
            .ok()
            .flatten()
            .unwrap_or(0),
    );
    let log: u64 = connection.llen("log").unwrap_or(0);
    if log < count {
        // The snapshot came between the two.
        let _: redis::RedisResult<()> = connection.rpush("log", count);
    }
    loop {
        let began = count;
        for _ in 0..20 {
            let set: redis::RedisResult<()> = redis::pipe()
                .set("count", count + 1)
                .rpush("log", count + 1)
                .ignore()
                .query(&mut connection);
            if set.is_err() {
                return saved;
            }
            count += 1;
        }
        counted.store(count, SeqCst);
        match try_ask::<String>(&mut connection, "SAVE") {
            Ok(_) => saved = began + 20,
            Err(_) => return saved,
        }
    }
}

/// However often it is killed, in the middle of saves too, it starts again with what was saved last or something newer.
fn crash(rounds: u64) {
    let mut server = Server::start(&[]);
    let connection = &mut server.connect();
    for number in 0..2000 {
        let () = connection
            .set(format!("filler:{number}"), vec![b'x'; 500])
            .unwrap();
    }
    ask::<()>(connection, "SAVE");
    let mut least = 0;
    for round in 0..rounds {
        let counted = Arc::new(AtomicU64::new(0));
        // Not in a scope, which would wait for it when this fails before the server has ended.
        let writer = std::thread::spawn({
            let (port, counted) = (server.port, Arc::clone(&counted));
            move || count_and_save(port, &counted)
        });
        eventually("some writes", || (counted.load(SeqCst) > 0).then_some(()));
        let (began, moment) = (Instant::now(), Duration::from_micros(round * 7919 % 40_000));
        eventually("the moment", || (began.elapsed() >= moment).then_some(()));
        server.kill();
        let saved = writer.join().unwrap();
        least = least.max(saved);
        server.restart(&[]);
        let connection = &mut server.connect();
        let count: u64 = connection
            .get::<_, Option<u64>>("count")
            .unwrap()
            .unwrap_or(0);
        let log: Vec<u64> = connection.lrange("log", 0, -1).unwrap();
        assert!(count >= least, "round {round}: {count} of {least}");
        // Nothing in between is missing; the list may be one ahead of or level with the counter.
        assert!(
            log.iter().copied().eq(1..=log.len() as u64),
            "round {round}"
        );
        assert!(log.len() as u64 == count || log.len() as u64 + 1 == count);
        assert_eq!(ask::<i64>(connection, "EXISTS filler:1999"), 1);
    }
}

#[test]
fn a_kill_at_any_moment_leaves_a_whole_snapshot() {
    crash(15);
}

#[test]
#[ignore = "takes minutes: cargo test -p cache-node --test server crash_500 -- --ignored"]
fn crash_500() {
    crash(500);
}
