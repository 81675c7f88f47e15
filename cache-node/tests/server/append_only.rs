//! The append-only file: what it keeps through kills, read by others, rewritten under load, damaged, and switched while the process runs.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use redis::{Commands, Connection};

use crate::content::{content, fill};
use crate::process::{Server, ask, error, eventually, try_ask};
use crate::redis_server::{RedisServer, check_aof};

const MODES: [&str; 3] = ["always", "everysec", "no"];

fn on(mode: &str) -> Vec<&str> {
    vec!["--appendonly", "yes", "--appendfsync", mode]
}

fn info(connection: &mut Connection) -> redis::InfoDict {
    ask(connection, "INFO persistence")
}

fn number(connection: &mut Connection, field: &str) -> u64 {
    info(connection).get(field).unwrap()
}

/// Everything in the log is written to the file.
fn await_written(connection: &mut Connection) {
    eventually("all is written", || {
        (number(connection, "aof_buffer_length") == 0).then_some(())
    });
}

fn folder(server: &Server) -> PathBuf {
    server.dir().join("appendonlydir")
}

fn manifest(folder: &Path) -> PathBuf {
    folder.join("appendonly.aof.manifest")
}

/// The incremental files that the manifest names, in order.
fn increments(folder: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(manifest(folder)).unwrap();
    text.lines()
        .filter(|line| line.ends_with(" type i"))
        .map(|line| folder.join(line.split(' ').nth(1).unwrap()))
        .collect()
}

fn base(folder: &Path) -> PathBuf {
    let text = std::fs::read_to_string(manifest(folder)).unwrap();
    let line = text.lines().find(|line| line.ends_with(" type b")).unwrap();
    folder.join(line.split(' ').nth(1).unwrap())
}

/// Nothing is in the folder but what the manifest names.
fn assert_tidy(folder: &Path) {
    let text = std::fs::read_to_string(manifest(folder)).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name.ends_with(".manifest") || text.contains(&format!("file {name} ")),
            "{name} is left over"
        );
    }
}

fn rewrite(connection: &mut Connection) {
    let before: u64 = rewrites(connection);
    ask::<String>(connection, "BGREWRITEAOF");
    eventually("the rewrite", || {
        let info = info(connection);
        assert_eq!(
            info.get::<String>("aof_last_bgrewrite_status").unwrap(),
            "ok"
        );
        (info.get::<u8>("aof_rewrite_in_progress") == Some(0) && rewrites(connection) > before)
            .then_some(())
    });
}

fn rewrites(connection: &mut Connection) -> u64 {
    number(connection, "aof_rewrites")
}

#[test]
fn what_was_written_is_there_after_a_kill() {
    for mode in MODES {
        let mut server = Server::start(&on(mode));
        let connection = &mut server.connect();
        fill(connection);
        ask::<()>(connection, "SET gone v PX 1");
        ask::<()>(connection, "DEL integer:0");
        ask::<()>(connection, "RPUSH list:5 more");
        ask::<()>(connection, "PERSIST expiring");
        redis::pipe()
            .atomic()
            .set("{t}1", 1)
            .incr("{t}2", 5)
            .exec(connection)
            .unwrap();
        eventually("the expiry", || {
            (ask::<i64>(connection, "EXISTS gone") == 0).then_some(())
        });
        let before = content(connection);
        if mode != "always" {
            await_written(connection);
        }
        server.kill();
        check_aof(&manifest(&folder(&server)));
        server.restart(&on(mode));
        let connection = &mut server.connect();
        assert_eq!(content(connection), before, "{mode}");
        // And again, after a rewrite and more writes.
        rewrite(connection);
        ask::<()>(connection, "LPUSH list:5 first");
        let before = content(connection);
        await_written(connection);
        server.kill();
        check_aof(&manifest(&folder(&server)));
        server.restart(&on(mode));
        assert_eq!(content(&mut server.connect()), before, "{mode}");
        assert_tidy(&folder(&server));
    }
}

