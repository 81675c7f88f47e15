//! A slot's table: entries found by key.
//!
//! Extendible hashing: a directory of segments, chosen by the leading bits of the hash. Only a full segment is split, and it holds at
//! most [`segment::MAX_BUCKETS`] buckets, so no insertion moves more than some hundred words. Entries have a place in the order of their
//! hashes which never changes; a scan goes along it, so what is present throughout a scan is seen whatever the table does meanwhile.
//!
//! The table owns its entries' blocks. It never looks into values.

#![allow(unsafe_code)] // Makes entries visible that it owns.

mod bucket;
mod segment;
mod typed;
mod walk;

pub use bucket::{LANES, META_BITS};
pub use typed::{Due, Expiry};

use crate::arena::Handle;
use crate::entry::{self, Entry, Payload};
use crate::key_hash::KeyHash;
use crate::prefetch::{self, Layout};

use bucket::Word;
use segment::{NEVER, Segment, Spot};

/// Segments are told apart by at most so many leading bits of the hash.
const MAX_DEPTH: u8 = 34;

/// The highest policy bit: the entry is not on probation.
const IS_MAIN: u16 = 1 << (META_BITS - 1);

/// Entries between one that is visited in a scan and one that is brought near.
const NEAR: usize = 6;

/// Bits of a scan's position that count; the rest is zero.
pub const SCAN_BITS: u32 = MAX_DEPTH as u32 + 16;

/// Where an entry's word stands; valid until the table changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    segment: u32,
    spot: Spot,
}

/// Entries found by key. What every command needs comes first.
#[repr(C)]
pub struct Table {
    more: Option<Box<Directory>>,
    /// Whether counts, layout or the earliest deadline have changed since [`Table::take_changed`].
    changed: bool,
    /// Whether some entries may have to be passed by a walk before they change.
    walking: bool,
    /// The walk that entries were passed in if it is over, or are passed in now.
    round: bool,
    /// The only segment, or the first of those in `more`'s directory.
    segment: Segment,
    len: usize,
    /// Entries with a deadline.
    volatile: usize,
    /// Bytes of the segments' blocks and the directory.
    bytes: usize,
    /// Bytes of the entries, and of all that their values take.
    entry_bytes: usize,
    /// The same of those whose highest policy bit is 0.
    probation_bytes: usize,
    /// No entry expires before this tick.
    due: u32,
    /// Segment in which the search for expired entries goes on.
    due_segment: u32,
}

/// Segments beyond the first.
struct Directory {
    depth: u8,
    /// The segment of each prefix of `depth` bits; 0 is the table's own.
    segments: Vec<u32>,
    /// Segments 1, 2, ...
    rest: Vec<Segment>,
    /// Depth of segment 0, 1, ...
    depths: Vec<u8>,
}

impl Directory {
    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.segments.capacity() * size_of::<u32>()
            + self.rest.capacity() * size_of::<Segment>()
            + self.depths.capacity()
    }
}

impl Default for Table {
    fn default() -> Self {
        Self {
            segment: Segment::EMPTY,
            more: None,
            changed: false,
            walking: false,
            round: false,
            len: 0,
            volatile: 0,
            bytes: 0,
            entry_bytes: 0,
            probation_bytes: 0,
            due: NEVER,
            due_segment: 0,
        }
    }
}

impl Table {
    /// An empty table that takes the place of another, so that all has changed.
    pub fn emptied() -> Self {
        let mut table = Self::default();
        table.changed = true;
        table
    }

