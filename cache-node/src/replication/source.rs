//! The data set and its log as the [`Source`] of a walk.

use std::sync::Arc;

use super::walk::{Overrun, Record, Source};
use crate::log::Cursor;
use crate::node::Node;
use crate::slot::SlotId;
use crate::store::encode_entry;

/// A cursor on a node's log, with the node's data.
pub(crate) struct StoreSource {
    node: Arc<Node>,
    cursor: Cursor,
    /// At least the cursor's offset; further when the log moved on without recording.
    position: u64,
}

impl StoreSource {
    /// A source whose cursor stands at the log's end.
    pub(crate) fn new(node: Arc<Node>) -> Self {
        let cursor = node.log.cursor();
        Self {
            position: cursor.offset(),
            node,
            cursor,
        }
    }

    /// How far the cursor is behind the log's end, in bytes.
    pub(crate) fn behind(&self) -> u64 {
        self.node.log.end().saturating_sub(self.position)
    }

    /// Resolves when there is a record to read.
    pub(crate) async fn ready(&self) {
        self.cursor.ready().await;
    }
}

impl Source for StoreSource {
    fn end(&self) -> u64 {
        self.node.log.end()
    }

    fn cursor(&self) -> u64 {
        self.position
    }

    fn dump(&self, slot: SlotId, entry: &mut dyn FnMut(&[u8])) -> Option<(u64, u64)> {
        let guard = self.node.store.try_lock_internal(slot)?;
        let mut effects = Vec::new();
        for stored in guard.iter() {
            effects.clear();
            encode_entry(stored, &mut effects);
            entry(&effects);
        }
        Some((self.node.log.end(), guard.len() as u64))
    }

    fn read(&mut self, limit: usize, visit: &mut dyn FnMut(Record<'_>)) -> Result<(), Overrun> {
        // Taken before the read: what is below it and not in the batch was never recorded, and its slot is walked later.
        let end = self.node.log.end();
        let batch = self.cursor.try_next(limit).map_err(|_| Overrun {
            behind: self.node.log.end().saturating_sub(self.position),
        })?;
        for record in &batch.records {
            let payload = &batch.bytes[record.range.clone()];
            visit(Record {
                scope: record.scope,
                start: record.end - payload.len() as u64,
                end: record.end,
                payload,
            });
        }
        self.position = if batch.records.is_empty() {
            end.max(self.position)
        } else {
            self.cursor.offset()
        };
        Ok(())
    }
}
