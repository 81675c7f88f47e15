//! A segment: up to 128 buckets, entries standing in the order of their hashes as far as whole buckets go.
//!
//! A key's bucket is its 16 hash bits times the number of buckets; when that is full, the key goes on to the next. A bit a bucket says
//! that a key has passed it, so that a search knows when to stop; removing a key pulls one back that had passed. Segments grow by an
//! eighth, which moves words and looks at no entry.
//!
//! Buckets lie one by one in the arena, all blocks of one size, so that none is left over where segments grow; their places stand in the
//! segment itself while they are few, then in a block of their own.
//!
//! If any key has a deadline, each bucket also has the earliest tick at which one of its keys may expire. It may be too early, never too
//! late: that is the whole calendar.

#![allow(unsafe_code)] // Buckets and deadlines lie in blocks of the arena.

use std::ptr::NonNull;

use crate::arena::{self, Handle};

use super::bucket::{Bucket, LANES, Word, lanes};

/// Most buckets of a segment.
pub(super) const MAX_BUCKETS: usize = 128;

/// No key of the bucket has a deadline.
pub(super) const NEVER: u32 = u32::MAX;

/// A word's place in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) bucket: u8,
    pub(super) lane: u8,
}

/// What every search needs comes first.
#[repr(C)]
pub(super) struct Segment {
    /// Where the places of the buckets stand if there are more than [`FEW`].
    many: Option<Handle>,
    count: u16,
    len: u16,
    /// Where the buckets lie, in units of 64 bytes, if there are no more.
    few: [u32; FEW],
    passed: Passed,
    /// A tick a bucket, once a key has a deadline.
    dues: Option<Handle>,
}

/// Buckets whose places stand in the segment itself.
const FEW: usize = 11;

/// The buckets that a key has passed which stands behind them, a bit each. Not one number of 128 bits, whose alignment would move what a search
/// needs out of two cache lines.
#[derive(Clone, Copy)]
struct Passed([u64; MAX_BUCKETS / 64]);

impl Passed {
    const NONE: Self = Self([0; MAX_BUCKETS / 64]);

    #[inline]
    fn has(self, bucket: usize) -> bool {
        self.0[bucket / 64] >> (bucket % 64) & 1 != 0
    }

    fn set(&mut self, bucket: usize) {
        self.0[bucket / 64] |= 1 << (bucket % 64);
    }

    fn clear(&mut self, bucket: usize) {
        self.0[bucket / 64] &= !(1 << (bucket % 64));
    }
}

/// Where [`Segment::few`] begins, in bytes.
pub(super) const FEW_OFFSET: usize = std::mem::offset_of!(Segment, few);

/// Bytes from the beginning that a search may need.
pub(super) const SEARCHED: usize = std::mem::offset_of!(Segment, passed) + size_of::<Passed>();

/// Units of the arena in a unit of [`Segment::few`].
const UNITS: u64 = (size_of::<Bucket>() / 8) as u64;

// SAFETY: a segment is the only owner of its blocks.
unsafe impl Send for Segment {}
// SAFETY: through a shared reference they are only read.
unsafe impl Sync for Segment {}

/// Most words of so many buckets: 29 of 32 lanes.
fn most_words(buckets: usize) -> usize {
    if buckets == 1 {
        LANES
    } else {
        buckets * LANES * 29 / 32
    }
}

/// The next number of buckets: about an eighth more.
fn grown(buckets: usize) -> usize {
    buckets + (buckets / 8).max(1)
}

impl Segment {
    pub(super) const EMPTY: Self = Self {
        many: None,
        count: 0,
        len: 0,
        few: [0; FEW],
        passed: Passed::NONE,
        dues: None,
    };

    /// Number of words in use.
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Number of buckets.
    pub(super) fn buckets(&self) -> usize {
        usize::from(self.count)
    }

    /// The block in which the places of the buckets stand, if they are many: for those who prefetch.
    pub(super) fn many(&self) -> Option<Handle> {
        self.many
    }

