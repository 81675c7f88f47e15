//! `MULTI` and `WATCH`.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::process::{Ending, Server, ask, eventually};

#[test]
fn a_transaction_runs_as_one_and_errors_inside_do_not_stop_it() {
    let server = Server::start(&[]);
    let mut socket = server.socket();
    socket.ask("MULTI", "+OK\r\n");
    socket.ask("SET k v", "+QUEUED\r\n");
    socket.ask("INCR k", "+QUEUED\r\n");
    socket.ask("GET k", "+QUEUED\r\n");
    socket.ask(
        "EXEC",
        "*3\r\n+OK\r\n-ERR value is not an integer or out of range\r\n$1\r\nv\r\n",
    );
    socket.ask("EXEC", "-ERR EXEC without MULTI\r\n");
    socket.ask("MULTI", "+OK\r\n");
    socket.ask("MULTI", "-ERR MULTI calls can not be nested\r\n");
    socket.ask("DISCARD", "+OK\r\n");
}

#[test]
fn a_command_that_cannot_be_queued_dooms_the_transaction() {
    let server = Server::start(&[]);
    let mut socket = server.socket();
    socket.ask("MULTI", "+OK\r\n");
    socket.ask(
        "GET",
        "-ERR wrong number of arguments for 'get' command\r\n",
    );
    socket.ask("SET k v", "+QUEUED\r\n");
    socket.ask(
        "EXEC",
        "-EXECABORT Transaction discarded because of previous errors.\r\n",
    );
    socket.ask("EXISTS k", ":0\r\n");
}

#[test]
fn a_watched_key_that_changes_or_expires_stops_the_transaction() {
    let server = Server::start(&[]);
    let (mut socket, mut other) = (server.socket(), server.socket());
    for change in ["SET k w", "DEL k", "FLUSHALL", "EXPIRE k 100", "RENAME k l"] {
        socket.ask("SET k v", "+OK\r\n");
        socket.ask("WATCH k", "+OK\r\n");
        other.send(format!("{change}\r\n"));
        let answer = if change.starts_with('D') || change.starts_with('E') {
            ":1\r\n"
        } else {
            "+OK\r\n"
        };
        other.expect(answer);
        socket.ask("MULTI", "+OK\r\n");
        socket.ask("GET k", "+QUEUED\r\n");
        socket.ask("EXEC", "*-1\r\n");
    }
    socket.ask("SET k v PX 50", "+OK\r\n");
    socket.ask("WATCH k", "+OK\r\n");
    let connection = &mut server.connect();
    eventually("expiry", || {
        (ask::<i64>(connection, "EXISTS k") == 0).then_some(())
    });
    socket.ask("MULTI", "+OK\r\n");
    socket.ask("EXEC", "*-1\r\n");
    socket.ask("WATCH k", "+OK\r\n");
    other.ask("SET unrelated v", "+OK\r\n");
    socket.ask("MULTI", "+OK\r\n");
    socket.ask("EXEC", "*0\r\n");
}

#[test]
fn transfers_between_keys_of_different_slots_are_never_seen_half_done() {
    let server = Server::start(&[]);
    ask::<()>(&mut server.connect(), "MSET a 1000 b 1000");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (from, to) in [("a", "b"), ("b", "a")] {
            let (server, stop) = (&server, &stop);
            scope.spawn(move || {
                let mut connection = server.connect();
                while !stop.load(Ordering::Relaxed) {
                    redis::pipe()
                        .atomic()
                        .cmd("DECR")
                        .arg(from)
                        .cmd("INCR")
                        .arg(to)
                        .exec(&mut connection)
                        .unwrap();
                }
            });
        }
        let _stop = Ending(&stop);
        let mut connection = server.connect();
        for _ in 0..2000 {
            let (a, b): (i64, i64) = ask(&mut connection, "MGET a b");
            assert_eq!(a + b, 2000);
        }
    });
}
