//! Strings, keys and hashes.

use std::collections::{BTreeMap, BTreeSet};

use crate::process::{Server, ask, error, eventually};

#[test]
fn strings_keep_what_is_set_under_all_conditions() {
    let server = Server::start(&[]);
    for connection in [&mut server.connect(), &mut server.connect_resp3()] {
        ask::<()>(connection, "FLUSHALL");
        assert_eq!(ask::<String>(connection, "SET k v"), "OK");
        assert_eq!(ask::<Option<String>>(connection, "SET k w NX"), None);
        assert_eq!(
            ask::<Option<String>>(connection, "SET k w XX GET"),
            Some("v".into())
        );
        assert_eq!(ask::<Option<String>>(connection, "SET other w XX"), None);
        assert_eq!(
            ask::<Option<String>>(connection, "SET k x NX GET"),
            Some("w".into())
        );
        assert_eq!(ask::<String>(connection, "GET k"), "w");
        assert_eq!(ask::<i64>(connection, "APPEND k !!"), 3);
        assert_eq!(ask::<String>(connection, "OBJECT ENCODING k"), "raw");
        assert_eq!(ask::<String>(connection, "GETRANGE k -2 -1"), "!!");
        assert_eq!(ask::<i64>(connection, "SETRANGE k 5 z"), 6);
        assert_eq!(ask::<Vec<u8>>(connection, "GET k"), b"w!!\0\0z");
        assert_eq!(ask::<i64>(connection, "INCRBY n 40"), 40);
        assert_eq!(ask::<i64>(connection, "DECR n"), 39);
        assert_eq!(ask::<String>(connection, "INCRBYFLOAT n 0.5"), "39.5");
        assert_eq!(
            error(connection, "INCR n"),
            "ERR value is not an integer or out of range"
        );
        assert_eq!(ask::<i64>(connection, "MSETNX n 1 m 2"), 0);
        assert_eq!(ask::<String>(connection, "MSET a 1 b 2"), "OK");
        assert_eq!(
            ask::<Vec<Option<String>>>(connection, "MGET a x b"),
            [Some("1".into()), None, Some("2".into())]
        );
        assert_eq!(ask::<String>(connection, "GETDEL a"), "1");
        assert_eq!(ask::<i64>(connection, "EXISTS a b b"), 2);
    }
}

#[test]
fn expiries_are_set_shown_and_kept() {
    let server = Server::start(&[]);
    let connection = &mut server.connect();
    ask::<()>(connection, "SET k v EX 100");
    assert_eq!(ask::<i64>(connection, "TTL k"), 100);
    ask::<()>(connection, "SET k w KEEPTTL");
    assert_eq!(ask::<i64>(connection, "TTL k"), 100);
    ask::<()>(connection, "INCR n");
    assert_eq!(ask::<i64>(connection, "TTL n"), -1);
    assert_eq!(ask::<i64>(connection, "TTL nothing"), -2);
    assert_eq!(ask::<i64>(connection, "EXPIRE k 50 GT"), 0);
    assert_eq!(ask::<i64>(connection, "EXPIRE k 200 GT"), 1);
    assert_eq!(ask::<i64>(connection, "EXPIRE n 10 XX"), 0);
    assert_eq!(ask::<i64>(connection, "PEXPIREAT k 33177117420000"), 1);
    assert_eq!(ask::<i64>(connection, "EXPIRETIME k"), 33_177_117_420);
    assert_eq!(ask::<i64>(connection, "PERSIST k"), 1);
    assert_eq!(ask::<i64>(connection, "EXPIRE k -1"), 1);
    assert_eq!(ask::<i64>(connection, "EXISTS k"), 0);
    assert_eq!(
        error(connection, "SET k v EX 0"),
        "ERR invalid expire time in 'set' command"
    );
    assert_eq!(
        error(connection, "EXPIRE n 1 NX XX"),
        "ERR NX and XX, GT or LT options at the same time are not compatible"
    );
}

#[test]
fn expired_keys_are_gone_at_once_and_their_memory_soon_after() {
    let server = Server::start(&[]);
    let connection = &mut server.connect();
    let mut pipe = redis::pipe();
    for number in 0..2000 {
        pipe.cmd("SET")
            .arg(number)
            .arg("v")
            .arg("PX")
            .arg(100)
            .ignore();
    }
    pipe.exec(connection).unwrap();
    // No key is read: only the background removes them.
    eventually("expiry", || {
        (ask::<i64>(connection, "DBSIZE") == 0).then_some(())
    });
    let info: redis::InfoDict = ask(connection, "INFO");
    assert_eq!(info.get::<u64>("expired_keys"), Some(2000));
    assert_eq!(info.get::<u64>("used_memory"), Some(0));
}

