//! How long workers and snapshots keep others waiting, as the process says itself.

use redis::{Connection, InfoDict};

use crate::lifecycle::get;
use crate::process::{Server, ask, free_port};

fn longest(connection: &mut Connection, what: &str) -> u64 {
    let info: InfoDict = ask(connection, "INFO stats");
    info.get(&format!("evenkeel_longest_{what}_usec")).unwrap()
}

/// The figure of a line of `/metrics`.
fn metric(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}"))
        .trim()
        .parse()
        .unwrap()
}

#[test]
fn a_long_command_is_a_stall_until_statistics_are_reset() {
    let port = free_port();
    let server = Server::start(&["--metrics-port", &port.to_string()]);
    let connection = &mut server.connect();
    let mut push = redis::cmd("RPUSH");
    push.arg("list").arg(vec!["element"; 200_000]);
    let pushed: u64 = push.query(connection).unwrap();
    assert_eq!(pushed, 200_000);
    // From one end to the other: far more work than any other turn of this test.
    ask::<Option<u64>>(connection, "LPOS list nothing");
    let before = longest(connection, "stall");
    let metrics = get(port, "/metrics");
    let name = "evenkeel_worker_stall_seconds";
    let count = metric(&metrics, &format!("{name}_count"));
    assert!(metrics.contains(&format!("# TYPE {name} histogram\n")));
    assert!(count >= 3.0);
    assert_eq!(
        metric(&metrics, &format!("{name}_bucket{{le=\"+Inf\"}}")),
        count
    );
    assert!(metric(&metrics, &format!("{name}_bucket{{le=\"0.00005\"}}")) < count);
    assert!(metric(&metrics, &format!("{name}_sum")) * 1e6 >= before as f64);
    ask::<()>(connection, "CONFIG RESETSTAT");
    let count_after = metric(&get(port, "/metrics"), &format!("{name}_count"));
    assert!(count_after < count);
}

#[test]
fn each_snapshot_counts_how_long_it_locked_all_slots() {
    let port = free_port();
    let server = Server::start(&["--metrics-port", &port.to_string()]);
    let connection = &mut server.connect();
    assert_eq!(longest(connection, "walk_lock"), 0);
    ask::<()>(connection, "SAVE");
    ask::<()>(connection, "SAVE");
    assert!(longest(connection, "walk_lock") > 0);
    let name = "evenkeel_walk_lock_seconds_count";
    assert_eq!(metric(&get(port, "/metrics"), name), 2.0);
    ask::<()>(connection, "CONFIG RESETSTAT");
    assert_eq!(longest(connection, "walk_lock"), 0);
    assert_eq!(metric(&get(port, "/metrics"), name), 0.0);
}
