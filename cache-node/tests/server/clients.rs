//! What clients ask on connecting, and what connections know of each other.

use crate::process::{Server, ask, error, eventually};

#[test]
fn a_password_is_asked_for() {
    let server = Server::start(&["--requirepass", "secret"]);
    let mut socket = server.socket();
    socket.ask("GET k", "-NOAUTH Authentication required.\r\n");
    socket.ask(
        "AUTH wrong",
        "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
    );
    socket.ask("AUTH default secret", "+OK\r\n");
    socket.ask("GET k", "$-1\r\n");
    let mut socket = server.socket();
    socket.send("HELLO 3 AUTH default secret SETNAME me\r\n");
    socket.expect("%7\r\n");
}

#[test]
fn what_clients_send_on_connecting_is_answered() {
    let server = Server::start(&[]);
    let mut socket = server.socket();
    socket.ask("CLIENT SETINFO LIB-NAME redis-rs", "+OK\r\n");
    socket.ask("CLIENT SETINFO LIB-VER 1.0", "+OK\r\n");
    socket.ask("CLIENT SETNAME me", "+OK\r\n");
    socket.ask("CLIENT GETNAME", "$2\r\nme\r\n");
    socket.ask("SELECT 0", "+OK\r\n");
    socket.ask("CLIENT TRACKING OFF", "+OK\r\n");
    socket.send("CLIENT MAINT_NOTIFICATIONS ON\r\n");
    socket.expect("-ERR unknown subcommand 'MAINT_NOTIFICATIONS'");
}

#[test]
fn connections_are_listed_and_can_be_killed() {
    let server = Server::start(&[]);
    let connection = &mut server.connect();
    let mut victim = server.socket();
    victim.ask("CLIENT SETNAME victim", "+OK\r\n");
    let list: String = ask(connection, "CLIENT LIST");
    let line = list
        .lines()
        .find(|line| line.contains("name=victim"))
        .unwrap();
    assert!(line.contains("cmd=client|setname"), "{line}");
    let id = line.split(' ').next().unwrap().strip_prefix("id=").unwrap();
    assert_eq!(ask::<i64>(connection, &format!("CLIENT KILL ID {id}")), 1);
    assert_eq!(victim.rest(), "");
    let own: String = ask(connection, "CLIENT INFO");
    assert!(own.contains("cmd=client|info"));
}

#[test]
fn a_pause_keeps_writes_back_and_lets_reads_through() {
    let server = Server::start(&[]);
    let connection = &mut server.connect();
    let mut writer = server.socket();
    ask::<()>(connection, "CLIENT PAUSE 100000 WRITE");
    writer.send("SET k v\r\n");
    eventually("the wait", || {
        let list: String = ask(connection, "CLIENT LIST");
        list.contains("flags=b").then_some(())
    });
    assert_eq!(ask::<Option<String>>(connection, "GET k"), None);
    ask::<()>(connection, "CLIENT UNPAUSE");
    writer.expect("+OK\r\n");
}

#[test]
fn commands_describe_themselves() {
    let server = Server::start(&[]);
    for connection in [&mut server.connect(), &mut server.connect_resp3()] {
        let count: usize = ask(connection, "COMMAND COUNT");
        let all: Vec<redis::Value> = ask(connection, "COMMAND");
        assert_eq!(all.len(), count);
        assert_eq!(
            ask::<Vec<String>>(connection, "COMMAND GETKEYS MSET a 1 b 2"),
            ["a", "b"]
        );
        let docs: redis::Value = ask(connection, "COMMAND DOCS GET");
        assert!(format!("{docs:?}").contains("string value of a key"));
    }
}

#[test]
fn settings_are_shown_and_changed_together() {
    let server = Server::start(&[]);
    let connection = &mut server.connect();
    ask::<()>(
        connection,
        "CONFIG SET maxmemory 100mb maxmemory-policy allkeys-lru",
    );
    let found: std::collections::BTreeMap<String, String> =
        ask(connection, "CONFIG GET maxmemory*");
    assert_eq!(found["maxmemory"], "104857600");
    assert_eq!(found["maxmemory-policy"], "allkeys-lru");
    let refused = error(
        connection,
        "CONFIG SET timeout 5 maxmemory-policy allkeys-mru",
    );
    assert!(
        refused.contains("maxmemory-policy") && refused.contains("volatile-ttl"),
        "{refused}"
    );
    let timeout: (String, String) = ask(connection, "CONFIG GET timeout");
    assert_eq!(timeout.1, "0");
    assert!(error(connection, "CONFIG SET port 1").contains("can't set immutable config"));
}

#[test]
fn slow_commands_are_noted() {
    let server = Server::start(&["--slowlog-log-slower-than", "0"]);
    let connection = &mut server.connect();
    ask::<()>(connection, "SET k v");
    let latest: String = format!("{:?}", ask::<redis::Value>(connection, "SLOWLOG GET 1"));
    assert!(latest.contains("SET"), "{latest}");
    ask::<()>(connection, "CONFIG SET slowlog-log-slower-than -1");
    ask::<()>(connection, "SLOWLOG RESET");
    assert_eq!(ask::<i64>(connection, "SLOWLOG LEN"), 0);
}

#[test]
fn too_many_connections_are_refused_in_words() {
    let server = Server::start(&["--maxclients", "1"]);
    // The connection that found the server started may still be there, so that the first is one too many.
    let _first = eventually("the probe's end", || {
        let mut first = server.socket();
        first.try_send(b"PING\r\n");
        (first.begins()? == b'+').then_some(first)
    });
    let answer = server.socket().rest();
    assert!(answer.contains("max number of clients"), "{answer}");
}
