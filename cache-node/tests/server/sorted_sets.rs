//! Sorted sets.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redis::{Connection, Value};

use crate::process::{Server, ask, error, eventually};

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

fn strings(connection: &mut Connection, line: &str) -> Vec<String> {
    ask(connection, line)
}

/// The members with their scores in order, whatever the protocol.
fn content(connection: &mut Connection, key: &str) -> Vec<(String, f64)> {
    ask(connection, &format!("ZRANGE {key} 0 -1 WITHSCORES"))
}

#[test]
fn members_get_scores_under_all_conditions() {
    let server = Server::start(&[]);
    for connection in [&mut server.connect(), &mut server.connect_resp3()] {
        ask::<()>(connection, "FLUSHALL");
        assert_eq!(ask::<i64>(connection, "ZADD z 1 a 2 b 3 a"), 2);
        assert_eq!(ask::<i64>(connection, "ZADD z CH 1 a 2 b 3 c"), 2);
        assert_eq!(ask::<i64>(connection, "ZADD z NX 9 a 4 d"), 1);
        assert_eq!(ask::<i64>(connection, "ZADD z XX CH 9 x 5 d"), 1);
        assert_eq!(ask::<i64>(connection, "ZADD z GT CH 4 d 0 e"), 1);
        assert_eq!(ask::<i64>(connection, "ZADD z LT CH 4 d -1 e"), 2);
        assert_eq!(ask::<f64>(connection, "ZADD z INCR 0.5 a"), 1.5);
        assert_eq!(ask::<Option<f64>>(connection, "ZADD z NX INCR 1 a"), None);
        assert_eq!(ask::<Option<f64>>(connection, "ZADD z GT INCR -1 a"), None);
        assert_eq!(ask::<f64>(connection, "ZINCRBY z -0.25 a"), 1.25);
        assert_eq!(ask::<f64>(connection, "ZINCRBY z 7 new"), 7.0);
        assert_eq!(ask::<f64>(connection, "ZINCRBY z inf b"), f64::INFINITY);
        assert_eq!(
            ask::<Vec<Option<f64>>>(connection, "ZMSCORE z a x d"),
            [Some(1.25), None, Some(4.0)]
        );
        assert_eq!(ask::<i64>(connection, "ZADD none XX 1 a"), 0);
        assert_eq!(ask::<i64>(connection, "EXISTS none"), 0);
        for (line, text) in [
            ("ZADD z 1", "wrong number of arguments for 'zadd' command"),
            ("ZADD z 1 a 2", "syntax error"),
            ("ZADD z NX", "wrong number of arguments for 'zadd' command"),
            (
                "ZADD z NX XX 1 a",
                "XX and NX options at the same time are not compatible",
            ),
            (
                "ZADD z GT NX 1 a",
                "GT, LT, and/or NX options at the same time are not compatible",
            ),
            (
                "ZADD z INCR 1 a 2 b",
                "INCR option supports a single increment-element pair",
            ),
            ("ZADD z nan a", "value is not a valid float"),
            ("ZADD z 1 y 0x1 a", "value is not a valid float"),
            ("ZINCRBY z -inf b", "resulting score is not a number (NaN)"),
        ] {
            assert_eq!(error(connection, line), format!("ERR {text}"), "{line}");
        }
        assert_eq!(ask::<Option<f64>>(connection, "ZSCORE z y"), None);
        assert_eq!(ask::<i64>(connection, "ZREM z a a x b c d e new"), 6);
        assert_eq!(ask::<i64>(connection, "EXISTS z"), 0);
    }
}

