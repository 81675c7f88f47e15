//! What each policy lets go.

use std::ops::Range;

use redis::Connection;

use crate::memory::assert_within;
use crate::process::{Server, ask, error};

const LIMIT: u64 = 4 << 20;

/// Keys with values of 1,000 bytes that about fill the memory.
const FULL: u32 = 3_400;

fn start(policy: &str) -> Server {
    Server::start(&[
        "--maxmemory",
        &LIMIT.to_string(),
        "--maxmemory-policy",
        policy,
    ])
}

fn in_batches(
    connection: &mut Connection,
    keys: Range<u32>,
    add: impl Fn(&mut redis::Pipeline, u32),
) {
    for start in keys.clone().step_by(100) {
        let mut pipe = redis::pipe();
        (start..(start + 100).min(keys.end)).for_each(|key| add(&mut pipe, key));
        pipe.exec(connection).unwrap();
    }
}

fn set(connection: &mut Connection, keys: Range<u32>, options: &[&str]) {
    let value = "x".repeat(1_000);
    in_batches(connection, keys, |pipe, key| {
        pipe.cmd("SET").arg(key).arg(&value).arg(options).ignore();
    });
}

fn get(connection: &mut Connection, keys: Range<u32>) {
    in_batches(connection, keys, |pipe, key| {
        pipe.cmd("GET").arg(key).ignore();
    });
}

/// How many of these keys are there, in percent.
fn survivors(connection: &mut Connection, keys: Range<u32>) -> u64 {
    let mut command = redis::cmd("EXISTS");
    keys.clone().for_each(|key| {
        command.arg(key);
    });
    command.query::<u64>(connection).unwrap() * 100 / u64::from(keys.end - keys.start)
}

/// Adds so many new keys, in rounds, and does something else between them.
fn churn(connection: &mut Connection, between: impl Fn(&mut Connection)) {
    for round in 0..30 {
        between(connection);
        let first = 10_000 + round * 400;
        set(connection, first..first + 400, &[]);
    }
}

#[test]
fn every_policy_can_be_chosen_and_keeps_the_limit() {
    let server = start("noeviction");
    let connection = &mut server.connect();
    for policy in [
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-lrm",
        "allkeys-random",
        "allkeys-fifo",
        "allkeys-s3",
        "auto",
        "volatile-lru",
        "volatile-lfu",
        "volatile-lrm",
        "volatile-random",
        "volatile-ttl",
        "volatile-s3",
    ] {
        ask::<String>(connection, &format!("CONFIG SET maxmemory-policy {policy}"));
        let info: redis::InfoDict = ask(connection, "INFO memory");
        assert_eq!(
            info.get::<String>("maxmemory_policy").as_deref(),
            Some(policy)
        );
        ask::<String>(connection, "FLUSHALL");
        set(connection, 0..500, &[]);
        set(connection, 1_000..2 * FULL, &["EX", "1000"]);
        assert_within(connection, LIMIT);
        let there: u32 = ask(connection, "DBSIZE");
        assert!((FULL..FULL + 1_000).contains(&there), "{policy}: {there}");
        if policy.starts_with("volatile") {
            assert_eq!(survivors(connection, 0..500), 100, "{policy}");
        }
    }
}

#[test]
fn volatile_policies_refuse_writes_when_no_key_has_a_deadline() {
    for policy in ["volatile-lru", "volatile-ttl", "volatile-s3"] {
        let server = start(policy);
        let connection = &mut server.connect();
        set(connection, 0..FULL - 200, &[]);
        let value = "x".repeat(1_000);
        let refused = (0..1_000).find_map(|number| {
            let mut command = redis::cmd("SET");
            command
                .arg(format!("more{number}"))
                .arg(&value)
                .exec(connection)
                .err()
        });
        assert_eq!(refused.unwrap().code(), Some("OOM"), "{policy}");
        // The only one among so many is found, too.
        ask::<bool>(connection, "EXPIRE 7 1000");
        // It may go in the background before the next write asks for room, which is then refused.
        let _ = redis::cmd("SET")
            .arg("another")
            .arg(&value)
            .exec(connection);
        assert_eq!(ask::<i64>(connection, "EXISTS 7"), 0, "{policy}");
    }
}

