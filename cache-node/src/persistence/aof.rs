//! The append-only file: every effect of the log on the disk, in redis-server's format.
//!
//! It consists of a base, which is a snapshot of one moment, and incremental files with the commands since; a manifest says which are in
//! force. One thread, the [`writer`], owns the files: it has a cursor on the log, appends what it reads, sends it to the disk, and puts
//! new bases in force, which other threads write. It must never miss a record, and never say that something is on the disk before
//! it is. Workers never wait for the disk themselves: connections hold their replies back, or try a command again.

mod annotation;
mod disk;
mod layout;
mod load;
mod manifest;
mod metrics;
mod pending;
mod place;
mod reader;
mod rewrite;
mod segment;
#[cfg(test)]
mod simulated;
mod start;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::mpsc::SyncSender;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::config::{AppendFsync, Settings};
use crate::node::Node;

use super::Progress;
use disk::{Disk, RealDisk};
use metrics::Metrics;

use rewrite::Kind;
pub(super) use rewrite::Rewrites;

/// The append-only file of this node, as those know it who do not write it.
pub struct Aof {
    disk: Arc<dyn Disk>,
    /// Commands that write wait while the log's end is beyond this; `u64::MAX` while there is no writer.
    limit: AtomicU64,
    /// Whether replies to writes are held back until those are on the disk.
    holds: AtomicBool,
    /// Whether what is on the disk is whole, and grows with the log.
    in_force: AtomicBool,
    /// Whether a first base is wanted, or one in place of files that are of no use any more.
    needs_base: AtomicBool,
    /// The log's offset up to which everything is written.
    written: AtomicU64,
    /// The log's offset up to which everything is on the disk.
    synced: AtomicU64,
    /// Somebody waits until everything up to here is on the disk.
    wanted: AtomicU64,
    /// An fsync is under way.
    syncing: AtomicBool,
    /// Bytes of all files in force.
    size: AtomicU64,
    /// Bytes that they had after the last rewrite, or at the start.
    base_size: AtomicU64,
    /// `written` or `synced` has moved.
    moved: Notify,
    /// The writer has something to look at beside the log.
    poke: Notify,
    orders: Mutex<Orders>,
    /// Why nothing can be written now.
    trouble: Mutex<Option<String>>,
    /// Whether there is a writer.
    running: AtomicBool,
    /// Counters.
    pub metrics: Metrics,
}

/// What the writer is asked to do.
#[derive(Default)]
struct Orders {
    cut: Option<Cut>,
    base: Option<Base>,
    /// The base whose cut was given does not come.
    give_up: bool,
    /// Go on without the files in force: they are about another history.
    abandon: bool,
    /// End; told whether everything is on the disk.
    end: Option<oneshot::Sender<bool>>,
}

/// The moment of a new base.
struct Cut {
    /// The log's offset.
    offset: u64,
    kind: Kind,
    progress: Arc<Progress>,
}

/// A base that is written and on the disk, under another name.
struct Base {
    bytes: u64,
    /// Told what became of it.
    done: SyncSender<Result<(), String>>,
}

/// What `INFO` and the metrics say.
#[derive(Clone, Debug)]
pub struct AofReport {
    /// Whether what is on the disk is whole, and grows with the log.
    pub in_force: bool,
    /// Bytes of all files.
    pub size: u64,
    /// Bytes of all files after the last rewrite.
    pub base_size: u64,
    /// Bytes of the log that are not written yet.
    pub behind: u64,
    /// Bytes of the log that are not on the disk yet.
    pub unsynced: u64,
    /// An fsync is under way.
    pub syncing: bool,
    /// Why nothing can be written now.
    pub trouble: Option<String>,
    /// Times that a command waited because the file was far behind.
    pub delayed: u64,
}

impl Default for Aof {
    fn default() -> Self {
        Self::on(Arc::new(RealDisk))
    }
}

impl Aof {
    /// On this disk.
    fn on(disk: Arc<dyn Disk>) -> Self {
        Self {
            disk,
            limit: AtomicU64::new(u64::MAX),
            holds: AtomicBool::new(false),
            in_force: AtomicBool::new(false),
            needs_base: AtomicBool::new(false),
            written: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            wanted: AtomicU64::new(0),
            syncing: AtomicBool::new(false),
            size: AtomicU64::new(0),
            base_size: AtomicU64::new(0),
            moved: Notify::new(),
            poke: Notify::new(),
            orders: Mutex::default(),
            trouble: Mutex::default(),
            running: AtomicBool::new(false),
            metrics: Metrics::default(),
        }
    }

    /// Whether replies to writes are held back until those are on the disk.
    #[inline]
    pub fn holds(&self) -> bool {
        self.holds.load(Relaxed)
    }

    /// Whether commands that write should wait, because too much of the log is not written yet.
    #[inline]
    pub fn is_behind(&self, node: &Node) -> bool {
        let limit = self.limit.load(Relaxed);
        limit != u64::MAX && node.log.end() > limit
    }

    /// Resolves when that seems to be over.
    pub async fn has_room(&self, node: &Node) {
        let moved = self.moved.notified();
        tokio::pin!(moved);
        moved.as_mut().enable();
        self.metrics.delayed.inc();
        self.poke.notify_one();
        if self.is_behind(node) {
            moved.await;
        }
    }

    /// Whether what is on the disk is whole, and grows with the log.
    pub fn is_in_force(&self) -> bool {
        self.in_force.load(SeqCst)
    }

    /// Whether everything up to this offset of the log is on the disk.
    pub fn is_synced(&self, offset: u64) -> bool {
        self.synced.load(SeqCst) >= offset
    }

    /// The offset of the log up to which everything is on the disk; `None` while what is there is not whole.
    pub fn synced_to(&self) -> Option<u64> {
        let synced = self.synced.load(SeqCst);
        let whole = self.is_in_force() && !self.needs_base.load(SeqCst);
        (whole && synced != u64::MAX).then_some(synced)
    }

    /// Resolves when more than up to this offset of the log is on the disk.
    pub async fn synced_beyond(&self, offset: u64) {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if self.synced_to().is_some_and(|synced| synced > offset) {
                return;
            }
            moved.await;
        }
    }

    /// Resolves when everything up to this offset of the log is on the disk; it is sent there now.
    pub async fn synced(&self, offset: u64) {
        self.wanted.fetch_max(offset, SeqCst);
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if self.is_synced(offset) {
                return;
            }
            self.poke.notify_one();
            moved.await;
        }
    }

    /// Takes over what the settings say.
    fn adopt(&self, settings: &Settings) {
        let holds = settings.appendfsync == AppendFsync::Always && self.is_in_force();
        self.holds.store(holds, SeqCst);
        self.poke.notify_one();
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders.lock());
        self.poke.notify_one();
    }

    /// Whether there is a writer.
    fn runs(&self) -> bool {
        self.running.load(SeqCst)
    }

    /// Why nothing can be written now.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// What there is to say.
    pub fn report(&self, node: &Node) -> AofReport {
        let end = node.log.end();
        let runs = self.runs();
        let since = |offset: &AtomicU64| {
            if runs {
                end.saturating_sub(offset.load(SeqCst))
            } else {
                0
            }
        };
        AofReport {
            in_force: self.is_in_force(),
            size: self.size.load(Relaxed),
            base_size: self.base_size.load(Relaxed),
            behind: since(&self.written),
            unsynced: since(&self.synced),
            syncing: self.syncing.load(Relaxed),
            trouble: self.trouble(),
            delayed: self.metrics.delayed.get(),
        }
    }
}
