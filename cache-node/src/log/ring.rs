//! The part of the log that is in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use super::block::Block;
use super::cursor::Place;
use super::{Batch, Overrun, Scope};

/// What is kept for a reader that must not miss any may take so many bytes beyond the capacity; then it is thrown out all the same.
const MOST_PINNED: usize = 1 << 30;

/// Bytes of a block at most, unless a single record has more.
const BLOCK: usize = 64 << 10;

/// What there is, at least, when a ring is full: blocks.
const BLOCKS: usize = 64;

/// Full blocks, the oldest first, and the one that grows. What readers want of a full block they share, so that nobody who appends waits
/// while they copy.
#[derive(Debug)]
pub(super) struct Ring {
    pub(super) capacity: usize,
    full: VecDeque<Arc<Block>>,
    open: Block,
    /// The memory of a block that was thrown out, for the next one.
    spare: Block,
    bytes: usize,
    /// End offset of the last record thrown out, or where recording began.
    pub(super) start: u64,
    /// Records thrown out since ever: the position of the first one that is here.
    pub(super) first: u64,
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

/// Records in memory.
pub(super) enum Found {
    /// In a block that is full, from this position on.
    Full(Arc<Block>, u64),
    /// A copy.
    Copied(Batch),
}

impl Found {
    /// The records, about `limit` bytes of them.
    pub(super) fn read(self, limit: usize) -> Batch {
        match self {
            Self::Full(block, next) => block.share(next, limit),
            Self::Copied(batch) => batch,
        }
    }
}

impl Ring {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            full: VecDeque::new(),
            open: Block::default(),
            spare: Block::default(),
            bytes: 0,
            start: 0,
            first: 0,
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
        self.bytes
    }

    fn block_size(&self) -> usize {
        (self.capacity / BLOCKS).min(BLOCK)
    }

    pub(super) fn push(&mut self, scope: Scope, effects: &[u8], end: u64) {
        let size = self.block_size();
        if self.open.len() + effects.len() > size && !self.open.is_empty() {
            self.seal();
        }
        if self.open.is_empty() {
            let (next, offset) = self.newest();
            let spare = std::mem::take(&mut self.spare);
            self.open = Block::begin(spare, next, offset, size.max(effects.len()));
        }
        self.open.push(scope, effects, end);
        self.bytes += effects.len();
        self.unchecked += effects.len();
        self.trim();
    }

    /// The open block is full.
    fn seal(&mut self) {
        let (next, offset) = self.newest();
        let empty = Block::begin(Block::default(), next, offset, 0);
        let full = std::mem::replace(&mut self.open, empty);
        self.full.push_back(Arc::new(full));
    }

    /// Throws the oldest blocks out until the rest fits. The newest stays even if it does not, and so do those with records that are pinned.
    pub(super) fn trim(&mut self) {
        while self.bytes > self.capacity
            && let Some(oldest) = self.full.front()
        {
            if oldest.next() > self.pinned && self.bytes - self.capacity <= MOST_PINNED {
                break;
            }
            self.first = oldest.next();
            self.start = oldest.end();
            self.bytes -= oldest.len();
            if let Some(unused) = self.full.pop_front().and_then(Arc::into_inner)
                && unused.capacity() <= BLOCK
            {
                self.spare = unused;
            }
        }
    }

    pub(super) fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
        self.trim();
    }

    /// Forgets everything; what is pushed next begins at `offset`.
    pub(super) fn begin_anew(&mut self, offset: u64) {
        (self.first, _) = self.newest();
        self.full = VecDeque::new();
        self.open = Block::begin(Block::default(), self.first, offset, 0);
        self.spare = Block::default();
        self.bytes = 0;
        self.start = offset;
        self.era += 1;
        self.pinned = u64::MAX;
    }

    /// Position and offset of what is pushed next.
    pub(super) fn newest(&self) -> (u64, u64) {
        (self.open.next(), self.open.end())
    }

    /// The position of the record behind `offset`, if everything from there on is here.
    pub(super) fn position_behind(&self, offset: u64) -> Option<u64> {
        if offset < self.start {
            return None;
        }
        let index = self.full.partition_point(|block| block.end() <= offset);
        match self.full.get(index) {
            Some(block) => block.position_behind(offset),
            None => self.open.position_behind(offset),
        }
    }

    /// Whether there is a record at position `next`, or was one.
    pub(super) fn has(&self, next: u64) -> bool {
        next < self.open.next()
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

    /// Records from position `next` on: one at least, if there is one.
    pub(super) fn find(&self, next: u64, limit: usize) -> Result<Found, Overrun> {
        if next < self.first {
            return Err(Overrun);
        }
        if !self.has(next) {
            return Ok(Found::Copied(Batch::default()));
        }
        let index = self.full.partition_point(|block| block.next() <= next);
        Ok(match self.full.get(index) {
            Some(block) => Found::Full(Arc::clone(block), next),
            None => Found::Copied(self.open.copy(next, limit)),
        })
    }
}
