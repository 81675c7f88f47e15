//! The secret of the cluster bus, as who runs the process sees it.

use redis::Connection;

use crate::lifecycle::get;
use crate::process::{Server, free_port};

const SECRET: &str = "known to this test only";

fn error(connection: &mut Connection, words: &[&str]) -> String {
    let command = redis::cmd(words[0]).arg(&words[1..]).to_owned();
    let refused = command.query::<redis::Value>(connection).unwrap_err();
    refused.to_string()
}

#[test]
fn a_node_that_has_another_secret_is_not_met_and_told_why() {
    let metrics = free_port().to_string();
    let near = Server::start(&[
        "--cluster-enabled",
        "yes",
        "--cluster-secret",
        SECRET,
        "--metrics-port",
        &metrics,
    ]);
    let far = Server::start(&["--cluster-enabled", "yes"]);
    let connection = &mut near.connect();
    let port = far.port.to_string();
    let why = error(connection, &["CLUSTER", "MEET", "127.0.0.1", &port]);
    assert!(why.contains("Cannot meet the node at 127.0.0.1"), "{why}");
    assert!(why.contains("the other side has none"), "{why}");
    let text = get(metrics.parse().unwrap(), "/metrics");
    let name = "evenkeel_bus_connections_refused_total{reason=\"secret\"} ";
    let count = text.lines().find_map(|line| line.strip_prefix(name));
    assert!(count.unwrap().parse::<u64>().unwrap() > 0, "{text}");
    // As with the password of clients, those who may see the configuration see it; and it is for the start only.
    let shown: Vec<String> = redis::cmd("CONFIG")
        .arg(&["GET", "cluster-secret"])
        .query(connection)
        .unwrap();
    assert_eq!(shown, ["cluster-secret", SECRET]);
    let fixed = error(connection, &["CONFIG", "SET", "cluster-secret", SECRET]);
    assert!(fixed.contains("can't set immutable config"), "{fixed}");
}

#[test]
fn a_node_whose_secret_cannot_be_told_does_not_start() {
    let mut server = Server::start(&[]);
    let file = "--cluster-secret-file";
    for (args, why) in [
        (
            [file, "/nowhere/at.all"].as_slice(),
            "'cluster-secret-file' /nowhere/at.all",
        ),
        (
            &["--cluster-secret", SECRET, file, "/etc/hostname"],
            "only one of them",
        ),
        (&["--cluster-secret", "too short"], "at least 16 bytes"),
    ] {
        let (code, said) = server.fails(&[&["--cluster-enabled", "yes"], args].concat());
        assert_ne!(code, Some(0));
        assert!(said.contains(why), "{said}");
        assert!(
            !said.contains(SECRET) && !said.contains("too short"),
            "{said}"
        );
    }
}
