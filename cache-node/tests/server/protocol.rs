//! What goes over the wire, byte by byte.

use crate::process::Server;

#[test]
fn inline_commands_and_pipelines_are_answered_in_order() {
    let server = Server::start(&[]);
    let mut socket = server.socket();
    socket.ask("PING", "+PONG\r\n");
    socket.ask("ECHO \"a b\"", "$3\r\na b\r\n");
    let mut pipeline = String::new();
    let mut expected = String::new();
    for number in 0..1000 {
        pipeline.push_str(&format!("*2\r\n$4\r\nECHO\r\n$4\r\n{number:04}\r\n"));
        expected.push_str(&format!("$4\r\n{number:04}\r\n"));
    }
    socket.send(&pipeline);
    socket.expect(&expected);
}

#[test]
fn a_value_of_many_megabytes_goes_through() {
    let server = Server::start(&[]);
    let mut socket = server.socket();
    let value = "x".repeat(20 << 20);
    let bulk = format!("${}\r\n{value}\r\n", value.len());
    socket.send(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n{bulk}"));
    socket.expect("+OK\r\n");
    socket.ask("GET k", &bulk);
}

#[test]
fn resp3_is_spoken_after_hello() {
    let server = Server::start(&[]);
    let mut socket = server.socket();
    socket.ask("GET nothing", "$-1\r\n");
    socket.send("HELLO 3\r\n");
    socket.expect("%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.4.0\r\n$5\r\nproto\r\n:3\r\n");
    let mut socket = server.socket();
    socket.ask("HELLO 4", "-NOPROTO unsupported protocol version\r\n");
    socket.ask(
        "HELLO x",
        "-ERR Protocol version is not an integer or out of range\r\n",
    );
}

#[test]
fn a_broken_request_is_answered_and_ends_the_connection() {
    let server = Server::start(&[]);
    for (request, answer) in [
        (
            "*1\r\n:5\r\n",
            "-ERR Protocol error: expected '$', got ':'\r\n",
        ),
        (
            "*-x\r\n",
            "-ERR Protocol error: invalid multibulk length\r\n",
        ),
        (
            "PING \"\r\n",
            "-ERR Protocol error: unbalanced quotes in request\r\n",
        ),
    ] {
        let mut socket = server.socket();
        socket.send(request);
        assert_eq!(socket.rest(), answer);
    }
}

#[test]
fn errors_have_the_texts_that_clients_know() {
    let server = Server::start(&[]);
    let mut socket = server.socket();
    socket.ask(
        "GET",
        "-ERR wrong number of arguments for 'get' command\r\n",
    );
    socket.ask(
        "NOPE a b",
        "-ERR unknown command 'NOPE', with args beginning with: 'a' 'b' \r\n",
    );
    socket.ask(
        "CLIENT NOPE",
        "-ERR unknown subcommand 'NOPE'. Try CLIENT HELP.\r\n",
    );
    socket.ask("SET k v BAD", "-ERR syntax error\r\n");
    socket.ask("SELECT 1", "-ERR DB index is out of range\r\n");
    socket.ask(
        "READONLY",
        "-ERR This instance has cluster support disabled\r\n",
    );
}

#[test]
fn replies_can_be_switched_off() {
    let server = Server::start(&[]);
    let mut socket = server.socket();
    socket.send("CLIENT REPLY OFF\r\nSET k v\r\nCLIENT REPLY ON\r\n");
    socket.expect("+OK\r\n");
    socket.send("CLIENT REPLY SKIP\r\nGET k\r\nGET k\r\n");
    socket.expect("$1\r\nv\r\n");
}
