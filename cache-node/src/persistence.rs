//! What is on disk: snapshots in the RDB format, and the append-only file.
//!
//! A snapshot is the data set at one moment, written by a walk while everything goes on, on a thread of its own. It comes into its place
//! whole or not at all. There is one walk at a time: a save waits for a rewrite of the append-only file to end, and the other way
//! round.

mod aof;
mod file;
mod load;
mod save;
mod turns;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::{error, info};

use crate::clock;
use crate::node::Node;

pub use aof::{Aof, AofReport};
pub use load::{LoadError, receive};
pub(crate) use save::{Purpose, SaveError, write_snapshot};

/// After a save that failed, save points wait so long.
const RETRY: Duration = Duration::from_secs(5);

/// How far a save or a load has come.
#[derive(Debug, Default)]
pub struct Progress {
    /// When it began, in milliseconds since the epoch.
    pub began: AtomicU64,
    /// Bytes written or read.
    pub bytes: AtomicU64,
    /// Bytes in all; 0 where that is not known before.
    pub bytes_total: AtomicU64,
    /// Slots written.
    pub slots: AtomicUsize,
    /// Keys loaded.
    pub keys: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress {
    fn beginning() -> Self {
        let progress = Self::default();
        progress.began.store(clock::now(), Relaxed);
        progress
    }

    fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }
}

/// What became of the last save.
#[derive(Clone, Copy, Debug)]
struct Last {
    /// Whether it was written.
    ok: bool,
    /// When it ended, in milliseconds since the epoch.
    ended: u64,
    took: Duration,
}

#[derive(Default)]
struct State {
    saving: Option<Arc<Progress>>,
    /// Another save follows the walk that goes on.
    scheduled: bool,
    rewrites: aof::Rewrites,
    last: Option<Last>,
    /// When the data set was last saved or loaded, or the process began; in milliseconds since the epoch.
    saved_at: u64,
    /// Changes at the last save's moment.
    saved_changes: u64,
    saves: u64,
    failures: u64,
}

/// This node's data on disk.
#[derive(Default)]
pub struct Persistence {
    state: Mutex<State>,
    /// A save or a rewrite of the append-only file has ended.
    ended: Notify,
    /// What fails, so that writes may be refused: [`SNAPSHOT`], [`AOF`] or both.
    failing: AtomicU8,
    /// The append-only file.
    pub aof: Aof,
    loading: Mutex<Option<Arc<Progress>>>,
    is_loading: AtomicBool,
    /// Changes to keys that came from a primary.
    replayed: AtomicU64,
    /// What `SHUTDOWN` said about saving.
    at_end: AtomicU8,
}

/// The last save failed.
const SNAPSHOT: u8 = 1;

/// The append-only file cannot be written.
const AOF: u8 = 2;

/// `SHUTDOWN SAVE`.
const SAVE: u8 = 1;

/// `SHUTDOWN NOSAVE`.
const NO_SAVE: u8 = 2;

/// Why no save or rewrite was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBegun {
    /// There is one already.
    #[error("Background save already in progress")]
    Running,
    /// The append-only file is being rewritten.
    #[error("Background append only file rewriting already in progress")]
    Rewriting,
    /// There is no append-only file to be rewritten.
    #[error("the append-only file is not switched on (appendonly no)")]
    NoAof,
    /// There is no thread for it.
    #[error("no thread can be started for the save")]
    NoThread,
}

/// Why writes are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The last save failed.
    #[error(
        "MISCONF The last snapshot could not be saved, so writes are refused (stop-writes-on-bgsave-error). The log says why it failed."
    )]
    Snapshot,
    /// The append-only file cannot be written.
    #[error(
        "MISCONF Errors writing to the AOF file: {0}. Writes are refused until it can be written again."
    )]
    AppendOnly(String),
}

/// What `INFO` and the metrics say.
#[derive(Clone, Debug)]
pub struct Report {
    /// The save that runs.
    pub saving: Option<Arc<Progress>>,
    /// The load that runs.
    pub loading: Option<Arc<Progress>>,
    /// Changes since the last save that succeeded.
    pub changes: u64,
    /// When the data set was last saved, in milliseconds since the epoch.
    pub saved_at: u64,
    /// Whether the last save succeeded; so it is when there was none.
    pub last_ok: bool,
    /// How long it took.
    pub last_took: Option<Duration>,
    /// Saves that succeeded.
    pub saves: u64,
    /// Saves that failed.
    pub failures: u64,
    /// The rewrite of the append-only file that runs.
    pub rewriting: Option<Arc<Progress>>,
    /// Another one follows the walk that goes on.
    pub rewrite_scheduled: bool,
    /// Whether the last one succeeded; so it is when there was none.
    pub rewrite_ok: bool,
    /// How long it took.
    pub rewrite_took: Option<Duration>,
}

