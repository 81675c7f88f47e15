//! Collections on their way to a replica: through full sync, and as effects of every command that changes one.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redis::Value;
use redis::aio::MultiplexedConnection;

use crate::processes::Process;
use crate::replication::follow;

const KEYS: [&str; 12] = [
    "{t}l1", "{t}l2", "{t}l3", "{t}s1", "{t}s2", "{t}s3", "{t}z1", "{t}z2", "{t}z3", "{t}h1",
    "{t}h2", "{t}h3",
];

/// Random commands that change collections.
struct Changes(StdRng);

impl Changes {
    fn number(&mut self, below: i64) -> i64 {
        self.0.random_range(0..below)
    }

    fn one_of(&mut self, words: &[&str]) -> String {
        let place = self.number(words.len() as i64);
        words[place as usize].to_owned()
    }

    fn key(&mut self, letter: char) -> String {
        format!("{{t}}{letter}{}", 1 + self.number(3))
    }

    fn element(&mut self) -> String {
        match self.number(4) {
            0 => self.number(300).to_string(),
            1 => "x".repeat(self.number(100) as usize),
            _ => format!("element:{}", self.number(300)),
        }
    }

    fn score(&mut self) -> String {
        match self.number(6) {
            0 => "inf".to_owned(),
            1 => (self.number(1000) as f64 / 7.0).to_string(),
            _ => (self.number(40) - 20).to_string(),
        }
    }

    /// A command with placeholders filled: `L`, `S`, `Z`, `H` keys, `e` an element, `n` a number, `f` a score.
    fn fill(&mut self, form: &str) -> Vec<String> {
        let mut words = Vec::new();
        for word in form.split(' ') {
            words.push(match word {
                "L" => self.key('l'),
                "S" => self.key('s'),
                "Z" => self.key('z'),
                "H" => self.key('h'),
                "e" => self.element(),
                "n" => self.number(5).to_string(),
                "f" => self.score(),
                "END" => self.one_of(&["LEFT", "RIGHT"]),
                word => word.to_owned(),
            });
        }
        words
    }

    fn next(&mut self) -> Vec<String> {
        let form = self.one_of(&[
            "LPUSH L e e",
            "RPUSH L e e e",
            "LPUSHX L e",
            "RPUSHX L e",
            "LPOP L n",
            "RPOP L",
            "LSET L n e",
            "LINSERT L BEFORE e e",
            "LREM L n e",
            "LTRIM L n -1",
            "LMOVE L L END END",
            "RPOPLPUSH L L",
            "LMPOP 2 L L LEFT COUNT 2",
            "SADD S e e e",
            "SADD S n e",
            "SREM S e e",
            "SPOP S n",
            "SPOP S",
            "SMOVE S S e",
            "SUNIONSTORE S S S",
            "SDIFFSTORE S S S",
            "SINTERSTORE S S S",
            "ZADD Z f e f e",
            "ZADD Z GT CH f e f e",
            "ZADD Z NX f e f e",
            "ZADD Z XX f e",
            "ZINCRBY Z n e",
            "ZADD Z INCR n e",
            "ZREM Z e",
            "ZPOPMIN Z",
            "ZPOPMAX Z n",
            "ZMPOP 2 Z Z MAX COUNT 2",
            "ZREMRANGEBYRANK Z 0 n",
            "ZREMRANGEBYSCORE Z -1 1",
            "ZRANGESTORE Z Z 0 200",
            "ZUNIONSTORE Z 2 Z Z WEIGHTS 2 n",
            "ZINTERSTORE Z 2 Z Z AGGREGATE MAX",
            "ZDIFFSTORE Z 2 Z Z",
            "HSET H e e e e",
            "HDEL H e",
            "HSETNX H e e",
            "HINCRBY H count n",
            "HINCRBYFLOAT H sum f",
            "COPY L L REPLACE",
            "RENAME Z Z",
            "EXPIRE S 5000",
            "PERSIST S",
        ]);
        self.fill(&form)
    }
}

async fn ask(
    connection: &mut MultiplexedConnection,
    words: &[String],
) -> redis::RedisResult<Value> {
    let mut command = redis::cmd(&words[0]);
    words[1..].iter().for_each(|word| {
        command.arg(word);
    });
    command.query_async(connection).await
}

/// All that is in the keys, in an order that does not depend on how they came to be.
async fn contents(connection: &mut MultiplexedConnection) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for key in KEYS {
        let kind: String = redis::cmd("TYPE")
            .arg(key)
            .query_async(connection)
            .await
            .expect("TYPE");
        let read: &[&str] = match kind.as_str() {
            "none" => continue,
            "list" => &["LRANGE", key, "0", "-1"],
            "set" => &["SMEMBERS", key],
            "zset" => &["ZRANGE", key, "0", "-1", "WITHSCORES"],
            _ => &["HGETALL", key],
        };
        let mut command = redis::cmd(read[0]);
        read[1..].iter().for_each(|word| {
            command.arg(word);
        });
        let mut items: Vec<String> = match kind.as_str() {
            "hash" => {
                let pairs: BTreeMap<String, String> =
                    command.query_async(connection).await.expect("a hash");
                pairs
                    .into_iter()
                    .map(|(field, value)| format!("{field}={value}"))
                    .collect()
            }
            _ => command.query_async(connection).await.expect("a collection"),
        };
        if kind == "set" {
            items.sort();
        }
        let lasts: i64 = redis::cmd("EXPIRETIME")
            .arg(key)
            .query_async(connection)
            .await
            .expect("EXPIRETIME");
        items.push(format!("expires {lasts}"));
        all.insert(format!("{kind} {key}"), items);
    }
    all
}

async fn same_on_both(
    primary: &mut MultiplexedConnection,
    replica: &mut MultiplexedConnection,
) -> usize {
    let acknowledged: u32 = redis::cmd("WAIT")
        .arg(1)
        .arg(20_000)
        .query_async(primary)
        .await
        .expect("WAIT");
    assert_eq!(acknowledged, 1);
    let (here, there) = (contents(primary).await, contents(replica).await);
    assert_eq!(here, there);
    here.len()
}

#[tokio::test]
async fn a_replica_has_the_same_collections_after_random_changes() {
    let primary = Process::start(&[
        "--hash-max-listpack-entries",
        "40",
        "--set-max-listpack-entries",
        "40",
    ])
    .await;
    let replica = Process::start(&[]).await;
    let mut writer = primary.connect().await;
    let mut on_replica = replica.connect().await;
    let mut changes = Changes(StdRng::seed_from_u64(7));
    let mut done = 0;
    for number in 0..12_000 {
        if number == 4000 {
            // What is there by now comes with the full sync, the rest as effects.
            follow(&mut on_replica, &primary).await;
            assert!(same_on_both(&mut writer, &mut on_replica).await >= 8);
        }
        // Some commands are refused: no such key, no such index, infinity and its opposite.
        done += usize::from(ask(&mut writer, &changes.next()).await.is_ok());
        if number > 4000 && number % 500 == 0 {
            same_on_both(&mut writer, &mut on_replica).await;
        }
    }
    assert!(done > 10_000, "{done}");
    assert!(same_on_both(&mut writer, &mut on_replica).await >= 8);
}
