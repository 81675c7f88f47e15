//! Records of the log that lie one behind the other in memory.

use std::sync::Arc;

use bytes::Bytes;

use super::{Batch, Record, Scope};

/// Consecutive records. Nothing changes in a block once it is full: readers share it.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Position of the first record.
    pub(super) first: u64,
    /// The offset before the first record.
    pub(super) start: u64,
    bytes: Vec<u8>,
    records: Vec<Stored>,
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    scope: Scope,
    /// The log's offset behind it.
    end: u64,
    /// Where its effects end in the block.
    until: usize,
}

impl Block {
    /// An empty block for about so many bytes, in the memory of one that nobody needs any more.
    pub(super) fn begin(mut spare: Self, first: u64, start: u64, size: usize) -> Self {
        spare.bytes.clear();
        spare.records.clear();
        spare.bytes.reserve_exact(size);
        Self {
            first,
            start,
            ..spare
        }
    }

    pub(super) fn push(&mut self, scope: Scope, effects: &[u8], end: u64) {
        self.bytes.extend_from_slice(effects);
        self.records.push(Stored {
            scope,
            end,
            until: self.bytes.len(),
        });
    }

    /// Bytes of effects.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes for which there is memory.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Position of what comes behind the last record.
    pub(super) fn next(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// The offset behind the last record.
    pub(super) fn end(&self) -> u64 {
        self.records.last().map_or(self.start, |record| record.end)
    }

    /// The position of the record behind `offset`, if that is where one ends, or the block begins.
    pub(super) fn position_behind(&self, offset: u64) -> Option<u64> {
        let skipped = self.records.partition_point(|record| record.end <= offset);
        let previous = match skipped.checked_sub(1) {
            Some(index) => self.records[index].end,
            None => self.start,
        };
        (previous == offset).then_some(self.first + skipped as u64)
    }

    /// The records from position `next` on, without a copy: one at least, more while they fit into `limit` bytes.
    pub(super) fn share(self: &Arc<Self>, next: u64, limit: usize) -> Batch {
        let (start, records) = self.select(next, limit);
        let end = start + records.last().map_or(0, |record| record.range.end);
        let bytes = Bytes::from_owner(Shared(Arc::clone(self))).slice(start..end);
        Batch { bytes, records }
    }

    /// The same as a copy.
    pub(super) fn copy(&self, next: u64, limit: usize) -> Batch {
        let (start, records) = self.select(next, limit);
        let end = start + records.last().map_or(0, |record| record.range.end);
        let bytes = Bytes::copy_from_slice(&self.bytes[start..end]);
        Batch { bytes, records }
    }

    /// Where the bytes of the record at position `next` begin, and the records from there, counted from there.
    fn select(&self, next: u64, limit: usize) -> (usize, Vec<Record>) {
        let index = next.saturating_sub(self.first) as usize;
        let start = match index.checked_sub(1) {
            Some(previous) => self.records[previous].until,
            None => 0,
        };
        let mut records = Vec::new();
        let mut from = start;
        for record in &self.records[index..] {
            if !records.is_empty() && record.until - start > limit {
                break;
            }
            records.push(Record {
                scope: record.scope,
                end: record.end,
                range: from - start..record.until - start,
            });
            from = record.until;
        }
        (start, records)
    }
}

/// A block as the owner of its bytes.
struct Shared(Arc<Block>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}