#[test]
fn scores_are_doubles_in_resp3_and_text_in_resp2() {
    let server = Server::start(&[]);
    let socket = &mut server.socket();
    socket.ask("ZADD z 1 a 2.5 b", ":2\r\n");
    socket.ask("ZSCORE z b", "$3\r\n2.5\r\n");
    socket.ask("ZADD z 1e21 c", ":1\r\n");
    socket.ask("ZADD z INCR 0 c", "$5\r\n1e+21\r\n");
    socket.ask("ZRANGE z 0 0 WITHSCORES", "*2\r\n$1\r\na\r\n$1\r\n1\r\n");
    socket.ask("ZRANK z a WITHSCORE", "*2\r\n:0\r\n$1\r\n1\r\n");
    socket.ask("ZRANK z x WITHSCORE", "*-1\r\n");
    socket.ask("ZRANK z x", "$-1\r\n");
    socket.ask(
        "ZMPOP 2 none z MAX",
        "*2\r\n$1\r\nz\r\n*1\r\n*2\r\n$1\r\nc\r\n$5\r\n1e+21\r\n",
    );
    socket.ask("ZMPOP 1 none MIN COUNT 3", "*-1\r\n");
    socket.ask("ZPOPMAX z 1", "*2\r\n$1\r\nb\r\n$3\r\n2.5\r\n");
    socket.ask("ZADD z -inf b", ":1\r\n");
    socket.send("HELLO 3\r\nECHO done\r\n");
    socket.read_until("$4\r\ndone\r\n");
    socket.ask("ZSCORE z b", ",-inf\r\n");
    socket.ask("ZMSCORE z a x", "*2\r\n,1\r\n_\r\n");
    socket.ask(
        "ZRANGE z 0 -1 WITHSCORES",
        "*2\r\n*2\r\n$1\r\nb\r\n,-inf\r\n*2\r\n$1\r\na\r\n,1\r\n",
    );
    socket.ask("ZREVRANK z a WITHSCORE", "*2\r\n:0\r\n,1\r\n");
    socket.ask("ZRANDMEMBER z 0 WITHSCORES", "*0\r\n");
    socket.ask(
        "ZSCAN z 0",
        "*2\r\n$1\r\n0\r\n*4\r\n$1\r\nb\r\n$4\r\n-inf\r\n$1\r\na\r\n$1\r\n1\r\n",
    );
    socket.ask("ZPOPMIN z", "*2\r\n$1\r\nb\r\n,-inf\r\n");
    socket.ask("ZPOPMIN z 5", "*1\r\n*2\r\n$1\r\na\r\n,1\r\n");
    socket.ask("ZPOPMIN z 5", "*0\r\n");
}

