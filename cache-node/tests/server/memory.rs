//! `maxmemory`.

use crate::process::{Server, ask, error};

fn fill(connection: &mut redis::Connection, keys: std::ops::Range<u32>, options: &[&str]) {
    for start in keys.clone().step_by(100) {
        let mut pipe = redis::pipe();
        for number in start..(start + 100).min(keys.end) {
            pipe.cmd("SET")
                .arg(format!("k{number}"))
                .arg("x".repeat(1000))
                .arg(options)
                .ignore();
        }
        pipe.exec(connection).unwrap();
    }
}

fn used(connection: &mut redis::Connection) -> u64 {
    let info: redis::InfoDict = ask(connection, "INFO memory");
    info.get("used_memory").unwrap()
}

#[test]
fn without_a_policy_writes_are_refused_and_reads_are_not() {
    let server = Server::start(&["--maxmemory", "1mb"]);
    let connection = &mut server.connect();
    let value = "x".repeat(10_000);
    let refused = (0..1000).find_map(|number| {
        redis::cmd("SET")
            .arg(number)
            .arg(&value)
            .exec(connection)
            .err()
    });
    assert_eq!(refused.unwrap().code(), Some("OOM"));
    assert_eq!(
        error(connection, "SET x y"),
        "OOM command not allowed when used memory > 'maxmemory'."
    );
    assert_eq!(ask::<String>(connection, "GET 0"), value);
    assert_eq!(ask::<i64>(connection, "DEL 0"), 1);
}

#[test]
fn the_keys_used_most_survive_an_lru() {
    let server = Server::start(&[
        "--maxmemory",
        "4mb",
        "--maxmemory-policy",
        "allkeys-lru",
        "--maxmemory-samples",
        "10",
    ]);
    let connection = &mut server.connect();
    fill(connection, 0..500, &[]);
    // Last accesses are told apart in steps of an eighth of a second.
    let next = std::time::Instant::now() + std::time::Duration::from_millis(400);
    while std::time::Instant::now() < next {
        std::thread::yield_now();
    }
    for round in 0..40 {
        for number in 0..500 {
            ask::<Option<String>>(connection, &format!("GET k{number}"));
        }
        fill(connection, 1000 + round * 200..1200 + round * 200, &[]);
        assert!(used(connection) < 4 << 20);
    }
    let survivors: usize = (0..500)
        .filter(|number| ask::<i64>(connection, &format!("EXISTS k{number}")) == 1)
        .count();
    assert!(survivors > 350, "only {survivors} of 500 survived");
    let info: redis::InfoDict = ask(connection, "INFO stats");
    assert!(info.get::<u64>("evicted_keys").unwrap() > 4000);
}

#[test]
fn volatile_policies_spare_keys_without_an_expiry() {
    let server = Server::start(&["--maxmemory", "2mb", "--maxmemory-policy", "volatile-ttl"]);
    let connection = &mut server.connect();
    fill(connection, 0..200, &[]);
    fill(connection, 1000..1500, &["EX", "10000"]);
    fill(connection, 2000..4000, &["EX", "100"]);
    for number in 0..200 {
        assert_eq!(ask::<i64>(connection, &format!("EXISTS k{number}")), 1);
    }
    assert!(used(connection) < 2 << 20);
    let far =
        (1000..1500).filter(|number| ask::<i64>(connection, &format!("EXISTS k{number}")) == 1);
    assert!(far.count() > 400);
}
