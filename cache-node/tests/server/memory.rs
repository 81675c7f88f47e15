//! `maxmemory`: what it holds back, and that it holds.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::ScopedJoinHandle;

use redis::Connection;

use crate::process::{Server, ask, error, eventually};

/// The most that may be used beyond `maxmemory`, in percent.
const TOLERATED: u64 = 1;

fn info(connection: &mut Connection, name: &str) -> u64 {
    let info: redis::InfoDict = ask(connection, "INFO all");
    info.get(name).unwrap()
}

/// Fails if the data set with all that counts takes more than `maxmemory`.
pub(crate) fn assert_within(connection: &mut Connection, limit: u64) {
    let used = info(connection, "used_memory");
    assert!(
        used <= limit + limit * TOLERATED / 100,
        "{used} bytes are used, {limit} are allowed"
    );
}

#[test]
fn without_a_policy_writes_are_refused_and_reads_are_not() {
    let server = Server::start(&["--maxmemory", "1mb"]);
    let connection = &mut server.connect();
    let value = "x".repeat(1_000);
    let refused = (0..10_000).find_map(|number| {
        redis::cmd("SET")
            .arg(number)
            .arg(&value)
            .exec(connection)
            .err()
    });
    assert_eq!(refused.unwrap().code(), Some("OOM"));
    assert_eq!(
        error(connection, &format!("SET x {value}")),
        "OOM command not allowed when used memory > 'maxmemory'."
    );
    assert_within(connection, 1 << 20);
    assert_eq!(info(connection, "evicted_keys"), 0);
    assert_eq!(ask::<String>(connection, "GET 0"), value);
    assert_eq!(ask::<i64>(connection, "DEL 0 1 2"), 3);
    assert_eq!(ask::<String>(connection, &format!("SET x {value}")), "OK");
}

#[test]
fn a_value_larger_than_all_memory_is_refused_and_nothing_goes_for_it() {
    let server = Server::start(&["--maxmemory", "1mb", "--maxmemory-policy", "allkeys-lru"]);
    let connection = &mut server.connect();
    // Or else the connection would go, for what its command takes.
    ask::<String>(connection, "CLIENT NO-EVICT on");
    ask::<String>(connection, "SET small value");
    let huge = "x".repeat(2 << 20);
    assert!(error(connection, &format!("SET huge {huge}")).starts_with("OOM"));
    assert_eq!(ask::<String>(connection, "GET small"), "value");
    let large = "x".repeat(700 << 10);
    for number in 0..3 {
        assert_eq!(
            ask::<String>(connection, &format!("SET large{number} {large}")),
            "OK"
        );
    }
    assert_eq!(ask::<i64>(connection, "DBSIZE"), 1);
}

#[test]
fn a_lower_limit_is_met_without_a_write() {
    let server = Server::start(&["--maxmemory", "8mb", "--maxmemory-policy", "allkeys-lru"]);
    let connection = &mut server.connect();
    storm(connection, 0, 6 << 20, |_| 500);
    assert!(info(connection, "used_memory") > 5 << 20);
    ask::<String>(connection, "CONFIG SET maxmemory 2mb");
    eventually("the lower limit", || {
        (info(connection, "used_memory") <= 2 << 20).then_some(())
    });
}

/// Writes strings of these sizes until so many bytes are written.
fn storm(connection: &mut Connection, thread: u64, bytes: u64, size: impl Fn(u64) -> usize) {
    let value = "x".repeat(100_000);
    let (mut number, mut written) = (0, 0);
    while written < bytes {
        let mut pipe = redis::pipe();
        for _ in 0..50 {
            let size = size(number);
            pipe.cmd("SET")
                .arg(format!("key:{thread}:{number}"))
                .arg(&value[..size])
                .ignore();
            number += 1;
            written += size as u64;
        }
        pipe.exec(connection).unwrap();
    }
}

/// Two connections write, and a third watches what is used.
fn assert_a_storm_stays_within(
    policy: &str,
    limit: u64,
    size: impl Fn(u64) -> usize + Copy + Send + Sync,
) {
    let server = Server::start(&[
        "--maxmemory",
        &limit.to_string(),
        "--maxmemory-policy",
        policy,
    ]);
    let watcher = &mut server.connect();
    let resident_before = info(watcher, "used_memory_rss");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|thread| {
                let mut connection = server.connect();
                scope.spawn(move || storm(&mut connection, thread, 2 * limit, size))
            })
            .collect();
        scope.spawn(|| {
            let ended: Vec<_> = writers.into_iter().map(ScopedJoinHandle::join).collect();
            // Also when one has failed, or else nobody would hear of it.
            done.store(true, Relaxed);
            ended.into_iter().for_each(|writer| writer.unwrap());
        });
        while !done.load(Relaxed) {
            assert_within(watcher, limit);
        }
    });
    assert_within(watcher, limit);
    assert!(info(watcher, "evicted_keys") > 0);
    assert!(info(watcher, "used_memory") > limit * 9 / 10);
    // Buffers and fragmentation are limited, too: by what pressure tolerates, and a second until it acts.
    let grown = info(watcher, "used_memory_rss") - resident_before;
    let tolerated = limit + limit / 8 + (32 << 20);
    assert!(grown <= tolerated, "the process has grown by {grown} bytes");
}

#[test]
fn a_storm_of_writes_of_one_size_stays_within_one_percent() {
    assert_a_storm_stays_within("allkeys-lru", 8 << 20, |_| 250);
}

#[test]
fn a_storm_of_writes_of_all_sizes_stays_within_one_percent() {
    // From 10 bytes to 100 KB, evenly by their logarithms.
    let mixed = |number: u64| {
        let share = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / (1 << 24) as f64;
        (10.0 * 10_000_f64.powf(share)) as usize
    };
    assert_a_storm_stays_within("auto", 32 << 20, mixed);
}
