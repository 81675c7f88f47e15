//! Readers of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::segments::Reading;
use super::{Batch, Log, Overrun};

/// Where a reader is, as others see it.
#[derive(Debug)]
pub(super) struct Place {
    /// Position of the record that comes next.
    next: AtomicU64,
    /// The offset behind the last record read.
    offset: AtomicU64,
    /// What it has not read stays in memory: it needs no segments.
    pinned: AtomicBool,
    name: Mutex<String>,
}

impl Place {
    pub(super) fn new(next: u64, offset: u64) -> Self {
        Self {
            next: AtomicU64::new(next),
            offset: AtomicU64::new(offset),
            pinned: AtomicBool::new(false),
            name: Mutex::default(),
        }
    }

    pub(super) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset.load(Ordering::Relaxed)
    }

    pub(super) fn needs_segments(&self) -> bool {
        !self.pinned.load(Ordering::Relaxed)
    }

    pub(super) fn lag(&self, end: u64) -> ReaderLag {
        ReaderLag {
            name: self.name.lock().clone(),
            bytes: end.saturating_sub(self.offset()),
        }
    }
}

/// How far a reader is behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderLag {
    /// Who it is.
    pub name: String,
    /// Bytes of the log that it has not read.
    pub bytes: u64,
}

/// A reader's place in the log.
#[derive(Debug)]
pub struct Cursor {
    log: Arc<Log>,
    place: Arc<Place>,
    era: u64,
    /// Where it is in the segments, if it is there.
    reading: Option<Reading>,
    pins: bool,
}

impl Cursor {
    pub(super) fn new(log: Arc<Log>, place: Arc<Place>, era: u64) -> Self {
        Self {
            log,
            place,
            era,
            reading: None,
            pins: false,
        }
    }

    /// Has the log keep in memory what this cursor has not read, beyond its capacity if it must. There is one such cursor at a time: the
    /// append-only file's.
    pub fn pin(&mut self) {
        let mut ring = self.log.ring.lock();
        if ring.era == self.era {
            ring.pinned = self.place.next();
            self.place.pinned.store(true, Ordering::Relaxed);
            self.pins = true;
        }
    }

    /// The same under a name, by which metrics know it.
    pub fn named(self, name: impl Into<String>) -> Self {
        *self.place.name.lock() = name.into();
        self
    }

    /// The offset behind the last record read.
    pub fn offset(&self) -> u64 {
        self.place.offset()
    }

    /// Whether the log has not begun anew since this cursor came to be.
    pub fn is_current(&self) -> bool {
        self.log.ring.lock().era == self.era
    }

    /// Does something about the log as it is, which cannot begin anew meanwhile; nothing when it has done so since this cursor came to be.
    pub fn if_current(&self, act: impl FnOnce()) {
        let ring = self.log.ring.lock();
        if ring.era == self.era {
            act();
        }
    }

    /// The next records, about `limit` bytes of them and one at least; an empty batch when there is none yet. Reads from the disk when the
    /// cursor is so far behind.
    ///
    /// # Errors
    ///
    /// What comes next is not held any more.
    pub fn try_next(&mut self, limit: usize) -> Result<Batch, Overrun> {
        let next = self.place.next();
        let in_memory = {
            let ring = self.log.ring.lock();
            if ring.era != self.era {
                return Err(Overrun);
            }
            (next >= ring.first).then(|| ring.find(next, limit))
        };
        let batch = match in_memory {
            Some(batch) => {
                self.reading = None;
                batch?.read(limit)
            }
            None => {
                let found = self.log.segments.lock().find(next, self.reading);
                let (batch, reading) = found.ok_or(Overrun)?.read(limit)?;
                self.reading = Some(reading);
                batch
            }
        };
        if let Some(record) = batch.records.last() {
            self.place.offset.store(record.end, Ordering::Relaxed);
            let next = next + batch.records.len() as u64;
            self.place.next.store(next, Ordering::Relaxed);
            if self.pins {
                self.repin(next);
            }
            self.log.read_on();
        }
        Ok(batch)
    }

    fn repin(&self, next: u64) {
        let mut ring = self.log.ring.lock();
        if ring.era == self.era {
            ring.pinned = next;
        }
    }

    /// Resolves when there is a record to read, or none will come any more.
    pub async fn ready(&self) {
        loop {
            let appended = self.log.appended.notified();
            if self.is_ready() {
                return;
            }
            appended.await;
        }
    }

    fn is_ready(&self) -> bool {
        let ring = self.log.ring.lock();
        ring.era != self.era || ring.has(self.place.next())
    }

    /// The next records, about `limit` bytes of them and one at least; waits until there is one.
    ///
    /// # Errors
    ///
    /// What comes next is not held any more.
    pub async fn next(&mut self, limit: usize) -> Result<Batch, Overrun> {
        loop {
            self.ready().await;
            let batch = self.try_next(limit)?;
            if !batch.records.is_empty() {
                return Ok(batch);
            }
        }
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        let mut ring = self.log.ring.lock();
        if self.pins && ring.era == self.era {
            ring.pinned = u64::MAX;
            ring.trim();
        }
        ring.places.retain(|place| !Arc::ptr_eq(place, &self.place));
        self.log.readers.fetch_sub(1, Ordering::SeqCst);
    }
}
