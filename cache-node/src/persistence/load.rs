//! Loading a snapshot: one thread reads, others put the entries into their slots.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use cache_rdb::{Event, Header};
use tracing::{info, warn};

use crate::clock::{self, Millis};
use crate::node::Node;
use crate::slot::SlotId;
use crate::store::{AllLimits, Builder, Deadline, KeyHash, Store, Value};

use super::Progress;
use super::file::remove_leftovers;
use super::save::{AUX_HISTORY, AUX_OFFSET};
use crate::topology::NodeId;

/// Entries that are handed over at once, and how often that may wait to be put in.
const BATCH: usize = 256;
const WAITING: usize = 16;

/// Most threads that put entries in.
const MOST_THREADS: usize = 4;

/// Why a snapshot was not loaded. Some of it may be in the data set.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be opened.
    #[error("{path}: {error}")]
    Open {
        /// The file.
        path: String,
        /// Why not.
        error: io::Error,
    },
    /// What is in it cannot be loaded.
    #[error("{path}: {error}")]
    Content {
        /// The file.
        path: String,
        /// Where, and why not.
        error: cache_rdb::Error,
    },
    /// An append-only file, or its manifest, cannot be loaded.
    #[error("{path}: {reason}")]
    AppendOnly {
        /// The file.
        path: String,
        /// Where, and why not.
        reason: String,
    },
}

const TWICE: &str = "a key is there twice";

/// An entry that was read.
struct Loaded {
    key: Box<[u8]>,
    value: Value,
    deadline: Option<Millis>,
}

/// What kind of file is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A snapshot: what has expired since is left out.
    Snapshot,
    /// What the commands of an append-only file follow on: those decide what has expired.
    Base,
    /// The same, with those commands behind it in the file.
    Preamble,
}

/// A snapshot that was loaded.
pub(super) struct Snapshot {
    /// The history to which its data belong, and where in it they are exactly.
    pub(super) place: Option<(NodeId, u64)>,
}

/// What a file in the RDB format had beside its entries.
#[derive(Default)]
struct Facts {
    /// Entries that had expired and were left out.
    expired: u64,
    /// Where it ends.
    end: u64,
    history: Option<NodeId>,
    offset: Option<u64>,
}

/// Loads the snapshot that `dir` and `dbfilename` name, if there is one, into a data set that is empty.
///
/// # Errors
///
/// The file is damaged, or holds what cannot be held here. The data set is not whole then, and must not be served.
pub(super) fn load_snapshot(node: &Node) -> Result<Option<Snapshot>, LoadError> {
    let settings = node.config.snapshot();
    let path = settings.dir.join(&settings.dbfilename);
    match remove_leftovers(&path) {
        Ok(0) => {}
        Ok(files) => info!(files, "removed what was left of saves that did not end"),
        Err(error) => warn!(%error, "cannot look for what is left of saves that did not end"),
    }
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let path = path.display().to_string();
            return Err(LoadError::Open { path, error });
        }
    };
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let progress = node.persistence.progress();
    progress.bytes_total.store(length, Relaxed);
    let facts = load_file(node, &path, file, length, Role::Snapshot)?;
    let place = facts.history.zip(facts.offset);
    Ok(Some(Snapshot { place }))
}

/// Loads a file in the RDB format of `length` bytes; answers where it ends.
pub(super) fn load_rdb(
    node: &Node,
    path: &Path,
    input: impl Read,
    length: u64,
    role: Role,
) -> Result<u64, LoadError> {
    load_file(node, path, input, length, role).map(|facts| facts.end)
}

fn load_file(
    node: &Node,
    path: &Path,
    input: impl Read,
    length: u64,
    role: Role,
) -> Result<Facts, LoadError> {
    let began = std::time::Instant::now();
    let progress = node.persistence.progress();
    info!(path = %path.display(), bytes = length, "loading a snapshot");
    let input = Counted {
        input,
        progress: &progress,
    };
    let result = load(node, &node.store, input, role, &progress).and_then(|facts| {
        if facts.end < length && role != Role::Preamble {
            return Err(damaged(facts.end, "there is something behind the end"));
        }
        Ok(facts)
    });
    let facts = result.map_err(|error| LoadError::Content {
        path: path.display().to_string(),
        error,
    })?;
    let keys = progress.keys.load(Relaxed);
    let seconds = began.elapsed().as_secs_f64();
    info!(
        keys,
        expired = facts.expired,
        bytes = facts.end,
        seconds,
        "snapshot loaded"
    );
    Ok(facts)
}

/// Counts what is read.
struct Counted<'p, R> {
    input: R,
    progress: &'p Progress,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.progress.bytes.fetch_add(count as u64, Relaxed);
        Ok(count)
    }
}

fn damaged(offset: u64, what: &'static str) -> cache_rdb::Error {
    cache_rdb::Error {
        offset,
        reason: cache_rdb::Reason::Damaged(what),
    }
}

/// Puts what comes from another server in the RDB format into `store`, which is empty; what has expired is left to what follows. Answers
/// how many keys there are. The input may have been read beyond the end of the data.
///
/// # Errors
///
/// It is damaged, ends too early, or holds what cannot be held here.
pub fn receive(node: &Node, store: &Store, input: impl Read) -> Result<u64, cache_rdb::Error> {
    let progress = Progress::default();
    load(node, store, input, Role::Base, &progress)?;
    Ok(progress.keys.load(Relaxed))
}

