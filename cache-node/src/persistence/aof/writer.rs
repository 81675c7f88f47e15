//! The thread that writes: it follows the log with a cursor, appends what it reads, and sends it to the disk.
//!
//! [`Writer::turn`] does one round of work and says what to wait for; so a test can take turns without a thread. When something
//! fails, nothing that was read is dropped: the next turn tries again.

mod bases;
mod end;

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::{sleep, sleep_until};
use tracing::{error, info};

use crate::config::AppendFsync;
use crate::log::{Cursor, Overrun};
use crate::node::Node;

use super::disk::Disk;
use super::layout::Layout;
use super::load::Whole;
use super::manifest::{Manifest, Part};
use super::pending::Pending;
use super::segment::{How, Segment};
use super::{Aof, Base, Cut};

/// The name by which metrics know how far it is behind the log.
const READER: &str = "append-only file";

/// Bytes of the log that are read at once.
const READ: usize = 512 * 1024;

/// A turn that reads less than this waits a little before the next one, so that there is more to write at once.
const SMALL: usize = 64 * 1024;

/// How long.
const PAUSE: Duration = Duration::from_millis(1);

/// Time between two fsyncs of `everysec`.
const SECOND: Duration = Duration::from_secs(1);

/// Bytes after which there is an fsync in between: what is kept to be written again is no more, and the disk has no more to do at once.
const MOST_UNSYNCED: u64 = 32 << 20;

/// Time between two attempts after an error.
const RETRY: Duration = Duration::from_millis(100);

/// What to wait for before the next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing.
    Again,
    /// A little, for more to be there.
    Pause,
    /// A record, an order, or this moment.
    Wait(Option<Instant>),
    /// A while, after an error.
    Retry,
    /// There is no next turn.
    End,
}

/// The writer of an append-only file.
pub(super) struct Writer {
    node: Arc<Node>,
    disk: Arc<dyn Disk>,
    layout: Layout,
    cursor: Cursor,
    /// What is in force, if anything is.
    manifest: Option<Manifest>,
    /// Where records go; nowhere while a base is wanted and not begun.
    segment: Option<Segment>,
    /// The file of `segment` is not in force: it will be, with the base that is being written. Its number.
    founding: Option<u64>,
    /// The number of the incremental file that goes with the base that is being written.
    switched: Option<u64>,
    pending: Option<Pending>,
    /// The log's offset up to which everything was read.
    read_to: u64,
    cut: Option<Cut>,
    base: Option<Base>,
    /// Names in the folder may not be on the disk.
    folder_unsynced: bool,
    /// Files that are of no more use, once the folder is on the disk.
    obsolete: Vec<String>,
    /// Bytes of the files in force but the last.
    earlier: u64,
    next_sync: Instant,
    /// An error was told, and is not over.
    failing: bool,
    /// Records are missing in the files, so that there must be a new base.
    lost: bool,
    end: Option<oneshot::Sender<bool>>,
}

impl Writer {
    /// A writer that follows the log from now on, with no files.
    pub(super) fn new(node: &Arc<Node>, layout: Layout) -> Self {
        let mut cursor = node.log.cursor().named(READER);
        cursor.pin();
        let read_to = cursor.offset();
        let aof = &node.persistence.aof;
        aof.synced.store(0, SeqCst);
        aof.written.store(read_to, SeqCst);
        Self {
            node: Arc::clone(node),
            disk: Arc::clone(&aof.disk),
            layout,
            read_to,
            cursor,
            manifest: None,
            segment: None,
            founding: None,
            switched: None,
            pending: None,
            cut: None,
            base: None,
            folder_unsynced: false,
            obsolete: Vec::new(),
            earlier: 0,
            next_sync: Instant::now() + SECOND,
            failing: false,
            lost: false,
            end: None,
        }
    }

