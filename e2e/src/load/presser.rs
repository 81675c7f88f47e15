//! One task of a load: writes keys of its own, or reads any, until it is told to stop.

use std::sync::Arc;
use std::time::Instant;

use cache_node::slot::SlotId;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};
use redis::AsyncCommands;
use redis::cluster_async::ClusterConnection;
use tokio_util::sync::CancellationToken;

use super::{PADDING, Pressure, Tally, Workload, number_of};

pub(super) struct Presser {
    pub(super) work: Workload,
    pub(super) tally: Arc<Mutex<Tally>>,
    pub(super) began: Instant,
    pub(super) connection: ClusterConnection,
}

impl Presser {
    /// Presses as task number `task` until `stop`. A command that was begun is finished, so that its outcome is known.
    pub(super) async fn press(mut self, task: usize, pressure: Pressure, stop: CancellationToken) {
        let mut random = StdRng::seed_from_u64(task as u64);
        let keys = self.work.keys();
        while !stop.is_cancelled() {
            let key = random.random_range(0..keys);
            if task < pressure.writers {
                // A key has one writer: the one whose number it leaves as a remainder.
                let own = key - key % pressure.writers + task;
                if own < keys {
                    self.write(own).await;
                }
            } else {
                self.read(key).await;
            }
            tokio::time::sleep(pressure.pause).await;
        }
    }

    async fn write(&mut self, index: usize) {
        let Some(number) = self.work.ledger.lock().issue(index) else {
            return;
        };
        let key = self.work.key(index);
        match self
            .connection
            .set::<_, _, ()>(&key, format!("{number}{PADDING}"))
            .await
        {
            Ok(()) => {
                let now = self.began.elapsed();
                self.work.ledger.lock().acknowledge(index);
                let mut tally = self.tally.lock();
                tally.acknowledged_writes += 1;
                if let Some(meter) = &mut tally.meter {
                    meter.acknowledged(SlotId::of(key.as_bytes()), now);
                }
            }
            Err(error) => self.tally.lock().error("write", &key, &error),
        }
    }

    async fn read(&mut self, index: usize) {
        let key = self.work.key(index);
        let floor = self.work.ledger.lock().acknowledged(index);
        match self.connection.get::<_, Option<String>>(&key).await {
            Ok(value) => {
                let found = value.as_deref().and_then(number_of);
                let mut tally = self.tally.lock();
                tally.reads += 1;
                if found.unwrap_or(0) < floor {
                    tally.stale(&key, found, floor);
                }
            }
            Err(error) => self.tally.lock().error("read", &key, &error),
        }
    }
}