#[test]
fn lru_keeps_what_is_read() {
    let server = start("allkeys-lru");
    let connection = &mut server.connect();
    set(connection, 0..FULL, &[]);
    churn(connection, |connection| get(connection, 0..1_000));
    let (read, unread) = (
        survivors(connection, 0..1_000),
        survivors(connection, 1_000..FULL),
    );
    assert!(
        read > 95 && unread < 2,
        "{read} % and {unread} % of the others"
    );
}

#[test]
fn lfu_keeps_what_was_read_often_even_when_it_rests() {
    let server = start("allkeys-lfu");
    let connection = &mut server.connect();
    set(connection, 0..FULL, &[]);
    for _ in 0..20 {
        get(connection, 0..1_000);
    }
    churn(connection, |_| {});
    let (often, seldom) = (
        survivors(connection, 0..1_000),
        survivors(connection, 1_000..FULL),
    );
    assert!(
        often > 95 && seldom < 30,
        "{often} % and {seldom} % of the others"
    );
}

#[test]
fn lrm_keeps_what_is_written_and_not_what_is_read() {
    let server = start("allkeys-lrm");
    let connection = &mut server.connect();
    set(connection, 0..FULL, &[]);
    churn(connection, |connection| {
        get(connection, 0..500);
        set(connection, 500..1_000, &[]);
    });
    let (read, written) = (
        survivors(connection, 0..500),
        survivors(connection, 500..1_000),
    );
    assert!(
        read < 2 && written > 95,
        "{read} % of those read, {written} % of those written"
    );
}

#[test]
fn fifo_lets_the_oldest_go_whatever_is_done_with_them() {
    let server = start("allkeys-fifo");
    let connection = &mut server.connect();
    set(connection, 0..FULL, &[]);
    for first in (10_000..14_000).step_by(400) {
        get(connection, 0..500);
        // Overwrites do not count, but those that are gone would come back as new.
        in_batches(connection, 500..1_000, |pipe, key| {
            pipe.cmd("SET").arg(key).arg("y").arg("XX").ignore();
        });
        set(connection, first..first + 400, &[]);
    }
    let (old, young) = (
        survivors(connection, 0..1_000),
        survivors(connection, 12_000..14_000),
    );
    assert!(old < 2 && young > 98, "{old} % and {young} %");
}

#[test]
fn random_lets_old_and_new_keys_go_alike() {
    let server = start("allkeys-random");
    let connection = &mut server.connect();
    set(connection, 0..FULL, &[]);
    set(connection, 10_000..10_000 + FULL, &[]);
    let (old, new) = (
        survivors(connection, 0..FULL),
        survivors(connection, 10_000..10_000 + FULL),
    );
    // Of some 3,850 keys, one after the other makes room for 2,950: each survives with a chance of e^(-2,950/3,850).
    assert!((40..55).contains(&old), "{old} %");
    assert!((60..80).contains(&new), "{new} %");
}

#[test]
fn ttl_lets_the_keys_go_that_expire_first() {
    let server = start("volatile-ttl");
    let connection = &mut server.connect();
    set(connection, 0..200, &[]);
    set(connection, 1_000..1_500, &["EX", "10000"]);
    set(connection, 2_000..8_000, &["EX", "100"]);
    assert_eq!(survivors(connection, 0..200), 100);
    assert!(survivors(connection, 1_000..1_500) > 98);
}

#[test]
fn s3_and_auto_keep_what_was_used_twice_through_a_scan() {
    for policy in ["allkeys-s3", "volatile-s3", "auto"] {
        let server = start(policy);
        let connection = &mut server.connect();
        set(connection, 0..FULL, &["EX", "1000"]);
        get(connection, 0..1_000);
        get(connection, 0..1_000);
        set(connection, 10_000..10_000 + 4 * FULL, &["EX", "1000"]);
        let (used, unused) = (
            survivors(connection, 0..1_000),
            survivors(connection, 1_000..FULL),
        );
        assert!(
            used > 95 && unused < 5,
            "{policy}: {used} % and {unused} % of the others"
        );
    }
}

#[test]
fn a_data_set_in_which_every_key_was_used_does_not_hold_up_a_write() {
    let server = start("allkeys-s3");
    let connection = &mut server.connect();
    set(connection, 0..FULL, &[]);
    for _ in 0..3 {
        get(connection, 0..FULL);
    }
    set(connection, 10_000..10_000 + FULL, &[]);
    assert_within(connection, LIMIT);
}