/// Copies a folder's files.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn redis_loads_what_is_written_and_what_it_writes_is_loaded() {
    let mut server = Server::start(&on("everysec"));
    let ours = &mut server.connect();
    fill(ours);
    rewrite(ours);
    ask::<()>(ours, "SADD integers:5 77");
    ask::<()>(ours, "SET short v PX 1");
    ask::<()>(ours, "MSET a 1 b 2 c 3");
    ask::<()>(ours, "RENAME a d");
    ask::<()>(ours, "ZADD scores:5 1.5 member:1");
    eventually("the expiry", || {
        (ask::<i64>(ours, "EXISTS short") == 0).then_some(())
    });
    await_written(ours);
    let expected = content(ours);
    server.kill();
    let dir = tempfile::tempdir().unwrap();
    copy(&folder(&server), &dir.path().join("appendonlydir"));
    let redis = RedisServer::start_in(dir, &["--appendonly", "yes"]);
    let theirs = &mut redis.connect();
    assert_eq!(content(theirs), expected);
    // Commands of many kinds, as redis-server records them.
    for command in [
        "MSET x 1 y 2 z 3",
        "DEL x y",
        "INCRBY z 5",
        "INCRBYFLOAT z 0.5",
        "APPEND z tail",
        "SETRANGE z 2 abc",
        "SETEX volatile 1000 v",
        "EXPIRE z 2000",
        "PERSIST z",
        "LPUSH l 1 2 3",
        "RPOPLPUSH l m",
        "LTRIM l 0 0",
        "SADD s1 a b c",
        "SADD s2 b c d",
        "SINTERSTORE s3 s1 s2",
        "SPOP s1",
        "SMOVE s2 s3 d",
        "ZADD q 1 a 2 b",
        "ZINCRBY q 2.5 a",
        "ZUNIONSTORE q2 1 q",
        "ZPOPMIN q",
        "HINCRBY h f 3",
        "HINCRBYFLOAT h g 1.25",
        "HSETNX h i j",
        "COPY h h2",
        "RENAME h h3",
        "GETDEL d",
        "SET nothing v PX 1",
        "UNLINK wide",
    ] {
        ask::<redis::Value>(theirs, command);
    }
    redis::pipe()
        .atomic()
        .set("t1", 1)
        .rpush("t2", 2)
        .exec(theirs)
        .unwrap();
    eventually("the expiry", || {
        (ask::<i64>(theirs, "EXISTS nothing") == 0).then_some(())
    });
    let expected = content(theirs);
    let _ = try_ask::<()>(theirs, "SHUTDOWN");
    std::fs::remove_dir_all(folder(&server)).unwrap();
    eventually("the end of redis-server", || {
        redis::Client::open(format!("redis://127.0.0.1:{}/", redis.port()))
            .unwrap()
            .get_connection()
            .is_err()
            .then_some(())
    });
    copy(&redis.dir().join("appendonlydir"), &folder(&server));
    server.restart(&on("always"));
    assert_eq!(content(&mut server.connect()), expected);
}

/// A file of one part, as versions before 7 write it: commands alone, or behind a snapshot.
#[test]
fn an_append_only_file_of_an_older_version_is_taken_over() {
    let commands = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n#TS:1700000000\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n\
                    *1\r\n$5\r\nMULTI\r\n*3\r\n$5\r\nLPUSH\r\n$1\r\nl\r\n$1\r\n1\r\n*1\r\n$4\r\nEXEC\r\n";
    let mut server = Server::start(&[]);
    ask::<()>(&mut server.connect(), "SET base 1");
    ask::<()>(&mut server.connect(), "SAVE");
    let snapshot = std::fs::read(server.dir().join("dump.rdb")).unwrap();
    for preamble in [Vec::new(), snapshot] {
        server.kill();
        let _ = std::fs::remove_dir_all(folder(&server));
        let behind = preamble.len();
        let file = [preamble, commands.as_bytes().to_vec()].concat();
        std::fs::write(server.dir().join("appendonly.aof"), &file).unwrap();
        server.restart(&on("everysec"));
        let connection = &mut server.connect();
        assert_eq!(ask::<String>(connection, "GET k"), "v");
        assert_eq!(ask::<i64>(connection, "LLEN l"), 1);
        let expected = i64::from(behind > 0);
        assert_eq!(ask::<i64>(connection, "EXISTS base"), expected);
        ask::<()>(connection, "SET more 1");
        await_written(connection);
        server.restart(&on("everysec"));
        assert_eq!(ask::<i64>(&mut server.connect(), "DBSIZE"), 3 + expected);
    }
}

