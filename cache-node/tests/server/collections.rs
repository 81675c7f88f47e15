//! Lists, sets and sorted sets, against models of them and from small to big.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redis::{Connection, Value};

use crate::process::{Server, ask, error};

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

#[test]
fn a_list_behaves_as_its_model_while_it_grows_and_shrinks() {
    let server = Server::start(&[]);
    let connection = &mut server.connect();
    let mut random = StdRng::seed_from_u64(1);
    let mut model: VecDeque<String> = VecDeque::new();
    for round in 0..20_000 {
        let element = format!(
            "element:{}:{}",
            random.random_range(0..50),
            "x".repeat(round % 40)
        );
        // It grows for a long while, and then becomes empty.
        let growing = round < 12_000;
        match random.random_range(0..if growing { 5 } else { 9 }) {
            0 => {
                model.push_front(element.clone());
                assert_eq!(
                    ask::<usize>(connection, &format!("LPUSH l {element}")),
                    model.len()
                );
            }
            1 | 2 if growing => {
                model.push_back(element.clone());
                assert_eq!(
                    ask::<usize>(connection, &format!("RPUSH l {element}")),
                    model.len()
                );
            }
            3 if !model.is_empty() => {
                let place = random.random_range(0..model.len());
                model[place].clone_from(&element);
                assert_eq!(
                    ask::<String>(connection, &format!("LSET l {place} {element}")),
                    "OK"
                );
            }
            4 if !model.is_empty() => {
                let place = random.random_range(0..model.len());
                assert_eq!(
                    ask::<String>(connection, &format!("LINDEX l {place}")),
                    model[place]
                );
            }
            5 | 6 => assert_eq!(
                ask::<Option<String>>(connection, "LPOP l"),
                model.pop_front()
            ),
            _ => assert_eq!(
                ask::<Option<String>>(connection, "RPOP l"),
                model.pop_back()
            ),
        }
        if round % 1000 == 0 {
            assert_eq!(
                ask::<Vec<String>>(connection, "LRANGE l 0 -1"),
                Vec::from(model.clone())
            );
        }
    }
    assert_eq!(ask::<usize>(connection, "LLEN l"), model.len());
}

#[test]
fn lists_are_searched_cut_and_moved() {
    let server = Server::start(&[]);
    for connection in [&mut server.connect(), &mut server.connect_resp3()] {
        ask::<()>(connection, "FLUSHALL");
        assert_eq!(ask::<i64>(connection, "RPUSH l a b c b a b"), 6);
        assert_eq!(ask::<String>(connection, "OBJECT ENCODING l"), "listpack");
        assert_eq!(ask::<Vec<i64>>(connection, "LPOS l b COUNT 0"), [1, 3, 5]);
        assert_eq!(ask::<i64>(connection, "LPOS l b RANK -2"), 3);
        assert_eq!(
            ask::<Option<i64>>(connection, "LPOS l b RANK 2 MAXLEN 3"),
            None
        );
        assert_eq!(ask::<i64>(connection, "LREM l -2 b"), 2);
        assert_eq!(
            ask::<Vec<String>>(connection, "LRANGE l 0 -1"),
            ["a", "b", "c", "a"]
        );
        assert_eq!(ask::<i64>(connection, "LINSERT l AFTER b x"), 5);
        assert_eq!(ask::<i64>(connection, "LINSERT l BEFORE nothing x"), -1);
        ask::<()>(connection, "LTRIM l 1 -2");
        assert_eq!(
            ask::<Vec<String>>(connection, "LRANGE l 0 -1"),
            ["b", "x", "c"]
        );
        assert_eq!(ask::<String>(connection, "LMOVE l other LEFT RIGHT"), "b");
        assert_eq!(ask::<String>(connection, "RPOPLPUSH l other"), "c");
        assert_eq!(
            ask::<Vec<String>>(connection, "LRANGE other 0 -1"),
            ["c", "b"]
        );
        let popped: (String, Vec<String>) = ask(connection, "LMPOP 2 nothing other RIGHT COUNT 9");
        assert_eq!(popped, ("other".into(), vec!["b".into(), "c".into()]));
        assert_eq!(ask::<i64>(connection, "EXISTS other"), 0);
        assert_eq!(ask::<Value>(connection, "LMPOP 1 other LEFT"), Value::Nil);
        assert_eq!(ask::<Vec<String>>(connection, "LPOP l 5"), ["x"]);
        assert_eq!(ask::<Option<Vec<String>>>(connection, "LPOP l 5"), None);
        assert_eq!(ask::<i64>(connection, "LPUSHX l a"), 0);
        ask::<()>(connection, "SET s v");
        assert_eq!(error(connection, "LPUSH s a"), WRONG_TYPE);
        assert_eq!(error(connection, "LMOVE l s LEFT UP"), "ERR syntax error");
        assert_eq!(error(connection, "LSET l 0 a"), "ERR no such key");
        assert_eq!(
            error(connection, "LPOP l -1"),
            "ERR value is out of range, must be positive"
        );
    }
}