#[test]
fn a_key_that_comes_back_soon_is_known_to_s3() {
    let server = start("allkeys-s3");
    let connection = &mut server.connect();
    set(connection, 0..2 * FULL, &[]);
    let evicted: Vec<u32> = (0..2 * FULL)
        .rev()
        .filter(|key| !ask::<bool>(connection, &format!("EXISTS {key}")))
        .take(200)
        .collect();
    let info: redis::InfoDict = ask(connection, "INFO memory");
    assert!(info.get::<u64>("mem_eviction_ghosts").unwrap() > 1_000);
    let value = "x".repeat(1_000);
    for key in &evicted {
        ask::<String>(connection, &format!("SET {key} {value}"));
    }
    assert_eq!(evicted.len(), 200);
    // They are in the main part now: a scan passes them by.
    set(connection, 20_000..20_000 + 2 * FULL, &[]);
    let kept = evicted
        .iter()
        .filter(|key| ask::<bool>(connection, &format!("EXISTS {key}")));
    assert!(kept.count() > evicted.len() * 9 / 10);
}

#[test]
fn auto_says_what_it_has_chosen() {
    let server = start("auto");
    let connection = &mut server.connect();
    let shown = |connection: &mut Connection, name: &str| {
        let info: redis::InfoDict = ask(connection, "INFO memory");
        info.get::<String>(name).unwrap()
    };
    assert_eq!(shown(connection, "eviction_choice"), "s3");
    assert_eq!(shown(connection, "mem_eviction_auto"), "0");
    set(connection, 0..2 * FULL, &[]);
    assert!(
        shown(connection, "mem_eviction_auto")
            .parse::<u64>()
            .unwrap()
            > 10_000
    );
    ask::<String>(connection, "CONFIG SET maxmemory-policy allkeys-lfu");
    assert_eq!(shown(connection, "eviction_choice"), "lfu");
    assert_eq!(shown(connection, "mem_eviction_auto"), "0");
    ask::<String>(connection, "CONFIG SET maxmemory-policy noeviction");
    assert_eq!(shown(connection, "eviction_choice"), "none");
}

/// Reads keys, and sets those that are not there.
fn look_up(connection: &mut Connection, keys: Range<u32>) {
    let value = "x".repeat(1_000);
    let mut reads = redis::pipe();
    keys.clone().for_each(|key| {
        reads.cmd("GET").arg(key);
    });
    let found: Vec<Option<Vec<u8>>> = reads.query(connection).unwrap();
    for (key, found) in keys.zip(found) {
        if found.is_none() {
            ask::<String>(connection, &format!("SET {key} {value}"));
        }
    }
}

#[test]
fn auto_changes_to_lru_where_that_misses_less() {
    let server = start("auto");
    let connection = &mut server.connect();
    // Half of the keys are used three times at once and never again, which makes S3 keep them; the others once more after a while,
    // when S3 has let them go.
    let changed = (0..2_000).any(|round| {
        let (at_once, later) = (round * 20, 1_000_000 + round * 20);
        for _ in 0..3 {
            look_up(connection, at_once..at_once + 20);
        }
        look_up(connection, later..later + 20);
        let before = later - 20 * 60.min(round);
        look_up(connection, before..before + 20);
        let info: redis::InfoDict = ask(connection, "INFO memory");
        info.get::<String>("eviction_choice").as_deref() == Some("lru")
    });
    assert!(changed, "it has not changed");
}

#[test]
fn idle_times_and_frequencies_are_told_by_the_policies_that_know_them() {
    let server = start("allkeys-lru");
    let connection = &mut server.connect();
    ask::<String>(connection, "SET key value");
    assert!(ask::<u64>(connection, "OBJECT IDLETIME key") < 60);
    assert!(error(connection, "OBJECT FREQ key").starts_with("ERR An LFU maxmemory policy is not"));
    ask::<String>(connection, "CONFIG SET maxmemory-policy allkeys-lfu");
    ask::<String>(connection, "SET new value");
    let new = ask::<u64>(connection, "OBJECT FREQ new");
    assert!((4..=5).contains(&new), "{new}");
    in_batches(connection, 0..1_000, |pipe, _| {
        pipe.cmd("GET").arg("new").ignore();
    });
    let used = ask::<u64>(connection, "OBJECT FREQ new");
    assert!((12..30).contains(&used), "{used}");
    assert!(error(connection, "OBJECT IDLETIME new").starts_with("ERR An LFU maxmemory policy is"));
}
