#![allow(unreachable_pub, dead_code)]
//! A hash table that grows in small steps and can be scanned with a cursor.
//!
//! Extendible hashing: a directory of segments of at most [`SEGMENT_ENTRIES`] entries, chosen by the leading bits of the hash. A full
//! segment is split alone, so no insertion moves more than one segment. Entries have a place in the order of their hashes which never
//! changes; a scan goes along it, so that what is present throughout a scan is seen whatever the table does meanwhile.

use std::sync::LazyLock;

use foldhash::quality::FixedState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Bucket;
use std::hash::{BuildHasher, Hasher};

/// Most entries of a segment, unless that many share their hash's leading bits.
const SEGMENT_ENTRIES: usize = 512;

/// Segments are told apart by at most so many leading bits.
const MAX_DEPTH: u8 = 22;

/// What a [`Table`] holds.
pub trait Keyed {
    /// The bytes by which the item is found.
    fn key(&self) -> &[u8];
}

/// A key's hash, with a seed of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OldKeyHash(pub u32);

static STATE: LazyLock<FixedState> = LazyLock::new(|| FixedState::with_seed(7));

impl OldKeyHash {
    /// The hash of `key`.
    pub fn of(key: &[u8]) -> Self {
        let mut hasher = STATE.build_hasher();
        hasher.write(key);
        Self((hasher.finish() >> 32) as u32)
    }

    /// The hash inside a segment, whose entries share leading bits.
    fn spread(self) -> u64 {
        u64::from(self.0).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

struct Segment<T> {
    depth: u8,
    items: HashTable<T>,
}

/// Items found by key.
pub struct Table<T> {
    segments: Vec<Segment<T>>,
    /// Segment of each prefix of `depth` bits.
    directory: Vec<u32>,
    depth: u8,
    len: usize,
    bytes: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            segments: Vec::new(),
            directory: Vec::new(),
            depth: 0,
            len: 0,
            bytes: 0,
        }
    }
}

impl<T: Keyed> Table<T> {
    /// Number of items.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes allocated by the table itself.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The item with this key.
    pub fn get(&self, key: &[u8], hash: OldKeyHash) -> Option<&T> {
        self.segments
            .get(self.segment_of(hash))?
            .items
            .find(hash.spread(), |item| item.key() == key)
    }

    /// The item with this key.
    pub fn get_mut(&mut self, key: &[u8], hash: OldKeyHash) -> Option<&mut T> {
        let segment = self.segment_of(hash);
        self.segments
            .get_mut(segment)?
            .items
            .find_mut(hash.spread(), |item| item.key() == key)
    }

    /// Puts `item` in, in the place of one with the same key, which is returned.
    pub fn insert(&mut self, item: T, hash: OldKeyHash) -> Option<T> {
        if self.segments.is_empty() {
            self.segments.push(Segment {
                depth: 0,
                items: HashTable::new(),
            });
            self.bytes += size_of::<Segment<T>>();
        }
        let mut index = self.segment_of(hash);
        if self.segments[index].items.len() >= SEGMENT_ENTRIES && self.split(index) {
            index = self.segment_of(hash);
        }
        let items = &mut self.segments[index].items;
        let before = items.allocation_size();
        let bucket = items.entry(
            hash.spread(),
            |other| other.key() == item.key(),
            |other| OldKeyHash::of(other.key()).spread(),
        );
        let old = match bucket {
            Bucket::Occupied(mut bucket) => Some(std::mem::replace(bucket.get_mut(), item)),
            Bucket::Vacant(bucket) => {
                bucket.insert(item);
                self.len += 1;
                None
            }
        };
        self.bytes += self.segments[index].items.allocation_size() - before;
        old
    }

    /// Takes the item with this key out.
    pub fn remove(&mut self, key: &[u8], hash: OldKeyHash) -> Option<T> {
        let index = self.segment_of(hash);
        let items = &mut self.segments.get_mut(index)?.items;
        let (item, _) = items
            .find_entry(hash.spread(), |item| item.key() == key)
            .ok()?
            .remove();
        self.len -= 1;
        if self.len == 0 {
            *self = Self::default();
        } else if items.capacity() > 32 && items.len() < items.capacity() / 8 {
            let before = items.allocation_size();
            items.shrink_to(items.len() * 2, |other| OldKeyHash::of(other.key()).spread());
            self.bytes -= before - items.allocation_size();
        }
        Some(item)
    }