#[test]
fn a_list_that_goes_round_keeps_its_expiry() {
    let server = Server::start(&[]);
    let connection = &mut server.connect();
    ask::<()>(connection, "RPUSH l only");
    ask::<()>(connection, "EXPIRE l 100");
    assert_eq!(ask::<String>(connection, "LMOVE l l LEFT RIGHT"), "only");
    assert_eq!(ask::<i64>(connection, "TTL l"), 100);
}

fn members(connection: &mut Connection, line: &str) -> BTreeSet<String> {
    let all: Vec<String> = ask(connection, line);
    let set: BTreeSet<String> = all.iter().cloned().collect();
    assert_eq!(set.len(), all.len(), "a member came twice");
    set
}

#[test]
fn a_set_behaves_as_its_model_while_it_grows_and_shrinks() {
    let server = Server::start(&[]);
    let connection = &mut server.connect();
    let mut random = StdRng::seed_from_u64(2);
    let mut model: BTreeSet<String> = BTreeSet::new();
    for round in 0..20_000 {
        let number = random.random_range(0..3000);
        let member = if number % 3 == 0 {
            number.to_string()
        } else {
            format!("member:{number}")
        };
        let adds = random.random_range(0..10) < if round < 10_000 { 8 } else { 2 };
        if adds {
            let new = model.insert(member.clone());
            assert_eq!(
                ask::<i64>(connection, &format!("SADD s {member}")),
                i64::from(new)
            );
        } else {
            let there = model.remove(&member);
            assert_eq!(
                ask::<i64>(connection, &format!("SISMEMBER s {member}")),
                i64::from(there)
            );
            assert_eq!(
                ask::<i64>(connection, &format!("SREM s {member}")),
                i64::from(there)
            );
        }
        if round % 1000 == 0 {
            assert_eq!(members(connection, "SMEMBERS s"), model);
        }
    }
    assert_eq!(ask::<usize>(connection, "SCARD s"), model.len());
    let (mut seen, mut cursor) = (BTreeSet::new(), "0".to_owned());
    loop {
        let (next, some): (String, Vec<String>) =
            ask(connection, &format!("SSCAN s {cursor} COUNT 100"));
        seen.extend(some);
        cursor = next;
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen, model);
}

#[test]
fn sets_are_compared_and_picked_from() {
    let server = Server::start(&[]);
    for connection in [&mut server.connect(), &mut server.connect_resp3()] {
        ask::<()>(connection, "FLUSHALL");
        assert_eq!(ask::<i64>(connection, "SADD a 1 2 3 x"), 4);
        assert_eq!(ask::<i64>(connection, "SADD b 3 2 y"), 3);
        assert_eq!(
            members(connection, "SINTER a b"),
            BTreeSet::from(["2".into(), "3".into()])
        );
        assert_eq!(
            members(connection, "SDIFF a b"),
            BTreeSet::from(["1".into(), "x".into()])
        );
        assert_eq!(members(connection, "SUNION a b none").len(), 5);
        assert_eq!(ask::<i64>(connection, "SINTERCARD 2 a b LIMIT 1"), 1);
        assert_eq!(ask::<i64>(connection, "SUNIONSTORE to a b"), 5);
        assert_eq!(ask::<i64>(connection, "SINTERSTORE to a none"), 0);
        assert_eq!(ask::<i64>(connection, "EXISTS to"), 0);
        assert_eq!(ask::<i64>(connection, "SMOVE a b x"), 1);
        assert_eq!(ask::<Vec<i64>>(connection, "SMISMEMBER b x 1 y"), [1, 0, 1]);
        assert_eq!(ask::<Vec<String>>(connection, "SRANDMEMBER b -7").len(), 7);
        assert_eq!(members(connection, "SRANDMEMBER b 7").len(), 4);
        assert_eq!(
            error(connection, "SRANDMEMBER b -10000001"),
            "ERR value is out of range"
        );
        let popped = members(connection, "SPOP b 3");
        assert_eq!((popped.len(), ask::<i64>(connection, "SCARD b")), (3, 1));
        assert_eq!(members(connection, "SPOP b 3").len(), 1);
        assert_eq!(ask::<Option<String>>(connection, "SPOP b"), None);
        ask::<()>(connection, "SET s v");
        assert_eq!(error(connection, "SADD s a"), WRONG_TYPE);
        assert_eq!(error(connection, "SUNION a s"), WRONG_TYPE);
        assert_eq!(ask::<String>(connection, "OBJECT ENCODING a"), "intset");
    }
}

