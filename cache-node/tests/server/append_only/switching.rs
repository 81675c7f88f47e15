//! Settings that change while the process runs, `WAITAOF`, and the end of the process.

use super::{MODES, await_written, folder, list, manifest, number, on};
use crate::content::{content, fill};
use crate::process::{Server, ask, error, eventually, try_ask};
use crate::redis_server::check_aof;

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
