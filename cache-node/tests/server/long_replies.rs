//! Replies that are longer than a turn of a connection.

use std::collections::{BTreeMap, BTreeSet};

use redis::Value;

use crate::process::{Server, ask};

const COUNT: usize = 50_000;

/// A hash, a list, a set and a sorted set of [`COUNT`] elements, and a string of megabytes.
fn fill(connection: &mut redis::Connection) {
    let mut pipe = redis::pipe();
    for number in 0..COUNT {
        let element = format!("element:{number}");
        pipe.cmd("HSET").arg("h").arg(&element).arg(number).ignore();
        pipe.cmd("RPUSH").arg("l").arg(&element).ignore();
        pipe.cmd("SADD").arg("s").arg(&element).ignore();
        pipe.cmd("ZADD").arg("z").arg(number).arg(&element).ignore();
    }
    pipe.cmd("SET")
        .arg("text")
        .arg("0123456789".repeat(300_000))
        .ignore();
    pipe.query::<()>(connection).unwrap();
}

#[test]
fn they_are_whole_and_in_order_in_both_protocols() {
    let server = Server::start(&[]);
    fill(&mut server.connect());
    let elements: Vec<String> = (0..COUNT)
        .map(|number| format!("element:{number}"))
        .collect();
    let set: BTreeSet<String> = elements.iter().cloned().collect();
    let pairs: Vec<(String, f64)> = elements
        .iter()
        .cloned()
        .zip((0..COUNT).map(|score| score as f64))
        .collect();
    for connection in [&mut server.connect(), &mut server.connect_resp3()] {
        let hash: BTreeMap<String, usize> = ask(connection, "HGETALL h");
        assert_eq!(hash.len(), COUNT);
        assert!(hash.iter().all(|(field, value)| *field == elements[*value]));
        assert_eq!(ask::<BTreeSet<String>>(connection, "HKEYS h"), set);
        let values: BTreeSet<usize> = ask(connection, "HVALS h");
        assert_eq!(values, (0..COUNT).collect());
        assert_eq!(ask::<Vec<String>>(connection, "LRANGE l 0 -1"), elements);
        assert_eq!(
            ask::<Vec<String>>(connection, "LRANGE l 10 -10"),
            elements[10..COUNT - 9]
        );
        assert_eq!(ask::<BTreeSet<String>>(connection, "SMEMBERS s"), set);
        assert_eq!(
            ask::<Vec<String>>(connection, "ZRANGE z 5 -5"),
            elements[5..COUNT - 4]
        );
        let down: Vec<(String, f64)> = ask(connection, "ZREVRANGE z 0 -1 WITHSCORES");
        assert!(down.iter().eq(pairs.iter().rev()));
        let some: Vec<(String, f64)> = ask(connection, "ZRANGE z 10000 40000 BYSCORE WITHSCORES");
        assert_eq!(some, pairs[10_000..=40_000]);
        assert_eq!(
            ask::<String>(connection, "GET text"),
            "0123456789".repeat(300_000)
        );
        let both: (Vec<String>, String) = redis::pipe()
            .atomic()
            .cmd("LRANGE")
            .arg("l")
            .arg(0)
            .arg(-1)
            .cmd("PING")
            .query(connection)
            .unwrap();
        assert_eq!(both, (elements.clone(), "PONG".into()));
    }
}

#[test]
fn they_show_one_moment_and_keep_nobody_from_writing() {
    let server = Server::start(&["--client-output-buffer-limit", "normal 1mb 0 0"]);
    let connection = &mut server.connect();
    fill(connection);
    let mut reader = server.socket();
    // More than the system's buffers hold, so the reply waits for its reader in the middle.
    let rounds = 20;
    for _ in 0..rounds {
        reader.send("LRANGE l 0 -1\r\n");
    }
    reader.send("LLEN l\r\nPING\r\n");
    reader.expect("*50000\r\n$9\r\nelement:0\r\n");
    // At once, so that every reply is of a moment before or after all of it.
    let done: (usize, usize, String) = redis::pipe()
        .atomic()
        .cmd("LREM")
        .arg("l")
        .arg(1)
        .arg("element:49999")
        .cmd("RPUSH")
        .arg("l")
        .arg("last")
        .cmd("LSET")
        .arg("l")
        .arg(1)
        .arg("changed")
        .query(connection)
        .unwrap();
    assert_eq!(done, (1, COUNT, "OK".to_owned()));
    let mut changed = 0;
    for round in 0..rounds {
        if round > 0 {
            reader.expect("*50000\r\n$9\r\nelement:0\r\n");
        }
        let second = reader.line();
        assert!(["$9", "$7"].contains(&second.as_str()), "{second}");
        let element = reader.line();
        // What was asked for before the change is as it was, to the end.
        let now = element == "changed";
        assert!(now || (element == "element:1" && changed == 0));
        changed += usize::from(now);
        for number in 2..COUNT {
            let expected = match (number, now) {
                (49_999, true) => "last".to_owned(),
                _ => format!("element:{number}"),
            };
            reader.expect(&format!("${}\r\n{expected}\r\n", expected.len()));
        }
    }
    assert!(changed > 0, "the last reply was made after the change");
    reader.expect(":50000\r\n+PONG\r\n");
}

#[test]
fn whoever_wants_no_reply_gets_none() {
    let server = Server::start(&[]);
    fill(&mut server.connect());
    let mut socket = server.socket();
    socket.send("CLIENT REPLY SKIP\r\nHGETALL h\r\nPING\r\n");
    socket.expect("+PONG\r\n");
}

#[test]
fn a_client_is_closed_in_the_middle() {
    let server = Server::start(&[]);
    let connection = &mut server.connect();
    fill(connection);
    let mut reader = server.socket();
    reader.send("CLIENT ID\r\n");
    let id = reader.line();
    for _ in 0..50 {
        reader.send("HGETALL h\r\n");
    }
    reader.expect("*100000\r\n");
    assert_eq!(
        ask::<Value>(connection, &format!("CLIENT KILL ID {}", &id[1..])),
        Value::Int(1)
    );
    assert!(reader.rest().len() < 50 * COUNT * 20);
}
