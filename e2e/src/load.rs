//! A load on a cluster by a stock cluster client, with a [`Ledger`] of what was acknowledged.
//!
//! Owns the keys under one prefix. It must never retry what the client library gave up on: that is counted as an error.

mod gap;
mod presser;
mod tally;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cache_node::slot::SlotSet;
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use redis::AsyncCommands;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use gap::GapMeter;
pub use tally::Tally;

use crate::ledger::{Ledger, Verdict};
use presser::Presser;

/// Commands under way at once while all keys are written or read.
const IN_FLIGHT: usize = 64;
/// Bytes that follow the number in a value.
const PADDING: &str = " 0123456789abcdef0123456789abcdef0123456789abcdef";
/// How long a verification asks for one key that cannot be read.
const PATIENCE: Duration = Duration::from_secs(30);

/// How hard a load presses.
#[derive(Clone, Copy, Debug)]
pub struct Pressure {
    /// Tasks that write, each to keys of its own.
    pub writers: usize,
    /// Tasks that read keys at random.
    pub readers: usize,
    /// Pause of a task between two commands.
    pub pause: Duration,
}

impl Default for Pressure {
    fn default() -> Self {
        Self {
            writers: 8,
            readers: 4,
            pause: Duration::from_millis(4),
        }
    }
}

/// Keys, a client and the ledger.
#[derive(Clone)]
pub struct Workload {
    client: ClusterClient,
    prefix: String,
    ledger: Arc<Mutex<Ledger>>,
}

/// What reading back every key found.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// Keys that were read.
    pub keys: usize,
    /// Acknowledged writes that are gone.
    pub lost_writes: u64,
    /// Keys that hold a number that was never sent.
    pub alien_values: u64,
    /// Some of the losses, in words.
    pub samples: Vec<String>,
}

/// A cluster client as an application would configure it: the library's number of retries, with short pauses.
///
/// # Errors
/// If no address can be parsed.
pub fn cluster_client(addresses: &[String]) -> Result<ClusterClient> {
    ClusterClientBuilder::new(addresses.iter().map(|address| format!("redis://{address}")))
        .connection_timeout(Duration::from_secs(1))
        .response_timeout(Duration::from_secs(3))
        .overall_response_timeout(Some(Duration::from_secs(15)))
        .min_retry_wait(10)
        .max_retry_wait(1000)
        .build()
        .context("cluster client")
}

/// The number at the beginning of a stored value.
fn number_of(value: &str) -> Option<u64> {
    value
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok())
}

impl Workload {
    /// A workload of `keys` keys named `prefix` and a number, on the cluster that `addresses` (`host:port`) are nodes of.
    ///
    /// # Errors
    /// If no address can be parsed.
    pub fn new(addresses: &[String], prefix: &str, keys: usize) -> Result<Self> {
        Ok(Self {
            client: cluster_client(addresses)?,
            prefix: prefix.to_owned(),
            ledger: Arc::new(Mutex::new(Ledger::new(keys))),
        })
    }

    fn key(&self, index: usize) -> String {
        format!("{}{index:06}", self.prefix)
    }

    fn keys(&self) -> usize {
        self.ledger.lock().keys()
    }

    /// Acknowledged writes so far.
    #[must_use]
    pub fn acknowledged_writes(&self) -> u64 {
        self.ledger.lock().acknowledgements()
    }

    /// Writes every key once. `progress` is told now and then how many are done.
    ///
    /// # Errors
    /// If the cluster does not acknowledge one of the writes.
    pub async fn fill(&self, progress: impl Fn(usize)) -> Result<()> {
        let connection = self
            .client
            .get_async_connection()
            .await
            .context("connect")?;
        let mut written = stream::iter(0..self.keys())
            .map(|index| self.write(connection.clone(), index))
            .buffer_unordered(IN_FLIGHT);
        let mut done = 0;
        while let Some(outcome) = written.next().await {
            outcome?;
            done += 1;
            if done % 10_000 == 0 {
                progress(done);
            }
        }
        Ok(())
    }

    async fn write(&self, mut connection: ClusterConnection, index: usize) -> Result<()> {
        let Some(number) = self.ledger.lock().issue(index) else {
            bail!("an earlier write of {} had no answer", self.key(index));
        };
        let key = self.key(index);
        let () = connection
            .set(&key, format!("{number}{PADDING}"))
            .await
            .with_context(|| format!("SET {key}"))?;
        self.ledger.lock().acknowledge(index);
        Ok(())
    }