#[test]
fn a_sorted_set_behaves_as_its_model_while_it_grows_and_shrinks() {
    let server = Server::start(&[]);
    let connection = &mut server.connect();
    let mut random = StdRng::seed_from_u64(3);
    let mut model: BTreeMap<String, i64> = BTreeMap::new();
    for round in 0..20_000 {
        let member = format!("member:{}", random.random_range(0..2000));
        let score = random.random_range(-500..500);
        if random.random_range(0..10) < if round < 10_000 { 8 } else { 3 } {
            let old = model.insert(member.clone(), score);
            let line = format!("ZADD z {score} {member}");
            assert_eq!(ask::<i64>(connection, &line), i64::from(old.is_none()));
        } else {
            let old = model.remove(&member);
            assert_eq!(
                ask::<Option<i64>>(connection, &format!("ZSCORE z {member}")),
                old
            );
            assert_eq!(
                ask::<i64>(connection, &format!("ZREM z {member}")),
                i64::from(old.is_some())
            );
        }
        if round % 500 == 0 {
            let mut ordered: Vec<(i64, &String)> = model
                .iter()
                .map(|(member, score)| (*score, member))
                .collect();
            ordered.sort();
            let flat: Vec<String> = ordered
                .iter()
                .map(|(_, member)| (*member).clone())
                .collect();
            assert_eq!(ask::<Vec<String>>(connection, "ZRANGE z 0 -1"), flat);
            let low = random.random_range(-500..500);
            let expected = ordered
                .iter()
                .filter(|(score, _)| (low..=low + 50).contains(score))
                .count();
            assert_eq!(
                ask::<usize>(connection, &format!("ZCOUNT z {low} {}", low + 50)),
                expected
            );
            if let Some(place) = flat.len().checked_sub(1).map(|last| last / 2) {
                assert_eq!(
                    ask::<usize>(connection, &format!("ZRANK z {}", flat[place])),
                    place
                );
            }
        }
    }
    assert_eq!(ask::<usize>(connection, "ZCARD z"), model.len());
    assert_eq!(ask::<String>(connection, "OBJECT ENCODING z"), "skiplist");
}