#[test]
fn without_an_append_only_file_the_snapshot_is_its_first_base() {
    let mut server = Server::start(&[]);
    let connection = &mut server.connect();
    fill(connection);
    ask::<()>(connection, "SAVE");
    let expected = content(connection);
    server.restart(&on("everysec"));
    let connection = &mut server.connect();
    assert_eq!(content(connection), expected);
    check_aof(&manifest(&folder(&server)));
    // From now on the snapshot is not looked at.
    ask::<()>(connection, "DEL text");
    await_written(connection);
    server.restart(&on("everysec"));
    assert_eq!(ask::<i64>(&mut server.connect(), "EXISTS text"), 0);
}

/// Writes through rewrites: whatever was written before or behind a cut is there exactly once.
#[test]
fn rewrites_under_load_lose_and_double_nothing() {
    let mut server = Server::start(&on("everysec"));
    let ended = AtomicBool::new(false);
    let connection = &mut server.connect();
    fill(connection);
    let counts: Vec<i64> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let (mut connection, ended) = (server.connect(), &ended);
                scope.spawn(move || {
                    let mut count = 0_i64;
                    while !ended.load(SeqCst) {
                        let mut pipe = redis::pipe();
                        for _ in 0..20 {
                            count += 1;
                            pipe.rpush(format!("list:{writer}:{}", count % 7), count);
                            pipe.incr(format!("sum:{writer}"), 1);
                            pipe.set(format!("key:{writer}:{}", count % 500), count);
                        }
                        let _: redis::Value = pipe.query(&mut connection).unwrap();
                    }
                    count
                })
            })
            .collect();
        for _ in 0..6 {
            let before: i64 = ask(connection, "GET sum:0");
            eventually("more writes", || {
                (ask::<i64>(connection, "GET sum:0") > before + 500).then_some(())
            });
            rewrite(connection);
        }
        ended.store(true, SeqCst);
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .collect()
    });
    await_written(connection);
    let expected = content(connection);
    server.kill();
    check_aof(&manifest(&folder(&server)));
    assert_eq!(increments(&folder(&server)).len(), 1);
    server.restart(&on("everysec"));
    let connection = &mut server.connect();
    for (writer, count) in counts.iter().enumerate() {
        let sum: i64 = ask(connection, &format!("GET sum:{writer}"));
        assert_eq!(sum, *count);
        let elements: i64 = (0..7)
            .map(|list| ask::<i64>(connection, &format!("LLEN list:{writer}:{list}")))
            .sum();
        assert_eq!(elements, *count);
    }
    assert_eq!(content(connection), expected);
    assert_tidy(&folder(&server));
}

#[test]
fn it_is_rewritten_by_itself_when_it_has_grown() {
    let args = [
        &on("everysec")[..],
        &["--auto-aof-rewrite-min-size", "100kb"],
    ]
    .concat();
    let mut server = Server::start(&args);
    let connection = &mut server.connect();
    let value = "v".repeat(1000);
    for _ in 0..500 {
        let () = connection.set("k", &value).unwrap();
    }
    eventually("the rewrite", || {
        (rewrites(connection) >= 2 && number(connection, "aof_current_size") < 100_000)
            .then_some(())
    });
    await_written(connection);
    server.restart(&args);
    assert_eq!(ask::<String>(&mut server.connect(), "GET k"), value);
}

