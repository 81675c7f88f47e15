//! Files that are torn or damaged, and a disk that is full.

use std::path::PathBuf;

use super::{await_written, base, folder, increments, info, list, manifest, on, rewrite};
use crate::content::fill;
use crate::process::{Server, ask, error, eventually, try_ask};
use crate::redis_server::check_aof;

/// A file whose last command is not whole is cut where that begins, wherever it ends.
#[test]
fn a_torn_end_is_cut_off() {
    let mut server = Server::start(&on("everysec"));
    let connection = &mut server.connect();
    ask::<()>(connection, "SET first 1");
    await_written(connection);
    server.kill();
    let file = increments(&folder(&server)).pop().unwrap();
    let whole = std::fs::read(&file).unwrap();
    let last = b"*3\r\n$3\r\nSET\r\n$6\r\nsecond\r\n$1\r\n2\r\n";
    let transaction = b"*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$1\r\n1\r\n";
    let mut tails: Vec<Vec<u8>> = (1..last.len())
        .step_by(5)
        .map(|cut| last[..cut].to_vec())
        .collect();
    tails.push(transaction.to_vec());
    tails.push(transaction[..20].to_vec());
    tails.push([&last[..9], &[0; 5000]].concat());
    tails.push(vec![0; 700_000]);
    for tail in tails {
        std::fs::write(&file, [&whole[..], &tail].concat()).unwrap();
        let args = [&on("everysec")[..], &["--aof-load-truncated", "no"]].concat();
        let (code, text) = server.fails(&args);
        assert_eq!(code, Some(1));
        let place = format!(
            "appendonly.aof.1.incr.aof: byte {}: it ends in",
            whole.len()
        );
        assert!(text.contains(&place), "{text}");
        assert_eq!(
            std::fs::metadata(&file).unwrap().len() as usize,
            whole.len() + tail.len()
        );
        server.restart(&on("everysec"));
        let connection = &mut server.connect();
        assert_eq!(ask::<i64>(connection, "DBSIZE"), 1);
        server.kill();
        assert_eq!(std::fs::read(&file).unwrap(), whole);
    }
}

