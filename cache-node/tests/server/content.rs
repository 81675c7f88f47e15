//! A data set with values of every type, big and small, and a look at all of it.

use std::collections::BTreeMap;

use redis::{Commands, Connection};

/// What a key holds, its deadline first.
pub(crate) type Content = BTreeMap<Vec<u8>, (i64, Held)>;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Held {
    String(Vec<u8>),
    List(Vec<Vec<u8>>),
    /// In ascending order.
    Set(Vec<Vec<u8>>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    SortedSet(Vec<(Vec<u8>, f64)>),
}

/// The same as `tests/data/make.py`.
pub(crate) fn fill(connection: &mut Connection) {
    let mut pipe = redis::pipe();
    pipe.set("text", "hello").set("empty", "");
    pipe.set("repeated", "abc".repeat(1000));
    for number in [
        0,
        -1,
        127,
        -128,
        300,
        -30000,
        70000,
        -(1 << 31),
        1 << 31,
        i64::MAX,
        i64::MIN,
    ] {
        pipe.set(format!("integer:{number}"), number);
    }
    pipe.cmd("SET").arg("expiring").arg("later");
    pipe.arg("PXAT").arg(4_102_444_800_123_u64);
    for n in [5, 1000] {
        for i in 0..n {
            let element = if i % 3 == 0 {
                (i * i - 50).to_string()
            } else {
                format!("element:{i}")
            };
            pipe.rpush(format!("list:{n}"), element);
            pipe.sadd(format!("integers:{n}"), i * 1_000_003 - 7);
            pipe.sadd(format!("words:{n}"), format!("word:{i}"));
            let value = if i < 90 {
                "v".repeat(i as usize)
            } else {
                (i * 7).to_string()
            };
            pipe.hset(format!("hash:{n}"), format!("field:{i}"), value);
            let score = if i % 5 == 0 {
                -i as f64
            } else {
                i as f64 / 8.0
            };
            pipe.zadd(format!("scores:{n}"), format!("member:{i}"), score);
        }
    }
    pipe.zadd("infinite", "low", f64::NEG_INFINITY);
    pipe.zadd("infinite", "high", f64::INFINITY);
    pipe.rpush("wide", "w".repeat(20_000)).rpush("wide", "x");
    let _: redis::Value = pipe.query(connection).unwrap();
}

/// Everything that is there.
pub(crate) fn content(connection: &mut Connection) -> Content {
    let keys: Vec<Vec<u8>> = connection.keys("*").unwrap();
    let held = |key: &Vec<u8>, connection: &mut Connection| {
        let kind: String = connection.key_type(key).unwrap();
        match kind.as_str() {
            "string" => Held::String(connection.get(key).unwrap()),
            "list" => Held::List(connection.lrange(key, 0, -1).unwrap()),
            "hash" => Held::Hash(connection.hgetall(key).unwrap()),
            "zset" => Held::SortedSet(connection.zrange_withscores(key, 0, -1).unwrap()),
            "set" => {
                let mut members: Vec<Vec<u8>> = connection.smembers(key).unwrap();
                members.sort();
                Held::Set(members)
            }
            other => panic!("{other}"),
        }
    };
    keys.into_iter()
        .map(|key| {
            let deadline: i64 = redis::cmd("PEXPIRETIME")
                .arg(&key)
                .query(connection)
                .unwrap();
            let held = held(&key, connection);
            (key, (deadline, held))
        })
        .collect()
}