#[test]
fn ranges_have_open_and_closed_ends_in_both_directions() {
    let server = Server::start(&[]);
    for connection in [&mut server.connect(), &mut server.connect_resp3()] {
        ask::<()>(connection, "FLUSHALL");
        ask::<()>(connection, "ZADD z 1 a 2 b 3 c 4 d inf e");
        ask::<()>(connection, "ZADD l 0 aa 0 ab 0 b 0 c 0 12");
        for (line, members) in [
            ("ZRANGE z 1 -2", "b c d"),
            ("ZRANGE z 0 1 REV", "e d"),
            ("ZREVRANGE z -2 -1", "b a"),
            ("ZRANGE z 3 1", ""),
            ("ZRANGE z (1 3 BYSCORE", "b c"),
            ("ZRANGE z +inf (2 BYSCORE REV LIMIT 1 2", "d c"),
            ("ZRANGEBYSCORE z -inf (inf LIMIT 2 -1", "c d"),
            ("ZRANGEBYSCORE z -inf +inf LIMIT -1 2", ""),
            ("ZREVRANGEBYSCORE z 3 1", "c b a"),
            ("ZRANGE l [ab (c BYLEX", "ab b"),
            ("ZRANGEBYLEX l - [aa", "12 aa"),
            ("ZREVRANGEBYLEX l + (aa LIMIT 1 2", "b ab"),
            ("ZRANGEBYLEX l + -", ""),
            ("ZRANGE none 0 -1", ""),
        ] {
            assert_eq!(strings(connection, line).join(" "), members, "{line}");
        }
        assert_eq!(ask::<i64>(connection, "ZCOUNT z (1 4"), 3);
        assert_eq!(ask::<i64>(connection, "ZLEXCOUNT l (aa +"), 3);
        assert_eq!(ask::<i64>(connection, "ZREVRANK z a"), 4);
        ask::<()>(connection, "ZADD to 1 old");
        ask::<()>(connection, "EXPIRE to 100");
        assert_eq!(
            ask::<i64>(connection, "ZRANGESTORE to z 1 inf BYSCORE LIMIT 1 2"),
            2
        );
        assert_eq!(strings(connection, "ZRANGE to 0 -1"), ["b", "c"]);
        assert_eq!(ask::<i64>(connection, "TTL to"), -1);
        assert_eq!(ask::<i64>(connection, "ZRANGESTORE to none 0 -1"), 0);
        assert_eq!(ask::<i64>(connection, "EXISTS to"), 0);
        assert_eq!(ask::<i64>(connection, "ZREMRANGEBYLEX l [ab [b"), 2);
        assert_eq!(ask::<i64>(connection, "ZREMRANGEBYSCORE z (1 3"), 2);
        assert_eq!(ask::<i64>(connection, "ZREMRANGEBYRANK z -1 -1"), 1);
        assert_eq!(strings(connection, "ZRANGE z 0 -1"), ["a", "d"]);
        assert_eq!(ask::<i64>(connection, "ZREMRANGEBYRANK z 0 -1"), 2);
        assert_eq!(ask::<i64>(connection, "EXISTS z"), 0);
        for (line, text) in [
            ("ZRANGE l a 1", "value is not an integer or out of range"),
            ("ZRANGE l a 1 BYSCORE", "min or max is not a float"),
            ("ZCOUNT l 1 nan", "min or max is not a float"),
            (
                "ZRANGE l a + BYLEX",
                "min or max not valid string range item",
            ),
            ("ZRANGE l 0 1 BYLEX BYSCORE", "syntax error"),
            ("ZREVRANGE l 0 1 REV", "syntax error"),
            ("ZRANGESTORE to l 0 1 WITHSCORES", "syntax error"),
            (
                "ZRANGE l 0 1 LIMIT 0 1",
                "syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ),
            (
                "ZRANGE l - + BYLEX WITHSCORES",
                "syntax error, WITHSCORES not supported in combination with BYLEX",
            ),
            ("ZPOPMIN l -1", "value is out of range, must be positive"),
            ("ZMPOP 0 l MIN", "numkeys should be greater than 0"),
            ("ZMPOP 1 l MIN COUNT 0", "count should be greater than 0"),
            ("ZMPOP 2 l MIN", "syntax error"),
        ] {
            assert_eq!(error(connection, line), format!("ERR {text}"), "{line}");
        }
    }
}

#[test]
fn sets_are_united_intersected_and_subtracted() {
    let server = Server::start(&[]);
    for connection in [&mut server.connect(), &mut server.connect_resp3()] {
        ask::<()>(connection, "FLUSHALL");
        ask::<()>(connection, "ZADD a 1 x 2 y 3 z");
        ask::<()>(connection, "ZADD b 10 y 20 z 30 w");
        let pairs = |text: &str| -> Vec<(String, f64)> {
            let mut words = text.split(' ');
            let mut pairs = Vec::new();
            while let (Some(member), Some(score)) = (words.next(), words.next()) {
                pairs.push((member.to_owned(), score.parse().unwrap()));
            }
            pairs
        };
        for (line, members) in [
            ("ZUNION 2 a b WITHSCORES", "x 1 y 12 z 23 w 30"),
            (
                "ZUNION 2 a b WEIGHTS 2 -1 AGGREGATE MAX WITHSCORES",
                "w -30 x 2 y 4 z 6",
            ),
            ("ZINTER 2 a b AGGREGATE MIN WITHSCORES", "y 2 z 3"),
            ("ZINTER 2 a a WITHSCORES", "x 2 y 4 z 6"),
            ("ZINTER 2 a none WITHSCORES", ""),
            ("ZDIFF 2 a b WITHSCORES", "x 1"),
            ("ZDIFF 3 a none none WITHSCORES", "x 1 y 2 z 3"),
        ] {
            let found: Vec<(String, f64)> = ask(connection, line);
            assert_eq!(found, pairs(members), "{line}");
        }
        assert_eq!(ask::<i64>(connection, "ZINTERCARD 2 a b"), 2);
        assert_eq!(ask::<i64>(connection, "ZINTERCARD 2 a b LIMIT 1"), 1);
        assert_eq!(ask::<i64>(connection, "ZUNIONSTORE a 2 a b"), 4);
        assert_eq!(content(connection, "a"), pairs("x 1 y 12 z 23 w 30"));
        assert_eq!(ask::<i64>(connection, "ZINTERSTORE b 2 a b WEIGHTS 1 0"), 3);
        assert_eq!(content(connection, "b"), pairs("y 12 z 23 w 30"));
        assert_eq!(ask::<i64>(connection, "ZDIFFSTORE b 2 b a"), 0);
        assert_eq!(ask::<i64>(connection, "EXISTS b"), 0);
        ask::<()>(connection, "SET s v");
        for (line, text) in [
            ("ZUNION 2 a s", WRONG_TYPE),
            (
                "ZUNION 0 a",
                "ERR at least 1 input key is needed for 'zunion' command",
            ),
            ("ZUNION 3 a b", "ERR syntax error"),
            ("ZUNION 1 a WEIGHTS x", "ERR weight value is not a float"),
            ("ZDIFF 1 a WEIGHTS 1", "ERR syntax error"),
            ("ZUNIONSTORE to 1 a WITHSCORES", "ERR syntax error"),
            ("ZINTERCARD 1 a LIMIT -1", "ERR LIMIT can't be negative"),
        ] {
            assert_eq!(error(connection, line), text, "{line}");
        }
    }
}

#[test]
fn no_command_of_sorted_sets_takes_other_values() {
    let server = Server::start(&[]);
    let connection = &mut server.connect();
    ask::<()>(connection, "SET s v");
    for line in [
        "ZADD s 1 a",
        "ZINCRBY s 1 a",
        "ZREM s a",
        "ZSCORE s a",
        "ZMSCORE s a",
        "ZCARD s",
        "ZCOUNT s 0 1",
        "ZLEXCOUNT s - +",
        "ZRANK s a",
        "ZREVRANK s a",
        "ZRANGE s 0 1",
        "ZRANGESTORE to s 0 1",
        "ZREVRANGE s 0 1",
        "ZRANGEBYSCORE s 0 1",
        "ZREVRANGEBYSCORE s 1 0",
        "ZRANGEBYLEX s - +",
        "ZREVRANGEBYLEX s + -",
        "ZREMRANGEBYRANK s 0 1",
        "ZREMRANGEBYSCORE s 0 1",
        "ZREMRANGEBYLEX s - +",
        "ZPOPMIN s",
        "ZPOPMAX s 2",
        "ZMPOP 1 s MIN",
        "ZRANDMEMBER s",
        "ZRANDMEMBER s 2",
        "ZSCAN s 0",
        "ZUNION 1 s",
        "ZINTER 1 s",
        "ZDIFF 1 s",
        "ZUNIONSTORE to 1 s",
        "ZINTERSTORE to 1 s",
        "ZDIFFSTORE to 1 s",
        "ZINTERCARD 1 s",
    ] {
        assert_eq!(error(connection, line), WRONG_TYPE, "{line}");
    }
    assert_eq!(ask::<String>(connection, "GET s"), "v");
    // A destination may have had any value.
    ask::<()>(connection, "ZADD z 1 a");
    assert_eq!(ask::<i64>(connection, "ZUNIONSTORE s 1 z"), 1);
    assert_eq!(ask::<String>(connection, "TYPE s"), "zset");
}

#[test]
fn a_sorted_set_of_many_thousand_members_stays_in_order() {
    let server = Server::start(&[]);
    let connection = &mut server.connect();
    assert_eq!(ask::<i64>(connection, "ZADD z 1 a"), 1);
    assert_eq!(ask::<String>(connection, "OBJECT ENCODING z"), "listpack");
    let mut numbers: Vec<i64> = (0..20_000).collect();
    let mut random = StdRng::seed_from_u64(1);
    for at in (1..numbers.len()).rev() {
        numbers.swap(at, random.random_range(0..=at));
    }
    for chunk in numbers.chunks(500) {
        let mut command = redis::cmd("ZADD");
        command.arg("z");
        for number in chunk {
            command.arg(*number as f64 / 4.0).arg(format!("m{number}"));
        }
        command.exec(connection).unwrap();
    }
    ask::<()>(connection, "ZREM z a");
    assert_eq!(ask::<String>(connection, "OBJECT ENCODING z"), "skiplist");
    assert_eq!(ask::<i64>(connection, "ZCARD z"), 20_000);
    assert_eq!(ask::<i64>(connection, "ZRANK z m12345"), 12_345);
    assert_eq!(ask::<i64>(connection, "ZCOUNT z 1000 (2000"), 4000);
    assert_eq!(
        strings(connection, "ZRANGE z 9999 10001"),
        ["m9999", "m10000", "m10001"]
    );
    let mut seen = BTreeSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let line = format!("ZSCAN z {cursor} COUNT 300 NOSCORES");
        let (next, members): (String, Vec<String>) = ask(connection, &line);
        seen.extend(members);
        cursor = next;
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 20_000);
    let some: BTreeSet<String> = ask(connection, "ZRANDMEMBER z 5000");
    assert_eq!(some.len(), 5000);
    assert!(some.is_subset(&seen));
    assert_eq!(strings(connection, "ZRANDMEMBER z -50").len(), 50);
    assert_eq!(ask::<i64>(connection, "ZUNIONSTORE copy 1 z"), 20_000);
    assert_eq!(ask::<i64>(connection, "ZREMRANGEBYRANK z 100 -101"), 19_800);
    assert_eq!(ask::<i64>(connection, "ZDIFFSTORE copy 2 copy z"), 19_800);
    assert_eq!(strings(connection, "ZPOPMAX z 1000").len(), 400);
    assert_eq!(ask::<i64>(connection, "EXISTS z"), 0);
}

