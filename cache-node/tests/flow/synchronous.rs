//! Writes that are answered when a replica has them (`synchronous-replicas`): no failover takes back what a client has seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use history::{Command, DEFAULT_STEPS, Outcome, Recorder, Reply, Verdict};
use nix::sys::signal::Signal;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult};
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, ask};
use crate::processes::{Process, eventually};

/// Time after which a client gives a command up, not knowing what becomes of it.
const GIVE_UP: Duration = Duration::from_millis(700);
const CLIENTS: u32 = 8;
const KEYS: u64 = 6;
/// Bytes of a value that is sent piece by piece.
const LONG: usize = 4 << 20;

/// One shard: a primary with two replicas.
async fn shard() -> Cluster {
    let args = ["--synchronous-replicas", "1"];
    Cluster::start_with(1, &[0, 0], true, &args).await
}

/// The same beside two primaries of other shards, so that there is a majority without its replicas.
async fn shard_and_others() -> Cluster {
    let args = ["--synchronous-replicas", "1"];
    Cluster::start_with(3, &[0, 0], true, &args).await
}

async fn connect(port: u16) -> RedisResult<MultiplexedConnection> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}/"))?;
    let config = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(GIVE_UP))
        .set_response_timeout(Some(GIVE_UP));
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

async fn send<T: redis::FromRedisValue>(
    connection: &mut MultiplexedConnection,
    command: &str,
) -> RedisResult<T> {
    let mut words = command.split(' ');
    let mut cmd = redis::cmd(words.next().expect("a name"));
    for word in words {
        cmd.arg(word);
    }
    cmd.query_async(connection).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_is_answered_and_shown_when_a_replica_has_it() {
    let cluster = shard_and_others().await;
    let port = cluster.nodes[0].port();
    let _: () = ask(&mut cluster.connect(0).await, "SET {f}before 1").await;
    let long = format!("SET {{b}}long {}", "x".repeat(LONG));
    let _: () = ask(&mut cluster.connect(0).await, &long).await;
    for replica in [3, 4] {
        cluster.nodes[replica].signal(Signal::SIGSTOP);
    }
    let mut writer = connect(port).await.expect("connects");
    let unanswered: RedisResult<()> = send(&mut writer, "SET {b}new 1").await;
    assert!(unanswered.expect_err("no answer").is_timeout());
    let mut reader = connect(port).await.expect("connects");
    let unseen: RedisResult<String> = send(&mut reader, "GET {b}new").await;
    assert!(unseen.expect_err("no answer").is_timeout());
    let mut reader = connect(port).await.expect("connects");
    let unseen: RedisResult<String> = send(&mut reader, "GET {b}long").await;
    assert!(unseen.expect_err("no answer").is_timeout());
    // Others do not wait for that, nor does what shows no data.
    let mut other = connect(port).await.expect("connects");
    let value: RedisResult<String> = send(&mut other, "GET {f}before").await;
    assert_eq!(value.expect("an answer"), "1");
    let pong: RedisResult<String> = send(&mut other, "PING").await;
    assert_eq!(pong.expect("an answer"), "PONG");
    cluster.nodes[3].signal(Signal::SIGCONT);
    let value: String = ask(&mut cluster.connect(0).await, "GET {b}new").await;
    assert_eq!(value, "1");
    let value: String = ask(&mut cluster.connect(0).await, "GET {b}long").await;
    assert_eq!(value.len(), LONG);
    cluster.nodes[4].signal(Signal::SIGCONT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_refused_without_enough_replicas() {
    let mut cluster = shard_and_others().await;
    for replica in [3, 4] {
        cluster.nodes[replica].kill();
    }
    let mut connection = cluster.connect(0).await;
    eventually("writes are refused", async || {
        let refused: RedisResult<()> = send(&mut connection, "SET {b} 1").await;
        refused.is_err_and(|error| error.code() == Some("NOREPLICAS"))
    })
    .await;
    cluster.nodes[3].restart().await;
    eventually("writes are taken again", async || {
        send::<()>(&mut connection, "SET {b} 1").await.is_ok()
    })
    .await;
}

/// Clients that write down what they do, one attempt after the other.
struct Clients {
    recorder: Recorder,
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Clients {
    fn start(cluster: &Cluster) -> Self {
        let began = Instant::now();
        let recorder = Recorder::new(move || began.elapsed().as_nanos() as u64);
        let (done, stop) = (Arc::default(), Arc::default());
        let ports: Vec<u16> = cluster.nodes.iter().map(Process::port).collect();
        let tasks = (0..CLIENTS)
            .map(|number| {
                let client = Client {
                    number,
                    ports: ports.clone(),
                    at: 0,
                    connection: None,
                    recorder: recorder.clone(),
                    done: Arc::clone(&done),
                };
                tokio::spawn(client.run(Arc::clone(&stop)))
            })
            .collect();
        Self {
            recorder,
            done,
            stop,
            tasks,
        }
    }

    async fn get_on(&self) {
        let until = self.done.load(Relaxed) + 500;
        eventually("clients get on", async || self.done.load(Relaxed) >= until).await;
    }

    async fn verify(self) {
        self.stop.store(true, Relaxed);
        for task in self.tasks {
            task.await.expect("no panic");
        }
        let history = self.recorder.history();
        let operations = history.operations();
        let unknown = operations
            .iter()
            .filter(|operation| operation.outcome == Outcome::Unknown);
        println!(
            "{} operations, {} of them with unknown outcomes",
            operations.len(),
            unknown.count()
        );
        let verdict = history::check(&history, DEFAULT_STEPS);
        assert!(matches!(verdict, Verdict::Linearizable), "{verdict:#?}");
    }
}

struct Client {
    number: u32,
    ports: Vec<u16>,
    /// The node that it speaks to.
    at: usize,
    connection: Option<MultiplexedConnection>,
    recorder: Recorder,
    done: Arc<AtomicU64>,
}

impl Client {
    async fn run(mut self, stop: Arc<AtomicBool>) {
        let mut turn = 0;
        while !stop.load(Relaxed) {
            turn += 1;
            self.attempt(turn).await;
        }
    }

    async fn attempt(&mut self, turn: u64) {
        let Some(mut connection) = self.reach().await else {
            self.go_on();
            return;
        };
        let number = u64::from(self.number);
        let key = format!("{{b}}{}", (turn + number) % KEYS);
        let value = turn * u64::from(CLIENTS) + number;
        let counter = format!("{{b}}counter:{}", turn % 2);
        let command = match turn % 5 {
            0 | 2 => Command::set(value),
            4 => Command::Increment,
            _ => Command::Get,
        };
        let key = if command == Command::Increment {
            counter
        } else {
            key
        };
        let pending = self.recorder.begin(self.number, key.as_str(), command);
        let reply = match command {
            Command::Increment => send(&mut connection, &format!("INCR {key}"))
                .await
                .map(Reply::Count),
            Command::Get => send(&mut connection, &format!("GET {key}"))
                .await
                .map(Reply::Value),
            _ => send(&mut connection, &format!("SET {key} {value}"))
                .await
                .map(|()| Reply::Stored(true)),
        };
        match reply {
            Ok(reply) => {
                pending.ok(reply);
                self.done.fetch_add(1, Relaxed);
            }
            Err(error) if was_refused(&error) => {
                pending.failed();
                self.go_on();
            }
            Err(_) => {
                pending.unknown();
                self.go_on();
            }
        }
    }

    async fn reach(&mut self) -> Option<MultiplexedConnection> {
        if self.connection.is_none() {
            self.connection = connect(self.ports[self.at]).await.ok();
        }
        self.connection.clone()
    }

    /// To the next node.
    fn go_on(&mut self) {
        self.connection = None;
        self.at = (self.at + 1) % self.ports.len();
    }
}

/// The server says that it has done nothing.
fn was_refused(error: &RedisError) -> bool {
    let codes = [
        "MOVED",
        "CLUSTERDOWN",
        "NOREPLICAS",
        "LOADING",
        "READONLY",
        "TRYAGAIN",
    ];
    error.code().is_some_and(|code| codes.contains(&code))
}

/// The node that the others name as primary.
async fn primary(cluster: &Cluster, viewer: usize) -> usize {
    let mut found = None;
    eventually("there is a primary", async || {
        let owner = cluster.owners_at(viewer, 0).await;
        found = cluster.ids.iter().position(|id| *id == owner);
        found.is_some()
    })
    .await;
    found.expect("found")
}

async fn another_primary(cluster: &Cluster, former: usize) {
    let viewer = (former + 1) % 3;
    eventually("another primary", async || {
        primary(cluster, viewer).await != former
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_see_is_one_order_whatever_happens_to_primaries() {
    let mut cluster = shard().await;
    let clients = Clients::start(&cluster);
    clients.get_on().await;
    for round in 0..4 {
        let victim = primary(&cluster, 0).await;
        match round % 4 {
            0 | 2 => {
                cluster.nodes[victim].kill();
                another_primary(&cluster, victim).await;
                clients.get_on().await;
                cluster.nodes[victim].restart().await;
            }
            1 => {
                cluster.nodes[victim].signal(Signal::SIGSTOP);
                another_primary(&cluster, victim).await;
                clients.get_on().await;
                cluster.nodes[victim].signal(Signal::SIGCONT);
            }
            _ => {
                let heir = (victim + 1) % 3;
                let _: () = ask(&mut cluster.connect(heir).await, "CLUSTER FAILOVER").await;
                another_primary(&cluster, victim).await;
                clients.get_on().await;
            }
        }
        let now = primary(&cluster, (victim + 1) % 3).await;
        for replica in (0..3).filter(|node| *node != now) {
            cluster.wait_for_link(replica).await;
        }
        clients.get_on().await;
    }
    clients.verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_change_hands_when_a_replica_of_their_new_owner_has_them() {
    let args = ["--synchronous-replicas", "1"];
    let cluster = Cluster::start_with(2, &[0, 1], true, &args).await;
    let _: () = ask(&mut cluster.connect(0).await, "SET {b} 1").await;
    cluster.nodes[3].signal(Signal::SIGSTOP);
    cluster.migrate(0, 1, 3300, 3300).await;
    cluster.wait_for_job(1, "interrupted").await;
    cluster.wait_for_owner_at(2, 3300, 0).await;
    cluster.nodes[3].signal(Signal::SIGCONT);
    cluster.wait_for_job(0, "success").await;
    cluster.wait_for_owner(3300, 1).await;
    let value: String = ask(&mut cluster.connect(1).await, "GET {b}").await;
    assert_eq!(value, "1");
}
