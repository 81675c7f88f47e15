//! Entries found by name: blocks of packed items divided by hash.
//!
//! Each block, called a leaf, has the entries whose hashes are between its key and the next leaf's. An entry is an item (its name) or
//! a pair (name and value). A leaf that is too full is split at the middle one of its hashes, a nearly empty one joined with its
//! neighbour; an entry bigger than a leaf gets a leaf of its own. Within a leaf a search walks and compares bytes.
//!
//! Entries have a place in the order of their hashes which never changes, so a scan along it sees what is present throughout the
//! scan, whatever is added and removed meanwhile.

use crate::KeyHash;
use crate::blocks::{At, Block, Blocks};
use crate::packed::{self, Encoded, Item};

/// Most bytes of a leaf of several entries.
const LEAF_BYTES: usize = if cfg!(test) { 96 } else { 512 };

/// Most entries of a leaf: a search walks over half of them.
const LEAF_ENTRIES: u32 = if cfg!(test) { 8 } else { 32 };

/// Hashes are 48 bits long: a scan's cursor, which is one, stays exact where clients keep numbers as floating point.
const HASH_SHIFT: u32 = 16;

/// Entries of `STRIDE` items by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leaves<const STRIDE: usize> {
    blocks: Blocks,
}

/// Where an entry is.
#[derive(Clone, Copy, Debug)]
struct Found {
    at: At,
    offset: usize,
}

impl<const STRIDE: usize> Leaves<STRIDE> {
    /// The entries of packed items, each name once.
    pub(crate) fn from_packed(items: &[u8]) -> Self {
        Self {
            blocks: Blocks::of(divide::<STRIDE>(items, LEAF_BYTES / 4 * 3, 0)),
        }
    }

    /// Puts the entries of packed items in, none of whose names is there.
    pub(crate) fn extend(&mut self, items: &[u8]) {
        let mut items = packed::items(items);
        let mut buffer = itoa::Buffer::new();
        while let Some(name) = items.next() {
            let rest: Vec<Encoded<'_>> = items.by_ref().take(STRIDE - 1).map(Encoded::of).collect();
            self.insert(name.text(&mut buffer), &rest);
        }
    }