    /// All items, in no order that lasts.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.segments.iter().flat_map(|segment| &segment.items)
    }

    /// The items with exactly this hash.
    pub fn with_hash(&self, hash: OldKeyHash) -> impl Iterator<Item = &T> {
        self.segments
            .get(self.segment_of(hash))
            .into_iter()
            .flat_map(move |segment| segment.items.iter_hash(hash.spread()))
            .filter(move |item| OldKeyHash::of(item.key()) == hash)
    }

    /// Visits at least `count` items (if there are so many) whose hash is `from` or more, in the order of their hashes; answers where
    /// to go on, `None` at the end.
    pub fn scan<'a>(
        &'a self,
        from: OldKeyHash,
        count: usize,
        mut visit: impl FnMut(&'a T),
    ) -> Option<OldKeyHash> {
        let mut from = from;
        let mut visited = 0;
        loop {
            let segment = self.segments.get(self.segment_of(from))?;
            let mut items: Vec<(OldKeyHash, &T)> = segment
                .items
                .iter()
                .map(|item| (OldKeyHash::of(item.key()), item))
                .filter(|(hash, _)| *hash >= from)
                .collect();
            items.sort_unstable_by_key(|(hash, _)| *hash);
            let mut last = None;
            for (hash, item) in items {
                if visited >= count && last != Some(hash) {
                    return Some(hash);
                }
                visit(item);
                visited += 1;
                last = Some(hash);
            }
            let shift = 32 - u32::from(segment.depth);
            let next = ((u64::from(from.0) >> shift) + 1) << shift;
            from = OldKeyHash(u32::try_from(next).ok()?);
            if visited >= count {
                return Some(from);
            }
        }
    }

    /// An item chosen by `random`; `None` when the table is empty.
    pub fn pick(&self, mut random: impl FnMut(usize) -> usize) -> Option<&T> {
        if self.len == 0 {
            return None;
        }
        let start = random(self.segments.len());
        let (head, tail) = self.segments.split_at(start);
        let segment = tail
            .iter()
            .chain(head)
            .find(|segment| !segment.items.is_empty())?;
        let buckets = segment.items.num_buckets();
        // Three probes of four hit when the segment is reasonably full; then the next occupied bucket is good enough.
        for _ in 0..8 {
            if let Some(item) = segment.items.get_bucket(random(buckets)) {
                return Some(item);
            }
        }
        let start = random(buckets);
        (start..buckets)
            .chain(0..start)
            .find_map(|bucket| segment.items.get_bucket(bucket))
    }

    fn segment_of(&self, hash: OldKeyHash) -> usize {
        if self.depth == 0 {
            0
        } else {
            self.directory[(hash.0 >> (32 - u32::from(self.depth))) as usize] as usize
        }
    }

    /// Splits a segment by its hashes' next bit; false when it cannot be split further.
    fn split(&mut self, index: usize) -> bool {
        let depth = self.segments[index].depth + 1;
        if depth > MAX_DEPTH {
            return false;
        }
        if depth > self.depth {
            self.double_directory();
        }
        let bit = 1_u32 << (32 - u32::from(depth));
        let goes = |item: &T| OldKeyHash::of(item.key()).0 & bit != 0;
        let rehash = |item: &T| OldKeyHash::of(item.key()).spread();
        let old = &mut self.segments[index];
        let before = old.items.allocation_size();
        let mut items = HashTable::with_capacity(old.items.len() / 2);
        for item in old.items.extract_if(|item| goes(item)) {
            items.insert_unique(rehash(&item), item, rehash);
        }
        old.depth = depth;
        old.items.shrink_to(old.items.len(), rehash);
        let after = old.items.allocation_size() + items.allocation_size();
        self.bytes = self.bytes + after - before + size_of::<Segment<T>>();
        let new = self.segments.len() as u32;
        self.segments.push(Segment { depth, items });
        let directory_bit = 1_usize << (self.depth - depth);
        for (prefix, segment) in self.directory.iter_mut().enumerate() {
            if *segment as usize == index && prefix & directory_bit != 0 {
                *segment = new;
            }
        }
        true
    }

    fn double_directory(&mut self) {
        let doubled = if self.depth == 0 {
            vec![0, 0]
        } else {
            self.directory
                .iter()
                .flat_map(|segment| [*segment; 2])
                .collect()
        };
        self.bytes += (doubled.len() - self.directory.len()) * size_of::<u32>();
        self.directory = doubled;
        self.depth += 1;
    }
}

