//! Malformed, huge and slow input, and clients that hold too much: an error or a closed connection, and the server goes on.

use crate::process::{Server, Socket, ask, eventually};

const MIB: usize = 1 << 20;

/// The server answers, and only `others` connections are left beside the one that asks.
fn expect_calm(server: &Server, others: usize) {
    let connection = &mut server.connect();
    assert_eq!(ask::<String>(connection, "PING"), "PONG");
    eventually("the end of the connections", || {
        let info: redis::InfoDict = ask(connection, "INFO clients");
        (info.get::<usize>("connected_clients") == Some(1 + others)).then_some(())
    });
}

/// Bytes that the server holds for its clients.
fn held(server: &Server) -> usize {
    let info: redis::InfoDict = ask(&mut server.connect(), "INFO memory");
    info.get("mem_clients_normal").unwrap()
}

/// How often something has happened, of `INFO stats`.
fn counted(server: &Server, name: &str) -> usize {
    let info: redis::InfoDict = ask(&mut server.connect(), "INFO stats");
    info.get(name).unwrap()
}

fn set_big_value(server: &Server, size: usize) {
    let mut socket = server.socket();
    let value = "x".repeat(size);
    socket.send(format!(
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${size}\r\n{value}\r\n"
    ));
    socket.expect("+OK\r\n");
}

#[test]
fn malformed_requests_are_answered_with_an_error_and_end_the_connection() {
    let server = Server::start(&[]);
    let requests: &[&[u8]] = &[
        b"*1048577\r\n",
        b"*99999999999999999999\r\n",
        b"*+1\r\n",
        b"*1 \r\n$4\r\nPING\r\n",
        b"*0x1\r\n",
        b"*\r\n",
        b"*01\r\n$4\r\nPING\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$-2\r\n",
        b"*1\r\n$536870913\r\n",
        b"*1\r\n$99999999999999999999\r\n",
        b"*1\r\n$\r\n",
        b"*1\r\n$04\r\nPING\r\n",
        b"*1\r\n$4x\r\nPING\r\n",
        b"*2\r\n*1\r\n$4\r\nPING\r\n",
        b"*1\r\nPING\r\n",
        b"*1\r\n\0\r\n",
        b"*2\r\n$4\r\nECHO\r\n$1\r\nabc\r\n:1\r\n*1\r\n+\r\n",
        b"PING 'a\r\n",
        b"PING \"a\"b\r\n",
    ];
    for request in requests {
        let mut socket = server.socket();
        socket.send(request);
        let answer = socket.rest();
        let shown = String::from_utf8_lossy(request);
        assert!(
            answer.contains("-ERR Protocol error: "),
            "{shown:?}: {answer:?}"
        );
    }
    expect_calm(&server, 0);
}

#[test]
fn lines_without_an_end_are_refused() {
    let server = Server::start(&[]);
    for start in ["x", "*1", "*1\r\n$1"] {
        let mut socket = server.socket();
        socket.send(format!("{start}{}", "1".repeat(70_000)));
        assert!(socket.rest().starts_with("-ERR Protocol error: too big "));
    }
    expect_calm(&server, 0);
}

#[test]
fn requests_that_say_nothing_are_passed_over() {
    let server = Server::start(&[]);
    let mut socket = server.socket();
    socket.send("\r\n\n*0\r\n*-1\r\n*-5\r\n  \r\n\0\r\nPING\0\r\n*1\r\n$4\r\nPING\r\n");
    socket.expect("+PONG\r\n+PONG\r\n");
    // What stands in the place of an argument's end is not looked at, as in Redis.
    socket.send("*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n");
    socket.expect("+PONG\r\n+PONG\r\n");
}

#[test]
fn noise_does_no_harm() {
    let server = Server::start(&[]);
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..200 {
        let mut noise: Vec<u8> = (0..random() % 3000).map(|_| random() as u8).collect();
        // Half of it begins like a request.
        if random() % 2 == 0 {
            noise.splice(0..0, *b"*3\r\n$3\r\nSET\r\n$");
        }
        let mut socket = server.socket();
        socket.try_send(&noise);
    }
    expect_calm(&server, 0);
}

#[test]
fn a_command_may_come_byte_by_byte() {
    let server = Server::start(&[]);
    let mut socket = server.socket();
    let value = "v".repeat(300);
    let request = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$300\r\n{value}\r\nGET k\r\n");
    for byte in request.as_bytes() {
        socket.send([*byte]);
    }
    socket.expect(&format!("+OK\r\n$300\r\n{value}\r\n"));
}

#[test]
fn what_is_announced_takes_no_memory_before_it_comes() {
    let server = Server::start(&[]);
    let before = server.resident();
    let mut sockets: Vec<Socket> = (0..100).map(|_| server.socket()).collect();
    for socket in &mut sockets {
        socket.send("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nx");
        socket.send("*1048576\r\n");
    }
    eventually("the arrival", || (held(&server) > 100 * 40).then_some(()));
    assert!(held(&server) < MIB);
    assert!(server.resident() < before + 10 * MIB);
    drop(sockets);
    expect_calm(&server, 0);
}

#[test]
fn unfinished_commands_take_little_more_than_what_has_come() {
    let server = Server::start(&[]);
    let before = server.resident();
    let half = format!(
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n{}",
        "x".repeat(50_000)
    );
    let mut sockets: Vec<Socket> = (0..1000).map(|_| server.socket()).collect();
    for socket in &mut sockets {
        socket.send(&half);
    }
    eventually("the arrival", || {
        (held(&server) >= 50_000_000).then_some(())
    });
    assert!(held(&server) < 110_000_000, "{}", held(&server));
    let grown = server.resident().saturating_sub(before);
    assert!(grown < 130 * MIB, "{grown}");
    let rest = format!("{}\r\n", "x".repeat(50_000));
    for socket in &mut sockets[..500] {
        socket.send(&rest);
        socket.expect("+OK\r\n");
    }
    drop(sockets);
    expect_calm(&server, 0);
    assert!(held(&server) < MIB);
}