#[test]
fn a_save_and_a_rewrite_wait_for_each_other() {
    let server = Server::start(&on("everysec"));
    let connection = &mut server.connect();
    fill(connection);
    for _ in 0..10 {
        let answers: Vec<redis::Value> = redis::pipe()
            .cmd("BGSAVE")
            .cmd("BGREWRITEAOF")
            .cmd("BGREWRITEAOF")
            .cmd("BGSAVE")
            .arg("SCHEDULE")
            .ignore_errors()
            .query(connection)
            .unwrap();
        assert_eq!(answers.len(), 4);
        eventually("a save by itself", || {
            try_ask::<()>(connection, "SAVE").ok()
        });
    }
    eventually("the end of both", || {
        let info = info(connection);
        let idle = [
            "rdb_bgsave_in_progress",
            "aof_rewrite_in_progress",
            "aof_rewrite_scheduled",
        ];
        idle.iter()
            .all(|field| info.get::<u64>(field) == Some(0))
            .then_some(())
    });
    assert!(rewrites(connection) >= 2);
    assert_eq!(
        info(connection)
            .get::<String>("aof_last_bgrewrite_status")
            .unwrap(),
        "ok"
    );
}

/// A file whose last command is not whole is cut where that begins, wherever it ends.
#[test]
fn a_torn_end_is_cut_off() {
    let mut server = Server::start(&on("everysec"));
    let connection = &mut server.connect();
    ask::<()>(connection, "SET first 1");
    await_written(connection);
    server.kill();
    let file = increments(&folder(&server)).pop().unwrap();
    let whole = std::fs::read(&file).unwrap();
    let last = b"*3\r\n$3\r\nSET\r\n$6\r\nsecond\r\n$1\r\n2\r\n";
    let transaction = b"*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$1\r\n1\r\n";
    let mut tails: Vec<Vec<u8>> = (1..last.len())
        .step_by(5)
        .map(|cut| last[..cut].to_vec())
        .collect();
    tails.push(transaction.to_vec());
    tails.push(transaction[..20].to_vec());
    tails.push([&last[..9], &[0; 5000]].concat());
    tails.push(vec![0; 700_000]);
    for tail in tails {
        std::fs::write(&file, [&whole[..], &tail].concat()).unwrap();
        let args = [&on("everysec")[..], &["--aof-load-truncated", "no"]].concat();
        let (code, text) = server.fails(&args);
        assert_eq!(code, Some(1));
        let place = format!(
            "appendonly.aof.1.incr.aof: byte {}: it ends in",
            whole.len()
        );
        assert!(text.contains(&place), "{text}");
        assert_eq!(
            std::fs::metadata(&file).unwrap().len() as usize,
            whole.len() + tail.len()
        );
        server.restart(&on("everysec"));
        let connection = &mut server.connect();
        assert_eq!(ask::<i64>(connection, "DBSIZE"), 1);
        server.kill();
        assert_eq!(std::fs::read(&file).unwrap(), whole);
    }
}

