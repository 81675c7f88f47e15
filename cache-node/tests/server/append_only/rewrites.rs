//! Rewrites: under load, by themselves, beside saves, and without room.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use redis::Commands;

use super::{
    assert_tidy, await_written, folder, increments, info, manifest, number, on, rewrite, rewrites,
};
use crate::content::{content, fill};
use crate::process::{Ending, Server, ask, eventually, try_ask};
use crate::redis_server::check_aof;

/// Writes through rewrites: whatever was written before or behind a cut is there exactly once.
#[test]
fn rewrites_under_load_lose_and_double_nothing() {
    let mut server = Server::start(&on("everysec"));
    let ended = AtomicBool::new(false);
    let connection = &mut server.connect();
    fill(connection);
    ask::<()>(connection, "SET sum:0 0");
    let counts: Vec<i64> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let (mut connection, ended) = (server.connect(), &ended);
                scope.spawn(move || {
                    let mut count = 0_i64;
                    while !ended.load(SeqCst) {
                        let mut pipe = redis::pipe();
                        for _ in 0..20 {
                            count += 1;
                            pipe.rpush(format!("list:{writer}:{}", count % 7), count);
                            pipe.incr(format!("sum:{writer}"), 1);
                            pipe.set(format!("key:{writer}:{}", count % 500), count);
                        }
                        let _: redis::Value = pipe.query(&mut connection).unwrap();
                    }
                    count
                })
            })
            .collect();
        let ending = Ending(&ended);
        for _ in 0..6 {
            let before: i64 = ask(connection, "GET sum:0");
            eventually("more writes", || {
                (ask::<i64>(connection, "GET sum:0") > before + 500).then_some(())
            });
            rewrite(connection);
        }
        drop(ending);
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .collect()
    });
    await_written(connection);
    let expected = content(connection);
    server.kill();
    check_aof(&manifest(&folder(&server)));
    assert_eq!(increments(&folder(&server)).len(), 1);
    server.restart(&on("everysec"));
    let connection = &mut server.connect();
    for (writer, count) in counts.iter().enumerate() {
        let sum: i64 = ask(connection, &format!("GET sum:{writer}"));
        assert_eq!(sum, *count);
        let elements: i64 = (0..7)
            .map(|list| ask::<i64>(connection, &format!("LLEN list:{writer}:{list}")))
            .sum();
        assert_eq!(elements, *count);
    }
    assert_eq!(content(connection), expected);
    assert_tidy(&folder(&server));
}

#[test]
fn it_is_rewritten_by_itself_when_it_has_grown() {
    let args = [
        &on("everysec")[..],
        &["--auto-aof-rewrite-min-size", "100kb"],
    ]
    .concat();
    let mut server = Server::start(&args);
    let connection = &mut server.connect();
    let value = "v".repeat(1000);
    for _ in 0..500 {
        let () = connection.set("k", &value).unwrap();
    }
    eventually("the rewrite", || {
        (rewrites(connection) >= 2 && number(connection, "aof_current_size") < 100_000)
            .then_some(())
    });
    await_written(connection);
    server.restart(&args);
    assert_eq!(ask::<String>(&mut server.connect(), "GET k"), value);
}

#[test]
fn a_save_and_a_rewrite_wait_for_each_other() {
    let server = Server::start(&on("everysec"));
    let connection = &mut server.connect();
    fill(connection);
    for _ in 0..10 {
        let answers: Vec<redis::Value> = redis::pipe()
            .cmd("BGSAVE")
            .cmd("BGREWRITEAOF")
            .cmd("BGREWRITEAOF")
            .cmd("BGSAVE")
            .arg("SCHEDULE")
            .ignore_errors()
            .query(connection)
            .unwrap();
        assert_eq!(answers.len(), 4);
        eventually("a save by itself", || {
            try_ask::<()>(connection, "SAVE").ok()
        });
    }
    eventually("the end of both", || {
        let info = info(connection);
        let idle = [
            "rdb_bgsave_in_progress",
            "aof_rewrite_in_progress",
            "aof_rewrite_scheduled",
        ];
        idle.iter()
            .all(|field| info.get::<u64>(field) == Some(0))
            .then_some(())
    });
    assert!(rewrites(connection) >= 2);
    assert_eq!(
        info(connection)
            .get::<String>("aof_last_bgrewrite_status")
            .unwrap(),
        "ok"
    );
}

#[test]
fn a_rewrite_for_which_there_is_no_room_leaves_the_files_in_force() {
    let args = [&on("always")[..], &["--rdbcompression", "no"]].concat();
    let mut server = Server::start_limitable(&args);
    let connection = &mut server.connect();
    let value = "v".repeat(100_000);
    let () = connection.set("long", &value).unwrap();
    for round in 0..3 {
        server.limit_files(Some(150_000));
        let other = format!("other:{round}");
        let () = connection.set("short", &other).unwrap();
        server.limit_files(Some(50_000));
        ask::<String>(connection, "BGREWRITEAOF");
        eventually("the failure", || {
            let info = info(connection);
            (info.get::<String>("aof_last_bgrewrite_status").unwrap() == "err").then_some(())
        });
        server.limit_files(None);
        ask::<()>(connection, "SET more 1");
        let expected = content(connection);
        server.restart_limitable(&args);
        *connection = server.connect();
        assert_eq!(content(connection), expected);
        assert_tidy(&folder(&server));
    }
    rewrite(connection);
    assert_eq!(increments(&folder(&server)).len(), 1);
}