impl Persistence {
    /// Nothing was saved yet by a process that began at this time.
    pub fn new(began: u64) -> Self {
        let persistence = Self::default();
        persistence.state.lock().saved_at = began;
        persistence
    }

    /// Begins a save on a thread of its own.
    ///
    /// # Errors
    ///
    /// There is one already, or no thread.
    pub fn begin_save(&self, node: &Arc<Node>) -> Result<(), NotBegun> {
        let progress = Arc::new(Progress::beginning());
        {
            let mut state = self.state.lock();
            if state.saving.is_some() {
                return Err(NotBegun::Running);
            }
            if state.rewrites.running.is_some() {
                return Err(NotBegun::Rewriting);
            }
            state.saving = Some(Arc::clone(&progress));
        }
        let saved = Arc::clone(node);
        let started = std::thread::Builder::new()
            .name("save".to_owned())
            .spawn(move || saved.persistence.save(&saved, &progress));
        started.map(drop).map_err(|error| {
            error!(%error, "no thread for a save");
            self.state.lock().saving = None;
            self.ended.notify_waiters();
            NotBegun::NoThread
        })
    }

    /// Begins a save, when the walk that goes on is over if there is one; false then.
    ///
    /// # Errors
    ///
    /// There is no thread.
    pub fn schedule_save(&self, node: &Arc<Node>) -> Result<bool, NotBegun> {
        match self.begin_save(node) {
            Err(NotBegun::Running | NotBegun::Rewriting) => {
                self.state.lock().scheduled = true;
                Ok(false)
            }
            begun => begun.map(|()| true),
        }
    }

    /// Gives up the save that runs and the one that is to follow; false when there is none.
    pub fn cancel_save(&self) -> bool {
        let mut state = self.state.lock();
        let scheduled = std::mem::take(&mut state.scheduled);
        if let Some(progress) = &state.saving {
            progress.cancelled.store(true, Relaxed);
        }
        scheduled || state.saving.is_some()
    }

