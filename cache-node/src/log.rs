//! The log: a shared ring of effects with byte offsets.
//!
//! A write appends its effect while it holds its slot's lock, so records of a slot are in order. Replication, the append-only file and
//! migration read with cursors; none of them has a queue of its own. What a slow reader has not read when it leaves the ring goes to
//! segments on disk, so that it costs no memory; before the disk's part is full, writers wait for it within limits. Nothing is recorded while
//! nobody reads.
//!
//! While it is recorded, the offset moves by the bytes of records and by nothing else: the bytes from one offset to another are the same
//! wherever the log is kept, so that a replica, whose log continues its primary's, can be asked for them.
//!
//! A reader that creates its cursor first and then walks the slots misses nothing: whoever appended before the cursor's birth held the
//! slot's lock before the walk did.

mod block;
mod cursor;
mod pace;
mod ring;
mod segments;
mod spill;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::slot::SlotId;

pub use cursor::{Cursor, ReaderLag};

use cursor::Place;
use ring::Ring;
use segments::Segments;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One slot.
    Slot(SlotId),
    /// One slot, which was emptied. The effect is for the reader's eye; it is not executed.
    Emptied(SlotId),
    /// All slots (`FLUSHALL`).
    All,
    /// No slot: what only keeps a connection going (`PING`).
    Other,
}

/// Writers wait no longer than this for a disk that takes nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// The ring of effects.
#[derive(Debug)]
pub struct Log {
    end: AtomicU64,
    recording: AtomicBool,
    readers: AtomicUsize,
    ring: Mutex<Ring>,
    appended: Notify,
    /// What slow readers have not read and the ring no longer holds.
    segments: Mutex<Segments>,
    /// A reader has fallen behind: what the ring holds is to be written to segments.
    spill_wanted: Condvar,
    /// The offset from which on writers should wait for the segments; the greatest while none are written.
    room: AtomicU64,
    /// Something was written to segments, or needs not be any more.
    spilled: Notify,
}

/// One record of a [`Batch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it is about.
    pub scope: Scope,
    /// The log's offset behind it.
    pub end: u64,
    /// Where its effects stand in [`Batch::bytes`].
    pub range: Range<usize>,
}

/// Consecutive records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The records' effects, one behind the other.
    pub bytes: Bytes,
    /// The records in order.
    pub records: Vec<Record>,
}

/// The cursor fell behind by more than the log holds, or the log began anew; its reader must start over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log no longer holds what the reader wants next")]
pub struct Overrun;

impl Log {
    /// An empty log that holds up to `capacity` bytes of effects in memory.
    pub fn new(capacity: usize) -> Self {
        Self {
            end: AtomicU64::new(0),
            recording: AtomicBool::new(false),
            readers: AtomicUsize::new(0),
            ring: Mutex::new(Ring::new(capacity)),
            appended: Notify::new(),
            segments: Mutex::default(),
            spill_wanted: Condvar::new(),
            room: AtomicU64::new(u64::MAX),
            spilled: Notify::new(),
        }
    }

    /// From now on, what slow readers have not read goes to files in `folder`, of up to `limit` bytes in all, when the ring is full. The
    /// files have no names: nothing is left of them when the process ends.
    ///
    /// # Errors
    ///
    /// The system grants no thread.
    pub fn spill_into(self: &Arc<Self>, folder: &Path, limit: u64) -> std::io::Result<()> {
        let first = self.segments.lock().configure(folder, limit);
        self.ring.lock().spills = limit > 0;
        if first {
            spill::start(self)?;
        }
        Ok(())
    }