#[test]
fn the_limits_of_packed_sorted_sets_are_options() {
    let server = Server::start(&["--zset-max-listpack-entries", "2"]);
    let connection = &mut server.connect();
    ask::<()>(connection, "ZADD z 1 a 2 b");
    assert_eq!(ask::<String>(connection, "OBJECT ENCODING z"), "listpack");
    ask::<()>(connection, "ZADD z 3 c");
    assert_eq!(ask::<String>(connection, "OBJECT ENCODING z"), "skiplist");
    ask::<()>(connection, "CONFIG SET zset-max-ziplist-value 3");
    ask::<()>(connection, "ZADD long 1 abcd");
    assert_eq!(
        ask::<String>(connection, "OBJECT ENCODING long"),
        "skiplist"
    );
}

/// What a sorted set should be.
#[derive(Default)]
struct Model(BTreeMap<String, f64>);

impl Model {
    fn sorted(&self) -> Vec<(String, f64)> {
        let mut all: Vec<(String, f64)> = self.0.clone().into_iter().collect();
        all.sort_by(|(_, score), (_, other)| score.total_cmp(other));
        all
    }

    /// Takes these members out.
    fn remove(&mut self, gone: &[(String, f64)]) {
        gone.iter().for_each(|(member, _)| {
            self.0.remove(member);
        });
    }
}

