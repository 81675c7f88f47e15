//! The data set and its log as the [`Source`] of a walk.

use std::sync::Arc;

use super::walk::{Overrun, Piece, Source};
use crate::log::{Batch, Cursor};
use crate::node::Node;
use crate::resp::{Limits, Parsed, Parser};
use crate::slot::SlotId;
use crate::store::{KeyHash, Shared, encode_entry};

/// Entries that are sent while a slot is locked, about.
const ENTRIES: usize = 256;

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
        Self::at(node, cursor)
    }

    /// A source that goes on where a cursor stands.
    pub(crate) fn at(node: Arc<Node>, cursor: Cursor) -> Self {
        Self {
            position: cursor.offset(),
            node,
            cursor,
        }
    }

    /// The same under a name, by which metrics know its lag.
    pub(crate) fn named(mut self, name: impl Into<String>) -> Self {
        self.cursor = self.cursor.named(name);
        self
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

    fn dump(&self, slot: SlotId, from: KeyHash, entry: &mut dyn FnMut(&[u8])) -> Option<Piece> {
        let mut effects = Vec::new();
        let mut big = Vec::new();
        let mut keys = 0;
        let guard = self.node.store.try_lock_internal(slot)?;
        let next = guard.scan(from, ENTRIES, |stored| {
            // A table that has become smaller may show some again.
            if KeyHash::of(stored.key()) < from {
                return;
            }
            keys += 1;
            match Shared::of(stored) {
                Some(shared) => big.push(shared),
                None => {
                    effects.clear();
                    encode_entry(stored, &mut effects);
                    entry(&effects);
                }
            }
        });
        let cut = self.node.log.end();
        drop(guard);
        for shared in big {
            effects.clear();
            shared.encode(&mut effects);
            entry(&effects);
        }
        Some(Piece { cut, keys, next })
    }

    fn commands(&self, mut effects: &[u8], visit: &mut dyn FnMut(KeyHash, &[u8])) {
        let limits = Limits::default();
        let mut parser = Parser::default();
        while let Ok(Parsed::Command { length }) = parser.parse(effects, &limits) {
            let (command, rest) = effects.split_at(length);
            if let Some(key) = parser.args(effects).get(1) {
                visit(KeyHash::of(key), command);
            }
            effects = rest;
        }
    }

    fn read(&mut self, limit: usize) -> Result<Batch, Overrun> {
        // Taken before the read: what is below it and not in the batch was never recorded, and its slot is walked later.
        let end = self.node.log.end();
        let batch = self.cursor.try_next(limit).map_err(|_| Overrun {
            behind: self.node.log.end().saturating_sub(self.position),
        })?;
        self.position = if batch.records.is_empty() {
            end.max(self.position)
        } else {
            self.cursor.offset()
        };
        Ok(batch)
    }
}
