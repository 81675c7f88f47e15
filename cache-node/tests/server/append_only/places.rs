//! The place in a history at the end of a file: for redis-server and its tools it is a remark.

use super::{copy, folder, increments, manifest, on, rewrite};
use crate::content::{content, fill};
use crate::process::{Server, ask, eventually, try_ask};
use crate::redis_server::{RedisServer, check_aof};

/// The last lines of the last incremental file.
fn last_lines(server: &Server) -> (String, String) {
    let file = std::fs::read(increments(&folder(server)).pop().unwrap()).unwrap();
    let text = String::from_utf8_lossy(&file);
    let mut lines = text.lines().rev().map(str::to_owned);
    let last = lines.next().unwrap();
    (lines.next().unwrap(), last)
}

#[test]
fn redis_goes_on_behind_the_place_that_a_clean_end_leaves() {
    let mut server = Server::start(&on("everysec"));
    let ours = &mut server.connect();
    fill(ours);
    rewrite(ours);
    ask::<()>(ours, "SADD integers:5 77");
    let expected = content(ours);
    server.terminate();
    assert!(server.wait().success());
    let (place, checksum) = last_lines(&server);
    assert!(place.starts_with("#EVENKEEL-PLACE:"), "{place}");
    assert!(checksum.starts_with("#EVENKEEL-CRC:"), "{checksum}");
    check_aof(&manifest(&folder(&server)));
    let dir = tempfile::tempdir().unwrap();
    copy(&folder(&server), &dir.path().join("appendonlydir"));
    let redis = RedisServer::start_in(dir, &["--appendonly", "yes"]);
    let theirs = &mut redis.connect();
    assert_eq!(content(theirs), expected);
    ask::<()>(theirs, "SET behind 1");
    let expected = content(theirs);
    let _ = try_ask::<()>(theirs, "SHUTDOWN");
    eventually("the end of redis-server", || {
        redis::Client::open(format!("redis://127.0.0.1:{}/", redis.port()))
            .unwrap()
            .get_connection()
            .is_err()
            .then_some(())
    });
    std::fs::remove_dir_all(folder(&server)).unwrap();
    copy(&redis.dir().join("appendonlydir"), &folder(&server));
    check_aof(&manifest(&folder(&server)));
    server.restart(&on("everysec"));
    let ours = &mut server.connect();
    assert_eq!(content(ours), expected);
    // What was written behind it has made the place void.
    let info: redis::InfoDict = ask(ours, "INFO replication");
    assert_eq!(info.get::<i64>("second_repl_offset"), Some(-1));
}
