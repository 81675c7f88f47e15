//! Changing a run of items in place, with little spare room.

use super::{Encoded, skip};

/// Appends an item.
pub fn push(buffer: &mut Vec<u8>, item: &Encoded<'_>) {
    grow(buffer, item.size());
    item.write(buffer);
}

/// Puts an item in at `offset`.
pub fn insert(buffer: &mut Vec<u8>, offset: usize, item: &Encoded<'_>) {
    let size = item.size();
    open(buffer, offset, 0, size);
    item.put(&mut buffer[offset..offset + size]);
}

/// Puts items in at `offset`, one after the other.
pub fn insert_all(buffer: &mut Vec<u8>, offset: usize, items: &[Encoded<'_>]) {
    let total = items.iter().map(Encoded::size).sum();
    open(buffer, offset, 0, total);
    put_all(&mut buffer[offset..offset + total], items);
}

/// Writes items over `out`, which has exactly their size.
pub(crate) fn put_all(mut out: &mut [u8], items: &[Encoded<'_>]) {
    for item in items {
        let (own, rest) = out.split_at_mut(item.size());
        item.put(own);
        out = rest;
    }
}

/// Puts an item in the place of the one at `offset`; nothing changes if there is none.
pub fn replace(buffer: &mut Vec<u8>, offset: usize, item: &Encoded<'_>) {
    if let Some(end) = skip(buffer, offset, 1) {
        let size = item.size();
        open(buffer, offset, end.min(buffer.len()) - offset, size);
        item.put(&mut buffer[offset..offset + size]);
    }
}

/// Removes `count` items from `offset` on. Spare room is kept: see [`settle`].
pub fn remove(buffer: &mut Vec<u8>, offset: usize, count: usize) {
    if let Some(end) = skip(buffer, offset, count) {
        buffer.drain(offset..end.min(buffer.len()));
    }
}

/// Makes the `old` bytes at `offset` `new` bytes, whose content is not defined.
fn open(buffer: &mut Vec<u8>, offset: usize, old: usize, new: usize) {
    let len = buffer.len();
    if new > old {
        grow(buffer, new - old);
        buffer.resize(len + new - old, 0);
    }
    buffer.copy_within(offset + old..len, offset + new);
    buffer.truncate(len + new - old);
}

/// Makes room for `extra` bytes, with at most an eighth to spare (a sixteenth in buffers from 2 KiB).
pub fn grow(buffer: &mut Vec<u8>, extra: usize) {
    let need = buffer.len() + extra;
    if need > buffer.capacity() {
        buffer.reserve_exact(room(need) - buffer.len());
    }
}

/// Gives spare room back when there is much more of it than [`grow`] would have made.
pub fn settle(buffer: &mut Vec<u8>) {
    if buffer.capacity() > buffer.len() && !fair(buffer.capacity(), buffer.len()) {
        buffer.shrink_to(room(buffer.len()));
    }
}

/// Whether `capacity` is enough for `need` bytes, and not much more than [`room`] for them.
pub(crate) fn fair(capacity: usize, need: usize) -> bool {
    let room = room(need);
    (need..=room + room / 8 + 32).contains(&capacity)
}

/// The capacity for `need` bytes.
pub(crate) fn room(need: usize) -> usize {
    let steps = if need < 2048 { 8 } else { 16 };
    let step = (need.next_power_of_two() / 2 / steps).clamp(8, 4096);
    need.next_multiple_of(step)
}