    /// The offset behind the last record.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::SeqCst)
    }

    /// Sets the offset, forgets all records, and records from now on: a replica takes over its primary's offset after a full sync. All
    /// cursors there are have to start over.
    pub fn restart_at(&self, offset: u64) {
        let mut ring = self.ring.lock();
        ring.begin_anew(offset);
        self.end.store(offset, Ordering::SeqCst);
        self.recording.store(true, Ordering::SeqCst);
        self.segments.lock().clear();
        drop(ring);
        self.appended.notify_waiters();
    }

    /// Whether appended effects are kept. To be asked under the slot's lock.
    #[inline]
    pub fn is_recording(&self) -> bool {
        self.recording.load(Ordering::SeqCst)
    }

    /// Moves the offset by effects of so many bytes that nobody reads.
    pub fn skip(&self, bytes: usize) {
        let _ring = self.ring.lock();
        // Somebody may read by now, and an offset that was handed out must not become another place.
        if !self.is_recording() {
            self.end.fetch_add(bytes as u64, Ordering::SeqCst);
        }
    }

    /// Appends effects as one record; answers the offset behind it. The caller holds the lock of the slot.
    pub fn append(&self, scope: Scope, effects: &[u8]) -> u64 {
        self.append_all([(scope, effects)].into_iter())
    }

    /// Appends records, between which no other will stand. The caller holds the locks of their slots.
    pub fn append_all<'a>(&self, records: impl Iterator<Item = (Scope, &'a [u8])>) -> u64 {
        let (end, spill) = {
            let mut ring = self.ring.lock();
            let mut end = self.end();
            let recording = self.is_recording();
            for (scope, effects) in records {
                end += effects.len() as u64;
                if recording {
                    ring.push(scope, effects, end);
                }
            }
            self.end.store(end, Ordering::SeqCst);
            let spill = recording && ring.wants_spilling();
            if spill && !ring.spilling {
                self.room.store(ring.room(), Ordering::Relaxed);
            }
            (end, spill)
        };
        if spill {
            self.spill_wanted.notify_one();
        }
        self.appended.notify_waiters();
        end
    }

    /// Whether commands that write should wait, because a reader is slow and the disk has not taken what it has not read, or has no more room.
    #[inline]
    pub fn is_crowded(&self) -> bool {
        let room = self.room.load(Ordering::Relaxed);
        room != u64::MAX && self.end() > room
    }

    /// Resolves when that seems to be over. A disk that takes nothing for a second is given up: then the reader has to start over.
    pub async fn has_room(&self) {
        let spilled = self.spilled.notified();
        if self.is_crowded() && tokio::time::timeout(PATIENCE, spilled).await.is_err() {
            tracing::warn!("the disk takes nothing of the log: writes go on without it");
            self.set_room(u64::MAX);
        }
    }

    /// A reader has come further, for which writers may be waiting.
    fn read_on(&self) {
        if self.room.load(Ordering::Relaxed) != u64::MAX {
            self.spill_wanted.notify_one();
        }
    }

    fn set_room(&self, room: u64) {
        self.room.store(room, Ordering::Relaxed);
        self.spilled.notify_waiters();
    }

    /// A cursor that reads what is appended from now on.
    pub fn cursor(self: &Arc<Self>) -> Cursor {
        let mut ring = self.ring.lock();
        if !self.recording.swap(true, Ordering::SeqCst) {
            // Whoever was here before knows an offset behind which something was not recorded: it is no offset any more.
            let end = self.end.fetch_add(1, Ordering::SeqCst) + 1;
            ring.begin_anew(end);
        }
        let (next, offset) = ring.newest();
        self.register(&mut ring, next, offset)
    }

    /// A cursor that goes on behind `offset`; `None` when the log does not hold everything from there.
    pub fn cursor_at(self: &Arc<Self>, offset: u64) -> Option<Cursor> {
        let mut ring = self.ring.lock();
        if !self.is_recording() {
            return None;
        }
        let next = match ring.position_behind(offset) {
            Some(next) => next,
            None => self.segments.lock().position_behind(offset)?,
        };
        Some(self.register(&mut ring, next, offset))
    }

    fn register(self: &Arc<Self>, ring: &mut Ring, next: u64, offset: u64) -> Cursor {
        self.readers.fetch_add(1, Ordering::SeqCst);
        let place = Arc::new(Place::new(next, offset));
        ring.places.push(Arc::clone(&place));
        Cursor::new(Arc::clone(self), place, ring.era)
    }

    /// Number of cursors.
    pub fn readers(&self) -> usize {
        self.readers.load(Ordering::SeqCst)
    }

    /// How far each reader is behind.
    pub fn lags(&self) -> Vec<ReaderLag> {
        let ring = self.ring.lock();
        let end = self.end();
        ring.places.iter().map(|place| place.lag(end)).collect()
    }

    /// Stops recording and frees the ring if nobody reads.
    pub fn release(&self) {
        let mut ring = self.ring.lock();
        if self.readers() == 0 {
            self.recording.store(false, Ordering::SeqCst);
            ring.begin_anew(self.end());
        }
    }

    /// Changes how many bytes of effects are held.
    pub fn set_capacity(&self, capacity: usize) {
        self.ring.lock().set_capacity(capacity);
    }

    /// How many bytes of effects are held in memory at most.
    pub fn capacity(&self) -> usize {
        self.ring.lock().capacity
    }

    /// Bytes of effects held in memory, and the offset before the first of them.
    pub fn held(&self) -> (usize, u64) {
        let ring = self.ring.lock();
        (ring.bytes(), ring.start)
    }

    /// Bytes of segments on disk.
    pub fn held_on_disk(&self) -> u64 {
        self.segments.lock().bytes()
    }
}

#[cfg(test)]
mod tests;
