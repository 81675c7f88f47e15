//! Concurrent clients on registers and counters, who record every attempt.
//!
//! Each shard has one slot whose keys are used. A register has one writer, and everybody reads it; each value is written once. A
//! counter is for all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use cache_node::slot::SlotId;
use history::{Command, History, Recorder, Reply};
use parking_lot::Mutex;
use rand::Rng;
use redis::{Cmd, FromRedisValue, Value};
use tokio_util::sync::CancellationToken;

use crate::client::{Attempt, Client, Patience, Seeds};
use crate::cluster::Shape;
use crate::network::Host;
use crate::reigns::Acknowledged;
use crate::wait::{PATIENCE, until};

/// Clients on each host.
const CLIENTS: usize = 4;
/// Registers of each client in each shard.
const REGISTERS: usize = 2;
/// Pause of a client between two commands: faults last seconds, and the judge's time grows with the square of the
/// operations on a key.
const PAUSE: Duration = Duration::from_millis(4);

/// What clients have done.
pub struct Record {
    /// All attempts.
    pub history: History,
    /// The writes that were acknowledged, by shard.
    pub acknowledged: Vec<Vec<Acknowledged>>,
    /// Attempts that were refused or had no answer.
    pub not_executed: usize,
}

/// Clients that run until [`Workload::stop`].
pub struct Workload {
    shared: Arc<Shared>,
    stop: CancellationToken,
    threads: Vec<JoinHandle<Result<()>>>,
}

struct Shared {
    seeds: Seeds,
    /// A hash tag of each shard.
    tags: Vec<(String, SlotId)>,
    prefix: String,
    clients: usize,
    start: Instant,
    recorder: Recorder,
    values: AtomicU64,
    acknowledged: Mutex<Vec<Vec<Acknowledged>>>,
    not_executed: AtomicU64,
}

/// Whether a key of a workload is a counter.
#[must_use]
pub fn is_counter(key: &str) -> bool {
    key.ends_with(":counter")
}

/// A hash tag whose keys belong to `shard` at first, and their slot.
#[must_use]
pub fn tag_of(shape: &Shape, shard: usize) -> (String, SlotId) {
    let mut tags = (0_u32..).map(|number| {
        let tag = format!("t{number}");
        let slot = SlotId::of(tag.as_bytes());
        (tag, slot)
    });
    tags.find(|(_, slot)| shape.shard_of(*slot) == shard)
        .expect("there are endless tags")
}

impl Workload {
    /// Starts clients on each of `hosts`. Keys begin with their tag and `prefix`.
    #[must_use]
    pub fn start(shape: &Shape, seeds: &Seeds, hosts: &[Host], prefix: &str) -> Self {
        let start = Instant::now();
        let shared = Arc::new(Shared {
            seeds: Arc::clone(seeds),
            tags: (0..shape.shards)
                .map(|shard| tag_of(shape, shard))
                .collect(),
            prefix: prefix.to_owned(),
            clients: CLIENTS * hosts.len(),
            start,
            recorder: Recorder::new(move || nanoseconds(start)),
            values: AtomicU64::new(1),
            acknowledged: Mutex::new(vec![vec![]; shape.shards]),
            not_executed: AtomicU64::new(0),
        });
        let stop = CancellationToken::new();
        let threads = hosts.iter().enumerate().map(|(number, host)| {
            let (shared, stop, host) = (Arc::clone(&shared), stop.clone(), host.clone());
            std::thread::spawn(move || {
                host.enter()?;
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(press(&shared, number * CLIENTS, &stop))
            })
        });
        Self {
            threads: threads.collect(),
            shared,
            stop,
        }
    }

    /// Nanoseconds on the history's clock.
    #[must_use]
    pub fn now(&self) -> u64 {
        nanoseconds(self.shared.start)
    }

    /// Acknowledged writes so far, by shard.
    fn counts(&self) -> Vec<usize> {
        let acknowledged = self.shared.acknowledged.lock();
        acknowledged.iter().map(Vec::len).collect()
    }

    /// Waits until each of `shards` has acknowledged `more` writes from now on.
    ///
    /// # Errors
    /// If that takes too long.
    pub async fn wait_for_writes(&self, shards: &[usize], more: usize) -> Result<()> {
        let before = self.counts();
        until("clients get on with their writes", async || {
            let counts = self.counts();
            let lacks = |shard: &&usize| counts[**shard] < before[**shard] + more;
            match shards.iter().find(lacks) {
                None => Ok(()),
                Some(shard) => Err(format!("shard {shard}: {counts:?} after {before:?}")),
            }
        })
        .await?;
        Ok(())
    }