#[test]
fn damage_is_refused_with_file_and_offset() {
    let mut server = Server::start(&on("everysec"));
    let connection = &mut server.connect();
    fill(connection);
    rewrite(connection);
    for number in 0..50 {
        ask::<()>(connection, &format!("SET key:{number} value"));
    }
    await_written(connection);
    server.kill();
    let dir = folder(&server);
    let increment = increments(&dir).pop().unwrap();
    let (base, manifest) = (base(&dir), manifest(&dir));
    let incr = increment.file_name().unwrap().to_str().unwrap().to_owned();
    let original: Vec<(PathBuf, Vec<u8>)> = [&increment, &base, &manifest]
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .to_vec();
    let text = original[0].1.clone();
    let replaced = |from: &str, to: &str| {
        String::from_utf8(text.clone())
            .unwrap()
            .replacen(from, to, 1)
            .into_bytes()
    };
    let at = |what: &str| String::from_utf8(text.clone()).unwrap().find(what).unwrap();
    let first = at("*3\r\n$3\r\nSET\r\n$5\r\nkey:0");
    let cases: Vec<(&PathBuf, Option<Vec<u8>>, String)> = vec![
        (
            &increment,
            Some(replaced(
                "$3\r\nSET\r\n$5\r\nkey:0",
                "$3\r\nGET\r\n$5\r\nkey:0",
            )),
            format!("{incr}: byte {first}: "),
        ),
        (
            &increment,
            Some(replaced(
                "$3\r\nSET\r\n$5\r\nkey:0",
                "$4\r\nSET\r\n$5\r\nkey:0",
            )),
            format!("{incr}: byte {first}: "),
        ),
        (
            &increment,
            Some(replaced(
                "*3\r\n$3\r\nSET\r\n$5\r\nkey:0",
                "+3\r\n$3\r\nSET\r\n$5\r\nkey:0",
            )),
            format!("{incr}: byte {first}: expected '*', got '+'"),
        ),
        (
            &increment,
            Some(replaced(
                "$6\r\nSELECT\r\n$1\r\n0",
                "$6\r\nSELECT\r\n$1\r\n7",
            )),
            format!("{incr}: byte 0: another database than 0"),
        ),
        (&increment, None, format!("{incr}: byte 0: it is missing")),
        (&base, None, "base.rdb: byte 0: it is missing".to_owned()),
        (
            &base,
            Some(original[1].1[..original[1].1.len() / 2].to_vec()),
            format!(
                "base.rdb: byte {}: it ends in the middle",
                original[1].1.len() / 2
            ),
        ),
        (
            &manifest,
            Some(original[2].1[..10].to_vec()),
            "appendonly.aof.manifest: byte 0: line 1: ".to_owned(),
        ),
        (
            &manifest,
            None,
            "appendonly.aof.manifest: byte 0: it is missing".to_owned(),
        ),
    ];
    for (path, damaged, place) in cases {
        match damaged {
            Some(bytes) => std::fs::write(path, bytes).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        let before: Vec<_> = list(&dir);
        let (code, told) = server.fails(&on("everysec"));
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains(&place), "{place}: {told}");
        // Whatever is refused stays as it is.
        assert_eq!(list(&dir), before);
        for (path, bytes) in &original {
            std::fs::write(path, bytes).unwrap();
        }
    }
    // Only the last file may end in the middle.
    let manifest_text = String::from_utf8(original[2].1.clone()).unwrap();
    std::fs::write(dir.join("appendonly.aof.9.incr.aof"), b"").unwrap();
    std::fs::write(
        &manifest,
        format!("{manifest_text}file appendonly.aof.9.incr.aof seq 9 type i\n"),
    )
    .unwrap();
    std::fs::write(&increment, &text[..text.len() - 3]).unwrap();
    let (code, told) = server.fails(&on("everysec"));
    assert_eq!(code, Some(1));
    assert!(told.contains("and other files follow it"), "{told}");
    std::fs::write(&increment, &text).unwrap();
    server.restart(&on("everysec"));
    assert_eq!(ask::<String>(&mut server.connect(), "GET key:49"), "value");
}