#[test]
fn sorted_sets_answer_by_rank_score_and_member() {
    let server = Server::start(&[]);
    for connection in [&mut server.connect(), &mut server.connect_resp3()] {
        ask::<()>(connection, "FLUSHALL");
        assert_eq!(ask::<i64>(connection, "ZADD z 1 a 2 b 2.5 c inf d"), 4);
        assert_eq!(ask::<i64>(connection, "ZADD z XX GT CH 5 a 1 b 9 new"), 1);
        assert_eq!(ask::<f64>(connection, "ZADD z INCR 1.5 c"), 4.0);
        assert_eq!(ask::<Option<f64>>(connection, "ZADD z NX INCR 1 c"), None);
        let pairs: Vec<(String, f64)> = ask(connection, "ZRANGE z 0 -1 WITHSCORES");
        assert_eq!(
            pairs,
            [
                ("b".into(), 2.0),
                ("c".into(), 4.0),
                ("a".into(), 5.0),
                ("d".into(), f64::INFINITY)
            ]
        );
        assert_eq!(
            ask::<Vec<String>>(connection, "ZRANGE z (5 2 BYSCORE REV LIMIT 0 1"),
            ["c"]
        );
        assert_eq!(
            ask::<Vec<String>>(connection, "ZREVRANGE z 0 1"),
            ["d", "a"]
        );
        assert_eq!(
            ask::<(i64, f64)>(connection, "ZREVRANK z c WITHSCORE"),
            (2, 4.0)
        );
        assert_eq!(ask::<Option<i64>>(connection, "ZRANK z nothing"), None);
        assert_eq!(ask::<i64>(connection, "ZRANGESTORE to z 2 +inf BYSCORE"), 4);
        assert_eq!(ask::<i64>(connection, "ZREMRANGEBYSCORE to (4 5"), 1);
        assert_eq!(
            ask::<i64>(connection, "ZUNIONSTORE u 2 z to WEIGHTS 1 2 AGGREGATE MAX"),
            4
        );
        assert_eq!(ask::<f64>(connection, "ZSCORE u c"), 8.0);
        assert_eq!(ask::<Vec<String>>(connection, "ZDIFF 2 z to"), ["a"]);
        assert_eq!(ask::<i64>(connection, "ZINTERCARD 2 z to LIMIT 2"), 2);
        ask::<()>(connection, "SADD plain a b");
        assert_eq!(
            ask::<Vec<(String, f64)>>(connection, "ZINTER 2 z plain WITHSCORES"),
            [("b".into(), 3.0), ("a".into(), 6.0)]
        );
        ask::<()>(connection, "ZADD lex 0 a 0 b 0 c");
        assert_eq!(
            ask::<Vec<String>>(connection, "ZRANGE lex [b + BYLEX"),
            ["b", "c"]
        );
        assert_eq!(ask::<i64>(connection, "ZLEXCOUNT lex - (c"), 2);
        assert_eq!(
            ask::<(String, f64)>(connection, "ZPOPMAX z"),
            ("d".into(), f64::INFINITY)
        );
        assert_eq!(
            ask::<Vec<(String, f64)>>(connection, "ZPOPMIN z 2"),
            [("b".into(), 2.0), ("c".into(), 4.0)]
        );
        assert_eq!(
            ask::<(String, Vec<(String, f64)>)>(connection, "ZMPOP 1 z MIN"),
            ("z".into(), vec![("a".into(), 5.0)])
        );
        assert_eq!(ask::<i64>(connection, "EXISTS z"), 0);
        assert_eq!(
            ask::<Vec<(String, f64)>>(connection, "ZRANDMEMBER lex 5 WITHSCORES").len(),
            3
        );
        assert_eq!(
            error(connection, "ZADD lex nan a"),
            "ERR value is not a valid float"
        );
        assert_eq!(error(connection, "ZADD plain 1 a"), WRONG_TYPE);
    }
}

#[test]
fn a_change_that_changes_nothing_does_not_disturb_a_transaction() {
    let server = Server::start(&[]);
    let connection = &mut server.connect();
    let other = &mut server.connect();
    ask::<()>(connection, "SADD s a");
    for (line, disturbs) in [
        ("SADD s a", false),
        ("SREM s nothing", false),
        ("SADD s b", true),
    ] {
        ask::<()>(connection, "WATCH s");
        ask::<Value>(other, line);
        ask::<()>(connection, "MULTI");
        ask::<()>(connection, "SCARD s");
        let done: Option<Vec<i64>> = ask(connection, "EXEC");
        assert_eq!(done.is_none(), disturbs, "{line}");
    }
}

#[test]
fn big_collections_are_freed_in_the_background() {
    let server = Server::start(&[]);
    let connection = &mut server.connect();
    let mut pipe = redis::pipe();
    for number in 0..50_000 {
        pipe.cmd("RPUSH")
            .arg("l")
            .arg(format!("element:{number}"))
            .ignore();
        pipe.cmd("SADD")
            .arg("s")
            .arg(format!("member:{number}"))
            .ignore();
        pipe.cmd("ZADD")
            .arg("z")
            .arg(number)
            .arg(format!("member:{number}"))
            .ignore();
    }
    pipe.query::<()>(connection).unwrap();
    assert_eq!(ask::<i64>(connection, "LLEN l"), 50_000);
    assert_eq!(ask::<i64>(connection, "ZREMRANGEBYRANK z 1 -2"), 49_998);
    ask::<()>(connection, "LTRIM l 0 0");
    assert_eq!(
        ask::<Vec<String>>(connection, "LRANGE l 0 -1"),
        ["element:0"]
    );
    assert_eq!(ask::<i64>(connection, "DEL l s z"), 3);
    let used: String = ask(connection, "INFO memory");
    assert!(used.contains("lazyfree_pending_objects"));
    crate::process::eventually("the end of the garbage", || {
        let info: String = ask(connection, "INFO memory");
        info.contains("lazyfree_pending_objects:0\r\n")
            .then_some(())
    });
}