    pub(crate) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// What follows the name in its entry, for pairs.
    pub(crate) fn value(&self, name: &[u8]) -> Option<Item<'_>> {
        let found = self.find(hash(name), &Encoded::new(name))?;
        let items = self.blocks.block(found.at).items();
        let (_, offset) = packed::at(items, found.offset)?;
        Some(packed::at(items, offset)?.0)
    }

    pub(crate) fn contains(&self, name: &[u8]) -> bool {
        self.find(hash(name), &Encoded::new(name)).is_some()
    }

    /// Puts an entry in; `rest` is what follows the name. Answers false and puts `rest` in the place of the old one if the name is
    /// there.
    pub(crate) fn insert(&mut self, name: &[u8], rest: &[Encoded<'_>]) -> bool {
        self.insert_seeing(name, rest, |_| ())
    }

    /// [`Leaves::insert`], which shows `see` what followed the name before, for pairs.
    pub(crate) fn insert_seeing(
        &mut self,
        name: &[u8],
        rest: &[Encoded<'_>],
        see: impl FnOnce(Item<'_>),
    ) -> bool {
        let hash = hash(name);
        let encoded = Encoded::new(name);
        let Some(at) = self.at(hash) else {
            let mut block = Block::empty(0, 0, 1);
            append(&mut block, &encoded, rest);
            self.blocks.push_back(block);
            return true;
        };
        let old = packed::find(self.blocks.block(at).items(), &encoded, STRIDE);
        let (bytes, count) = self.blocks.edit(at, |leaf| {
            if let Some(offset) = old {
                replace_rest(leaf, offset, rest, see);
            } else {
                append(leaf, &encoded, rest);
                leaf.count += 1;
            }
            (leaf.items().len(), leaf.count)
        });
        if count > 1 && (bytes > LEAF_BYTES || count > LEAF_ENTRIES) {
            self.split(at);
        }
        old.is_none()
    }

    /// Takes the entry with this name out.
    pub(crate) fn remove(&mut self, name: &[u8]) -> bool {
        let Some(found) = self.find(hash(name), &Encoded::new(name)) else {
            return false;
        };
        let (bytes, count) = self.blocks.edit(found.at, |leaf| {
            if let Some(end) = packed::skip(leaf.items(), found.offset, STRIDE) {
                leaf.splice(found.offset, end - found.offset, &[]);
            }
            leaf.count -= 1;
            (leaf.items().len(), leaf.count)
        });
        if count == 0 {
            self.blocks.remove(found.at);
        } else if bytes < LEAF_BYTES / 4 && count < LEAF_ENTRIES / 4 {
            self.blocks.join(found.at, LEAF_BYTES / 2, LEAF_ENTRIES / 2);
        }
        true
    }

    /// Visits at least `count` entries (if there are so many) whose hash is `from` or more, in the order of their hashes; answers
    /// where to go on, 0 at the end.
    pub(crate) fn scan<'a>(
        &'a self,
        from: u64,
        count: usize,
        mut visit: impl FnMut(&'a [u8]),
    ) -> u64 {
        let mut next = self.at(from);
        let mut visited = 0;
        while let Some(at) = next {
            let block = self.blocks.block(at);
            let mut entries = entries::<STRIDE>(block.items());
            entries.retain(|entry| entry.hash >= from);
            entries.sort_unstable_by_key(|entry| entry.hash);
            let mut last = None;
            for entry in entries {
                if visited >= count && last != Some(entry.hash) {
                    return entry.hash;
                }
                visit(&block.items()[entry.start..entry.end]);
                visited += 1;
                last = Some(entry.hash);
            }
            next = self.blocks.next(at);
        }
        0
    }

    /// The leaf of a hash.
    fn at(&self, hash: u64) -> Option<At> {
        self.blocks.by_even_key(hash, u64::BITS - HASH_SHIFT)
    }

    fn find(&self, hash: u64, name: &Encoded<'_>) -> Option<Found> {
        let at = self.at(hash)?;
        let offset = packed::find(self.blocks.block(at).items(), name, STRIDE)?;
        Some(Found { at, offset })
    }

    fn split(&mut self, at: At) {
        let leaf = self.blocks.block(at);
        let parts = divide::<STRIDE>(leaf.items(), leaf.items().len() / 2, leaf.key);
        if parts.len() > 1 {
            self.blocks.replace(at, parts);
        }
    }
}

fn append(leaf: &mut Block, name: &Encoded<'_>, rest: &[Encoded<'_>]) {
    let end = leaf.items().len();
    match rest {
        [] => leaf.splice(end, 0, &[*name]),
        [value, ..] => leaf.splice(end, 0, &[*name, *value]),
    }
}

/// Replaces what follows the name at `offset`, for pairs, after showing it to `see`.
fn replace_rest(leaf: &mut Block, offset: usize, rest: &[Encoded<'_>], see: impl FnOnce(Item<'_>)) {
    let items = leaf.items();
    if !rest.is_empty()
        && let Some(start) = packed::skip(items, offset, 1)
        && let Some((old, end)) = packed::at(items, start)
    {
        see(old);
        leaf.splice(start, end - start, rest);
    }
}

fn hash(name: &[u8]) -> u64 {
    KeyHash::of(name).0 >> HASH_SHIFT
}

/// One entry within its leaf.
struct Entry {
    hash: u64,
    start: usize,
    end: usize,
}

fn entries<const STRIDE: usize>(items: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut start = 0;
    let mut buffer = itoa::Buffer::new();
    while let Some((name, _)) = packed::at(items, start)
        && let Some(end) = packed::skip(items, start, STRIDE)
    {
        let hash = hash(name.text(&mut buffer));
        entries.push(Entry { hash, start, end });
        start = end;
    }
    entries
}

/// Divides entries by hash into leaves of about `target` bytes, the first with the key `first`. Entries of one hash stay together.
fn divide<const STRIDE: usize>(items: &[u8], target: usize, first: u64) -> Vec<Block> {
    let mut entries = entries::<STRIDE>(items);
    entries.sort_unstable_by_key(|entry| entry.hash);
    // Half of a leaf that has too many small entries has half of them.
    let most = (LEAF_ENTRIES as usize).min(entries.len().div_ceil(2));
    let mut leaves = Vec::new();
    // The first leaf of all takes hashes below its key.
    let mut key = entries.first().map_or(first, |entry| entry.hash.min(first));
    let mut start = 0;
    let mut bytes = 0;
    for (index, entry) in entries.iter().enumerate() {
        let size = entry.end - entry.start;
        let full = bytes >= target || bytes + size > LEAF_BYTES || index - start >= most;
        if index > start && full && entry.hash != entries[index - 1].hash {
            leaves.push(leaf(items, &entries[start..index], bytes, key));
            (key, start, bytes) = (entry.hash, index, 0);
        }
        bytes += size;
    }
    leaves.push(leaf(items, &entries[start..], bytes, key));
    leaves
}

fn leaf(items: &[u8], entries: &[Entry], bytes: usize, key: u64) -> Block {
    let mut leaf = Block::empty(bytes, key, entries.len() as u32);
    for entry in entries {
        leaf.append(&items[entry.start..entry.end]);
    }
    leaf
}

#[cfg(test)]
mod tests;
