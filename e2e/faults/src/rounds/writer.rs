//! A client that writes to one shard at a steady pace, each time another key, so that every lost write can be told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cache_node::slot::{SlotId, SlotSet};
use e2e::load::GapMeter;
use parking_lot::Mutex;
use redis::FromRedisValue;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::client::{Attempt, Client, Patience, Seeds};
use crate::wait::{PATIENCE, until};

/// Keys in one question.
pub(super) const BATCH: usize = 500;
/// Less than any gap that is worth a word: what is measured must be the cluster's.
const WRITER: Patience = Patience {
    connection: Duration::from_millis(50),
    answer: Duration::from_millis(100),
    retry: Duration::from_millis(100),
};
/// Whoever only counts has time.
const READER: Patience = Patience {
    connection: Duration::from_millis(250),
    answer: PATIENCE,
    retry: Duration::from_millis(250),
};
/// From one write to the next. As fast as they can, clients would take the processors from the nodes.
const PACE: Duration = Duration::from_millis(1);

/// A client under way.
pub(super) struct Writer {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    seeds: Seeds,
    tag: String,
    slot: SlotId,
    began: Instant,
    stop: AtomicBool,
    errors: AtomicUsize,
    acknowledged: Mutex<Vec<usize>>,
    meter: Mutex<Option<GapMeter>>,
}

/// What the client has seen.
pub(super) struct Seen {
    pub(super) gap: Duration,
    pub(super) lost: usize,
    pub(super) errors: usize,
}

impl Writer {
    pub(super) fn start(seeds: &Seeds, (tag, slot): (String, SlotId)) -> Self {
        let shared = Arc::new(Shared {
            seeds: Arc::clone(seeds),
            tag,
            slot,
            began: Instant::now(),
            stop: AtomicBool::new(false),
            errors: AtomicUsize::new(0),
            acknowledged: Mutex::new(vec![]),
            meter: Mutex::new(None),
        });
        let client = Client::new(Arc::clone(seeds), WRITER);
        let task = tokio::spawn(write(client, Arc::clone(&shared)));
        Self { shared, task }
    }

    /// Waits for so many acknowledgements from now on.
    pub(super) async fn gets_on(&self, more: usize) -> Result<()> {
        let count = || self.shared.acknowledged.lock().len();
        let before = count();
        until("a client gets on with its writes", async || {
            let done = count() - before;
            if done < more {
                return Err(format!("{done} writes of {more}"));
            }
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// The keys whose writes have been acknowledged.
    pub(super) fn acknowledged(&self) -> Vec<String> {
        let numbers = self.shared.acknowledged.lock();
        let keys = numbers.iter().map(|number| self.shared.key(*number));
        keys.collect()
    }

    /// Measures from now on for how long nothing is acknowledged, and counts errors.
    pub(super) fn measure(&self) {
        let mut slots = SlotSet::new();
        slots.insert(self.shared.slot);
        let meter = GapMeter::new(slots, self.shared.began.elapsed());
        self.shared.errors.store(0, Ordering::Relaxed);
        *self.shared.meter.lock() = Some(meter);
    }

    /// Ends the client, looks for everything that was acknowledged, and removes it.
    pub(super) async fn stop(self) -> Result<Seen> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.task.await.context("a client has panicked")?;
        let shared = self.shared;
        let mut client = Client::new(Arc::clone(&shared.seeds), READER);
        let meter = shared.meter.lock().take().context("nothing was measured")?;
        let errors = shared.errors.load(Ordering::Relaxed);
        let numbers = std::mem::take(&mut *shared.acknowledged.lock());
        let mut lost = 0;
        for batch in numbers.chunks(BATCH) {
            let keys: Vec<String> = batch.iter().map(|number| shared.key(*number)).collect();
            // A key that is named twice counts twice, and none is.
            let there = shared.count(&mut client, "EXISTS", &keys).await?;
            lost += batch.len() - there;
            shared.count(&mut client, "UNLINK", &keys).await?;
        }
        Ok(Seen {
            // Its last acknowledgement was long after the fault.
            gap: meter.widest(Duration::ZERO),
            lost,
            errors,
        })
    }
}

async fn write(mut client: Client, shared: Arc<Shared>) {
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for number in 0_usize.. {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let mut command = redis::cmd("SET");
        command.arg(shared.key(number)).arg(number);
        match client.attempt(shared.slot, &command).await {
            Attempt::Answered { .. } => {
                let now = shared.began.elapsed();
                if let Some(meter) = &mut *shared.meter.lock() {
                    meter.acknowledged(shared.slot, now);
                }
                shared.acknowledged.lock().push(number);
                pace.tick().await;
            }
            // Clients follow it by themselves.
            Attempt::Refused(code) if code == "MOVED" => {}
            Attempt::Refused(_) | Attempt::Unknown(_) => {
                shared.errors.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Shared {
    fn key(&self, number: usize) -> String {
        format!("{{{}}}{number}", self.tag)
    }

    /// The number that a command on many keys answers.
    async fn count(&self, client: &mut Client, name: &str, keys: &[String]) -> Result<usize> {
        let mut command = redis::cmd(name);
        command.arg(keys);
        match client.insist(self.slot, &command, PATIENCE).await {
            Attempt::Answered { value, .. } => Ok(usize::from_redis_value_ref(&value)?),
            other => bail!("{name}: {other:?}"),
        }
    }
}
