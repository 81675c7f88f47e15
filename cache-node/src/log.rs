//! The log: a shared ring of effects with byte offsets.
//!
//! A write appends its effect while it holds its slot's lock, so records of a slot are in order. Replication and migration read with
//! cursors; none of them has a queue of its own. Nothing is recorded while nobody reads (the offset still moves by the effect's bytes).
//!
//! A reader that creates its cursor first and then walks the slots misses nothing: whoever appended before the cursor's birth held the
//! slot's lock before the walk did.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::slot::SlotId;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One slot.
    Slot(SlotId),
    /// One slot, which was emptied. The effect is for the reader's eye; it is not executed.
    Emptied(SlotId),
    /// All slots (`FLUSHALL`).
    All,
}

/// The ring of effects.
#[derive(Debug)]
pub struct Log {
    end: AtomicU64,
    recording: AtomicBool,
    readers: AtomicUsize,
    ring: Mutex<Ring>,
    appended: Notify,
}

#[derive(Debug)]
struct Ring {
    capacity: usize,
    bytes: VecDeque<u8>,
    records: VecDeque<Stored>,
    /// End offset of the last record thrown out, or where recording began.
    start: u64,
    /// Records thrown out since ever: the position of `records[0]`.
    first: u64,
    /// Bytes thrown out since ever: the position of `bytes[0]`.
    base: u64,
    /// Position of the first record that is kept for a reader that must not miss any; see [`Cursor::pin`].
    pinned: u64,
}

/// What is kept for a reader that must not miss any may take so many bytes beyond the capacity; then it is thrown out all the same.
const MOST_PINNED: usize = 1 << 30;

#[derive(Clone, Copy, Debug)]
struct Stored {
    scope: Scope,
    end: u64,
    /// Position of the first byte.
    at: u64,
    len: u32,
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
    pub bytes: Vec<u8>,
    /// The records in order.
    pub records: Vec<Record>,
}

/// The cursor fell behind by more than the log holds; its reader must start over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log was overrun: the reader fell behind by more than repl-backlog-size")]
pub struct Overrun;

impl Log {
    /// An empty log that holds up to `capacity` bytes of effects.
    pub fn new(capacity: usize) -> Self {
        Self {
            end: AtomicU64::new(0),
            recording: AtomicBool::new(false),
            readers: AtomicUsize::new(0),
            ring: Mutex::new(Ring {
                capacity,
                bytes: VecDeque::new(),
                records: VecDeque::new(),
                start: 0,
                first: 0,
                base: 0,
                pinned: u64::MAX,
            }),
            appended: Notify::new(),
        }
    }

    /// The offset behind the last record.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::SeqCst)
    }

    /// Sets the offset and forgets all records: a replica takes over its primary's offset after a full sync.
    pub fn restart_at(&self, offset: u64) {
        let mut ring = self.ring.lock();
        ring.forget_all();
        ring.start = offset;
        self.end.store(offset, Ordering::SeqCst);
    }

    /// Whether appended effects are kept. To be asked under the slot's lock.
    pub fn is_recording(&self) -> bool {
        self.recording.load(Ordering::SeqCst)
    }

    /// Moves the offset by an effect of so many bytes that is not recorded.
    pub fn skip(&self, bytes: usize) -> u64 {
        self.end.fetch_add(bytes as u64, Ordering::SeqCst) + bytes as u64
    }

    /// Appends effects as one record; answers the offset behind it. The caller holds the lock of the slot.
    pub fn append(&self, scope: Scope, effects: &[u8]) -> u64 {
        if !self.is_recording() {
            return self.skip(effects.len());
        }
        let end = {
            let mut ring = self.ring.lock();
            let end = self.skip(effects.len());
            ring.push(scope, effects, end);
            end
        };
        self.appended.notify_waiters();
        end
    }

    /// A cursor that reads what is appended from now on.
    pub fn cursor(self: &Arc<Self>) -> Cursor {
        let mut ring = self.ring.lock();
        if !self.recording.swap(true, Ordering::SeqCst) {
            ring.forget_all();
            ring.start = self.end();
        }
        self.readers.fetch_add(1, Ordering::SeqCst);
        Cursor {
            next: ring.first + ring.records.len() as u64,
            offset: ring.records.back().map_or(ring.start, |record| record.end),
            log: Arc::clone(self),
            pins: false,
        }
    }

    /// A cursor that goes on behind `offset`; `None` when the log does not hold everything from there.
    pub fn cursor_at(self: &Arc<Self>, offset: u64) -> Option<Cursor> {
        let ring = self.ring.lock();
        if !self.is_recording() || offset < ring.start {
            return None;
        }
        let skipped = ring.records.partition_point(|record| record.end <= offset);
        let previous = match skipped.checked_sub(1) {
            Some(index) => ring.records[index].end,
            None => ring.start,
        };
        if previous != offset {
            return None;
        }
        self.readers.fetch_add(1, Ordering::SeqCst);
        Some(Cursor {
            next: ring.first + skipped as u64,
            offset,
            log: Arc::clone(self),
            pins: false,
        })
    }

    /// Number of cursors.
    pub fn readers(&self) -> usize {
        self.readers.load(Ordering::SeqCst)
    }

    /// Stops recording and frees the ring if nobody reads.
    pub fn release(&self) {
        let mut ring = self.ring.lock();
        if self.readers() == 0 {
            self.recording.store(false, Ordering::SeqCst);
            ring.forget_all();
        }
    }

    /// Changes how many bytes of effects are held.
    pub fn set_capacity(&self, capacity: usize) {
        let mut ring = self.ring.lock();
        ring.capacity = capacity;
        ring.trim();
    }

    /// How many bytes of effects are held at most.
    pub fn capacity(&self) -> usize {
        self.ring.lock().capacity
    }

    /// Bytes of effects held, and the offset before the first of them.
    pub fn held(&self) -> (usize, u64) {
        let ring = self.ring.lock();
        (ring.bytes.len(), ring.start)
    }
}