/// Names and lengths of a folder's files.
fn list(folder: &Path) -> Vec<(std::ffi::OsString, u64)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name(), entry.metadata().unwrap().len())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room_again() {
    for mode in ["always", "everysec"] {
        let mut server = Server::start_limitable(&on(mode));
        let connection = &mut server.connect();
        ask::<()>(connection, "SET before 1");
        await_written(connection);
        let file = increments(&folder(&server)).pop().unwrap();
        server.limit_files(Some(std::fs::metadata(file).unwrap().len() + 10));
        // This one does not fit: with always, its reply is held back.
        let mut held = server.socket();
        held.send("SET held 1\r\n");
        eventually("the failure", || {
            let told: String = info(connection).get("aof_last_write_status").unwrap();
            (told == "err").then_some(())
        });
        let refused = error(connection, "INCR refused");
        assert!(
            refused.starts_with("MISCONF Errors writing to the AOF file: File too large"),
            "{refused}"
        );
        assert!(error(connection, "MSET a 1 b 2").starts_with("MISCONF"));
        assert_eq!(ask::<i64>(connection, "GET before"), 1);
        server.limit_files(None);
        eventually("writes again", || {
            try_ask::<()>(connection, "SET after 1").ok()
        });
        held.expect("+OK\r\n");
        let told: String = info(connection).get("aof_last_write_status").unwrap();
        assert_eq!(told, "ok");
        await_written(connection);
        server.kill();
        check_aof(&manifest(&folder(&server)));
        server.restart(&on(mode));
        let connection = &mut server.connect();
        assert_eq!(ask::<i64>(connection, "EXISTS before held after"), 3);
        assert_eq!(ask::<i64>(connection, "EXISTS refused a b"), 0);
    }
}

#[test]
fn a_rewrite_for_which_there_is_no_room_leaves_the_files_in_force() {
    let args = [&on("always")[..], &["--rdbcompression", "no"]].concat();
    let mut server = Server::start_limitable(&args);
    let connection = &mut server.connect();
    let value = "v".repeat(100_000);
    let () = connection.set("long", &value).unwrap();
    for round in 0..3 {
        server.limit_files(Some(150_000));
        let other = format!("other:{round}");
        let () = connection.set("short", &other).unwrap();
        server.limit_files(Some(50_000));
        ask::<String>(connection, "BGREWRITEAOF");
        eventually("the failure", || {
            let info = info(connection);
            (info.get::<String>("aof_last_bgrewrite_status").unwrap() == "err").then_some(())
        });
        server.limit_files(None);
        ask::<()>(connection, "SET more 1");
        let expected = content(connection);
        server.restart_limitable(&args);
        *connection = server.connect();
        assert_eq!(content(connection), expected);
        assert_tidy(&folder(&server));
    }
    rewrite(connection);
    assert_eq!(increments(&folder(&server)).len(), 1);
}

#[test]
fn it_is_switched_on_and_off_while_the_process_runs() {
    let mut server = Server::start(&[]);
    let connection = &mut server.connect();
    fill(connection);
    assert_eq!(number(connection, "aof_enabled"), 0);
    assert!(error(connection, "BGREWRITEAOF").contains("appendonly no"));
    assert_eq!(
        error(connection, "WAITAOF 1 0 0"),
        "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."
    );
    for round in 0..3 {
        ask::<()>(connection, "CONFIG SET appendonly yes appendfsync always");
        let key = format!("SET round:{round} 1");
        ask::<()>(connection, &key);
        eventually("the first base", || {
            (number(connection, "aof_enabled") == 1).then_some(())
        });
        ask::<()>(connection, "SADD rounds on");
        check_aof(&manifest(&folder(&server)));
        let expected = content(connection);
        server.restart(&on("everysec"));
        *connection = server.connect();
        assert_eq!(content(connection), expected);
        ask::<()>(connection, "SET last 1");
        ask::<()>(connection, "CONFIG SET appendonly no");
        eventually("the end", || {
            (number(connection, "aof_enabled") == 0).then_some(())
        });
        // It was written to its end, and no more.
        let size = list(&folder(&server));
        ask::<()>(connection, "SET unwritten 1");
        assert_eq!(list(&folder(&server)), size);
        ask::<()>(connection, "DEL unwritten");
    }
    // Off and on again at once.
    let _: redis::Value = redis::pipe()
        .cmd("CONFIG")
        .arg(&["SET", "appendonly", "yes"])
        .cmd("CONFIG")
        .arg(&["SET", "appendonly", "no"])
        .cmd("CONFIG")
        .arg(&["SET", "appendonly", "yes"])
        .query(connection)
        .unwrap();
    eventually("the first base", || {
        (number(connection, "aof_enabled") == 1).then_some(())
    });
    let expected = content(connection);
    await_written(connection);
    server.restart(&on("everysec"));
    assert_eq!(content(&mut server.connect()), expected);
}