fn compare_with_model(connection: &mut Connection, random: &mut StdRng, members: usize) {
    let mut model = Model::default();
    for _ in 0..3000 {
        let member = format!("m{}", random.random_range(0..members));
        let score = f64::from(random.random_range(-40..40)) / 4.0;
        let sorted = model.sorted();
        let from = random.random_range(0..=sorted.len());
        let to = random.random_range(from..=sorted.len());
        match random.random_range(0..12) {
            0..4 => {
                let added = model.0.insert(member.clone(), score).is_none();
                let line = format!("ZADD z {score} {member}");
                assert_eq!(ask::<i64>(connection, &line), i64::from(added));
            }
            4 => {
                let sum = model.0.entry(member.clone()).or_default();
                *sum += score;
                let line = format!("ZINCRBY z {score} {member}");
                assert_eq!(ask::<f64>(connection, &line), *sum);
            }
            5 => {
                let removed = model.0.remove(&member).is_some();
                let line = format!("ZREM z {member}");
                assert_eq!(ask::<i64>(connection, &line), i64::from(removed));
            }
            6 => {
                let rank = sorted.iter().position(|(other, _)| *other == member);
                let found: Option<usize> = ask(connection, &format!("ZRANK z {member}"));
                assert_eq!(found, rank);
            }
            7 => {
                let line = format!("ZRANGE z {from} {} WITHSCORES", to as i64 - 1);
                let wanted = if to == 0 {
                    &sorted[..]
                } else {
                    &sorted[from..to]
                };
                assert_eq!(ask::<Vec<(String, f64)>>(connection, &line), wanted);
            }
            8 => {
                let line = format!("ZRANGEBYSCORE z ({score} +inf WITHSCORES");
                let start = sorted.partition_point(|(_, other)| *other <= score);
                let found: Vec<(String, f64)> = ask(connection, &line);
                assert_eq!(found, sorted[start..]);
            }
            9 => {
                let count = random.random_range(0..3.min(sorted.len() + 1));
                let line = format!("ZPOPMIN z {count}");
                let found: Vec<(String, f64)> = ask(connection, &line);
                assert_eq!(found, sorted[..count]);
                model.remove(&found);
            }
            10 => {
                let (start, end) = (from, (from + 2).min(sorted.len()));
                let line = format!("ZREMRANGEBYRANK z {start} {}", start + 1);
                assert_eq!(ask::<usize>(connection, &line), end - start);
                model.remove(&sorted[start..end]);
            }
            _ => {
                let line = format!("ZCOUNT z -inf {score}");
                let count = sorted.partition_point(|(_, other)| *other <= score);
                assert_eq!(ask::<usize>(connection, &line), count);
            }
        }
    }
    assert_eq!(content(connection, "z"), model.sorted());
}