    /// Saves, after the rewrite of the append-only file that runs, and waits until that is done; true when it succeeded.
    ///
    /// # Errors
    ///
    /// There is a save already, or no thread for this one.
    pub async fn save_now(&self, node: &Arc<Node>) -> Result<bool, NotBegun> {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            match self.begin_save(node) {
                Err(NotBegun::Rewriting) => ended.await,
                Err(error) => return Err(error),
                Ok(()) => {
                    ended.await;
                    return Ok(self.state.lock().last.is_some_and(|last| last.ok));
                }
            }
        }
    }

    /// Whether to save before the process ends, whatever the save points are.
    pub fn save_at_end_is(&self, wanted: bool) {
        self.at_end
            .store(if wanted { SAVE } else { NO_SAVE }, Relaxed);
    }

    /// Saves before the process ends, if there are save points or it is wanted; waits for a save that runs. False when it failed.
    pub async fn save_at_end(&self, node: &Arc<Node>) -> bool {
        let wanted = match self.at_end.load(Relaxed) {
            SAVE => true,
            NO_SAVE => false,
            _ => !node.config.get().save.is_empty(),
        };
        self.cancel_rewrite();
        if !wanted || node.is_loading() {
            self.cancel_save();
            return true;
        }
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            match self.save_now(node).await {
                Ok(saved) => return saved,
                Err(NotBegun::Running) => ended.await,
                Err(_) => return false,
            }
        }
    }

    /// The thread of a save.
    fn save(&self, node: &Arc<Node>, progress: &Progress) {
        let began = std::time::Instant::now();
        let result = save::save(node, progress);
        let took = began.elapsed();
        let again = {
            let mut state = self.state.lock();
            state.saving = None;
            let ended = clock::now();
            match &result {
                Ok(saved) => {
                    state.saves += 1;
                    state.saved_at = ended;
                    state.saved_changes = saved.changes;
                }
                Err(_) => state.failures += 1,
            }
            state.last = Some(Last {
                ok: result.is_ok(),
                ended,
                took,
            });
            std::mem::take(&mut state.scheduled)
        };
        match result {
            Ok(saved) => {
                self.failing.fetch_and(!SNAPSHOT, Relaxed);
                info!(
                    keys = saved.keys,
                    bytes = saved.bytes,
                    seconds = took.as_secs_f64(),
                    "snapshot saved"
                );
            }
            Err(save::SaveError::Cancelled) => info!("snapshot given up"),
            Err(error) => {
                self.failing.fetch_or(SNAPSHOT, Relaxed);
                error!(%error, "snapshot not saved");
            }
        }
        self.ended.notify_waiters();
        if again && let Err(error) = self.begin_save(node) {
            error!(%error, "scheduled save not begun");
        }
        self.keep_aof(node);
    }

    /// Begins a save if a save point is reached: so many changes, and so many seconds since the last save. Looks after the append-only
    /// file, too.
    pub fn keep(&self, node: &Arc<Node>) {
        self.keep_aof(node);
        let settings = node.config.get();
        if settings.save.is_empty() || node.is_loading() {
            return;
        }
        let report = self.report(node);
        if report.saving.is_some() || report.rewriting.is_some() || self.must_wait() {
            return;
        }
        let passed = clock::now().saturating_sub(report.saved_at) / 1000;
        let reached = settings
            .save
            .iter()
            .find(|point| report.changes >= point.changes && passed >= point.seconds);
        if let Some(point) = reached {
            info!(
                changes = report.changes,
                seconds = passed,
                "save point of {} changes in {} seconds reached",
                point.changes,
                point.seconds
            );
            if let Err(error) = self.begin_save(node) {
                error!(%error, "save not begun");
            }
        }
    }

    /// A save has failed, and it was not long ago.
    fn must_wait(&self) -> bool {
        let last = self.state.lock().last;
        last.is_some_and(|last| {
            !last.ok && clock::now().saturating_sub(last.ended) < RETRY.as_millis() as u64
        })
    }

    /// Why writes are refused, if they are: they would not come to disk.
    #[inline]
    pub fn refusal(&self, node: &Node) -> Option<Refusal> {
        match self.failing.load(Relaxed) {
            0 => None,
            failing => self.refuses(node, failing),
        }
    }

    #[cold]
    fn refuses(&self, node: &Node, failing: u8) -> Option<Refusal> {
        if failing & AOF != 0
            && let Some(trouble) = self.aof.trouble()
        {
            return Some(Refusal::AppendOnly(trouble));
        }
        let settings = node.config.get();
        (failing & SNAPSHOT != 0
            && settings.stop_writes_on_bgsave_error
            && !settings.save.is_empty())
        .then_some(Refusal::Snapshot)
    }

    /// Keys were changed by a primary's effects.
    pub fn count_replayed(&self, changes: u64) {
        self.replayed.fetch_add(changes, Relaxed);
    }

    /// Changes since the process began.
    fn changes(&self, node: &Node) -> u64 {
        self.replayed.load(Relaxed) + node.stats.changes()
    }

    /// Whether a snapshot is being loaded, and the data set is not whole.
    #[inline]
    pub fn is_loading(&self) -> bool {
        self.is_loading.load(Relaxed)
    }

    /// Loading begins or is over.
    pub fn set_loading(&self, loading: bool) {
        *self.loading.lock() = loading.then(|| Arc::new(Progress::beginning()));
        self.is_loading.store(loading, Relaxed);
    }

    /// How far the load is that goes on.
    fn progress(&self) -> Arc<Progress> {
        self.loading.lock().clone().unwrap_or_default()
    }

    /// What there is to say.
    pub fn report(&self, node: &Node) -> Report {
        let changes = self.changes(node);
        let state = self.state.lock();
        Report {
            saving: state.saving.clone(),
            loading: self.loading.lock().clone(),
            changes: changes.saturating_sub(state.saved_changes),
            saved_at: state.saved_at,
            last_ok: state.last.is_none_or(|last| last.ok),
            last_took: state.last.map(|last| last.took),
            saves: state.saves,
            failures: state.failures,
            rewriting: state.rewrites.running.clone(),
            rewrite_scheduled: state.rewrites.scheduled,
            rewrite_ok: state.rewrites.last_ok(),
            rewrite_took: state.rewrites.last_took(),
        }
    }
}
