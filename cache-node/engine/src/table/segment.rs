//! A segment: up to 128 buckets, entries standing in the order of their hashes as far as whole buckets go.
//!
//! A key's bucket is its 16 hash bits times the number of buckets; when that is full, the key goes on to the next. A bit a bucket says
//! that a key has passed it, so that a search knows when to stop; removing a key pulls one back that had passed. Segments grow by an
//! eighth, which moves words and looks at no entry.
//!
//! If any key has a deadline, each bucket also has the earliest tick at which one of its keys may expire. It may be too early, never too
//! late: that is the whole calendar.

#![allow(unsafe_code)] // Buckets and deadlines lie in blocks of the arena.

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

pub(super) struct Segment {
    buckets: Option<Handle>,
    /// A tick a bucket, once a key has a deadline.
    dues: Option<Handle>,
    /// Bucket `i` was passed by a key that stands behind it, if bit `i` is set.
    passed: u128,
    len: u16,
    count: u16,
}

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

/// The next number of buckets: about an eighth more, and a block size of the arena.
fn grown(buckets: usize) -> usize {
    fitting(buckets + (buckets / 8).max(1))
}

/// The least number of buckets from `buckets` on that fills a block.
fn fitting(buckets: usize) -> usize {
    arena::rounded(buckets.max(1) * size_of::<Bucket>()) / size_of::<Bucket>()
}

impl Segment {
    pub(super) const EMPTY: Self = Self {
        buckets: None,
        dues: None,
        passed: 0,
        len: 0,
        count: 0,
    };

    /// Number of words in use.
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Number of buckets.
    pub(super) fn buckets(&self) -> usize {
        usize::from(self.count)
    }

    /// Where the buckets lie, for those who prefetch.
    pub(super) fn address(&self) -> Option<Handle> {
        self.buckets
    }

    /// Bytes of its blocks.
    pub(super) fn bytes(&self) -> usize {
        let blocks = [self.buckets, self.dues].into_iter().flatten();
        blocks.map(arena::size_of_block).sum()
    }

    /// Whether it can hold no more words.
    pub(super) fn is_full(&self) -> bool {
        self.buckets() == MAX_BUCKETS && self.len() >= most_words(MAX_BUCKETS)
    }

    #[inline]
    fn all(&self) -> &[Bucket] {
        match self.buckets {
            None => &[],
            // SAFETY: the block belongs to this segment and holds so many buckets; it is aligned, since its size is a multiple of 64.
            Some(handle) => unsafe {
                std::slice::from_raw_parts(handle.pointer().cast().as_ptr(), self.buckets())
            },
        }
    }

    #[inline]
    fn all_mut(&mut self) -> &mut [Bucket] {
        match self.buckets {
            None => &mut [],
            // SAFETY: as above, and `self` is borrowed alone.
            Some(handle) => unsafe {
                std::slice::from_raw_parts_mut(handle.pointer().cast().as_ptr(), self.buckets())
            },
        }
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
        let all = self.all();
        if all.is_empty() {
            return None;
        }
        let home = self.home(hash);
        let mut index = home;
        loop {
            let bucket = &all[index];
            for lane in lanes(bucket.matches(hash)) {
                if bucket.handle(lane).is_some_and(&mut wanted) {
                    return Some(Spot {
                        bucket: index as u8,
                        lane: lane as u8,
                    });
                }
            }
            if self.passed >> index & 1 == 0 {
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
        self.all()
            .get(usize::from(spot.bucket))?
            .word(usize::from(spot.lane))
    }

    /// Changes the bucket of a word in place.
    #[inline]
    pub(super) fn change(&mut self, spot: Spot, change: impl FnOnce(&mut Bucket, usize)) {
        let bucket = &mut self.all_mut()[usize::from(spot.bucket)];
        change(bucket, usize::from(spot.lane));
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
            let free = !self.all()[index].used() & ((1 << LANES) - 1);
            if free != 0 {
                let lane = free.trailing_zeros() as usize;
                self.all_mut()[index].put(lane, word);
                self.len += 1;
                return Spot {
                    bucket: index as u8,
                    lane: lane as u8,
                };
            }
            self.passed |= 1 << index;
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
            if self.passed >> bucket & 1 == 0 {
                break;
            }
            let Some(from) = self.find_passer(bucket) else {
                self.passed &= !(1 << bucket);
                break;
            };
            self.pull_back(from, hole);
            hole = from;
        }
        self.len -= 1;
        if self.len == 0 {
            self.free_blocks();
        } else if self.buckets() > 1 && self.len() < self.buckets() * LANES / 4 {
            self.rebuild(fitting(self.len().div_ceil(6)));
        }
    }

    /// A word behind `bucket` whose key passed it.
    fn find_passer(&self, bucket: usize) -> Option<Spot> {
        let count = self.buckets();
        let distance = |from: usize| (bucket + count - from) % count;
        let mut index = self.next(bucket);
        while index != bucket {
            let candidate = &self.all()[index];
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
            if self.passed >> index & 1 == 0 {
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

    /// Moves all words into so many buckets, which are enough.
    fn rebuild(&mut self, count: usize) {
        let old = std::mem::replace(self, Self::EMPTY);
        self.count = count as u16;
        let bytes = count * size_of::<Bucket>();
        let block = arena::allocate(bytes);
        // SAFETY: a new block of so many bytes; all zeros are empty buckets.
        unsafe { block.pointer().write_bytes(0, bytes) };
        self.buckets = Some(block);
        for (index, bucket) in old.all().iter().enumerate() {
            let due = old.dues().get(index).copied().unwrap_or(NEVER);
            for word in lanes(bucket.used()).filter_map(|lane| bucket.word(lane)) {
                let spot = self.place(word);
                if word.volatile {
                    self.note_due(spot, due);
                }
            }
        }
    }

    /// All words with their places.
    pub(super) fn words(&self) -> impl Iterator<Item = (Spot, Word)> {
        self.all().iter().enumerate().flat_map(|(index, bucket)| {
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
        let bucket = self.all().get(index);
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
        let volatile = self.all().get(index).map_or(0, Bucket::volatile);
        lanes(volatile).map(move |lane| Spot {
            bucket: index as u8,
            lane: lane as u8,
        })
    }

    fn free_blocks(&mut self) {
        for block in [self.buckets.take(), self.dues.take()]
            .into_iter()
            .flatten()
        {
            // SAFETY: the block was this segment's alone, and it has forgotten it.
            unsafe { arena::free(block) };
        }
        self.count = 0;
        self.passed = 0;
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.free_blocks();
    }
}
