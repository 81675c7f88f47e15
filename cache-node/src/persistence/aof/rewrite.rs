//! New bases: who writes one, when, and what comes of it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use crate::clock;
use crate::node::Node;
use crate::persistence::save::{Purpose, SaveError, write_snapshot};
use crate::persistence::{NotBegun, Persistence, Progress};

use super::disk::Disk;
use super::layout::Layout;
use super::{Base, Cut};

/// After a rewrite that failed, the next one waits so long, and twice as long after each further one.
const RETRY: Duration = Duration::from_secs(2);

/// But no longer than this.
const MOST_RETRY: Duration = Duration::from_secs(300);

/// Bytes after which what was written is sent to the disk, so that not all of it is left for the end.
const SYNC_EVERY: u64 = 32 << 20;

/// What a new base is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::persistence) enum Kind {
    /// To make the files in force shorter.
    Rewrite,
    /// To have files in force, where there are none or they are of no use.
    Found,
}

/// What became of rewrites.
#[derive(Default)]
pub(in crate::persistence) struct Rewrites {
    /// The one that goes on.
    pub(in crate::persistence) running: Option<Arc<Progress>>,
    /// Another follows when the walk that goes on is over.
    pub(in crate::persistence) scheduled: bool,
    /// Whether the last one succeeded, and how long it took.
    last: Option<(bool, Duration)>,
    /// Those that failed since one succeeded.
    failures: u32,
    /// When the last one ended, in milliseconds since the epoch.
    ended: u64,
}

impl Rewrites {
    /// Whether the last one succeeded; so it is when there was none.
    pub(in crate::persistence) fn last_ok(&self) -> bool {
        self.last.is_none_or(|(ok, _)| ok)
    }

    /// How long the last one took.
    pub(in crate::persistence) fn last_took(&self) -> Option<Duration> {
        self.last.map(|(_, took)| took)
    }

    /// One has failed, and it was not long ago.
    fn must_wait(&self) -> bool {
        let Some(earlier) = self.failures.checked_sub(1) else {
            return false;
        };
        let wait = (RETRY * 2_u32.saturating_pow(earlier.min(16))).min(MOST_RETRY);
        clock::now().saturating_sub(self.ended) < wait.as_millis() as u64
    }
}

impl Persistence {
    /// `BGREWRITEAOF`: begins a rewrite of the append-only file, or has it follow the save that runs; false then.
    ///
    /// # Errors
    ///
    /// There is no append-only file, a rewrite already, or no thread.
    pub fn rewrite_aof(&self, node: &Arc<Node>) -> Result<bool, NotBegun> {
        if !self.aof.is_in_force() {
            return Err(NotBegun::NoAof);
        }
        match self.begin_rewrite(node) {
            Err(NotBegun::Running) => {
                self.state.lock().rewrites.scheduled = true;
                Ok(false)
            }
            begun => begun.map(|()| true),
        }
    }

    /// Begins what is due by itself: a first base, a rewrite because the files have grown, or one that was scheduled.
    pub(in crate::persistence) fn keep_aof(&self, node: &Arc<Node>) {
        let aof = &self.aof;
        if aof.runs() != node.config.get().appendonly {
            self.adopt(node);
        }
        if !aof.runs() || node.is_loading() {
            return;
        }
        let (busy, waits, scheduled) = {
            let state = self.state.lock();
            let rewrites = &state.rewrites;
            let busy = state.saving.is_some() || rewrites.running.is_some();
            (busy, rewrites.must_wait(), rewrites.scheduled)
        };
        if busy || waits && !scheduled {
            return;
        }
        let settings = node.config.get();
        let report = aof.report(node);
        let percent = settings.auto_aof_rewrite_percentage;
        let grown = report.size.saturating_sub(report.base_size) * 100 / report.base_size.max(1);
        let due = percent > 0
            && grown >= percent
            && report.size >= settings.auto_aof_rewrite_min_size as u64
            && report.trouble.is_none();
        if !due && !scheduled && !self.needs_base() {
            return;
        }
        if due {
            info!(
                bytes = report.size,
                grown_by_percent = grown,
                "the append-only file has grown, and is rewritten"
            );
        }
        if let Err(error) = self.begin_rewrite(node) {
            error!(%error, "rewrite of the append-only file not begun");
        }
    }

    /// Whether a new base is wanted that is not one of the files in force made shorter.
    fn needs_base(&self) -> bool {
        self.aof.needs_base.load(SeqCst)
    }