    /// Begins to press. Readers and writers go on until [`Load::stop`].
    ///
    /// # Errors
    /// If the client cannot connect.
    pub async fn start(&self, pressure: Pressure) -> Result<Load> {
        let (writing, reading) = (
            self.client.get_async_connection().await,
            self.client.get_async_connection().await,
        );
        let (writing, reading) = (
            writing.context("connect writers")?,
            reading.context("connect readers")?,
        );
        let mut load = Load {
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
            tally: Arc::default(),
            began: Instant::now(),
        };
        for task in 0..pressure.writers + pressure.readers {
            let presser = Presser {
                work: self.clone(),
                tally: Arc::clone(&load.tally),
                began: load.began,
                connection: if task < pressure.writers {
                    writing.clone()
                } else {
                    reading.clone()
                },
            };
            load.tasks
                .spawn(presser.press(task, pressure, load.stop.clone()));
        }
        Ok(load)
    }

    /// Reads every key back and judges it. What was found is the truth from then on, so a loss is counted once.
    /// No load may be running.
    ///
    /// # Errors
    /// If a key cannot be read within half a minute.
    pub async fn verify(&self) -> Result<Audit> {
        let connection = self
            .client
            .get_async_connection()
            .await
            .context("connect")?;
        let found: Vec<(usize, Option<u64>)> = stream::iter(0..self.keys())
            .map(|index| self.read_patiently(connection.clone(), index))
            .buffer_unordered(IN_FLIGHT)
            .try_collect()
            .await?;
        let mut ledger = self.ledger.lock();
        let mut audit = Audit {
            keys: found.len(),
            ..Audit::default()
        };
        for (index, number) in found {
            let verdict = ledger.judge(index, number);
            match verdict {
                Verdict::Kept => {}
                Verdict::Lost(writes) => audit.lost_writes += writes,
                Verdict::Alien => audit.alien_values += 1,
            }
            if verdict != Verdict::Kept && audit.samples.len() < 5 {
                let wanted = ledger.acknowledged(index);
                audit.samples.push(format!(
                    "{} holds {number:?}, {wanted} was acknowledged",
                    self.key(index)
                ));
            }
            ledger.settle(index, number);
        }
        Ok(audit)
    }

    async fn read_patiently(
        &self,
        mut connection: ClusterConnection,
        index: usize,
    ) -> Result<(usize, Option<u64>)> {
        let key = self.key(index);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match connection.get::<_, Option<String>>(&key).await {
                // A value that is no number of ours is judged as one that was never sent.
                Ok(value) => {
                    return Ok((
                        index,
                        value.map(|value| number_of(&value).unwrap_or(u64::MAX)),
                    ));
                }
                Err(error) if Instant::now() > deadline => {
                    return Err(error).with_context(|| format!("GET {key}"));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Deletes every key of the workload.
    ///
    /// # Errors
    /// If a key cannot be deleted.
    pub async fn clear(&self) -> Result<()> {
        let connection = self
            .client
            .get_async_connection()
            .await
            .context("connect")?;
        stream::iter(0..self.keys())
            .map(|index| {
                let (mut connection, key) = (connection.clone(), self.key(index));
                async move {
                    connection
                        .del::<_, ()>(&key)
                        .await
                        .with_context(|| format!("DEL {key}"))
                }
            })
            .buffer_unordered(IN_FLIGHT)
            .try_collect()
            .await
    }
}

/// A load that presses until it is stopped.
pub struct Load {
    stop: CancellationToken,
    tasks: JoinSet<()>,
    tally: Arc<Mutex<Tally>>,
    began: Instant,
}

impl Load {
    /// What was seen so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = self.tally.lock().clone();
        tally.write_gap = tally
            .meter
            .as_ref()
            .map(|meter| meter.widest(self.began.elapsed()));
        tally
    }

    /// Measures from now on how long `slots` take no write.
    pub fn watch(&self, slots: SlotSet) {
        self.tally.lock().meter = Some(GapMeter::new(slots, self.began.elapsed()));
    }

    /// Lets every task finish its command, then tells what was seen.
    pub async fn stop(mut self) -> Tally {
        let write_gap = self.tally().write_gap;
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        Tally {
            write_gap,
            ..self.tally()
        }
    }
}
