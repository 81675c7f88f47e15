//! What asynchronous replication may lose: a bounded number of acknowledged writes, and only across a failover.

use std::fmt;

use hashbrown::HashMap;

use crate::evidence::{Write, writes};
use crate::log::{History, found};
use crate::operation::{Command, Condition, Operation};

/// A time within which a primary was replaced, in nanoseconds of the history's clock: from the fault on, until nobody
/// answers any more from what the old primary had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failover {
    /// The fault, or something before.
    pub from: u64,
    /// When it is over.
    pub to: u64,
}

/// Why a history cannot be judged by [`bounded_loss`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotIncreasing {
    /// A key has several clients that write.
    #[error("key '{key}': written by clients {first} and {second}; allowed is one writer a key")]
    SeveralWriters {
        /// The key.
        key: String,
        /// One of its writers.
        first: u32,
        /// Another.
        second: u32,
    },
    /// A value is not greater than the one that was written before.
    #[error(
        "key '{key}': {value} written after {before}; each value must be greater than those written before"
    )]
    NotGreater {
        /// The key.
        key: String,
        /// The value that was written before.
        before: u64,
        /// The value.
        value: u64,
    },
    /// A command that this check does not know how to judge.
    #[error("key '{key}': {command}; allowed are GET and SET without a condition")]
    OtherCommand {
        /// The key.
        key: String,
        /// The command.
        command: Command,
    },
}

/// A read that asynchronous replication does not explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The read.
    pub read: Operation,
    /// What is wrong with it.
    pub reason: LossReason,
}

/// What is wrong with a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LossReason {
    /// Its value was not written, or only refused, or only sent later.
    Invented,
    /// Its value had been replaced before, and no failover lies between.
    WentBack {
        /// The operation that shows it: a later write that was acknowledged, or a read of another value.
        replaced_by: Operation,
    },
    /// It is behind more acknowledged writes than the failovers may have lost.
    TooManyLost {
        /// Acknowledged writes that came after its value and before the read.
        lost: usize,
    },
}

impl fmt::Display for Loss {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Key '{}': {}", self.read.key, self.read)?;
        match &self.reason {
            LossReason::Invented => out.write_str(", which nobody had written"),
            LossReason::WentBack { replaced_by } => {
                write!(
                    out,
                    ", which {replaced_by} had replaced, without a failover since"
                )
            }
            LossReason::TooManyLost { lost } => {
                write!(
                    out,
                    ", without {lost} acknowledged writes, more than allowed"
                )
            }
        }
    }
}

/// Judges each read as one of a key that is atomic but for `failovers`, in each of which it may go back by at most `bound`
/// acknowledged writes of each key. A key has one writer, whose values increase. Reads may go back and forth as long as a
/// failover touches the time between. The first finding of each key is returned; none means that all is explained.
///
/// An unknown write may be executed late, after newer ones; it counts as executed when it is first read.
/// Takes time with the square of the number of operations on a key.
///
/// # Errors
/// If the history is not of this kind.
pub fn bounded_loss(
    history: &History,
    failovers: &[Failover],
    bound: usize,
) -> Result<Vec<Loss>, NotIncreasing> {
    let mut losses = vec![];
    for (key, operations) in history.by_key() {
        increases(key, &operations)?;
        let key = Key::new(&operations, failovers, bound);
        let reads = operations.iter().copied();
        losses.extend(reads.filter(|one| found(one).is_some()).find_map(|read| {
            let reason = key.judge(read)?;
            let read = read.clone();
            Some(Loss { read, reason })
        }));
    }
    Ok(losses)
}

/// Whether `operations`, by invocation, are reads and the writes of one client with increasing values.
fn increases(key: &str, operations: &[&Operation]) -> Result<(), NotIncreasing> {
    let key = || key.to_owned();
    let mut last: Option<(u32, u64)> = None;
    for operation in operations {
        let value = match operation.command {
            Command::Get => continue,
            Command::Set {
                value,
                condition: Condition::Always,
            } => value,
            command => {
                return Err(NotIncreasing::OtherCommand {
                    key: key(),
                    command,
                });
            }
        };
        let second = operation.client;
        match last.replace((second, value)) {
            Some((first, _)) if first != second => {
                return Err(NotIncreasing::SeveralWriters {
                    key: key(),
                    first,
                    second,
                });
            }
            Some((_, before)) if before >= value => {
                return Err(NotIncreasing::NotGreater {
                    key: key(),
                    before,
                    value,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

/// What is known of a key.
struct Key<'a> {
    writes: HashMap<u64, Write<'a>>,
    /// Answered operations, with the value that the key had at some time within.
    facts: Vec<(&'a Operation, Option<u64>)>,
    failovers: &'a [Failover],
    bound: usize,
}

impl<'a> Key<'a> {
    fn new(operations: &[&'a Operation], failovers: &'a [Failover], bound: usize) -> Self {
        let writes = writes(operations);
        let acknowledged = writes.iter().filter(|write| write.is_acknowledged());
        let written = acknowledged.filter_map(|write| Some((write.operation, write.left?)));
        let reads = operations.iter().copied();
        let read = reads.filter_map(|read| Some((read, found(read)?)));
        Self {
            facts: written.chain(read).collect(),
            writes: writes
                .into_iter()
                .filter_map(|write| Some((write.left??, write)))
                .collect(),
            failovers,
            bound,
        }
    }

    fn judge(&self, read: &Operation) -> Option<LossReason> {
        let (found, completed) = (found(read)?, read.completed()?);
        // Nothing is what the key had before all writes.
        let executed_by = match found {
            None => None,
            Some(value) => match self.writes.get(&value) {
                Some(write) if write.operation.invoked <= completed => write.executed_by,
                _ => return Some(LossReason::Invented),
            },
        };
        let contrary = |(fact, value): &&(&'a Operation, Option<u64>)| {
            *value != found
                && Some(fact.invoked) > executed_by
                && fact.completed() < Some(read.invoked)
        };
        let contraries = || self.facts.iter().filter(contrary).map(|(fact, _)| *fact);

        let last_failover = self.before(completed).map(|one| one.to).max();
        let replaced_by = contraries().find(|fact| Some(fact.invoked) > last_failover);
        if let Some(replaced_by) = replaced_by.cloned() {
            return Some(LossReason::WentBack { replaced_by });
        }
        let lost = contraries().filter(|fact| fact.command != Command::Get);
        let mut lost: Vec<u64> = lost.map(|write| write.invoked).collect();
        lost.sort_unstable_by(|one, other| other.cmp(one));
        self.too_many(&lost, completed)
            .then_some(LossReason::TooManyLost { lost: lost.len() })
    }

    /// The failovers that began until `time`.
    fn before(&self, time: u64) -> impl Iterator<Item = &Failover> {
        self.failovers.iter().filter(move |one| one.from <= time)
    }

    /// Whether writes that were invoked at `lost`, the latest first, are more than the failovers until `completed` may have
    /// lost. A failover loses only what was invoked before its end, so the latest must fit into the latest.
    fn too_many(&self, lost: &[u64], completed: u64) -> bool {
        lost.iter().zip(1..).any(|(invoked, count)| {
            let after = self.before(completed).filter(|one| one.to >= *invoked);
            count > self.bound * after.count()
        })
    }
}