fn load(
    node: &Node,
    store: &Store,
    input: impl Read,
    role: Role,
    progress: &Progress,
) -> Result<Facts, cache_rdb::Error> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (sender, receiver) = sync_channel::<Vec<Loaded>>(WAITING);
    let receiver = Arc::new(Mutex::new(receiver));
    let twice = AtomicBool::new(false);
    let facts = std::thread::scope(|scope| {
        for _ in 0..threads.min(MOST_THREADS) {
            let receiver = Arc::clone(&receiver);
            let twice = &twice;
            scope.spawn(move || put_all(node, store, &receiver, twice, progress));
        }
        drop(receiver);
        let mut loader = Loader {
            limits: node.config.get().all_limits(),
            horizon: if role == Role::Snapshot {
                clock::now()
            } else {
                0
            },
            building: None,
            batch: Vec::new(),
            facts: Facts::default(),
            sender,
        };
        loader.facts.end = cache_rdb::read(input, &mut |event| {
            if twice.load(Relaxed) {
                return Err(TWICE.to_owned());
            }
            loader.take(event)
        })?;
        loader.pass_on();
        Ok(loader.facts)
    })?;
    if twice.load(Relaxed) {
        return Err(damaged(facts.end, TWICE));
    }
    Ok(facts)
}

/// Puts entries into their slots as long as some come.
fn put_all(
    node: &Node,
    store: &Store,
    receiver: &Mutex<Receiver<Vec<Loaded>>>,
    twice: &AtomicBool,
    progress: &Progress,
) {
    let usage = node.eviction.usage(clock::now());
    loop {
        let next = {
            let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
            receiver.recv()
        };
        let Ok(batch) = next else {
            return;
        };
        progress.keys.fetch_add(batch.len() as u64, Relaxed);
        for entry in batch {
            let hash = KeyHash::of(&entry.key);
            let mut slot = store.lock_blocking(SlotId::of(&entry.key));
            if slot.find(&entry.key, hash).is_some() {
                twice.store(true, Relaxed);
                continue;
            }
            let meta = node.eviction.fresh(node.store.memory(), hash, &usage);
            let deadline = entry.deadline.map_or(Deadline::Never, Deadline::At);
            slot.insert(&entry.key, hash, entry.value, deadline, meta);
        }
        store.memory().publish();
    }
}

/// Makes entries from events.
struct Loader {
    limits: AllLimits,
    /// Entries with a deadline up to this time are left out.
    horizon: Millis,
    building: Option<Building>,
    batch: Vec<Loaded>,
    facts: Facts,
    sender: SyncSender<Vec<Loaded>>,
}

struct Building {
    key: Box<[u8]>,
    deadline: Option<Millis>,
    value: Builder,
}

impl Loader {
    fn take(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Aux(name, value) => {
                self.note(name, value);
                Ok(())
            }
            Event::Sizes { .. } | Event::Database(0) => Ok(()),
            Event::Database(number) => Err(format!(
                "database {number}: there is only database 0, as in a cluster"
            )),
            Event::Function(_) => Err("libraries of functions cannot be loaded yet".to_owned()),
            Event::ModuleAux(name) => {
                let module = String::from_utf8_lossy(&name).into_owned();
                warn!(module, "left out what a module wrote beside the keys");
                Ok(())
            }
            Event::Begin(header) => {
                self.begin(header);
                Ok(())
            }
            Event::End => {
                self.end();
                Ok(())
            }
            part => match &mut self.building {
                Some(building) => building.value.add(part).map_err(|why| {
                    format!("key '{}': {why}", String::from_utf8_lossy(&building.key))
                }),
                None => Err("a value without a key".to_owned()),
            },
        }
    }

    fn note(&mut self, name: &[u8], value: &[u8]) {
        let value = std::str::from_utf8(value).unwrap_or_default();
        if name == AUX_OFFSET.as_bytes() {
            self.facts.offset = value.parse().ok();
        } else if name == AUX_HISTORY.as_bytes() {
            self.facts.history = value.parse().ok();
            // What expires after that place in the history, the history says.
            self.horizon = 0;
        }
    }

    fn begin(&mut self, header: Header<'_>) {
        self.building = Some(Building {
            key: header.key.into(),
            deadline: header.deadline,
            value: Builder::new(header.kind, self.limits),
        });
    }

    fn end(&mut self) {
        let Some(building) = self.building.take() else {
            return;
        };
        if building
            .deadline
            .is_some_and(|deadline| deadline <= self.horizon)
        {
            self.facts.expired += 1;
            return;
        }
        if let Some(value) = building.value.finish() {
            self.batch.push(Loaded {
                key: building.key,
                value,
                deadline: building.deadline,
            });
        }
        if self.batch.len() == BATCH {
            self.pass_on();
        }
    }

    fn pass_on(&mut self) {
        // Threads that put entries in end only when this is gone.
        let _ = self.sender.send(std::mem::take(&mut self.batch));
    }
}
