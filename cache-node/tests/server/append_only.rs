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
