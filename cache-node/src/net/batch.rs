//! Whole commands at the front of what has arrived, found and looked up before the first of them is executed.

use crate::command::{Hashed, Near, Prepared};
use crate::resp::{Args, Limits, Span, whole_command};
use crate::store::Store;

/// Most commands of a batch.
const MOST: usize = 64;

/// A buffer for more arguments is given back.
const KEEP_SPANS: usize = 4096;

/// Commands that are executed one after the other.
#[derive(Default)]
pub(super) struct Batch {
    spans: Vec<Span>,
    commands: Vec<Found>,
    near: Near,
}

struct Found {
    prepared: Prepared,
    first: u32,
    count: u32,
    end: usize,
}

impl Batch {
    /// Finds the whole commands from `start` on, and brings what they need near. It stops before anything unusual.
    pub(super) fn gather(&mut self, store: &Store, data: &[u8], start: usize, limits: &Limits) {
        self.spans.clear();
        self.commands.clear();
        self.near.clear();
        let mut at = start;
        while self.commands.len() < MOST && !self.near.is_full() {
            let first = self.spans.len();
            let Some(end) = whole_command(data, at, limits, &mut self.spans) else {
                break;
            };
            let args = Args::new(data, &self.spans[first..]);
            let Some(prepared) = self.near.prepare(store, args) else {
                break;
            };
            self.commands.push(Found {
                prepared,
                first: first as u32,
                count: (self.spans.len() - first) as u32,
                end,
            });
            at = end;
        }
        self.near.settle(store, self.commands.len());
    }

    /// Number of commands.
    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    /// A command with its keys and arguments, and where it ends in the data.
    #[inline]
    pub(super) fn get<'a>(
        &'a mut self,
        data: &'a [u8],
        index: usize,
    ) -> (Prepared, &'a [Hashed], Args<'a>, usize) {
        self.near.go_on();
        let found = &self.commands[index];
        let (first, count) = (found.first as usize, found.count as usize);
        let args = Args::new(data, &self.spans[first..first + count]);
        (
            found.prepared,
            self.near.keys_of(&found.prepared),
            args,
            found.end,
        )
    }

    /// Gives back memory that an unusual batch needed.
    pub(super) fn shrink(&mut self) {
        if self.spans.capacity() > KEEP_SPANS {
            self.spans = Vec::new();
        }
    }
}
