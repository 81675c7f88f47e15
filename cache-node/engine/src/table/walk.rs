//! Walks: every entry is passed once, as it was when the walk began, whatever happens to the table meanwhile.
//!
//! A walk costs a bit an entry, which all tables' entries have alike while there is none. Beginning a walk turns the table's bit, so that all
//! entries are behind at once; passing an entry turns its bit, and new ones have it turned from the start. Who is about to change
//! or remove an entry that is behind passes it first.

#![allow(unsafe_code)] // Marks entries that the table owns.

use crate::entry::{self, Entry};
use crate::key_hash::KeyHash;

use super::{Place, Table};

impl Table {
    /// Begins a walk: all entries are behind. The walk before is over.
    pub fn begin_walk(&mut self) {
        debug_assert!(!self.walking, "one walk at a time");
        self.round = !self.round;
        self.walking = !self.is_empty();
    }

    /// Whether there may be entries behind.
    #[inline]
    pub fn is_walking(&self) -> bool {
        self.walking
    }

    /// Whether the walk has not passed the entry at a place.
    #[inline]
    pub fn is_behind(&self, place: Place) -> bool {
        self.walking && self.entry(place).round() != self.round
    }

    /// The walk passes the entry at a place.
    pub fn pass(&mut self, place: Place) {
        // SAFETY: the table owns the entry and is borrowed alone.
        unsafe { entry::set_round(self.word(place).handle, self.round) };
    }

    /// Passes the entries that are behind, from `from` on in the order of hashes, `count` of them or a few more, after it has shown them to
    /// `visit`. Answers where to go on; `None`: the walk is over.
    pub fn walk(
        &mut self,
        from: KeyHash,
        count: usize,
        mut visit: impl FnMut(Entry<'_>),
    ) -> Option<KeyHash> {
        let round = self.round;
        let mut behind = Vec::new();
        let next = self.scan(from, count, |entry| {
            if entry.round() != round {
                visit(entry);
                behind.push(entry.handle());
            }
        });
        for handle in behind {
            // SAFETY: the table owns the entry, has not changed since, and is borrowed alone.
            unsafe { entry::set_round(handle, round) };
        }
        if next.is_none() {
            self.walking = false;
        }
        next
    }

    /// Ends the walk: nothing is behind any more.
    pub fn end_walk(&mut self) {
        self.walk(KeyHash(0), usize::MAX, |_| {});
    }
}

#[cfg(test)]
mod tests;