    /// Goes on with files that were loaded; `last` is how much of the last one is whole. What is left of others is removed.
    pub(super) fn go_on_with(&mut self, mut manifest: Manifest, last: Whole) -> io::Result<()> {
        let disk = Arc::clone(&self.disk);
        let part = manifest.increments.last();
        let segment = match part {
            Some(part) => Segment::open(disk.as_ref(), &self.layout.path(&part.name), last)?,
            None => {
                if let Some(base) = &manifest.base {
                    let mut file = disk.append(&self.layout.path(&base.name))?;
                    file.truncate(last.length)?;
                    file.sync()?;
                }
                let number = manifest.next_increment();
                let name = self.layout.increment(number);
                let segment = Segment::create(disk.as_ref(), &self.layout.path(&name))?;
                disk.sync_folder(&self.layout.folder)?;
                manifest.increments.push(Part { name, number });
                self.store_manifest(&manifest)?;
                segment
            }
        };
        disk.sync_folder(&self.layout.folder)?;
        self.folder_unsynced = false;
        self.manifest = Some(manifest.clone());
        self.remove_leftovers()?;
        let mut earlier = 0;
        for part in manifest.parts() {
            earlier += disk.length(&self.layout.path(&part.name))?.unwrap_or(0);
        }
        self.earlier = earlier.saturating_sub(segment.length());
        self.segment = Some(segment);
        let aof = &self.node.persistence.aof;
        aof.base_size.store(earlier, Relaxed);
        aof.synced.store(self.read_to, SeqCst);
        self.come_into_force();
        self.publish();
        Ok(())
    }

    /// Begins where there are no files in force, or some that stay until there are new ones. What is left of others is removed.
    pub(super) fn begin_anew(&mut self) -> io::Result<()> {
        let disk = Arc::clone(&self.disk);
        disk.create_folder(&self.layout.folder)?;
        let path = self.layout.path(&self.layout.manifest());
        if disk.length(&path)?.is_some() {
            let mut text = Vec::new();
            disk.read(&path, 0)?.read_to_end(&mut text)?;
            self.manifest = Some(Manifest::parse(&text).map_err(io::Error::other)?);
        }
        self.remove_leftovers()
    }

    /// Removes files that are not in force.
    fn remove_leftovers(&self) -> io::Result<()> {
        for name in self.disk.list(&self.layout.folder)? {
            let known = self.layout.is_part(&name) || self.layout.is_temporary(&name);
            let named = self.manifest.as_ref().is_some_and(|it| it.names(&name));
            if known && !named {
                info!(file = name, "removing what is left of an append-only file");
                self.disk.remove(&self.layout.path(&name))?;
            }
        }
        self.disk.sync_folder(&self.layout.folder)
    }

    fn aof(&self) -> &Aof {
        &self.node.persistence.aof
    }

    fn come_into_force(&self) {
        let aof = self.aof();
        aof.in_force.store(true, SeqCst);
        aof.needs_base.store(false, SeqCst);
        aof.adopt(&self.node.config.get());
    }

    /// The thread.
    pub(super) fn run(mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        match runtime {
            Ok(runtime) => runtime.block_on(self.take_turns()),
            Err(error) => {
                error!(%error, "no runtime for the append-only file");
                self.fail(&error);
            }
        }
    }