    /// The same in another place, so that all has changed there.
    #[must_use]
    pub fn moved(mut self) -> Self {
        self.changed = true;
        self
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether counts, layout or the earliest deadline have changed since this was last asked.
    #[inline]
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Number of entries with a deadline.
    pub fn volatile(&self) -> usize {
        self.volatile
    }

    /// Bytes that the table itself takes, its entries aside.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    #[inline]
    fn segment_of(&self, hash: KeyHash) -> (u32, u8) {
        match &self.more {
            None => (0, 0),
            Some(more) => {
                let segment = more.segments[hash.prefix(more.depth)];
                (segment, more.depths[segment as usize])
            }
        }
    }

    #[inline]
    fn segment(&self, index: u32) -> &Segment {
        match (index, &self.more) {
            (1.., Some(more)) => &more.rest[index as usize - 1],
            _ => &self.segment,
        }
    }

    #[inline]
    fn segment_mut(&mut self, index: u32) -> &mut Segment {
        match (index, &mut self.more) {
            (1.., Some(more)) => &mut more.rest[index as usize - 1],
            _ => &mut self.segment,
        }
    }

    /// Number of segments.
    fn segments(&self) -> u32 {
        self.more
            .as_ref()
            .map_or(1, |more| more.depths.len() as u32)
    }

    fn depth(&self, segment: u32) -> u8 {
        self.more
            .as_ref()
            .map_or(0, |more| more.depths[segment as usize])
    }

    /// Where `key` stands.
    #[inline]
    pub fn find(&self, key: &[u8], hash: KeyHash) -> Option<Place> {
        self.find_entry(key, hash).map(|(place, _)| place)
    }

    /// Where `key` stands, and its entry.
    #[inline]
    pub fn find_entry(&self, key: &[u8], hash: KeyHash) -> Option<(Place, Entry<'_>)> {
        let (index, depth) = self.segment_of(hash);
        let mut found = None;
        let spot = self.segment(index).find(hash.bits(depth), |handle| {
            // SAFETY: the table owns the entry, and is borrowed.
            let entry = unsafe { Entry::at(handle) };
            let is_it = entry.key() == key;
            if is_it {
                found = Some(entry);
            }
            is_it
        })?;
        let place = Place {
            segment: index,
            spot,
        };
        Some((place, found?))
    }

    #[inline]
    fn word(&self, place: Place) -> Word {
        let word = self.segment(place.segment).word(place.spot);
        word.expect("a place is used before the table changes")
    }

    /// The entry at a place.
    #[inline]
    pub fn entry(&self, place: Place) -> Entry<'_> {
        // SAFETY: the table owns the entry, and is borrowed.
        unsafe { Entry::at(self.word(place).handle) }
    }

    /// The eviction policy's bits of the entry at a place.
    #[inline]
    pub fn meta(&self, place: Place) -> u16 {
        self.word(place).meta
    }

    /// Sets the eviction policy's bits, of which there are [`META_BITS`].
    #[inline]
    pub fn set_meta(&mut self, place: Place, meta: u16) {
        if (self.meta(place) ^ meta) & IS_MAIN != 0 {
            self.changed = true;
            let bytes = self.entry(place).bytes();
            if meta & IS_MAIN == 0 {
                self.probation_bytes += bytes;
            } else {
                self.probation_bytes -= bytes;
            }
        }
        self.segment_mut(place.segment)
            .change(place.spot, |bucket, lane| bucket.set_meta(lane, meta));
    }

