//! Records between the log and the file.

use crate::command::{EXEC, MULTI};
use crate::log::{Batch, Record, Scope};

/// What stands around records that belong together. Other records about no slot, such as `PING` and what is asked of replicas, are for
/// those alone: with them the file could not be loaded.
const GROUP: [&[u8]; 2] = [MULTI, EXEC];

/// Records that were read and are not written yet.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) bytes: Vec<u8>,
    /// For each record the log's offset behind it, and where it ends in `bytes`.
    records: Vec<(u64, usize)>,
}

impl Pending {
    /// Adds what was read next.
    pub(super) fn add(&mut self, batch: &Batch) {
        let is_left_out = |record: &Record| {
            record.scope == Scope::Other && !GROUP.contains(&&batch.bytes[record.range.clone()])
        };
        if !batch.records.iter().any(is_left_out) {
            let begin = self.bytes.len();
            self.bytes.extend_from_slice(&batch.bytes);
            let ends = batch.records.iter();
            self.records
                .extend(ends.map(|record| (record.end, begin + record.range.end)));
            return;
        }
        for record in &batch.records {
            if !is_left_out(record) {
                self.bytes
                    .extend_from_slice(&batch.bytes[record.range.clone()]);
            }
            self.records.push((record.end, self.bytes.len()));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Takes the records out that end up to `offset`.
    pub(super) fn take_up_to(&mut self, offset: u64) -> Self {
        let count = self.records.partition_point(|(end, _)| *end <= offset);
        if count == self.records.len() {
            return std::mem::take(self);
        }
        let length = count.checked_sub(1).map_or(0, |last| self.records[last].1);
        let bytes = self.bytes.drain(..length).collect();
        let records = self.records.drain(..count).collect();
        for (_, end) in &mut self.records {
            *end -= length;
        }
        Self { bytes, records }
    }

    /// Whether they end within a transaction, when it is known whether they begin in one.
    pub(super) fn ends_within(&self, mut within: bool) -> bool {
        let mut begin = 0;
        for (_, end) in &self.records {
            match &self.bytes[begin..*end] {
                MULTI => within = true,
                EXEC => within = false,
                _ => {}
            }
            begin = *end;
        }
        within
    }

    /// Puts records back in front.
    pub(super) fn put_back(&mut self, mut front: Self) {
        let length = front.bytes.len();
        front.bytes.append(&mut self.bytes);
        let moved = self
            .records
            .drain(..)
            .map(|(offset, end)| (offset, end + length));
        front.records.extend(moved);
        *self = front;
    }
}
