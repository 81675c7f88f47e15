//! Big strings: bytes in chunks behind reference counts.
//!
//! A reader takes references to the chunks under the lock and writes them out after; who changes a chunk that is shared copies that
//! chunk first. No operation moves more than the chunks it touches.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use crate::packed;

/// Bytes of a chunk; only the last may have fewer.
pub const CHUNK_BYTES: usize = if cfg!(test) { 16 } else { 32 * 1024 };

/// The chunk that fills what was never written, shared by all strings until somebody writes to it.
static ZEROS: LazyLock<Arc<Vec<u8>>> = LazyLock::new(|| Arc::new(vec![0; CHUNK_BYTES]));

/// A string in chunks. Cloning it takes a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Text {
    /// All full but the last, none empty.
    chunks: Vec<Arc<Vec<u8>>>,
    len: usize,
    /// Capacity of all chunks.
    capacity: usize,
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        let mut text = Self::default();
        text.append(bytes);
        text
    }
}

impl Text {
    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes allocated, without this struct. Zeros that were never written count as if they were not shared.
    pub fn bytes(&self) -> usize {
        // Two counters and the vector stand before every chunk.
        let head = 16 + size_of::<Vec<u8>>();
        self.capacity + self.chunks.len() * head + self.chunks.capacity() * size_of::<usize>()
    }

    /// Number of allocations, without this struct's.
    pub fn weight(&self) -> usize {
        1 + 2 * self.chunks.len()
    }

    /// The chunks, in order.
    pub fn chunks(&self) -> impl ExactSizeIterator<Item = &Arc<Vec<u8>>> {
        self.chunks.iter()
    }

    /// The byte at `index`.
    pub fn byte(&self, index: usize) -> Option<u8> {
        let chunk = self.chunks.get(index / CHUNK_BYTES)?;
        chunk.get(index % CHUNK_BYTES).copied()
    }

    /// The bytes of `range`, as far as there are any, chunk by chunk.
    pub fn slices(&self, range: Range<usize>) -> impl Iterator<Item = &[u8]> {
        let end = range.end.min(self.len);
        let range = range.start.min(end)..end;
        let chunks = range.start / CHUNK_BYTES..range.end.div_ceil(CHUNK_BYTES);
        let first = chunks.start;
        let chunks = self.chunks.get(chunks).unwrap_or_default();
        chunks.iter().enumerate().map(move |(number, chunk)| {
            let offset = (first + number) * CHUNK_BYTES;
            let start = range.start.saturating_sub(offset);
            &chunk[start..(range.end - offset).min(chunk.len())]
        })
    }

    /// The bytes of `range`, as far as there are any, copied.
    pub fn get_range(&self, range: Range<usize>) -> Vec<u8> {
        self.slices(range).flatten().copied().collect()
    }

    /// Appends bytes.
    pub fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.len.next_multiple_of(CHUNK_BYTES) - self.len;
            if room == 0 {
                self.push_chunk(Arc::new(Vec::new()));
            }
            let last = self.chunks.len() - 1;
            let room = if room == 0 { CHUNK_BYTES } else { room };
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.edit(last, |chunk| {
                packed::grow(chunk, now.len());
                chunk.extend_from_slice(now);
            });
            self.len += now.len();
            bytes = later;
        }
    }

    /// Writes bytes over those from `offset` on, appending where there are none; a gap before is filled with zeros.
    pub fn set_range(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if offset > self.len {
            self.fill(offset);
        }
        let over = bytes.len().min(self.len - offset);
        let (over, behind) = bytes.split_at(over);
        let mut at = offset;
        let mut rest = over;
        while !rest.is_empty() {
            let start = at % CHUNK_BYTES;
            let (now, later) = rest.split_at(rest.len().min(CHUNK_BYTES - start));
            self.edit(at / CHUNK_BYTES, |chunk| {
                chunk[start..start + now.len()].copy_from_slice(now);
            });
            at += now.len();
            rest = later;
        }
        self.append(behind);
    }

    /// Appends zeros until there are `len` bytes; nothing changes if there are as many.
    pub fn fill(&mut self, len: usize) {
        let missing = self.len.next_multiple_of(CHUNK_BYTES).min(len);
        if missing > self.len {
            self.append(&ZEROS[..missing - self.len]);
        }
        while self.len + CHUNK_BYTES <= len {
            self.push_chunk(ZEROS.clone());
            self.len += CHUNK_BYTES;
        }
        if len > self.len {
            self.append(&ZEROS[..len - self.len]);
        }
    }

    fn push_chunk(&mut self, chunk: Arc<Vec<u8>>) {
        self.capacity += chunk.capacity();
        if self.chunks.len() == self.chunks.capacity() {
            self.chunks.reserve_exact(1 + self.chunks.len() / 8);
        }
        self.chunks.push(chunk);
    }

    fn edit(&mut self, number: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let chunk = &mut self.chunks[number];
        let before = chunk.capacity();
        let chunk = Arc::make_mut(chunk);
        change(chunk);
        self.capacity = self.capacity - before + chunk.capacity();
    }
}

#[cfg(test)]
mod tests;