#[test]
fn random_commands_do_what_a_simple_model_does() {
    let server = Server::start(&["--zset-max-listpack-entries", "30"]);
    let mut random = StdRng::seed_from_u64(2);
    for members in [5, 40, 400] {
        for connection in [&mut server.connect(), &mut server.connect_resp3()] {
            ask::<()>(connection, "FLUSHALL");
            compare_with_model(connection, &mut random, members);
        }
    }
}

/// A command on sorted sets that changes something, mostly.
fn random_change(random: &mut StdRng) -> String {
    let mut key = || format!("z{}", random.random_range(0..4));
    let (first, second, third) = (key(), key(), key());
    let number = random.random_range(0..600);
    let score = f64::from(random.random_range(-1000..1000)) / 7.0;
    match random.random_range(0..18) {
        0..5 => {
            let pairs =
                (0..number % 40).map(|at| format!(" {} m{}", score * at as f64, number + at));
            format!(
                "ZADD {first} {score} m{number}{}",
                pairs.collect::<String>()
            )
        }
        5 => format!("ZADD {first} GT CH {score} m{number} {score} m1 inf m2"),
        6 => format!("ZADD {first} XX INCR {score} m{number}"),
        7 => format!("ZINCRBY {first} {score} m{number}"),
        8 => format!("ZREM {first} m{number} m{} m1", number / 2),
        9 => format!("ZREMRANGEBYRANK {first} {number} {}", number + number % 300),
        10 => format!("ZREMRANGEBYSCORE {first} ({score} {}", score + 5.0),
        11 => format!("ZPOPMIN {first} {}", number % 5),
        12 => format!("ZMPOP 2 {first} {second} MAX COUNT {}", 1 + number % 300),
        13 => format!("ZRANGESTORE {first} {second} {number} -1"),
        14 => format!("ZUNIONSTORE {first} 2 {second} {third} WEIGHTS 0.3 {score}"),
        15 => format!("ZINTERSTORE {first} 2 {second} {third} AGGREGATE MAX"),
        16 => format!("ZDIFFSTORE {first} 2 {second} {third}"),
        _ => format!("EXPIRE {first} 1000"),
    }
}

