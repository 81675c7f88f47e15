//! Whether the last acknowledged write of each key is there at the end.

use std::fmt;

use crate::evidence::{Write, writes};
use crate::log::{History, found};
use crate::operation::{Command, Operation};

/// A key whose end is not as its acknowledged writes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unexplained {
    /// The key.
    pub key: String,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with the end of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No answered GET began after the last acknowledged write was answered: the test has not looked.
    NotRead,
    /// The last GET found what can be neither the last acknowledged write nor an unknown one after it.
    Lost {
        /// The last GET.
        read: Operation,
        /// What it could have found.
        allowed: Vec<Option<u64>>,
    },
    /// The last GET of a counter found too little or too much.
    Miscounted {
        /// The last GET.
        read: Operation,
        /// Acknowledged INCRs: the least it could have found.
        acknowledged: u64,
        /// INCRs that are unknown: so many more it could have found.
        unknown: u64,
    },
    /// It was written with INCR and with something else, which this check does not judge.
    CountedAndSet,
}

impl fmt::Display for Unexplained {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Key '{}': ", self.key)?;
        match &self.reason {
            Reason::NotRead => out.write_str("no GET after its last acknowledged write"),
            Reason::Lost { read, allowed } => {
                write!(out, "last {read}; allowed")?;
                let mut separator = ' ';
                for value in allowed {
                    match value {
                        Some(value) => write!(out, "{separator}{value}")?,
                        None => write!(out, "{separator}nil")?,
                    }
                    separator = ',';
                }
                Ok(())
            }
            Reason::Miscounted {
                read,
                acknowledged,
                unknown,
            } => {
                let most = acknowledged + unknown;
                write!(out, "last {read}; allowed {acknowledged} to {most}")
            }
            Reason::CountedAndSet => out.write_str(
                "written with INCR and with SET or DEL; allowed are INCRs alone, or none",
            ),
        }
    }
}

/// Says of each key whether its last GET can be explained by a last acknowledged write, or by an unknown one that may have
/// come after that. Whatever was read before, and from whom, may be anything. Nothing may expire or be evicted.
///
/// An unknown write may be executed long after newer ones, so it may always be the last, unless its value was written
/// once and read before an acknowledged write began.
#[must_use]
pub fn no_lost_acknowledged(history: &History) -> Vec<Unexplained> {
    let keys = history.by_key();
    keys.into_iter()
        .filter_map(|(key, operations)| {
            let reason = judge(&operations)?;
            let key = key.to_owned();
            Some(Unexplained { key, reason })
        })
        .collect()
}

fn judge(operations: &[&Operation]) -> Option<Reason> {
    let writes = writes(operations);
    let acknowledged = writes.iter().filter(|write| write.is_acknowledged());
    let last_answer = acknowledged
        .filter_map(|one| one.operation.completed())
        .max();
    let last_read = operations
        .iter()
        .rev()
        .find_map(|one| Some((*one, found(one)?)));
    let Some((read, found)) = last_read.filter(|(read, _)| Some(read.invoked) > last_answer) else {
        return Some(Reason::NotRead);
    };
    let increments = writes
        .iter()
        .filter(|one| one.operation.command == Command::Increment);
    match increments.count() {
        0 => lost(&writes, read, found),
        count if count == writes.len() => miscounted(&writes, read, found),
        _ => Some(Reason::CountedAndSet),
    }
}

fn lost(writes: &[Write<'_>], read: &Operation, found: Option<u64>) -> Option<Reason> {
    let acknowledged = writes.iter().filter(|write| write.is_acknowledged());
    let last_begun = acknowledged.map(|write| write.operation.invoked).max();
    let may_be_last = |write: &&Write<'_>| {
        let before_read = write.operation.invoked <= read.completed().unwrap_or(u64::MAX);
        before_read && write.executed_by.is_none_or(|by| Some(by) >= last_begun)
    };
    let mut allowed: Vec<Option<u64>> = writes
        .iter()
        .filter(may_be_last)
        .filter_map(|write| write.left)
        .collect();
    if last_begun.is_none() {
        allowed.push(None);
    }
    allowed.sort_unstable();
    allowed.dedup();
    (!allowed.contains(&found)).then(|| Reason::Lost {
        read: read.clone(),
        allowed,
    })
}

fn miscounted(writes: &[Write<'_>], read: &Operation, found: Option<u64>) -> Option<Reason> {
    let acknowledged = writes.iter().filter(|write| write.is_acknowledged());
    let acknowledged = acknowledged.count() as u64;
    let unknown = writes.len() as u64 - acknowledged;
    let allowed = acknowledged..=acknowledged + unknown;
    (!allowed.contains(&found.unwrap_or(0))).then(|| Reason::Miscounted {
        read: read.clone(),
        acknowledged,
        unknown,
    })
}