#[test]
fn a_client_that_does_not_read_is_not_served_further() {
    let server = Server::start(&[]);
    set_big_value(&server, MIB);
    let before = server.resident();
    let mut socket = server.socket();
    socket.send("GET k\r\n".repeat(200));
    eventually("the end of the socket's room", || {
        let list: String = ask(&mut server.connect(), "CLIENT LIST");
        let held_back = |line: &str| line.contains("cmd=get") && !line.contains(" obl=0 ");
        list.lines().any(held_back).then_some(())
    });
    assert!(held(&server) < 3 * MIB, "{}", held(&server));
    assert!(server.resident() < before + 20 * MIB);
    // It gets all of it when it reads.
    let reply = format!("${MIB}\r\n{}\r\n", "x".repeat(MIB));
    for _ in 0..200 {
        socket.expect(&reply);
    }
    drop(socket);
    expect_calm(&server, 0);
}

#[test]
fn a_reply_beyond_the_limit_is_not_built_to_its_end() {
    let server = Server::start(&[]);
    set_big_value(&server, MIB);
    server.socket().ask(
        "CONFIG SET client-output-buffer-limit \"normal 10mb 0 0\"",
        "+OK\r\n",
    );
    let before = server.resident();
    for request in [
        format!("MGET {}\r\n", "k ".repeat(5000)),
        format!("MULTI\r\n{}EXEC\r\n", "GET k\r\n".repeat(5000)),
    ] {
        let mut socket = server.socket();
        socket.send(&request);
        let answer = socket.rest();
        assert!(answer.len() < MIB, "{}", answer.len());
    }
    assert!(server.resident() < before + 60 * MIB);
    let name = "client_output_buffer_limit_disconnections";
    assert_eq!(counted(&server, name), 2);
    expect_calm(&server, 0);
}

#[test]
fn one_command_or_transaction_beyond_the_query_limit_ends_the_connection() {
    let server = Server::start(&["--client-query-buffer-limit", "1mb"]);
    let mut socket = server.socket();
    socket.send("*2\r\n$4\r\nECHO\r\n$4000000\r\n");
    socket.try_send("x".repeat(4_000_000).as_bytes());
    assert_eq!(socket.rest(), "");
    let mut socket = server.socket();
    socket.ask("MULTI", "+OK\r\n");
    let set = format!("SET k {}\r\n", "x".repeat(50_000));
    for _ in 0..40 {
        socket.try_send(set.as_bytes());
    }
    let answer = socket.rest();
    assert!(answer.is_empty() || answer.starts_with("+QUEUED\r\n"));
    let name = "client_query_buffer_limit_disconnections";
    eventually("the count", || (counted(&server, name) == 2).then_some(()));
    expect_calm(&server, 0);
}

#[test]
fn the_biggest_clients_go_when_all_together_hold_too_much() {
    let server = Server::start(&[]);
    let begin = |server: &Server, bytes: usize, no_evict: bool| {
        let mut socket = server.socket();
        if no_evict {
            socket.ask("CLIENT NO-EVICT on", "+OK\r\n");
        }
        let before = held(server);
        socket.send("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3000000\r\n");
        socket.send("x".repeat(bytes));
        // Connections that have just ended may still be counted in what was before.
        eventually("the arrival", || {
            (held(server) + 10_000 >= before + bytes).then_some(())
        });
        socket
    };
    let _spared = begin(&server, 900_000, true);
    let mut biggest = begin(&server, 400_000, false);
    let _small = begin(&server, 20_000, false);
    let limit = held(&server) + 100_000;
    server
        .socket()
        .ask(&format!("CONFIG SET maxmemory-clients {limit}"), "+OK\r\n");
    let mut last = server.socket();
    last.send("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$300000\r\n");
    last.try_send("x".repeat(299_999).as_bytes());
    assert_eq!(biggest.rest(), "");
    assert_eq!(counted(&server, "evicted_clients"), 1);
    // The others are still there.
    last.send("x\r\n");
    last.expect("+OK\r\n");
    expect_calm(&server, 3);
    assert!(held(&server) < limit);
}

#[test]
fn names_and_watched_keys_are_counted() {
    let server = Server::start(&[]);
    let mut socket = server.socket();
    socket.ask(&format!("CLIENT SETNAME {}", "x".repeat(50_000)), "+OK\r\n");
    let keys: String = (0..1000).map(|key| format!(" key:{key:04}")).collect();
    socket.ask(&format!("WATCH{keys}"), "+OK\r\n");
    eventually("the count", || {
        (held(&server) > 50_000 + 1000 * 100).then_some(())
    });
    socket.ask("UNWATCH", "+OK\r\n");
    socket.ask("CLIENT SETNAME x", "+OK\r\n");
    eventually("the count", || (held(&server) < 50_000).then_some(()));
}

#[test]
fn silent_clients_are_closed_whether_they_have_begun_a_command_or_not() {
    let server = Server::start(&["--timeout", "1"]);
    let mut idle = server.socket();
    let mut begun = server.socket();
    begun.send("*2\r\n$4\r\nECHO\r\n$100\r\nx");
    assert_eq!(idle.rest(), "");
    assert_eq!(begun.rest(), "");
}
