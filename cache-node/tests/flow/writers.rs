//! Clients that write all the time and remember what was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::AsyncCommands;
use redis::cluster_async::ClusterConnection;
use tokio::task::JoinHandle;

/// Writers that run until [`Writers::stop`].
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    writes: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Record>>,
}

/// What one writer did to one key after the other.
pub(crate) struct Record {
    /// Key, last acknowledged number, last number tried.
    keys: Vec<(String, u64, u64)>,
    /// Longest time between two acknowledgements.
    gap: Duration,
    errors: Vec<String>,
}

/// All writers' records.
pub(crate) struct Records(Vec<Record>);

impl Writers {
    /// Starts writers; each sets numbers, ever greater ones, on its keys, which begin with `{tag}` when tags are given.
    pub(crate) fn start(client: &ClusterConnection, count: usize, tags: &[String]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let writes = Arc::new(AtomicU64::new(0));
        let tasks = (0..count)
            .map(|writer| {
                let keys = (0..40)
                    .map(|number| match tags {
                        [] => format!("w{writer}:{number}"),
                        tags => {
                            format!("{{{}}}:{writer}:{number}", tags[number % tags.len()])
                        }
                    })
                    .collect();
                tokio::spawn(write(client.clone(), keys, stop.clone(), writes.clone()))
            })
            .collect();
        Self {
            stop,
            writes,
            tasks,
        }
    }

    /// Number of acknowledged writes so far.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Ends the writers.
    pub(crate) async fn stop(self) -> Records {
        self.stop.store(true, Ordering::Relaxed);
        let mut records = Vec::new();
        for task in self.tasks {
            records.push(task.await.expect("no panic"));
        }
        Records(records)
    }
}

async fn write(
    mut client: ClusterConnection,
    keys: Vec<String>,
    stop: Arc<AtomicBool>,
    writes: Arc<AtomicU64>,
) -> Record {
    let mut record = Record {
        keys: keys.into_iter().map(|key| (key, 0, 0)).collect(),
        gap: Duration::ZERO,
        errors: Vec::new(),
    };
    let mut last = Instant::now();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let at = number as usize % record.keys.len();
        let (key, acknowledged, tried) = &mut record.keys[at];
        *tried = number;
        match client.set::<_, _, ()>(key.as_str(), number).await {
            Ok(()) => {
                *acknowledged = number;
                writes.fetch_add(1, Ordering::Relaxed);
                record.gap = record.gap.max(last.elapsed());
                last = Instant::now();
            }
            Err(error) => record.errors.push(error.to_string()),
        }
    }
    record
}

impl Records {
    /// Longest time for which a writer had no acknowledgement.
    pub(crate) fn gap(&self) -> Duration {
        self.0
            .iter()
            .map(|record| record.gap)
            .max()
            .unwrap_or_default()
    }

    /// Errors that clients saw.
    pub(crate) fn errors(&self) -> Vec<&String> {
        self.0.iter().flat_map(|record| &record.errors).collect()
    }

    /// Panics when a value is there that nobody wrote to its key. Says how many keys miss their last acknowledged write, which may be
    /// when a primary has died before a replica had it.
    pub(crate) async fn verify_but_the_last(&self, client: &mut ClusterConnection) {
        let mut lost = 0;
        for record in &self.0 {
            let step = record.keys.len() as u64;
            for (key, acknowledged, tried) in &record.keys {
                let value: Option<u64> = client.get(key).await.expect("GET");
                let value = value.unwrap_or(0);
                let written = value == 0 || value <= *tried && value % step == tried % step;
                assert!(written, "{key} is {value}, which was not written");
                lost += u32::from(value < *acknowledged);
            }
        }
        println!("{lost} keys miss their last acknowledged write");
    }

    /// Panics when an acknowledged write is not there, or one that nobody made is.
    pub(crate) async fn verify(&self, client: &mut ClusterConnection) {
        for (key, acknowledged, tried) in self.0.iter().flat_map(|record| &record.keys) {
            let value: Option<u64> = client.get(key).await.expect("GET");
            let value = value.unwrap_or(0);
            assert!(
                (*acknowledged..=*tried).contains(&value),
                "{key} is {value}, but {acknowledged} was acknowledged (and {tried} tried)"
            );
        }
    }
}
