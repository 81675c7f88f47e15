//! A slot's expiry calendar: eight bytes a key with a deadline, earliest first.
//!
//! A handle is the hash of a key and the tick at which to look at it. Putting a deadline off leaves the handle where it is; when it
//! comes up too early, it is filed again. So a key has one handle that counts (the entry knows which), and stale ones are dropped.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::clock::Tick;

use super::table::KeyHash;

#[derive(Debug, Default)]
pub(super) struct Calendar {
    handles: BinaryHeap<Reverse<(Tick, KeyHash)>>,
}

/// Where a key stands in the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle {
    pub(super) tick: Tick,
    pub(super) hash: KeyHash,
}

impl Calendar {
    pub(super) fn file(&mut self, tick: Tick, hash: KeyHash) {
        self.handles.push(Reverse((tick, hash)));
    }

    /// The tick of the earliest handle.
    pub(super) fn next(&self) -> Option<Tick> {
        self.handles.peek().map(|Reverse((tick, _))| *tick)
    }

    /// Takes the earliest handle if it is due at `now`.
    pub(super) fn take_due(&mut self, now: Tick) -> Option<Handle> {
        self.next().filter(|tick| *tick <= now)?;
        self.handles
            .pop()
            .map(|Reverse((tick, hash))| Handle { tick, hash })
    }

    pub(super) fn len(&self) -> usize {
        self.handles.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.handles.capacity() * size_of::<(Tick, KeyHash)>()
    }

    pub(super) fn clear(&mut self) {
        self.handles = BinaryHeap::new();
    }

    /// The handles in no order.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (Tick, KeyHash)> {
        self.handles.iter().map(|Reverse(handle)| *handle)
    }
}