#[test]
fn damage_is_refused_with_file_and_offset() {
    let mut server = Server::start(&on("everysec"));
    let connection = &mut server.connect();
    fill(connection);
    rewrite(connection);
    for number in 0..50 {
        ask::<()>(connection, &format!("SET key:{number} value"));
    }
    // With a checksum at its end.
    assert_eq!(ask::<Vec<i64>>(connection, "WAITAOF 1 0 10000"), [1, 0]);
    server.kill();
    let dir = folder(&server);
    let increment = increments(&dir).pop().unwrap();
    let (base, manifest) = (base(&dir), manifest(&dir));
    let incr = increment.file_name().unwrap().to_str().unwrap().to_owned();
    let original: Vec<(PathBuf, Vec<u8>)> = [&increment, &base, &manifest]
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .to_vec();
    let text = original[0].1.clone();
    let replaced = |from: &str, to: &str| {
        String::from_utf8(text.clone())
            .unwrap()
            .replacen(from, to, 1)
            .into_bytes()
    };
    let at = |what: &str| String::from_utf8(text.clone()).unwrap().find(what).unwrap();
    let first = at("*3\r\n$3\r\nSET\r\n$5\r\nkey:0");
    let cases: Vec<(&PathBuf, Option<Vec<u8>>, String)> = vec![
        (
            &increment,
            Some(replaced(
                "$3\r\nSET\r\n$5\r\nkey:0",
                "$3\r\nGET\r\n$5\r\nkey:0",
            )),
            format!("{incr}: byte {first}: "),
        ),
        (
            &increment,
            Some(replaced(
                "$3\r\nSET\r\n$5\r\nkey:0",
                "$4\r\nSET\r\n$5\r\nkey:0",
            )),
            format!("{incr}: byte {first}: "),
        ),
        (
            &increment,
            Some(replaced(
                "*3\r\n$3\r\nSET\r\n$5\r\nkey:0",
                "+3\r\n$3\r\nSET\r\n$5\r\nkey:0",
            )),
            format!("{incr}: byte {first}: expected '*', got '+'"),
        ),
        (
            &increment,
            Some(replaced("key:0\r\n$5\r\nvalue", "key:0\r\n$5\r\nvalud")),
            "what is written from byte 0 on does not have the checksum that stands here".to_owned(),
        ),
        (
            &increment,
            Some(replaced(
                "$6\r\nSELECT\r\n$1\r\n0",
                "$6\r\nSELECT\r\n$1\r\n7",
            )),
            format!("{incr}: byte 0: another database than 0"),
        ),
        (&increment, None, format!("{incr}: byte 0: it is missing")),
        (&base, None, "base.rdb: byte 0: it is missing".to_owned()),
        (
            &base,
            Some(original[1].1[..original[1].1.len() / 2].to_vec()),
            format!(
                "base.rdb: byte {}: it ends in the middle",
                original[1].1.len() / 2
            ),
        ),
        (
            &manifest,
            Some(original[2].1[..10].to_vec()),
            "appendonly.aof.manifest: byte 0: line 1: ".to_owned(),
        ),
        (
            &manifest,
            None,
            "appendonly.aof.manifest: byte 0: it is missing".to_owned(),
        ),
    ];
    for (path, damaged, place) in cases {
        match damaged {
            Some(bytes) => std::fs::write(path, bytes).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        let before: Vec<_> = list(&dir);
        let (code, told) = server.fails(&on("everysec"));
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains(&place), "{place}: {told}");
        // Whatever is refused stays as it is.
        assert_eq!(list(&dir), before);
        for (path, bytes) in &original {
            std::fs::write(path, bytes).unwrap();
        }
    }
    // Only the last file may end in the middle.
    let manifest_text = String::from_utf8(original[2].1.clone()).unwrap();
    std::fs::write(dir.join("appendonly.aof.9.incr.aof"), b"").unwrap();
    std::fs::write(
        &manifest,
        format!("{manifest_text}file appendonly.aof.9.incr.aof seq 9 type i\n"),
    )
    .unwrap();
    std::fs::write(&increment, &text[..text.len() - 3]).unwrap();
    let (code, told) = server.fails(&on("everysec"));
    assert_eq!(code, Some(1));
    assert!(told.contains("and other files follow it"), "{told}");
    std::fs::write(&increment, &text).unwrap();
    server.restart(&on("everysec"));
    assert_eq!(ask::<String>(&mut server.connect(), "GET key:49"), "value");
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_room_again() {
    for mode in ["always", "everysec"] {
        let mut server = Server::start_limitable(&on(mode));
        let connection = &mut server.connect();
        ask::<()>(connection, "SET before 1");
        await_written(connection);
        let file = increments(&folder(&server)).pop().unwrap();
        server.limit_files(Some(std::fs::metadata(file).unwrap().len() + 10));
        // This one does not fit: with always, its reply is held back.
        let mut held = server.socket();
        held.send("SET held 1\r\n");
        eventually("the failure", || {
            let told: String = info(connection).get("aof_last_write_status").unwrap();
            (told == "err").then_some(())
        });
        let refused = error(connection, "INCR refused");
        assert!(
            refused.starts_with("MISCONF Errors writing to the AOF file: File too large"),
            "{refused}"
        );
        assert!(error(connection, "MSET a 1 b 2").starts_with("MISCONF"));
        assert_eq!(ask::<i64>(connection, "GET before"), 1);
        server.limit_files(None);
        eventually("writes again", || {
            try_ask::<()>(connection, "SET after 1").ok()
        });
        held.expect("+OK\r\n");
        let told: String = info(connection).get("aof_last_write_status").unwrap();
        assert_eq!(told, "ok");
        await_written(connection);
        server.kill();
        check_aof(&manifest(&folder(&server)));
        server.restart(&on(mode));
        let connection = &mut server.connect();
        assert_eq!(ask::<i64>(connection, "EXISTS before held after"), 3);
        assert_eq!(ask::<i64>(connection, "EXISTS refused a b"), 0);
    }
}
