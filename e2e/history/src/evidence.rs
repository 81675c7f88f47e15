//! When a write on a key has certainly been executed, for the checks that do not ask for an order of all operations.

use hashbrown::HashMap;

use crate::log::found;
use crate::operation::{Operation, Outcome};
use crate::transition::{Effect, Transition};

/// A write that happened, or may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write<'a> {
    pub(crate) operation: &'a Operation,
    /// What it left, or leaves if it happens; `None`: one more than it found.
    pub(crate) left: Option<Option<u64>>,
    /// By when it has happened, in nanoseconds: it was answered, or its value read; `None`: perhaps never.
    pub(crate) executed_by: Option<u64>,
}

impl Write<'_> {
    /// Whether it was answered, and not with that it did nothing.
    pub(crate) fn is_acknowledged(&self) -> bool {
        self.operation.completed().is_some()
    }
}

/// The writes among `operations`, which are all on one key, without those that certainly did nothing. A value says when
/// its write has happened only if it was written once.
pub(crate) fn writes<'a>(operations: &[&'a Operation]) -> Vec<Write<'a>> {
    let mut writes: Vec<Write<'a>> = operations.iter().filter_map(|one| write(one)).collect();
    let mut writers: HashMap<u64, usize> = HashMap::new();
    for value in writes.iter().filter_map(|write| write.left.flatten()) {
        *writers.entry(value).or_default() += 1;
    }
    let first_read = first_reads(operations);
    // An INCR without an answer may have written any value.
    let values_are_known = writes.iter().all(|write| write.left.is_some());
    for write in &mut writes {
        let Some(value) = write.left.flatten() else {
            continue;
        };
        if let Some(read) = first_read.get(&value)
            && values_are_known
            && writers[&value] == 1
        {
            write.executed_by = Some(write.executed_by.map_or(*read, |by| by.min(*read)));
        }
    }
    writes
}

fn write(operation: &Operation) -> Option<Write<'_>> {
    if operation.outcome == Outcome::Failed {
        return None;
    }
    let left = match Transition::of(operation.command, operation.reply())?.effect {
        Effect::Keep => return None,
        Effect::Become(state) => Some(state),
        Effect::Increment => None,
    };
    Some(Write {
        operation,
        left,
        executed_by: operation.completed(),
    })
}

/// When the first read was answered that found a value.
fn first_reads(operations: &[&Operation]) -> HashMap<u64, u64> {
    let mut first: HashMap<u64, u64> = HashMap::new();
    for operation in operations {
        if let (Some(Some(value)), Some(completed)) = (found(operation), operation.completed()) {
            let earliest = first.entry(value).or_insert(completed);
            *earliest = (*earliest).min(completed);
        }
    }
    first
}