impl Ring {
    fn push(&mut self, scope: Scope, effects: &[u8], end: u64) {
        let at = self.base + self.bytes.len() as u64;
        self.bytes.extend(effects);
        self.records.push_back(Stored {
            scope,
            end,
            at,
            len: effects.len() as u32,
        });
        self.trim();
    }

    /// Throws the oldest records out until the rest fits. The newest stays even if it does not, and so do those that are pinned.
    fn trim(&mut self) {
        while self.bytes.len() > self.capacity && self.records.len() > 1 {
            if self.first >= self.pinned && self.bytes.len() - self.capacity <= MOST_PINNED {
                break;
            }
            if let Some(record) = self.records.pop_front() {
                self.bytes.drain(..record.len as usize);
                self.base += u64::from(record.len);
                self.start = record.end;
                self.first += 1;
            }
        }
    }

    fn forget_all(&mut self) {
        self.first += self.records.len() as u64;
        self.base += self.bytes.len() as u64;
        if let Some(record) = self.records.back() {
            self.start = record.end;
        }
        self.records = VecDeque::new();
        self.bytes = VecDeque::new();
    }

    /// Whether there is a record at position `next`, or was one.
    fn has(&self, next: u64) -> bool {
        next < self.first + self.records.len() as u64
    }

    /// Copies records from position `next` on: one at least, more while they fit into `limit` bytes.
    fn read(&self, next: u64, limit: usize) -> Result<Batch, Overrun> {
        let skipped = next.checked_sub(self.first).ok_or(Overrun)? as usize;
        let mut batch = Batch::default();
        let pending = self.records.range(skipped.min(self.records.len())..);
        let Some(first) = pending.clone().next() else {
            return Ok(batch);
        };
        let start = (first.at - self.base) as usize;
        let mut len = 0;
        for record in pending {
            let size = record.len as usize;
            if !batch.records.is_empty() && len + size > limit {
                break;
            }
            batch.records.push(Record {
                scope: record.scope,
                end: record.end,
                range: len..len + size,
            });
            len += size;
        }
        let (head, tail) = self.bytes.as_slices();
        batch.bytes.reserve_exact(len);
        let from_head = head.get(start..).unwrap_or(&[]);
        let from_head = &from_head[..from_head.len().min(len)];
        batch.bytes.extend_from_slice(from_head);
        let rest = len - from_head.len();
        let tail_start = start.saturating_sub(head.len());
        batch
            .bytes
            .extend_from_slice(&tail[tail_start..tail_start + rest]);
        Ok(batch)
    }
}

/// A reader's place in the log.
#[derive(Debug)]
pub struct Cursor {
    log: Arc<Log>,
    next: u64,
    offset: u64,
    pins: bool,
}

impl Cursor {
    /// Has the log keep what this cursor has not read, beyond its capacity if it must. There is one such cursor at a time: the
    /// append-only file's.
    pub fn pin(&mut self) {
        self.log.ring.lock().pinned = self.next;
        self.pins = true;
    }

    /// The offset behind the last record read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next records, about `limit` bytes of them and one at least; an empty batch when there is none yet.
    pub fn try_next(&mut self, limit: usize) -> Result<Batch, Overrun> {
        let mut ring = self.log.ring.lock();
        let batch = ring.read(self.next, limit)?;
        self.next += batch.records.len() as u64;
        if self.pins {
            ring.pinned = self.next;
        }
        drop(ring);
        if let Some(record) = batch.records.last() {
            self.offset = record.end;
        }
        Ok(batch)
    }

    /// Resolves when there is a record to read.
    pub async fn ready(&self) {
        loop {
            let appended = self.log.appended.notified();
            if self.log.ring.lock().has(self.next) {
                return;
            }
            appended.await;
        }
    }

    /// The next records, about `limit` bytes of them and one at least; waits until there is one.
    pub async fn next(&mut self, limit: usize) -> Result<Batch, Overrun> {
        let log = Arc::clone(&self.log);
        loop {
            let appended = log.appended.notified();
            let batch = self.try_next(limit)?;
            if !batch.records.is_empty() {
                return Ok(batch);
            }
            appended.await;
        }
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        if self.pins {
            let mut ring = self.log.ring.lock();
            ring.pinned = u64::MAX;
            ring.trim();
        }
        self.log.readers.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
