//! A real redis-server copies cache-node, and cache-node a redis-server, by Redis's own protocol.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use redis::{Commands, Connection};

use crate::content::{content, fill};
use crate::process::{Ending, Server, ask, error, eventually};
use crate::redis_server::RedisServer;

fn replication(connection: &mut Connection) -> redis::InfoDict {
    ask(connection, "INFO replication")
}

/// Has redis-server copy cache-node, and waits until it is in sync, and until what had expired before is gone there, too: it shows that
/// until it is told.
fn follow(redis: &mut Connection, server: &Server) {
    ask::<()>(redis, &format!("REPLICAOF 127.0.0.1 {}", server.port));
    eventually("the link is up", || {
        let status: String = replication(redis).get("master_link_status")?;
        (status == "up").then_some(())
    });
    eventually("what has expired is gone", || {
        ask::<Vec<String>>(redis, "KEYS gone")
            .is_empty()
            .then_some(())
    });
}

fn wait(connection: &mut Connection) {
    assert_eq!(ask::<u32>(connection, "WAIT 1 20000"), 1);
}

#[test]
fn redis_copies_everything_and_every_change() {
    let server = Server::start(&[]);
    let connection = &mut server.connect();
    fill(connection);
    let redis = RedisServer::empty(&[]);
    let copy = &mut redis.connect();
    follow(copy, &server);
    assert_eq!(content(copy), content(connection));
    ask::<()>(connection, "SET after 1 PX 100000");
    ask::<()>(connection, "MSET a 1 b 2 c 3");
    ask::<()>(connection, "RPUSH list:5 x y z");
    ask::<()>(connection, "DEL text");
    ask::<()>(connection, "SET gone v PX 1");
    eventually("what has expired is removed", || {
        let stats: redis::InfoDict = ask(connection, "INFO stats");
        stats.get::<u64>("expired_keys").filter(|count| *count > 0)
    });
    wait(connection);
    assert_eq!(content(copy), content(connection));
    assert_eq!(
        replication(copy).get::<u64>("slave_repl_offset"),
        replication(connection).get::<u64>("master_repl_offset")
    );
    ask::<()>(connection, "FLUSHALL");
    ask::<()>(connection, "SET last 1");
    wait(connection);
    assert_eq!(ask::<u64>(copy, "DBSIZE"), 1);
}

#[test]
fn redis_copies_while_everything_is_written() {
    let server = Server::start(&[]);
    let redis = RedisServer::empty(&[]);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let (mut connection, ended) = (server.connect(), &ended);
            scope.spawn(move || {
                let mut round = 0;
                while !ended.load(SeqCst) {
                    let mut pipe = redis::pipe();
                    for key in 0..50 {
                        let key = (round * 37 + key * 101) % 5000;
                        pipe.cmd("APPEND")
                            .arg(format!("string:{writer}:{key}"))
                            .arg("x")
                            .ignore();
                        pipe.cmd("RPUSH")
                            .arg(format!("list:{}", key % 100))
                            .arg(round)
                            .ignore();
                        pipe.cmd("INCR")
                            .arg(format!("counter:{}", key % 10))
                            .ignore();
                    }
                    pipe.exec(&mut connection).unwrap();
                    round += 1;
                }
            });
        }
        let _ended = Ending(&ended);
        let connection = &mut server.connect();
        eventually("there is something", || {
            (ask::<u64>(connection, "DBSIZE") > 5000).then_some(())
        });
        follow(&mut redis.connect(), &server);
    });
    let connection = &mut server.connect();
    wait(connection);
    assert_eq!(content(&mut redis.connect()), content(connection));
}

#[test]
fn what_is_asked_of_redis_is_not_in_the_append_only_file() {
    let args = ["--appendonly", "yes"];
    let mut server = Server::start(&args);
    let redis = RedisServer::empty(&[]);
    follow(&mut redis.connect(), &server);
    let connection = &mut server.connect();
    ask::<()>(connection, "SET key 1");
    wait(connection);
    assert_eq!(ask::<Vec<i64>>(connection, "WAITAOF 1 0 0"), [1, 0]);
    server.kill();
    server.restart(&args);
    assert_eq!(ask::<u32>(&mut server.connect(), "GET key"), 1);
}

#[test]
fn a_link_that_breaks_costs_redis_no_full_sync() {
    let server = Server::start(&[]);
    let connection = &mut server.connect();
    fill(connection);
    let redis = RedisServer::empty(&[]);
    let copy = &mut redis.connect();
    follow(copy, &server);
    let stats: redis::InfoDict = ask(connection, "INFO stats");
    assert_eq!(stats.get::<u64>("sync_full"), Some(1));
    // It closes the connection to its primary, and opens another one.
    ask::<u32>(copy, "CLIENT KILL TYPE master");
    ask::<()>(connection, "SET meanwhile 1");
    eventually("it goes on", || {
        let stats: redis::InfoDict = ask(connection, "INFO stats");
        stats
            .get::<u64>("sync_partial_ok")
            .filter(|count| *count == 1)
    });
    wait(connection);
    let stats: redis::InfoDict = ask(connection, "INFO stats");
    assert_eq!(stats.get::<u64>("sync_full"), Some(1));
    assert_eq!(content(copy), content(connection));
}