    /// Bytes of its blocks.
    pub(super) fn bytes(&self) -> usize {
        let blocks = [self.many, self.dues].into_iter().flatten();
        let bytes: usize = blocks.map(arena::size_of_block).sum();
        bytes + self.buckets() * size_of::<Bucket>()
    }

    /// Whether it can hold no more words.
    pub(super) fn is_full(&self) -> bool {
        self.buckets() == MAX_BUCKETS && self.len() >= most_words(MAX_BUCKETS)
    }

    /// Where the buckets lie, in units of 64 bytes.
    #[inline]
    fn places(&self) -> &[u32] {
        match self.many {
            None => &self.few[..self.buckets()],
            // SAFETY: the block belongs to this segment and holds so many places; blocks are aligned to 8 bytes.
            Some(handle) => unsafe {
                std::slice::from_raw_parts(handle.pointer().cast().as_ptr(), self.buckets())
            },
        }
    }

    /// Bucket `index`, of which there are [`Segment::buckets`].
    #[inline]
    fn bucket(&self, index: usize) -> &Bucket {
        // SAFETY: the block belongs to this segment, is a bucket, and is aligned like one, since blocks of 64 bytes are.
        unsafe { bucket_at(self.places()[index]).as_ref() }
    }

    #[inline]
    fn bucket_mut(&mut self, index: usize) -> &mut Bucket {
        // SAFETY: as above, and `self` is borrowed alone.
        unsafe { bucket_at(self.places()[index]).as_mut() }
    }

    fn all(&self) -> impl Iterator<Item = &Bucket> {
        (0..self.buckets()).map(|index| self.bucket(index))
    }

    #[inline]
    fn dues_mut(&mut self) -> &mut [u32] {
        match self.dues {
            None => &mut [],
            // SAFETY: the block belongs to this segment and holds a tick a bucket; blocks are aligned to 8 bytes.
            Some(handle) => unsafe {
                std::slice::from_raw_parts_mut(handle.pointer().cast().as_ptr(), self.buckets())
            },
        }
    }

    /// The earliest tick at which a key of each bucket may expire; nothing when no key has a deadline.
    pub(super) fn dues(&self) -> &[u32] {
        match self.dues {
            None => &[],
            // SAFETY: as above.
            Some(handle) => unsafe {
                std::slice::from_raw_parts(handle.pointer().cast().as_ptr(), self.buckets())
            },
        }
    }

    /// The bucket that a key with these hash bits belongs to.
    #[inline]
    pub(super) fn home(&self, hash: u16) -> usize {
        (usize::from(hash) * self.buckets()) >> 16
    }

    #[inline]
    fn next(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets() {
            0
        } else {
            bucket + 1
        }
    }

    /// The word with these hash bits that `wanted` recognizes by its handle.
    #[inline]
    pub(super) fn find(&self, hash: u16, mut wanted: impl FnMut(Handle) -> bool) -> Option<Spot> {
        if self.count == 0 {
            return None;
        }
        let home = self.home(hash);
        let mut index = home;
        loop {
            let bucket = self.bucket(index);
            for lane in lanes(bucket.matches(hash)) {
                if bucket.handle(lane).is_some_and(&mut wanted) {
                    return Some(Spot {
                        bucket: index as u8,
                        lane: lane as u8,
                    });
                }
            }
            if !self.passed.has(index) {
                return None;
            }
            index = self.next(index);
            if index == home {
                return None;
            }
        }
    }

    #[inline]
    pub(super) fn word(&self, spot: Spot) -> Option<Word> {
        let index = usize::from(spot.bucket);
        if index >= self.buckets() {
            return None;
        }
        self.bucket(index).word(usize::from(spot.lane))
    }

    /// Changes the bucket of a word in place.
    #[inline]
    pub(super) fn change(&mut self, spot: Spot, change: impl FnOnce(&mut Bucket, usize)) {
        change(
            self.bucket_mut(usize::from(spot.bucket)),
            usize::from(spot.lane),
        );
    }