#[test]
fn a_replica_has_equal_sorted_sets_after_random_commands() {
    let primary = Server::start(&[]);
    let replica = Server::start(&[]);
    let (connection, on_replica) = (&mut primary.connect(), &mut replica.connect());
    let mut random = StdRng::seed_from_u64(3);
    // Some are there before, and come with the full sync.
    for _ in 0..300 {
        ask::<Value>(connection, &random_change(&mut random));
    }
    let follow = format!("REPLICAOF 127.0.0.1 {}", primary.port);
    ask::<()>(on_replica, &follow);
    eventually("the link", || {
        let role: (String, String, u16, String, u64) = ask(on_replica, "ROLE");
        (role.3 == "connected").then_some(())
    });
    for round in 0..30 {
        for _ in 0..100 {
            ask::<Value>(connection, &random_change(&mut random));
        }
        assert_eq!(ask::<i64>(connection, "WAIT 1 20000"), 1);
        for key in ["z0", "z1", "z2", "z3"] {
            let (here, there) = (content(connection, key), content(on_replica, key));
            assert_eq!(here, there, "{key} in round {round}");
            let line = format!("EXPIRETIME {key}");
            assert_eq!(ask::<i64>(connection, &line), ask::<i64>(on_replica, &line));
        }
    }
}

#[test]
fn what_changes_nothing_is_not_logged() {
    let server = Server::start(&[]);
    let connection = &mut server.connect();
    let mut logged = || {
        let info: redis::InfoDict = ask(connection, "INFO replication");
        info.get::<u64>("master_repl_offset").unwrap()
    };
    let start = logged();
    let other = &mut server.connect();
    ask::<()>(other, "ZADD z 1 a 2 b");
    let offset = logged();
    assert!(offset > start);
    for line in [
        "ZADD z 1 a",
        "ZADD z NX 5 a",
        "ZADD z XX 5 x",
        "ZADD z GT 0 a",
        "ZADD none XX 1 a",
        "ZINCRBY z 0 a",
        "ZREM z x",
        "ZREMRANGEBYSCORE z 7 9",
        "ZREMRANGEBYRANK z 5 9",
        "ZPOPMIN z 0",
        "ZPOPMIN none",
        "ZMPOP 1 none MIN",
        "ZUNIONSTORE none 1 none",
        "ZRANGESTORE none z 5 9",
        "ZUNION 1 z",
        "ZRANDMEMBER z 2",
    ] {
        ask::<Value>(other, line);
        assert_eq!(logged(), offset, "{line}");
    }
    for line in ["ZINCRBY z 1 a", "ZPOPMIN z", "ZRANGESTORE to z 0 0"] {
        let before = logged();
        ask::<Value>(other, line);
        assert!(logged() > before, "{line}");
    }
}
