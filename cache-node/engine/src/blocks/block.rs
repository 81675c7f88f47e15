//! One block: packed items in one allocation with a little room behind them.

use std::sync::Arc;

use crate::packed::{self, Encoded};

/// A block. Cloning it takes a reference.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Packed items, then room.
    room: Arc<[u8]>,
    /// Bytes of packed items.
    used: u32,
    /// Number of entries.
    pub(crate) count: u32,
    /// The owner's key.
    pub(crate) key: u64,
}

impl Block {
    /// A block of packed items.
    pub(crate) fn new(items: &[u8], key: u64, count: u32) -> Self {
        let mut block = Self::empty(items.len(), key, count);
        block.append(items);
        block
    }

    /// A block of one entry.
    pub(crate) fn of_entry(items: &[Encoded<'_>], key: u64) -> Self {
        let mut block = Self::empty(items.iter().map(Encoded::size).sum(), key, 1);
        block.splice(0, 0, items);
        block
    }

    /// A block without items, with room for so many bytes of them.
    pub(crate) fn empty(bytes: usize, key: u64, count: u32) -> Self {
        Self {
            room: zeros(packed::room(bytes)),
            used: 0,
            count,
            key,
        }
    }

    /// Packed items.
    pub(crate) fn items(&self) -> &[u8] {
        &self.room[..self.used as usize]
    }

    /// Bytes allocated, two counters included.
    pub(super) fn bytes(&self) -> usize {
        16 + self.room.len()
    }

    /// Whether a reader or snapshot refers to the same items as well.
    #[cfg(test)]
    pub(super) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.room, &other.room)
    }

    /// Appends packed items.
    pub(crate) fn append(&mut self, items: &[u8]) {
        self.open(self.used as usize, 0, items.len())
            .copy_from_slice(items);
    }

    /// Puts `items` in the place of `removed` bytes at `offset`, which begin and end with items.
    pub(crate) fn splice(&mut self, offset: usize, removed: usize, items: &[Encoded<'_>]) {
        let size = items.iter().map(Encoded::size).sum();
        packed::put_all(self.open(offset, removed, size), items);
    }

    /// Makes `old` bytes at `offset` `new` ones, to be written by the caller: in place if nobody else reads the block and it has room,
    /// but not much more than it needs.
    fn open(&mut self, offset: usize, old: usize, new: usize) -> &mut [u8] {
        let used = self.used as usize;
        let need = used - old + new;
        let (behind, end) = (offset + old, offset + new);
        self.used = need as u32;
        if packed::fair(self.room.len(), need) && Arc::get_mut(&mut self.room).is_some() {
            let room = Arc::make_mut(&mut self.room);
            room.copy_within(behind..used, end);
            return &mut room[offset..end];
        }
        let old = std::mem::replace(&mut self.room, zeros(packed::room(need)));
        // Nobody else has the new one.
        let room = Arc::make_mut(&mut self.room);
        room[..offset].copy_from_slice(&old[..offset]);
        room[end..need].copy_from_slice(&old[behind..used]);
        &mut room[offset..end]
    }
}

fn zeros(len: usize) -> Arc<[u8]> {
    std::iter::repeat_n(0, len).collect()
}