    /// Adds a word; there is room ([`Segment::is_full`]).
    pub(super) fn insert(&mut self, word: Word, due: u32) -> Spot {
        if self.len() >= most_words(self.buckets()) || self.buckets() == 0 {
            self.rebuild(grown(self.buckets()).min(MAX_BUCKETS));
        }
        let spot = self.place(word);
        self.note_due(spot, due);
        spot
    }

    /// Puts a word into the first bucket from its home on that has a free lane.
    fn place(&mut self, word: Word) -> Spot {
        let mut index = self.home(word.hash);
        loop {
            let free = !self.bucket(index).used() & ((1 << LANES) - 1);
            if free != 0 {
                let lane = free.trailing_zeros() as usize;
                self.bucket_mut(index).put(lane, word);
                self.len += 1;
                return Spot {
                    bucket: index as u8,
                    lane: lane as u8,
                };
            }
            self.passed.set(index);
            index = self.next(index);
        }
    }

    /// The word's key may expire at this tick.
    pub(super) fn note_due(&mut self, spot: Spot, due: u32) {
        if due == NEVER {
            return;
        }
        if self.dues.is_none() {
            self.dues = Some(arena::allocate(self.buckets() * size_of::<u32>()));
            // SAFETY: a new block of so many bytes that nobody else has.
            unsafe { self.fill_dues() };
        }
        let known = &mut self.dues_mut()[usize::from(spot.bucket)];
        *known = (*known).min(due);
    }

    /// Sets all ticks to [`NEVER`].
    ///
    /// # Safety
    ///
    /// `dues` is a block of a tick a bucket.
    unsafe fn fill_dues(&mut self) {
        if let Some(handle) = self.dues {
            // SAFETY: as promised; all bits set is `NEVER`.
            unsafe {
                handle
                    .pointer()
                    .cast::<u32>()
                    .write_bytes(0xFF, self.buckets());
            }
        }
    }

    /// Sets what is known of a bucket's earliest deadline, after looking at all its keys.
    pub(super) fn set_due(&mut self, bucket: usize, due: u32) {
        if let Some(known) = self.dues_mut().get_mut(bucket) {
            *known = due;
        }
    }

    /// Takes a word out.
    pub(super) fn remove(&mut self, spot: Spot) {
        let mut hole = spot;
        loop {
            self.change(hole, Bucket::clear);
            let bucket = usize::from(hole.bucket);
            if !self.passed.has(bucket) {
                break;
            }
            let Some(from) = self.find_passer(bucket) else {
                self.passed.clear(bucket);
                break;
            };
            self.pull_back(from, hole);
            hole = from;
        }
        self.len -= 1;
        if self.len == 0 {
            self.free_blocks();
        } else if self.buckets() > 1 && self.len() < self.buckets() * LANES / 4 {
            self.rebuild(self.len().div_ceil(6));
        }
    }

    /// A word behind `bucket` whose key passed it.
    fn find_passer(&self, bucket: usize) -> Option<Spot> {
        let count = self.buckets();
        let distance = |from: usize| (bucket + count - from) % count;
        let mut index = self.next(bucket);
        while index != bucket {
            let candidate = self.bucket(index);
            for lane in lanes(candidate.used()) {
                let home = self.home(candidate.hash(lane));
                // It passed `bucket` if its way from home to here leads over it.
                if distance(home) < (index + count - home) % count {
                    return Some(Spot {
                        bucket: index as u8,
                        lane: lane as u8,
                    });
                }
            }
            if !self.passed.has(index) {
                return None;
            }
            index = self.next(index);
        }
        None
    }

    fn pull_back(&mut self, from: Spot, to: Spot) {
        let Some(word) = self.word(from) else { return };
        self.change(to, |bucket, lane| bucket.put(lane, word));
        if word.volatile {
            let due = self.dues().get(usize::from(from.bucket)).copied();
            self.note_due(to, due.unwrap_or(NEVER));
        }
    }

