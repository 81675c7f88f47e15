//! The append-only file's beginning and end.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{error, info, warn};

use crate::node::Node;
use crate::persistence::load::{LoadError, load_snapshot};
use crate::persistence::{AOF, NotBegun, Persistence, Progress};

use super::Aof;
use super::layout::Layout;
use super::load::{Found, load, refused};
use super::rewrite::Kind;
use super::writer::Writer;

/// The end of the process waits so long for what is to be on the disk.
const MOST_END: Duration = Duration::from_secs(30);

impl Persistence {
    /// Loads what is on the disk into a data set that is empty, on a thread that may be blocked. With `appendonly yes`, the append-only
    /// file is in force afterwards.
    ///
    /// # Errors
    ///
    /// It is damaged, or the first base cannot be written. The data set must not be served then.
    pub fn load(&self, node: &Arc<Node>) -> Result<(), LoadError> {
        let settings = node.config.snapshot();
        if !settings.appendonly {
            let snapshot = load_snapshot(node)?;
            if let Some((history, offset)) = snapshot.and_then(|snapshot| snapshot.place) {
                node.replication.come_back(node, history, offset);
            }
            return Ok(());
        }
        let layout = Layout::new(&settings);
        let failed = |error| refused(&layout.folder, error);
        let writer = self.load_aof(node, &layout)?;
        self.aof.start(writer).map_err(failed)?;
        if self.aof.is_in_force() {
            return Ok(());
        }
        self.first_base(node);
        if !self.aof.is_in_force() {
            let reason = "there is no first base of the append-only file; the log says why";
            return Err(refused(&layout.folder, reason));
        }
        Ok(())
    }

    /// Loads what there is. The writer goes on with the append-only file, or there is to be a first base.
    pub(super) fn load_aof(&self, node: &Arc<Node>, layout: &Layout) -> Result<Writer, LoadError> {
        let disk = Arc::clone(&self.aof.disk);
        let found = load(node, disk.as_ref(), layout)?;
        let failed = |error| refused(&layout.folder, error);
        if let Found::Files {
            place: Some((history, offset)),
            ..
        } = found
        {
            // Before the writer: it follows the log from there.
            node.replication.come_back(node, history, offset);
        }
        let mut writer = Writer::new(node, layout.clone());
        match found {
            Found::Files { manifest, last, .. } => {
                writer.go_on_with(manifest, last).map_err(failed)?;
                return Ok(writer);
            }
            Found::Old => info!(
                path = %layout.old.display(),
                "the append-only file of an older version becomes the first base, and is then of no more use"
            ),
            Found::Nothing if load_snapshot(node)?.is_some() => {
                // redis-server would begin empty.
                warn!(
                    "appendonly is yes and there is no append-only file: the snapshot is loaded, and is its first base"
                );
            }
            Found::Nothing => {}
        }
        writer.begin_anew().map_err(failed)?;
        self.aof.needs_base.store(true, SeqCst);
        Ok(writer)
    }

    /// Writes a first base on this thread.
    fn first_base(&self, node: &Arc<Node>) {
        let progress = Arc::new(Progress::beginning());
        self.state.lock().rewrites.running = Some(Arc::clone(&progress));
        self.rewrite(node, Kind::Found, &progress);
    }

    /// Takes over settings that have changed: the append-only file is begun or ended, and synchronized as they say.
    pub fn adopt(&self, node: &Arc<Node>) {
        let settings = node.config.snapshot();
        self.aof.adopt(&settings);
        let idle = node.is_loading() || node.shutdown.is_requested();
        if idle || settings.appendonly == self.aof.runs() {
            return;
        }
        if !settings.appendonly {
            info!("appendonly is no: the append-only file ends");
            self.cancel_rewrite();
            self.aof.order(|orders| {
                orders.end = Some(oneshot::channel().0);
            });
            return;
        }
        let mut writer = Writer::new(node, Layout::new(&settings));
        let started = writer.begin_anew().and_then(|()| {
            self.aof.needs_base.store(true, SeqCst);
            self.aof.start(writer)
        });
        match started {
            Ok(()) => info!("appendonly is yes: it is in force when its first base is written"),
            Err(error) => {
                error!(%error, "the append-only file cannot begin");
                return;
            }
        }
        match self.begin_rewrite(node) {
            // It follows by itself.
            Ok(()) | Err(NotBegun::Running | NotBegun::Rewriting) => {}
            Err(error) => error!(%error, "the first base of the append-only file is not begun"),
        }
    }

    /// The data set and the log are those of another node now: what the append-only file has is about another history. It begins anew with
    /// a base of the data as it is; what came before stays on the disk until that is complete, and is loaded if the process ends before.
    pub fn history_restarted(&self, node: &Arc<Node>) {
        if !self.aof.runs() {
            return;
        }
        self.cancel_rewrite();
        self.aof.needs_base.store(true, SeqCst);
        self.aof.synced.store(0, SeqCst);
        self.aof.wanted.store(0, SeqCst);
        self.aof.order(|orders| orders.abandon = true);
        self.keep_aof(node);
    }

    /// Ends the append-only file, once everything in the log is on the disk. False when that failed.
    pub async fn end_aof(&self) -> bool {
        if !self.aof.runs() {
            return true;
        }
        let (done, ended) = oneshot::channel();
        self.aof.order(|orders| orders.end = Some(done));
        let whole = matches!(tokio::time::timeout(MOST_END, ended).await, Ok(Ok(true)));
        if whole {
            info!("the append-only file is on the disk");
        }
        whole
    }

    /// Takes note of why the append-only file cannot be written, or that it can be.
    pub(super) fn aof_fails(&self, why: Option<String>) {
        let fails = why.is_some();
        *self.aof.trouble.lock() = why;
        if fails {
            self.failing.fetch_or(AOF, Relaxed);
        } else {
            self.failing.fetch_and(!AOF, Relaxed);
        }
    }
}

impl Aof {
    /// Starts the thread that writes. It ends when it is told to.
    fn start(&self, writer: Writer) -> std::io::Result<()> {
        self.running.store(true, SeqCst);
        let started = std::thread::Builder::new()
            .name("aof".to_owned())
            .spawn(move || writer.run());
        started.map(drop).inspect_err(|_| {
            self.running.store(false, SeqCst);
        })
    }
}
