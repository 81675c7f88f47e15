//! The data set and its log as the [`Source`] of a walk.

use std::collections::VecDeque;
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
    /// Big values that are sent after the lock of their slot was given up, and how far the first of them was sent.
    put_off: VecDeque<(SlotId, Shared)>,
    sent: u64,
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
            put_off: VecDeque::new(),
            sent: 0,
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

    fn dump(&mut self, slot: SlotId, from: KeyHash, entry: &mut dyn FnMut(&[u8])) -> Option<Piece> {
        let mut effects = Vec::new();
        let put_off = &mut self.put_off;
        let mut keys = 0;
        let guard = self.node.store.try_lock_internal(slot)?;
        let next = guard.scan(from, ENTRIES, |stored| {
            // A table that has become smaller may show some again.
            if KeyHash::of(stored.key()) < from {
                return;
            }
            keys += 1;
            match Shared::of(stored) {
                Some(shared) => put_off.push_back((slot, shared)),
                None => {
                    effects.clear();
                    encode_entry(stored, &mut effects);
                    entry(&effects);
                }
            }
        });
        let cut = self.node.log.end();
        Some(Piece { cut, keys, next })
    }

    fn put_off(&mut self, out: &mut Vec<u8>) -> Option<SlotId> {
        let (slot, shared) = self.put_off.front()?;
        let slot = *slot;
        match shared.encode_part(self.sent, out) {
            Some(next) => self.sent = next,
            None => {
                self.put_off.pop_front();
                self.sent = 0;
            }
        }
        Some(slot)
    }

    fn has_put_off(&self) -> bool {
        !self.put_off.is_empty()
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