    /// Spreads all words over so many buckets, which are enough.
    fn rebuild(&mut self, count: usize) {
        let old: Vec<Bucket> = self.all().cloned().collect();
        let old_dues = self.dues().to_vec();
        self.resize(count);
        self.len = 0;
        self.passed = Passed::NONE;
        for (index, bucket) in old.iter().enumerate() {
            let due = old_dues.get(index).copied().unwrap_or(NEVER);
            for word in lanes(bucket.used()).filter_map(|lane| bucket.word(lane)) {
                let spot = self.place(word);
                if word.volatile {
                    self.note_due(spot, due);
                }
            }
        }
    }

    /// Has so many buckets, at least one, all of them empty, and no ticks.
    ///
    /// Blocks are allocated before any is freed: if there is none left, the segment stays as it is.
    fn resize(&mut self, count: usize) {
        let old = self.places().to_vec();
        let (kept, surplus) = old.split_at(count.min(old.len()));
        let mut places = kept.to_vec();
        let size = size_of::<Bucket>();
        places.resize_with(count, || (arena::allocate(size).units() / UNITS) as u32);
        let many = (count > FEW).then(|| block_of(&places));
        for place in surplus {
            // SAFETY: the bucket was this segment's alone, which forgets it below.
            unsafe { arena::free(handle_of(*place)) };
        }
        for block in [self.many.take(), self.dues.take()].into_iter().flatten() {
            // SAFETY: the block was this segment's alone, and it has forgotten it.
            unsafe { arena::free(block) };
        }
        self.count = count as u16;
        self.many = many;
        if let Some(few) = self.few.get_mut(..count) {
            few.copy_from_slice(&places);
        }
        for place in places {
            // SAFETY: the block is a bucket of this segment; all zeros are an empty one.
            unsafe { bucket_at(place).write_bytes(0, 1) };
        }
    }

    /// All words with their places.
    pub(super) fn words(&self) -> impl Iterator<Item = (Spot, Word)> {
        self.all().enumerate().flat_map(|(index, bucket)| {
            lanes(bucket.used()).filter_map(move |lane| {
                let spot = Spot {
                    bucket: index as u8,
                    lane: lane as u8,
                };
                Some((spot, bucket.word(lane)?))
            })
        })
    }

    /// The words of a bucket.
    pub(super) fn words_of(&self, index: usize) -> impl Iterator<Item = (Spot, Word)> {
        let bucket = (index < self.buckets()).then(|| self.bucket(index));
        let used = bucket.map_or(0, Bucket::used);
        lanes(used).filter_map(move |lane| {
            let spot = Spot {
                bucket: index as u8,
                lane: lane as u8,
            };
            Some((spot, bucket?.word(lane)?))
        })
    }

    /// The places of a bucket's words with a deadline.
    pub(super) fn volatile_of(&self, index: usize) -> impl Iterator<Item = Spot> + use<> {
        let bucket = (index < self.buckets()).then(|| self.bucket(index));
        let volatile = bucket.map_or(0, Bucket::volatile);
        lanes(volatile).map(move |lane| Spot {
            bucket: index as u8,
            lane: lane as u8,
        })
    }

    fn free_blocks(&mut self) {
        for place in self.places() {
            // SAFETY: the bucket was this segment's alone, which forgets it below.
            unsafe { arena::free(handle_of(*place)) };
        }
        for block in [self.many.take(), self.dues.take()].into_iter().flatten() {
            // SAFETY: the block was this segment's alone, and it has forgotten it.
            unsafe { arena::free(block) };
        }
        self.count = 0;
        self.passed = Passed::NONE;
    }
}

/// A new block with these places.
fn block_of(places: &[u32]) -> Handle {
    let block = arena::allocate(size_of_val(places));
    // SAFETY: a new block of so many bytes, aligned to 8.
    unsafe {
        let target = block.pointer().cast::<u32>().as_ptr();
        target.copy_from_nonoverlapping(places.as_ptr(), places.len());
    }
    block
}

/// The block at a place in units of 64 bytes.
#[inline]
fn handle_of(place: u32) -> Handle {
    let handle = Handle::from_units(u64::from(place) * UNITS);
    handle.expect("no block lies at the arena's start")
}

#[inline]
fn bucket_at(place: u32) -> NonNull<Bucket> {
    handle_of(place).pointer().cast()
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.free_blocks();
    }
}