#[test]
fn how_it_is_synchronized_can_change_while_the_process_runs() {
    let mut server = Server::start(&on("no"));
    let connection = &mut server.connect();
    for (number, mode) in ["always", "no", "everysec", "always"].iter().enumerate() {
        ask::<()>(connection, &format!("CONFIG SET appendfsync {mode}"));
        ask::<()>(connection, &format!("SET k {number}"));
    }
    server.restart(&on("no"));
    assert_eq!(ask::<i64>(&mut server.connect(), "GET k"), 3);
    let connection = &mut server.connect();
    assert!(error(connection, "CONFIG SET appendfsync now").contains("always, everysec, no"));
    assert!(error(connection, "CONFIG SET appenddirname x").contains("immutable"));
}

#[test]
fn waitaof_answers_when_it_is_on_the_disk() {
    for mode in MODES {
        let server = Server::start(&on(mode));
        let connection = &mut server.connect();
        ask::<()>(connection, "SET k 1");
        assert_eq!(ask::<Vec<i64>>(connection, "WAITAOF 1 0 0"), [1, 0]);
        assert_eq!(number(connection, "aof_unsynced_bytes"), 0);
        assert_eq!(ask::<Vec<i64>>(connection, "WAITAOF 0 0 0"), [1, 0]);
        assert_eq!(ask::<Vec<i64>>(connection, "WAITAOF 1 1 20"), [1, 0]);
        for (wrong, reason) in [
            (
                "WAITAOF 2 0 0",
                "ERR value is out of range, must be between 0 and 1",
            ),
            (
                "WAITAOF 1 -1 0",
                "ERR value is out of range, must be positive",
            ),
            (
                "WAITAOF 1 0 x",
                "ERR timeout is not an integer or out of range",
            ),
            ("WAITAOF 1 0 -1", "ERR timeout is negative"),
        ] {
            assert_eq!(error(connection, wrong), reason);
        }
    }
}

#[test]
fn the_end_of_the_process_leaves_everything_on_the_disk() {
    for mode in MODES {
        let mut server = Server::start(&on(mode));
        let connection = &mut server.connect();
        fill(connection);
        let expected = content(connection);
        server.terminate();
        assert_eq!(server.wait().code(), Some(0));
        check_aof(&manifest(&folder(&server)));
        server.restart(&on(mode));
        let connection = &mut server.connect();
        assert_eq!(content(connection), expected);
        ask::<()>(connection, "SET last 1");
        let _ = try_ask::<()>(connection, "SHUTDOWN NOSAVE");
        assert_eq!(server.wait().code(), Some(0));
        server.restart(&on(mode));
        assert_eq!(ask::<i64>(&mut server.connect(), "GET last"), 1);
    }
}

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
        let begun = AtomicU64::new(0);
        let port = server.port;
        let confirmed = std::thread::scope(|scope| {
            let begun = &begun;
            let writer = scope.spawn(move || write_in_order(port, mode == "always", begun));
            eventually("a write", || (begun.load(SeqCst) > 0).then_some(()));
            let (began, moment) = (
                Instant::now(),
                Duration::from_micros(round * 7919 % 150_000),
            );
            eventually("the moment", || (began.elapsed() >= moment).then_some(()));
            server.kill();
            writer.join().unwrap()
        });
        least = least.max(confirmed);
        if round % 10 == 0 {
            check_aof(&manifest(&folder(&server)));
        }
        server.restart(&on(mode));
        let connection = &mut server.connect();
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