#[test]
fn several_copy_at_once_beside_a_snapshot() {
    let server = Server::start(&[]);
    let connection = &mut server.connect();
    fill(connection);
    let servers: Vec<RedisServer> = (0..3).map(|_| RedisServer::empty(&[])).collect();
    for redis in &servers {
        let copy = &mut redis.connect();
        ask::<()>(copy, &format!("REPLICAOF 127.0.0.1 {}", server.port));
    }
    ask::<String>(connection, "BGSAVE SCHEDULE");
    eventually("all have connected", || {
        (replication(connection).get::<u64>("connected_slaves") == Some(3)).then_some(())
    });
    assert_eq!(ask::<u32>(connection, "WAIT 3 20000"), 3);
    for redis in &servers {
        assert_eq!(content(&mut redis.connect()), content(connection));
    }
}

#[test]
fn members_of_a_cluster_are_not_copied_by_strangers() {
    let server = Server::start(&["--cluster-enabled", "yes"]);
    let refused = error(&mut server.connect(), "PSYNC ? -1");
    assert!(refused.contains("cluster mode is on"), "{refused}");
}

/// What was written last is there when the keys were.
#[test]
fn redis_takes_over() {
    let mut server = Server::start(&[]);
    let connection = &mut server.connect();
    fill(connection);
    let before = content(connection);
    let redis = RedisServer::empty(&[]);
    let copy = &mut redis.connect();
    follow(copy, &server);
    server.kill();
    ask::<()>(copy, "REPLICAOF NO ONE");
    let () = copy.set("mine", 1).unwrap();
    let () = copy.del("mine").unwrap();
    assert_eq!(content(copy), before);
}

/// Has cache-node copy a server, and waits until it is in sync.
fn import(connection: &mut Connection, port: u16) {
    ask::<()>(connection, &format!("REPLICAOF 127.0.0.1 {port}"));
    eventually("the link is up", || {
        let status: String = replication(connection).get("master_link_status")?;
        (status == "up").then_some(())
    });
}

#[test]
fn a_data_set_moves_here_from_redis_while_it_is_used() {
    let redis = RedisServer::empty(&[
        "--repl-diskless-sync",
        "yes",
        "--repl-diskless-sync-delay",
        "0",
    ]);
    let theirs = &mut redis.connect();
    fill(theirs);
    let server = Server::start(&[]);
    let ours = &mut server.connect();
    ask::<()>(ours, "SET old 1");
    import(ours, redis.port());
    assert_eq!(content(ours), content(theirs));
    // What comes after: relative commands, several slots, transactions, expiry, blocking ones, another database that is not touched.
    ask::<()>(theirs, "INCRBY counter 5");
    ask::<()>(theirs, "MSET a 1 b 2 c 3");
    ask::<()>(theirs, "RENAME a d");
    ask::<()>(theirs, "EXPIRE b 10000");
    ask::<()>(theirs, "SET gone v PX 1");
    ask::<()>(theirs, "SUNIONSTORE all integers:5 words:5");
    ask::<()>(theirs, "HINCRBYFLOAT hash:5 float 1.5");
    redis::pipe()
        .atomic()
        .cmd("LPOP")
        .arg("list:5")
        .ignore()
        .cmd("RPUSH")
        .arg("list:1000")
        .arg("new")
        .ignore()
        .exec(theirs)
        .unwrap();
    eventually("what expires is gone", || {
        (ask::<u64>(theirs, "EXISTS gone") == 0).then_some(())
    });
    assert_eq!(ask::<u32>(theirs, "WAIT 1 20000"), 1);
    assert_eq!(content(ours), content(theirs));
    let refused = error(ours, "SET x 1");
    assert!(refused.contains("READONLY"), "{refused}");
    // The link breaks and goes on.
    ask::<u32>(theirs, "CLIENT KILL TYPE replica");
    ask::<()>(theirs, "SET meanwhile 1");
    eventually("it goes on", || {
        let partial: redis::InfoDict = ask(theirs, "INFO stats");
        partial
            .get::<u64>("sync_partial_ok")
            .filter(|count| *count == 1)
    });
    assert_eq!(ask::<u32>(theirs, "WAIT 1 20000"), 1);
    assert_eq!(content(ours), content(theirs));
    ask::<()>(ours, "REPLICAOF NO ONE");
    eventually("it is writable", || ours.set::<_, _, ()>("mine", 1).ok());
    ask::<()>(theirs, "SET theirs 1");
    assert_eq!(ask::<u64>(ours, "EXISTS theirs"), 0);
}

#[test]
fn a_data_set_comes_from_the_disk_of_redis_too() {
    let redis = RedisServer::empty(&["--repl-diskless-sync", "no"]);
    let theirs = &mut redis.connect();
    fill(theirs);
    let server = Server::start(&[]);
    let ours = &mut server.connect();
    import(ours, redis.port());
    assert_eq!(content(ours), content(theirs));
}

#[test]
fn what_cannot_be_held_is_refused_and_the_old_data_stay() {
    let redis = RedisServer::empty(&["--repl-diskless-sync-delay", "0"]);
    let theirs = &mut redis.connect();
    ask::<String>(theirs, "XADD stream * field value");
    let server = Server::start(&[]);
    let ours = &mut server.connect();
    ask::<()>(ours, "SET old 1");
    ask::<()>(ours, &format!("REPLICAOF 127.0.0.1 {}", redis.port()));
    eventually("it is refused", || {
        let why: String = replication(ours).get("evenkeel_sync_refused")?;
        why.contains("stream").then_some(())
    });
    assert_eq!(ask::<u64>(ours, "GET old"), 1);
}