    async fn take_turns(&mut self) {
        let node = Arc::clone(&self.node);
        loop {
            match self.turn(Instant::now()) {
                Next::Again => {}
                Next::Pause => sleep(PAUSE).await,
                Next::Retry => sleep(RETRY).await,
                Next::Wait(until) => {
                    let due = async {
                        match until {
                            Some(until) => sleep_until(until.into()).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        () = self.cursor.ready() => {}
                        () = node.persistence.aof.poke.notified() => {}
                        () = due => {}
                    }
                }
                Next::End => return,
            }
        }
    }

    /// One round of work.
    pub(super) fn turn(&mut self, now: Instant) -> Next {
        // Before the orders: a record behind a cut is never read without it.
        let read = self.read();
        self.take_orders();
        if let Err(error) = self.work(now) {
            self.fail(&error);
            if let Some(end) = self.end.take() {
                let _ = end.send(false);
                self.leave();
                return Next::End;
            }
            return Next::Retry;
        }
        self.recover();
        self.publish();
        if read > 0 || self.pending.is_some() || self.cut.is_some() {
            let policy = self.node.config.get().appendfsync;
            let small = read < SMALL && self.cut.is_none() && self.end.is_none();
            return if small && policy != AppendFsync::Always && !self.is_awaited() {
                Next::Pause
            } else {
                Next::Again
            };
        }
        if self.end.is_some() {
            return self.finish();
        }
        let unsynced = self.segment.as_ref().is_some_and(|it| it.unsynced() > 0);
        let everysec = self.node.config.get().appendfsync == AppendFsync::EverySecond;
        Next::Wait((unsynced && everysec).then_some(self.next_sync))
    }

    /// Reads more of the log, if nothing waits to be written. Answers how many bytes.
    fn read(&mut self) -> usize {
        if self.pending.is_some() {
            return 0;
        }
        let end = self.node.log.end();
        let mut pending = Pending::default();
        let mut bytes = 0;
        // A block of the log at a time.
        while bytes < READ {
            match self.cursor.try_next(READ - bytes) {
                Ok(batch) if batch.records.is_empty() => break,
                Ok(batch) => {
                    bytes += batch.bytes.len();
                    pending.add(&batch);
                }
                // What was read before comes first.
                Err(_) if !pending.is_empty() => break,
                Err(overrun) => {
                    self.begin_reading_anew(overrun);
                    return 0;
                }
            }
        }
        if pending.is_empty() {
            self.read_to = end;
        } else {
            self.read_to = self.cursor.offset();
            self.pending = Some(pending);
        }
        bytes
    }

    fn begin_reading_anew(&mut self, overrun: Overrun) {
        if self.cursor.is_current() {
            self.lose(&io::Error::other(overrun));
        } else {
            // Nothing is missing: the log is another node's now, and the next base has what it goes on from.
            self.abandon();
        }
        self.cursor = self.node.log.cursor().named(READER);
        self.cursor.pin();
        self.read_to = self.cursor.offset();
    }

    fn take_orders(&mut self) {
        let orders = std::mem::take(&mut *self.aof().orders.lock());
        if orders.give_up {
            self.give_up_rewrite("the base was not written");
        }
        if orders.abandon {
            self.abandon();
        }
        if orders.cut.is_some() {
            self.cut = orders.cut;
        }
        if orders.base.is_some() {
            self.base = orders.base;
        }
        if orders.end.is_some() {
            self.end = orders.end;
        }
    }

    /// Records are missing in the files: there must be a new base, and no writes before it is there.
    fn lose(&mut self, error: &io::Error) {
        self.fail(error);
        self.lost = true;
        self.abandon();
    }

    /// Goes on without the files, until there is a new base. What was in force stays on the disk until then.
    fn abandon(&mut self) {
        self.give_up_rewrite("the append-only file begins anew");
        self.segment = None;
        self.founding = None;
        let aof = self.aof();
        aof.synced.store(0, SeqCst);
        aof.needs_base.store(true, SeqCst);
    }

    /// The base that is being written cannot be used.
    fn give_up_rewrite(&mut self, why: &str) {
        if let Some(cut) = self.cut.take() {
            cut.progress.cancel();
        }
        if self.founding.take().is_some() {
            self.segment = None;
        }
        self.switched = None;
        if let Some(base) = self.base.take() {
            let _ = base.done.send(Err(why.to_owned()));
        }
    }

    fn work(&mut self, now: Instant) -> io::Result<()> {
        if self.segment.as_ref().is_some_and(Segment::is_lost) {
            self.lose(&io::Error::other(
                "what an fsync did not bring to the disk is not known any more",
            ));
        }
        self.sync_folder()?;
        if let Some(cut) = &self.cut
            && self.read_to >= cut.offset
        {
            let (offset, kind) = (cut.offset, cut.kind);
            self.write(offset)?;
            self.switch(kind)?;
            // Nothing is in the next file before the manifest that names it is on the disk.
            self.sync_folder()?;
        }
        self.write(u64::MAX)?;
        self.pending = None;
        if self.cut.is_none() && self.base.is_some() {
            self.place()?;
        }
        self.sync_if_due(now)
    }

    /// Writes pending records up to an offset of the log.
    fn write(&mut self, offset: u64) -> io::Result<()> {
        let Some(pending) = &mut self.pending else {
            return Ok(());
        };
        let mut part = pending.take_up_to(offset);
        // Where there is no file, what is not written is in the next base.
        let Some(segment) = self.segment.as_mut().filter(|_| !part.bytes.is_empty()) else {
            return Ok(());
        };
        let policy = self.node.config.get().appendfsync;
        let how = How {
            keep: policy != AppendFsync::Never,
            confirm: policy == AppendFsync::Always,
            within: part.ends_within(segment.is_within()),
        };
        let written = segment.write(&mut part.bytes, how);
        if written.is_err() {
            pending.put_back(part);
        }
        written
    }

    /// Whether somebody waits for more to be on the disk.
    fn is_awaited(&self) -> bool {
        let aof = self.aof();
        let wanted = aof.wanted.load(SeqCst);
        aof.synced.load(SeqCst) < wanted.min(self.read_to)
    }

    fn sync_if_due(&mut self, now: Instant) -> io::Result<()> {
        let Some(segment) = &self.segment else {
            return Ok(());
        };
        let unsynced = segment.unsynced();
        if unsynced == 0 {
            self.next_sync = now + SECOND;
            return Ok(());
        }
        let due = match self.node.config.get().appendfsync {
            AppendFsync::Always => true,
            AppendFsync::EverySecond => now >= self.next_sync || unsynced >= MOST_UNSYNCED,
            AppendFsync::Never => false,
        };
        if due || self.is_awaited() || self.end.is_some() {
            self.sync()?;
            self.next_sync = now + SECOND;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let Some(segment) = &mut self.segment else {
            return Ok(());
        };
        if segment.unsynced() == 0 {
            return Ok(());
        }
        let aof = &self.node.persistence.aof;
        let began = Instant::now();
        aof.syncing.store(true, Relaxed);
        let synced = segment.sync();
        aof.syncing.store(false, Relaxed);
        aof.metrics.fsync.observe(began.elapsed().as_secs_f64());
        synced
    }

    /// Tells others how far it is.
    fn publish(&self) {
        let aof = self.aof();
        if self.pending.is_none() {
            aof.written.store(self.read_to, SeqCst);
            let most = self.node.config.get().repl_backlog_size as u64 / 2;
            aof.limit.store(self.read_to + most, Relaxed);
        }
        if let (Some(segment), None) = (&self.segment, self.founding) {
            aof.size.store(self.earlier + segment.length(), Relaxed);
            if segment.unsynced() == 0 && self.pending.is_none() && !self.folder_unsynced {
                // Not what is about a log that has begun anew meanwhile.
                self.cursor
                    .if_current(|| aof.synced.store(self.read_to, SeqCst));
            }
        }
        aof.moved.notify_waiters();
    }

    /// Something could not be written or brought to the disk.
    fn fail(&mut self, error: &io::Error) {
        self.aof().metrics.failures.inc();
        if !self.failing {
            self.failing = true;
            error!(%error, "the append-only file cannot be written; writes are refused until it can");
        }
        self.node.persistence.aof_fails(Some(error.to_string()));
    }

    fn recover(&mut self) {
        if self.failing && !self.lost {
            self.failing = false;
            info!("the append-only file is written again");
            self.node.persistence.aof_fails(None);
        }
    }
}