#[test]
fn hashes_of_any_size_keep_their_fields() {
    let server = Server::start(&[]);
    for connection in [&mut server.connect(), &mut server.connect_resp3()] {
        ask::<()>(connection, "FLUSHALL");
        assert_eq!(ask::<i64>(connection, "HSET h a 1 b 2 a 3"), 2);
        assert_eq!(
            ask::<BTreeMap<String, i64>>(connection, "HGETALL h").len(),
            2
        );
        assert_eq!(ask::<i64>(connection, "HINCRBY h a 4"), 7);
        assert_eq!(ask::<String>(connection, "HINCRBYFLOAT h b 0.25"), "2.25");
        assert_eq!(ask::<i64>(connection, "HSETNX h a 1"), 0);
        assert_eq!(
            ask::<Vec<Option<String>>>(connection, "HMGET h a x"),
            [Some("7".into()), None]
        );
        for number in 0..1000 {
            ask::<i64>(connection, &format!("HSET big f{number} {number}"));
        }
        assert_eq!(
            ask::<String>(connection, "OBJECT ENCODING big"),
            "hashtable"
        );
        let mut seen = BTreeSet::new();
        let mut cursor = "0".to_owned();
        loop {
            let line = format!("HSCAN big {cursor} COUNT 50 NOVALUES");
            let (next, fields): (String, Vec<String>) = ask(connection, &line);
            seen.extend(fields);
            cursor = next;
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 1000);
        assert_eq!(ask::<Vec<String>>(connection, "HRANDFIELD big -5").len(), 5);
        assert_eq!(ask::<Vec<String>>(connection, "HRANDFIELD h 10").len(), 2);
        assert_eq!(ask::<i64>(connection, "HDEL h a b c"), 2);
        assert_eq!(ask::<i64>(connection, "EXISTS h"), 0);
        ask::<()>(connection, "SET s v");
        assert_eq!(
            error(connection, "HGET s f"),
            "WRONGTYPE Operation against a key holding the wrong kind of value"
        );
    }
}

#[test]
fn a_scan_returns_every_key_that_is_there_throughout() {
    let server = Server::start(&[]);
    let connection = &mut server.connect();
    let other = &mut server.connect();
    for number in 0..3000 {
        // A third of them share a slot.
        let tag = if number % 3 == 0 { "{t}" } else { "" };
        ask::<()>(connection, &format!("SET stays:{number}{tag} v"));
    }
    let (mut seen, mut cursor, mut added) = (BTreeSet::new(), "0".to_owned(), 0);
    loop {
        let line = format!("SCAN {cursor} MATCH stays:* COUNT 100");
        let (next, keys): (String, Vec<String>) = ask(connection, &line);
        seen.extend(keys);
        for _ in 0..50 {
            ask::<()>(other, &format!("SET {{t}}new:{added} v"));
            added += 1;
        }
        cursor = next;
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 3000);
    assert_eq!(ask::<i64>(connection, "DBSIZE"), 3000 + added);
    assert_eq!(ask::<Vec<String>>(connection, "KEYS stays:1?").len(), 7);
}

#[test]
fn keys_are_renamed_and_copied_with_their_expiry() {
    let server = Server::start(&[]);
    let connection = &mut server.connect();
    ask::<()>(connection, "HSET from a 1");
    ask::<()>(connection, "EXPIRE from 100");
    ask::<()>(connection, "RENAME from to");
    assert_eq!(ask::<i64>(connection, "TTL to"), 100);
    assert_eq!(ask::<i64>(connection, "COPY to copy"), 1);
    assert_eq!(ask::<i64>(connection, "COPY to copy"), 0);
    assert_eq!(ask::<i64>(connection, "COPY to copy REPLACE"), 1);
    assert_eq!(ask::<i64>(connection, "TTL copy"), 100);
    assert_eq!(ask::<i64>(connection, "RENAMENX to copy"), 0);
    assert_eq!(error(connection, "RENAME from x"), "ERR no such key");
    assert_eq!(ask::<String>(connection, "TYPE copy"), "hash");
    let random: String = ask(connection, "RANDOMKEY");
    assert!(["to", "copy"].contains(&random.as_str()));
}
