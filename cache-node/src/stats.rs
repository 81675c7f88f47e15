//! Counters. Each worker has its own, which it alone writes; readers add them up.

mod durations;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use crate::command::commands;

pub use durations::{BOUNDS_MICROS, Durations, Spread};

/// A counter that one thread writes and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds, from the one thread that writes.
    pub fn add(&self, amount: u64) {
        self.0.store(self.get().wrapping_add(amount), Relaxed);
    }

    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn reset(&self) {
        self.0.store(0, Relaxed);
    }
}

/// What is counted for a command.
#[derive(Debug, Default)]
pub struct CommandStats {
    /// Times it was called.
    pub calls: Counter,
    /// Nanoseconds that it took in all.
    pub nanos: Counter,
    /// Times it answered an error.
    pub failed: Counter,
}

/// What a command did to the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Keys that it read and found.
    pub hits: u64,
    /// Keys that it read and did not find.
    pub misses: u64,
    /// Keys that it removed because they had expired.
    pub expired: u64,
    /// Changes that it made.
    pub changes: u64,
    /// Bytes of effects that nobody reads; the log's offset moves by them.
    pub unread: usize,
}

impl Tally {
    /// Counts a key that is read.
    pub fn count(&mut self, found: bool) {
        if found {
            self.hits += 1;
        } else {
            self.misses += 1;
        }
    }
}

/// Counters of one worker.
#[derive(Debug)]
pub struct WorkerStats {
    commands: Box<[CommandStats]>,
    /// Lookups by reading commands that found a key.
    pub hits: Counter,
    /// Lookups by reading commands that found none.
    pub misses: Counter,
    /// Keys removed because they had expired.
    pub expired: Counter,
    /// Changes made to keys; never reset.
    pub changes: Counter,
    /// Bytes read from clients.
    pub bytes_in: Counter,
    /// Bytes written to clients.
    pub bytes_out: Counter,
    /// How long its tasks kept its thread from the others.
    pub stalls: Durations,
    /// Connections that it serves now.
    pub connections: AtomicU64,
    /// When its housekeeping last ran, in milliseconds since the epoch; 0: never.
    pub last_round: AtomicU64,
}

impl Default for WorkerStats {
    fn default() -> Self {
        Self::new()
    }
}

impl WorkerStats {
    /// All zero.
    pub fn new() -> Self {
        Self {
            commands: commands()
                .all()
                .iter()
                .map(|_| CommandStats::default())
                .collect(),
            hits: Counter::default(),
            misses: Counter::default(),
            expired: Counter::default(),
            changes: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            stalls: Durations::default(),
            connections: AtomicU64::new(0),
            last_round: AtomicU64::new(0),
        }
    }

    /// Counts what a command looked up.
    #[inline]
    pub fn count_lookups(&self, tally: Tally) {
        for (counter, amount) in [
            (&self.hits, tally.hits),
            (&self.misses, tally.misses),
            (&self.expired, tally.expired),
            (&self.changes, tally.changes),
        ] {
            if amount > 0 {
                counter.add(amount);
            }
        }
    }

    /// Counts keys removed because they had expired.
    pub fn count_expired(&self, keys: u64) {
        if keys > 0 {
            self.expired.add(keys);
        }
    }

    /// Counts calls of the command with this place in the list.
    pub fn count_calls(&self, id: usize, calls: u64, took: Duration) {
        if let Some(command) = self.commands.get(id) {
            command.calls.add(calls);
            command.nanos.add(took.as_nanos() as u64);
        }
    }

    /// Counts an error that the command answered.
    pub fn count_failure(&self, id: usize) {
        if let Some(command) = self.commands.get(id) {
            command.failed.add(1);
        }
    }

    fn reset(&self) {
        for command in &self.commands {
            command.calls.reset();
            command.nanos.reset();
            command.failed.reset();
        }
        for counter in [
            &self.hits,
            &self.misses,
            &self.expired,
            &self.bytes_in,
            &self.bytes_out,
        ] {
            counter.reset();
        }
        self.stalls.reset();
    }
}

/// Totals of one command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandTotals {
    /// Times it was called.
    pub calls: u64,
    /// Nanoseconds that it took in all.
    pub nanos: u64,
    /// Times it answered an error.
    pub failed: u64,
}

/// Counters of the process.
#[derive(Debug, Default)]
pub struct Stats {
    workers: Mutex<Vec<Arc<WorkerStats>>>,
    errors: Mutex<BTreeMap<String, u64>>,
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections refused because of `maxclients`.
    pub refused: AtomicU64,
    /// Keys evicted.
    pub evicted: AtomicU64,
    /// Commands a second, over the last few seconds.
    pub rate: AtomicU64,
}

/// Most error codes that are told apart.
const MAX_ERROR_CODES: usize = 128;

impl Stats {
    /// Makes a worker's counters part of the totals.
    pub fn register(&self, worker: &Arc<WorkerStats>) {
        self.workers.lock().push(Arc::clone(worker));
    }

    /// The workers' counters.
    pub fn workers(&self) -> Vec<Arc<WorkerStats>> {
        self.workers.lock().clone()
    }

    /// A sum over all workers.
    pub fn sum(&self, counter: impl Fn(&WorkerStats) -> u64) -> u64 {
        self.workers
            .lock()
            .iter()
            .map(|worker| counter(worker))
            .sum()
    }

    /// Totals of each command, in the order of the list of all commands.
    pub fn command_totals(&self) -> Vec<CommandTotals> {
        let mut totals = vec![CommandTotals::default(); commands().all().len()];
        for worker in self.workers.lock().iter() {
            for (total, command) in totals.iter_mut().zip(&worker.commands) {
                total.calls += command.calls.get();
                total.nanos += command.nanos.get();
                total.failed += command.failed.get();
            }
        }
        totals
    }

    /// Keys removed because they had expired.
    pub fn expired_keys(&self) -> u64 {
        self.sum(|worker| worker.expired.get())
    }

    /// How long tasks kept their workers' threads.
    pub fn stalls(&self) -> Spread {
        let mut sum = Spread::default();
        for worker in self.workers.lock().iter() {
            sum.add(&worker.stalls.spread());
        }
        sum
    }

    /// Changes made to keys since the process began.
    pub fn changes(&self) -> u64 {
        self.sum(|worker| worker.changes.get())
    }

    /// Commands executed.
    pub fn total_calls(&self) -> u64 {
        self.command_totals().iter().map(|total| total.calls).sum()
    }

    /// Counts an error by the code that its text begins with.
    pub fn count_error(&self, text: &str) {
        let code = text.split(' ').next().unwrap_or_default();
        let mut errors = self.errors.lock();
        if let Some(count) = errors.get_mut(code) {
            *count += 1;
        } else if errors.len() < MAX_ERROR_CODES {
            errors.insert(code.to_owned(), 1);
        }
    }

    /// Errors answered, by code.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        self.errors.lock().clone()
    }

    /// Sets everything to zero (`CONFIG RESETSTAT`).
    pub fn reset(&self) {
        self.workers.lock().iter().for_each(|worker| worker.reset());
        self.errors.lock().clear();
        for counter in [&self.connections, &self.refused, &self.evicted] {
            counter.store(0, Relaxed);
        }
    }
}