    /// Shows `change` the eviction policy's bits of an entry, sets what it answers, and answers the entry.
    #[inline]
    pub fn remark(&mut self, place: Place, change: impl FnOnce(u16) -> Option<u16>) -> Entry<'_> {
        let word = self.word(place);
        if let Some(meta) = change(word.meta) {
            self.set_meta(place, meta);
        }
        // SAFETY: the table owns the entry, and is borrowed.
        unsafe { Entry::at(word.handle) }
    }

    /// Adds an entry whose key is not there. `due` is the tick at which it may expire, if it has a deadline.
    pub(crate) fn insert(
        &mut self,
        key: &[u8],
        hash: KeyHash,
        deadline: Option<(u64, u32)>,
        payload: Payload<'_>,
        meta: u16,
    ) -> Place {
        let mut index = self.segment_of(hash).0;
        while self.segment(index).is_full() && self.split(index) {
            index = self.segment_of(hash).0;
        }
        let depth = self.depth(index);
        let word = Word {
            hash: hash.bits(depth),
            handle: entry::create(key, self.round, deadline.map(|(time, _)| time), payload),
            volatile: deadline.is_some(),
            meta,
        };
        let due = deadline.map_or(NEVER, |(_, due)| due);
        self.changed = true;
        self.due = self.due.min(due);
        let segment = self.segment_mut(index);
        let before = segment.bytes();
        let spot = segment.insert(word, due);
        let after = segment.bytes();
        self.bytes = self.bytes + after - before;
        self.len += 1;
        self.volatile += usize::from(deadline.is_some());
        Place {
            segment: index,
            spot,
        }
    }

    /// Gives an entry another value, and another deadline unless `deadline` is `None`. What the old value's pointer leads to is the
    /// caller's.
    ///
    /// `payload` must not lie in the entry.
    pub(crate) fn replace(
        &mut self,
        place: Place,
        deadline: Option<Option<(u64, u32)>>,
        payload: Payload<'_>,
    ) {
        self.replace_word(place, self.word(place), deadline, payload);
    }

    /// [`Table::replace`] for a word that was read; answers the entry as it is then.
    #[inline]
    fn replace_word(
        &mut self,
        place: Place,
        word: Word,
        deadline: Option<Option<(u64, u32)>>,
        payload: Payload<'_>,
    ) -> Entry<'_> {
        let time = match deadline {
            // SAFETY: the table owns the entry, and is borrowed.
            None => unsafe { Entry::at(word.handle) }.deadline(),
            Some(deadline) => deadline.map(|(time, _)| time),
        };
        // SAFETY: the table owns the entry and is borrowed alone; the caller sees to the payload.
        let handle = unsafe { entry::replace(word.handle, time, payload) };
        self.put_handle(place, word, handle);
        if let Some(deadline) = deadline {
            self.mark_deadline(place, word, deadline.map(|(_, due)| due));
        }
        // SAFETY: the table owns the entry, and is borrowed.
        unsafe { Entry::at(handle) }
    }

    #[inline]
    fn put_handle(&mut self, place: Place, word: Word, handle: Handle) {
        if handle != word.handle {
            self.segment_mut(place.segment)
                .change(place.spot, |bucket, lane| bucket.set_handle(lane, handle));
        }
    }

    /// Sets or takes away the deadline of an entry; with it comes the tick at which it may expire.
    pub(crate) fn set_deadline(&mut self, place: Place, deadline: Option<(u64, u32)>) {
        let word = self.word(place);
        // SAFETY: the table owns the entry and is borrowed alone.
        let handle = unsafe { entry::set_deadline(word.handle, deadline.map(|(time, _)| time)) };
        self.put_handle(place, word, handle);
        self.mark_deadline(place, word, deadline.map(|(_, due)| due));
    }

    fn mark_deadline(&mut self, place: Place, word: Word, due: Option<u32>) {
        if !word.volatile && due.is_none() {
            return;
        }
        self.changed = true;
        if word.volatile != due.is_some() {
            self.volatile += usize::from(due.is_some());
            self.volatile -= usize::from(word.volatile);
            self.segment_mut(place.segment)
                .change(place.spot, |bucket, lane| {
                    bucket.set_volatile(lane, due.is_some());
                });
        }
        if let Some(due) = due {
            self.due = self.due.min(due);
            let segment = self.segment_mut(place.segment);
            let before = segment.bytes();
            segment.note_due(place.spot, due);
            let after = segment.bytes();
            self.bytes = self.bytes + after - before;
        }
    }

    /// Removes an entry. What its value's pointer leads to is the caller's.
    pub(crate) fn remove(&mut self, place: Place) {
        let word = self.word(place);
        self.changed = true;
        // SAFETY: nothing leads to the entry once its word is gone.
        unsafe { entry::destroy(word.handle) };
        let segment = self.segment_mut(place.segment);
        let before = segment.bytes();
        segment.remove(place.spot);
        let after = segment.bytes();
        self.bytes = self.bytes + after - before;
        self.len -= 1;
        self.volatile -= usize::from(word.volatile);
        if self.len == 0 {
            self.walking = false;
            self.more = None;
            self.segment = Segment::EMPTY;
            self.bytes = 0;
            self.due = NEVER;
        }
    }

    /// All places, in no order that lasts.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        (0..self.segments()).flat_map(|segment| {
            self.segment(segment)
                .words()
                .map(move |(spot, _)| Place { segment, spot })
        })
    }

    /// All entries, in no order that lasts.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.places().map(|place| self.entry(place))
    }

    /// Visits at least `count` entries whose place in the order of hashes is `from` or later; answers where to go on, `None` at the end.
    /// Entries that share a place are visited together.
    pub fn scan<'a>(
        &'a self,
        from: KeyHash,
        count: usize,
        mut visit: impl FnMut(Entry<'a>),
    ) -> Option<KeyHash> {
        let mut visited = 0;
        let mut from = from.0;
        loop {
            if visited >= count {
                return Some(KeyHash(from));
            }
            let (index, depth) = self.segment_of(KeyHash(from));
            let first = KeyHash(from).bits(depth);
            let start = KeyHash(from).prefix(depth) as u64;
            let mut found: Vec<(u16, Spot)> = self
                .segment(index)
                .words()
                .filter(|(_, word)| word.hash >= first)
                .map(|(spot, word)| (word.hash, spot))
                .collect();
            found.sort_unstable_by_key(|(hash, _)| *hash);
            let place = |spot| Place {
                segment: index,
                spot,
            };
            let mut ahead = found.iter().skip(NEAR);
            let mut last = None;
            for (hash, spot) in &found {
                if let Some((_, spot)) = ahead.next() {
                    prefetch::block(self.word(place(*spot)).handle);
                }
                if visited >= count && last != Some(*hash) {
                    let prefix = if depth == 0 {
                        0
                    } else {
                        start << (64 - u32::from(depth))
                    };
                    return Some(KeyHash(
                        prefix | u64::from(*hash) << (48 - u32::from(depth)),
                    ));
                }
                visit(self.entry(place(*spot)));
                visited += 1;
                last = Some(*hash);
            }
            if depth == 0 || start + 1 == 1 << depth {
                return None;
            }
            from = (start + 1) << (64 - u32::from(depth));
        }
    }

    /// The places of the entries in a bucket chosen by `random`, and whether each has a deadline; an empty table has none.
    pub fn sample(&self, random: u64) -> impl Iterator<Item = (Place, bool)> {
        let segment = below(random as u32, self.segments() as usize) as u32;
        let buckets = self.segment(segment).buckets();
        let bucket = below((random >> 32) as u32, buckets.max(1));
        self.segment(segment)
            .words_of(bucket)
            .map(move |(spot, word)| (Place { segment, spot }, word.volatile))
    }

    /// Number of buckets; [`Table::sample`] chooses among them.
    pub fn buckets(&self) -> usize {
        (0..self.segments())
            .map(|segment| self.segment(segment).buckets())
            .sum()
    }

    /// No entry expires before this tick; `u32::MAX`: none ever does.
    pub fn next_due(&self) -> u32 {
        self.due
    }

    /// A bucket with an entry that may expire at `now`, by segment and number.
    pub fn due_bucket(&mut self, now: u32) -> Option<(u32, usize)> {
        if self.due > now {
            return None;
        }
        let segments = self.segments();
        let first = self.due_segment.min(segments - 1);
        for segment in (first..segments).chain(0..first) {
            let mut dues = self.segment(segment).dues().iter();
            if let Some(bucket) = dues.position(|due| *due <= now) {
                self.due_segment = segment;
                return Some((segment, bucket));
            }
        }
        let dues = (0..segments).flat_map(|segment| self.segment(segment).dues());
        self.due = dues.copied().min().unwrap_or(NEVER);
        self.changed = true;
        None
    }

    /// The bucket whose earliest deadline is the earliest of all.
    pub fn soonest_bucket(&self) -> impl Iterator<Item = Place> {
        let soonest = (0..self.segments())
            .flat_map(|segment| {
                let dues = self.segment(segment).dues().iter().enumerate();
                dues.map(move |(bucket, due)| (*due, segment, bucket))
            })
            .min();
        soonest
            .into_iter()
            .flat_map(|(_, segment, bucket)| self.volatile_of(segment, bucket))
    }

    /// The places of a bucket's entries with a deadline.
    pub fn volatile_of(&self, segment: u32, bucket: usize) -> impl Iterator<Item = Place> + use<> {
        self.segment(segment)
            .volatile_of(bucket)
            .map(move |spot| Place { segment, spot })
    }

    /// Sets the earliest tick of a bucket after a look at all its deadlines.
    pub fn set_due(&mut self, segment: u32, bucket: usize, due: u32) {
        self.segment_mut(segment).set_due(bucket, due);
    }

    /// How the buckets are found if there is one segment: for [`crate::prefetch`].
    pub fn layout(&self) -> Layout {
        match &self.more {
            None => Layout::new(self.segment.many(), self.segment.buckets()),
            Some(_) => Layout::NONE,
        }
    }

    /// Where in a table the places of its buckets begin while they are few, in bytes: for [`crate::prefetch`].
    pub const PLACES: usize = std::mem::offset_of!(Table, segment) + segment::FEW_OFFSET;

    /// Bytes of a table from its beginning that a search in its only segment may need.
    pub const SEARCHED: usize = std::mem::offset_of!(Table, segment) + segment::SEARCHED;

    /// Splits a segment by its hashes' next bit; false when it cannot be split further.
    fn split(&mut self, index: u32) -> bool {
        let depth = self.depth(index) + 1;
        if depth > MAX_DEPTH {
            return false;
        }
        let directory_before = self.more.as_ref().map_or(0, |more| more.bytes());
        let mut more = self.more.take().unwrap_or_else(|| {
            Box::new(Directory {
                depth: 0,
                segments: vec![0],
                rest: Vec::new(),
                depths: vec![0],
            })
        });
        if depth > more.depth {
            more.segments = more.segments.iter().flat_map(|index| [*index; 2]).collect();
            more.depth += 1;
        }
        self.more = Some(more);
        let old = std::mem::replace(self.segment_mut(index), Segment::EMPTY);
        let (low, high) = self.divide(&old, depth);
        let after = low.bytes() + high.bytes();
        self.bytes = self.bytes + after - old.bytes();
        drop(old);
        *self.segment_mut(index) = low;
        let Some(more) = &mut self.more else {
            return false;
        };
        more.rest.push(high);
        more.depths[index as usize] = depth;
        more.depths.push(depth);
        let new = more.rest.len() as u32;
        let bit = 1_usize << (more.depth - depth);
        for (prefix, segment) in more.segments.iter_mut().enumerate() {
            if *segment == index && prefix & bit != 0 {
                *segment = new;
            }
        }
        self.bytes = self.bytes + more.bytes() - directory_before;
        true
    }

    /// The words of a segment in two, with the bits of the next depth.
    fn divide(&self, old: &Segment, depth: u8) -> (Segment, Segment) {
        let (mut low, mut high) = (Segment::EMPTY, Segment::EMPTY);
        for (spot, word) in old.words() {
            // SAFETY: the table owns the entry, and is borrowed.
            let hash = KeyHash::of(unsafe { Entry::at(word.handle) }.key());
            let word = Word {
                hash: hash.bits(depth),
                ..word
            };
            let due = old.dues().get(usize::from(spot.bucket)).copied();
            let due = due.filter(|_| word.volatile).unwrap_or(NEVER);
            let half = if hash.prefix(depth) & 1 == 0 {
                &mut low
            } else {
                &mut high
            };
            half.insert(word, due);
        }
        (low, high)
    }
}

