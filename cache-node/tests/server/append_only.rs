//! The append-only file: what it keeps, and reads of others.

#[path = "append_only/crashes.rs"]
mod crashes;
#[path = "append_only/damage.rs"]
mod damage;
#[path = "append_only/places.rs"]
mod places;
#[path = "append_only/rewrites.rs"]
mod rewrites;
#[path = "append_only/switching.rs"]
mod switching;

use std::path::{Path, PathBuf};

use redis::Connection;

use crate::content::{content, fill};
use crate::process::{Server, ask, eventually, try_ask};
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

/// Keys that were removed because they had expired.
fn expired(connection: &mut Connection) -> u64 {
    let stats: redis::InfoDict = ask(connection, "INFO stats");
    stats.get("expired_keys").unwrap()
}

#[test]
fn redis_loads_what_is_written_and_what_it_writes_is_loaded() {
    let mut server = Server::start(&on("everysec"));
    let ours = &mut server.connect();
    fill(ours);
    rewrite(ours);
    ask::<()>(ours, "SADD integers:5 77");
    let before = expired(ours);
    ask::<()>(ours, "SET short v PX 1");
    ask::<()>(ours, "MSET a 1 b 2 c 3");
    ask::<()>(ours, "RENAME a d");
    ask::<()>(ours, "ZADD scores:5 1.5 member:1");
    // It is gone for readers before it is removed, which is recorded.
    eventually("the removal", || (expired(ours) > before).then_some(()));
    let expected = content(ours);
    assert_eq!(ask::<Vec<i64>>(ours, "WAITAOF 1 0 10000"), [1, 0]);
    server.kill();
    let increment = std::fs::read(increments(&folder(&server)).pop().unwrap()).unwrap();
    let text = String::from_utf8_lossy(&increment);
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("#EVENKEEL-CRC:"), "{last}");
    let dir = tempfile::tempdir().unwrap();
    copy(&folder(&server), &dir.path().join("appendonlydir"));
    check_aof(&manifest(&dir.path().join("appendonlydir")));
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