    /// Begins a new base on a thread of its own.
    pub(in crate::persistence) fn begin_rewrite(&self, node: &Arc<Node>) -> Result<(), NotBegun> {
        let kind = if self.needs_base() {
            Kind::Found
        } else {
            Kind::Rewrite
        };
        let progress = Arc::new(Progress::beginning());
        {
            let mut state = self.state.lock();
            if state.rewrites.running.is_some() {
                return Err(NotBegun::Rewriting);
            }
            if state.saving.is_some() {
                return Err(NotBegun::Running);
            }
            state.rewrites.running = Some(Arc::clone(&progress));
            state.rewrites.scheduled = false;
        }
        let rewritten = Arc::clone(node);
        let started = std::thread::Builder::new()
            .name("rewrite".to_owned())
            .spawn(move || {
                let persistence = &rewritten.persistence;
                persistence.rewrite(&rewritten, kind, &progress);
            });
        started.map(drop).map_err(|error| {
            error!(%error, "no thread for a rewrite of the append-only file");
            self.state.lock().rewrites.running = None;
            self.ended.notify_waiters();
            NotBegun::NoThread
        })
    }

    /// Gives up the rewrite that runs and the one that is to follow.
    pub(in crate::persistence) fn cancel_rewrite(&self) {
        let mut state = self.state.lock();
        state.rewrites.scheduled = false;
        if let Some(progress) = &state.rewrites.running {
            progress.cancel();
        }
    }

    /// The thread of a rewrite.
    pub(super) fn rewrite(&self, node: &Arc<Node>, kind: Kind, progress: &Arc<Progress>) {
        let began = Instant::now();
        let result = new_base(node, kind, progress);
        let took = began.elapsed();
        let ok = result.is_ok();
        let failed = !ok && !matches!(result, Err(SaveError::Cancelled));
        let save = {
            let mut state = self.state.lock();
            let rewrites = &mut state.rewrites;
            rewrites.running = None;
            rewrites.last = Some((ok, took));
            rewrites.ended = clock::now();
            rewrites.failures = if ok {
                0
            } else {
                rewrites.failures + u32::from(failed)
            };
            std::mem::take(&mut state.scheduled)
        };
        let metrics = &self.aof.metrics;
        match result {
            Ok(bytes) => {
                metrics.rewrites.inc();
                info!(
                    bytes,
                    seconds = took.as_secs_f64(),
                    "the append-only file has a new base"
                );
            }
            Err(error) => {
                metrics.failed_rewrites.inc();
                warn!(%error, "the append-only file has no new base");
            }
        }
        self.ended.notify_waiters();
        if save && let Err(error) = self.begin_save(node) {
            error!(%error, "scheduled save not begun");
        }
        // A first base, or one that was asked for meanwhile.
        self.keep_aof(node);
    }
}

/// Writes a base and has it put in force. Answers its bytes.
fn new_base(node: &Arc<Node>, kind: Kind, progress: &Arc<Progress>) -> Result<u64, SaveError> {
    let aof = &node.persistence.aof;
    let layout = Layout::new(&node.config.get());
    let disk = aof.disk.as_ref();
    let path = layout.new_base();
    let placed = write_base(node, kind, progress, disk, &path).and_then(|bytes| {
        let (done, placed) = sync_channel(1);
        aof.order(|orders| orders.base = Some(Base { bytes, done }));
        match placed.recv() {
            Ok(Ok(())) => Ok(bytes),
            Ok(Err(why)) => Err(SaveError::Io(io::Error::other(why))),
            Err(_) => Err(SaveError::Cancelled),
        }
    });
    placed.inspect_err(|_| {
        aof.order(|orders| {
            orders.cut = None;
            orders.base = None;
            orders.give_up = true;
        });
        // What cannot be removed is written over by the next one, or removed at the next start.
        let _ = disk.remove(&path);
    })
}

fn write_base(
    node: &Node,
    kind: Kind,
    progress: &Arc<Progress>,
    disk: &dyn Disk,
    path: &Path,
) -> Result<u64, SaveError> {
    let mut file = disk.create(path)?;
    let mut unsynced = 0;
    let cut = |offset| {
        node.persistence.aof.order(|orders| {
            orders.cut = Some(Cut {
                offset,
                kind,
                progress: Arc::clone(progress),
            });
        });
    };
    let mut write = |bytes: &[u8]| {
        file.write(bytes)?;
        unsynced += bytes.len() as u64;
        if unsynced >= SYNC_EVERY {
            file.sync()?;
            unsynced = 0;
        }
        Ok(())
    };
    let saved = write_snapshot(node, progress, Purpose::Base, cut, &mut write)?;
    file.sync()?;
    Ok(saved.bytes)
}