/// What an entry is recognized by after its lock was given up: it is gone or stands elsewhere if [`Table::locate`] finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    segment: u32,
    hash: u16,
    handle: Handle,
}

impl Table {
    /// What the entry at a place is recognized by.
    pub fn identity(&self, place: Place) -> Identity {
        let word = self.word(place);
        Identity {
            segment: place.segment,
            hash: word.hash,
            handle: word.handle,
        }
    }

    /// Where an entry stands now.
    pub fn locate(&self, identity: Identity) -> Option<Place> {
        if identity.segment >= self.segments() {
            return None;
        }
        let wanted = |handle| handle == identity.handle;
        let spot = self.segment(identity.segment).find(identity.hash, wanted)?;
        Some(Place {
            segment: identity.segment,
            spot,
        })
    }
}

/// A number below `limit`, evenly from 32 random bits.
#[inline]
fn below(random: u32, limit: usize) -> usize {
    ((u64::from(random) * limit as u64) >> 32) as usize
}

impl Drop for Table {
    fn drop(&mut self) {
        for segment in 0..self.segments() {
            for (_, word) in self.segment(segment).words() {
                // SAFETY: the table owns its entries, and ends here; the segments only free their own blocks after this.
                unsafe {
                    typed::drop_outer(Entry::at(word.handle));
                    entry::destroy(word.handle);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
