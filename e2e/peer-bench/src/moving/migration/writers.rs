//! Clients of a cluster that write to the slots that move, one write at a time, wherever the cluster sends them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::super::data::Data;
use super::cluster::Cluster;
use super::{LAST, hash_slot};
use crate::client::Client;
use crate::cpu::{self, Cores};
use crate::generator::keys::Keys;

/// How many there are: enough to keep a node busy, and so few that they do not wait for each other much where they share a core.
const WRITERS: usize = 8;
/// A write that is not done in so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// A slot that cannot be served now is asked for again so much later.
const AGAIN: Duration = Duration::from_millis(1);

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    writes: AtomicU64,
    longest: Mutex<Duration>,
}

/// Threads that write.
pub(super) struct Writers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Writers {
    pub(super) fn start(cluster: &Cluster, data: Data, cores: &Cores) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let start = |_| {
            let mut writer = Writer {
                nodes: [
                    Node::connect(cluster.source.address)?,
                    Node::connect(cluster.target.address)?,
                ],
                at_target: vec![false; usize::from(LAST) + 1],
                keys: Keys::uniform(data.keys),
                value: "v".repeat(data.value),
            };
            let (shared, cores) = (Arc::clone(&shared), cores.clone());
            Ok(thread::spawn(move || {
                cpu::pin_this_thread(&cores)?;
                writer.write_on(&shared)
            }))
        };
        let threads = (0..WRITERS).map(start).collect::<Result<_>>()?;
        Ok(Self { shared, threads })
    }

    /// Writes that were done.
    pub(super) fn count(&self) -> u64 {
        self.shared.writes.load(Relaxed)
    }

    /// The longest that one took, of those done since this was last asked.
    pub(super) fn take_longest(&self) -> Duration {
        std::mem::take(&mut *self.shared.longest())
    }

    /// Ends them.
    pub(super) fn end(self) -> Result<()> {
        self.shared.stopped.store(true, Relaxed);
        let join = |thread: JoinHandle<Result<()>>| {
            thread
                .join()
                .unwrap_or_else(|_| Err(anyhow!("a thread that writes panicked")))
        };
        self.threads.into_iter().try_for_each(join)
    }
}

impl Shared {
    fn longest(&self) -> std::sync::MutexGuard<'_, Duration> {
        self.longest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Node {
    port: String,
    client: Client,
}

impl Node {
    fn connect(address: SocketAddr) -> Result<Self> {
        Ok(Self {
            port: address.port().to_string(),
            client: Client::connect(address)?,
        })
    }
}

/// What a node answered to a write.
enum Answer {
    Done,
    /// The slot is another node's, once or for good.
    Elsewhere {
        node: usize,
        moved: bool,
    },
    /// Not now.
    Later,
}

struct Writer {
    nodes: [Node; 2],
    /// Whether a slot was last seen at the target.
    at_target: Vec<bool>,
    keys: Keys,
    value: String,
}

impl Writer {
    fn write_on(&mut self, shared: &Shared) -> Result<()> {
        while !shared.stopped.load(Relaxed) {
            let key = Data::key(self.keys.draw().context("no key")?);
            let slot = hash_slot::of(key.as_bytes());
            if slot > LAST {
                continue;
            }
            let began = Instant::now();
            self.write(&key, usize::from(slot))
                .with_context(|| format!("write to slot {slot}"))?;
            let took = began.elapsed();
            shared.writes.fetch_add(1, Relaxed);
            let mut longest = shared.longest();
            *longest = took.max(*longest);
        }
        Ok(())
    }

    fn write(&mut self, key: &str, slot: usize) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        let mut node = usize::from(self.at_target[slot]);
        let mut asking = false;
        while Instant::now() < end {
            match self.try_write(node, asking, key)? {
                Answer::Done => return Ok(()),
                Answer::Elsewhere { node: other, moved } => {
                    if moved {
                        self.at_target[slot] = other == 1;
                    }
                    asking = !moved;
                    node = other;
                }
                Answer::Later => {
                    thread::park_timeout(AGAIN);
                    node = usize::from(self.at_target[slot]);
                    asking = false;
                }
            }
        }
        bail!("not done in {} s", PATIENCE.as_secs());
    }

    fn try_write(&mut self, node: usize, asking: bool, key: &str) -> Result<Answer> {
        let client = &mut self.nodes[node].client;
        if asking {
            client.ask(&["ASKING"])?;
        }
        let Err(error) = client.ask(&["SET", key, &self.value]) else {
            return Ok(Answer::Done);
        };
        let text = error.to_string();
        let mut words = text.split(' ');
        match words.next() {
            Some(code @ ("-MOVED" | "-ASK")) => {
                let address = words.nth(1).unwrap_or_default();
                let port = address.rsplit(':').next().unwrap_or_default();
                let node = self.nodes.iter().position(|node| node.port == port);
                Ok(Answer::Elsewhere {
                    node: node.with_context(|| text.clone())?,
                    moved: code == "-MOVED",
                })
            }
            Some("-TRYAGAIN" | "-CLUSTERDOWN") => Ok(Answer::Later),
            _ => Err(error),
        }
    }
}