    /// Ends the clients, reads every key, and tells what was recorded.
    ///
    /// # Errors
    /// If a client has met with something that it cannot record, or a key cannot be read.
    pub async fn stop(self) -> Result<Record> {
        self.stop.cancel();
        for thread in self.threads {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await?;
            joined.map_err(|_| anyhow!("a client has panicked"))??;
        }
        let shared = self.shared;
        let mut reader = Actor {
            client: Client::new(Arc::clone(&shared.seeds), Patience::default()),
            number: shared.clients,
            shared: &shared,
        };
        for shard in 0..shared.tags.len() {
            for client in 0..shared.clients {
                for register in 0..REGISTERS {
                    let key = shared.register(shard, client, register);
                    reader.read_for_sure(shard, &key).await?;
                }
            }
            reader.read_for_sure(shard, &shared.counter(shard)).await?;
        }
        let not_executed = shared.not_executed.load(Ordering::Relaxed);
        Ok(Record {
            history: shared.recorder.history(),
            acknowledged: std::mem::take(&mut *shared.acknowledged.lock()),
            not_executed: usize::try_from(not_executed)?,
        })
    }
}

fn nanoseconds(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

impl Shared {
    fn register(&self, shard: usize, client: usize, register: usize) -> String {
        let (tag, prefix) = (&self.tags[shard].0, &self.prefix);
        format!("{{{tag}}}{prefix}:{client}:{register}")
    }

    fn counter(&self, shard: usize) -> String {
        let (tag, prefix) = (&self.tags[shard].0, &self.prefix);
        format!("{{{tag}}}{prefix}:counter")
    }
}

async fn press(shared: &Shared, first: usize, stop: &CancellationToken) -> Result<()> {
    let clients = (first..first + CLIENTS).map(|number| async move {
        let mut actor = Actor {
            client: Client::new(Arc::clone(&shared.seeds), Patience::default()),
            number,
            shared,
        };
        while !stop.is_cancelled() {
            actor.act().await?;
            tokio::time::sleep(PAUSE).await;
        }
        anyhow::Ok(())
    });
    futures::future::try_join_all(clients).await?;
    Ok(())
}

/// One client.
struct Actor<'a> {
    client: Client,
    number: usize,
    shared: &'a Shared,
}

impl Actor<'_> {
    /// Does one thing to one key.
    async fn act(&mut self) -> Result<()> {
        let mut random = rand::rng();
        let shard = random.random_range(0..self.shared.tags.len());
        let register = random.random_range(0..REGISTERS);
        let writes = random.random_bool(0.6);
        let key = if random.random_bool(0.25) {
            self.shared.counter(shard)
        } else {
            let reads_of = random.random_range(0..self.shared.clients);
            let of = if writes { self.number } else { reads_of };
            self.shared.register(shard, of, register)
        };
        let command = match (writes, is_counter(&key)) {
            (false, _) => Command::Get,
            (true, true) => Command::Increment,
            (true, false) => Command::set(self.shared.values.fetch_add(1, Ordering::Relaxed)),
        };
        self.attempt(shard, &key, command).await?;
        Ok(())
    }

    /// Makes and records one attempt; tells whether it was answered.
    async fn attempt(&mut self, shard: usize, key: &str, command: Command) -> Result<bool> {
        let (shared, slot) = (self.shared, self.shared.tags[shard].1);
        let invoked = nanoseconds(shared.start);
        let client = u32::try_from(self.number)?;
        let pending = shared.recorder.begin(client, key, command);
        let (value, by) = match self.client.attempt(slot, &sent(key, command)).await {
            Attempt::Answered { value, by } => (value, by),
            Attempt::Refused(_) => {
                pending.failed();
                shared.not_executed.fetch_add(1, Ordering::Relaxed);
                return Ok(false);
            }
            Attempt::Unknown(_) => {
                pending.unknown();
                shared.not_executed.fetch_add(1, Ordering::Relaxed);
                return Ok(false);
            }
        };
        pending.ok(reply(command, &value).with_context(|| format!("{command} {key}"))?);
        if command != Command::Get {
            shared.acknowledge(shard, invoked, by);
        }
        Ok(true)
    }

    async fn read_for_sure(&mut self, shard: usize, key: &str) -> Result<()> {
        let began = Instant::now();
        while !self.attempt(shard, key, Command::Get).await? {
            if began.elapsed() > PATIENCE {
                bail!("{key} cannot be read");
            }
        }
        Ok(())
    }
}

impl Shared {
    fn acknowledge(&self, shard: usize, invoked: u64, by: SocketAddr) {
        let completed = nanoseconds(self.start);
        let write = Acknowledged {
            invoked,
            completed,
            by,
        };
        self.acknowledged.lock()[shard].push(write);
    }
}

fn sent(key: &str, command: Command) -> Cmd {
    match command {
        Command::Get => Cmd::get(key),
        Command::Set { value, .. } => Cmd::set(key, value),
        Command::Delete => Cmd::del(key),
        Command::Increment => Cmd::incr(key, 1),
    }
}

fn reply(command: Command, value: &Value) -> Result<Reply> {
    Ok(match command {
        // What is no number was never written.
        Command::Get => Reply::Value(
            Option::<String>::from_redis_value_ref(value)?
                .map(|text| text.parse().unwrap_or(u64::MAX)),
        ),
        Command::Set { .. } => Reply::Stored(*value == Value::Okay),
        Command::Delete => Reply::Deleted(u64::from_redis_value_ref(value)? > 0),
        Command::Increment => Reply::Count(u64::from_redis_value_ref(value)?),
    })
}
