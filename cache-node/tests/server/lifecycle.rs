//! Starting, probing, ending.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use crate::process::{Server, ask, free_port};

#[test]
fn a_signal_ends_the_process_cleanly() {
    let mut server = Server::start(&[]);
    let mut socket = server.socket();
    socket.ask("SET k v", "+OK\r\n");
    server.terminate();
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(socket.rest(), "");
}

#[test]
fn shutdown_ends_the_process_cleanly() {
    let mut server = Server::start(&[]);
    let mut socket = server.socket();
    socket.send("SHUTDOWN NOSAVE\r\n");
    assert_eq!(socket.rest(), "");
    assert_eq!(server.wait().code(), Some(0));
}

/// Others may have been promised what cannot be kept.
#[test]
fn a_node_of_a_cluster_whose_disk_fails_ends_with_an_error() {
    let mut server = Server::start_limitable(&["--cluster-enabled", "yes"]);
    let mut socket = server.socket();
    socket.ask("CLUSTER ADDSLOTSRANGE 0 99", "+OK\r\n");
    server.limit_files(Some(1));
    socket.ask(
        "CLUSTER ADDSLOTSRANGE 100 199",
        "-ERR The cluster bus has stopped\r\n",
    );
    assert_eq!(socket.rest(), "");
    assert_eq!(server.wait().code(), Some(1));
}

fn cache_node(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_cache-node"))
        .args(args)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn mistakes_on_the_command_line_are_named() {
    let (code, text) = cache_node(&["--maxmemry", "1gb"]);
    assert_eq!(code, Some(2));
    assert_eq!(
        text,
        "cache-node: unknown option 'maxmemry'; did you mean 'maxmemory'?\n"
    );
    let (code, text) = cache_node(&["--appendfsync", "sometimes"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("appendfsync"), "{text}");
    assert!(text.contains("everysec"), "{text}");
    let (code, text) = cache_node(&["--daemonize", "yes"]);
    assert_eq!(code, Some(2));
    assert!(
        text.contains("the process stays in the foreground"),
        "{text}"
    );
    let (code, text) = cache_node(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(text.contains("--maxmemory-policy POLICY"));
}

pub(crate) fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn probes_and_metrics_are_served() {
    let port = free_port();
    let server = Server::start(&["--metrics-port", &port.to_string()]);
    let connection = &mut server.connect();
    ask::<()>(connection, "SET k v");
    ask::<String>(connection, "GET k");
    assert!(get(port, "/livez").starts_with("HTTP/1.1 200"));
    assert!(get(port, "/readyz").starts_with("HTTP/1.1 200"));
    let metrics = get(port, "/metrics");
    assert!(
        metrics.contains("evenkeel_command_calls_total{command=\"get\"} 1\n"),
        "{metrics}"
    );
    assert!(metrics.contains("evenkeel_keys 1\n"));
    assert!(metrics.contains("evenkeel_hits_total 1\n"));
}
