//! The part of the log that is in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use super::cursor::Place;
use super::{Batch, Overrun, Record, Scope};

/// What is kept for a reader that must not miss any may take so many bytes beyond the capacity; then it is thrown out all the same.
const MOST_PINNED: usize = 1 << 30;

#[derive(Debug)]
pub(super) struct Ring {
    pub(super) capacity: usize,
    bytes: VecDeque<u8>,
    records: VecDeque<Stored>,
    /// End offset of the last record thrown out, or where recording began.
    pub(super) start: u64,
    /// Records thrown out since ever: the position of `records[0]`.
    pub(super) first: u64,
    /// Bytes thrown out since ever: the position of `bytes[0]`.
    base: u64,
    /// How often the log has begun anew: cursors of another time are of no more use.
    pub(super) era: u64,
    /// Where the readers are.
    pub(super) places: Vec<Arc<Place>>,
    /// Whether there are segments to go to.
    pub(super) spills: bool,
    /// Whether they are being written.
    pub(super) spilling: bool,
    /// Whether the disk has refused them a moment ago.
    pub(super) failed: bool,
    /// Position of the first record that is kept for a reader that must not miss any; see [`super::Cursor::pin`].
    pub(super) pinned: u64,
    /// Bytes appended since it was last looked how far the readers are behind.
    unchecked: usize,
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    scope: Scope,
    end: u64,
    /// Position of the first byte.
    at: u64,
    len: u32,
}

impl Ring {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            bytes: VecDeque::new(),
            records: VecDeque::new(),
            start: 0,
            first: 0,
            base: 0,
            era: 0,
            places: Vec::new(),
            spills: false,
            spilling: false,
            failed: false,
            pinned: u64::MAX,
            unchecked: 0,
        }
    }

    /// Bytes of effects.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn push(&mut self, scope: Scope, effects: &[u8], end: u64) {
        let at = self.base + self.bytes.len() as u64;
        self.bytes.extend(effects);
        self.records.push_back(Stored {
            scope,
            end,
            at,
            len: effects.len() as u32,
        });
        self.unchecked += effects.len();
        self.trim();
    }

    /// Throws the oldest records out until the rest fits. The newest stays even if it does not, and so do those that are pinned.
    pub(super) fn trim(&mut self) {
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

    pub(super) fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
        self.trim();
    }

    /// Forgets everything; what is pushed next begins at `offset`.
    pub(super) fn begin_anew(&mut self, offset: u64) {
        self.first += self.records.len() as u64;
        self.base += self.bytes.len() as u64;
        self.records = VecDeque::new();
        self.bytes = VecDeque::new();
        self.start = offset;
        self.era += 1;
        self.pinned = u64::MAX;
    }

    /// Position and offset of what is pushed next.
    pub(super) fn newest(&self) -> (u64, u64) {
        let next = self.first + self.records.len() as u64;
        let offset = self.records.back().map_or(self.start, |record| record.end);
        (next, offset)
    }

    /// The position of the record behind `offset`, if everything from there on is here.
    pub(super) fn position_behind(&self, offset: u64) -> Option<u64> {
        if offset < self.start {
            return None;
        }
        let skipped = self.records.partition_point(|record| record.end <= offset);
        let previous = match skipped.checked_sub(1) {
            Some(index) => self.records[index].end,
            None => self.start,
        };
        (previous == offset).then_some(self.first + skipped as u64)
    }

    /// Whether there is a record at position `next`, or was one.
    pub(super) fn has(&self, next: u64) -> bool {
        next < self.first + self.records.len() as u64
    }

    /// Whether whoever writes segments has something to do. Looks now and then only.
    pub(super) fn wants_spilling(&mut self) -> bool {
        if !self.spills || self.failed || self.unchecked < self.capacity / 64 {
            return false;
        }
        self.unchecked = 0;
        self.spilling || self.lags_by(self.capacity / 4)
    }

    /// The readers that go on in segments when they fall behind.
    fn spilling_places(&self) -> impl Iterator<Item = &Arc<Place>> {
        self.places.iter().filter(|place| place.needs_segments())
    }

    /// Whether such a reader is behind by more than so many bytes.
    pub(super) fn lags_by(&self, bytes: usize) -> bool {
        let (_, end) = self.newest();
        self.spilling_places()
            .any(|place| end.saturating_sub(place.offset()) > bytes as u64)
    }

    /// The offset from which on writers should wait, while no segments are written yet: short of what the ring throws out.
    pub(super) fn room(&self) -> u64 {
        let slowest = self.slowest_offset().unwrap_or(self.start);
        self.room_behind(slowest.max(self.start))
    }

    /// The offset of the reader that is furthest behind.
    pub(super) fn slowest_offset(&self) -> Option<u64> {
        self.spilling_places().map(|place| place.offset()).min()
    }

    /// The same when everything before `offset` may be thrown out.
    pub(super) fn room_behind(&self, offset: u64) -> u64 {
        offset + (self.capacity / 4 * 3) as u64
    }

    /// The position of the one that is furthest behind.
    pub(super) fn slowest(&self) -> Option<u64> {
        self.spilling_places().map(|place| place.next()).min()
    }

    /// Copies records from position `next` on: one at least, more while they fit into `limit` bytes.
    pub(super) fn read(&self, next: u64, limit: usize) -> Result<Batch, Overrun> {
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
