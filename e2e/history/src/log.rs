//! A history: all operations of a test, on many keys.

use std::collections::BTreeMap;

use crate::operation::{Command, Operation, Outcome, Reply};

/// Why operations are no history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The times are not those of one monotonic clock.
    #[error("{operation} on '{key}': completed at {completed}, but must not be before invoked, {invoked}", key = operation.key, invoked = operation.invoked)]
    CompletedBeforeInvoked {
        /// The operation.
        operation: Operation,
        /// When it is said to have been answered, in nanoseconds.
        completed: u64,
    },
    /// The reply is one of another command.
    #[error("{operation} on '{key}': reply {reply:?} does not answer the command; allowed are Value for GET, Stored for SET (true without a condition), Deleted for DEL, Count for INCR", key = operation.key)]
    ReplyOfAnotherCommand {
        /// The operation.
        operation: Operation,
        /// The reply.
        reply: Reply,
    },
}

/// All operations of a test, as its clients saw them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    operations: Vec<Operation>,
}

impl History {
    /// A history of `operations` in any order.
    ///
    /// # Errors
    /// If one of them completed before it was invoked, or has a reply that no server can give to its command.
    pub fn new(operations: Vec<Operation>) -> Result<Self, Malformed> {
        operations.iter().try_for_each(well_formed)?;
        Ok(Self { operations })
    }

    /// All operations.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The operations on each key, by invocation.
    #[must_use]
    pub fn by_key(&self) -> BTreeMap<&str, Vec<&Operation>> {
        let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
        for operation in &self.operations {
            keys.entry(&operation.key).or_default().push(operation);
        }
        for operations in keys.values_mut() {
            operations.sort_by_key(|operation| operation.invoked);
        }
        keys
    }
}

fn well_formed(operation: &Operation) -> Result<(), Malformed> {
    let Outcome::Ok { reply, completed } = operation.outcome else {
        return Ok(());
    };
    if completed < operation.invoked {
        return Err(Malformed::CompletedBeforeInvoked {
            operation: operation.clone(),
            completed,
        });
    }
    if !reply.answers(operation.command) {
        return Err(Malformed::ReplyOfAnotherCommand {
            operation: operation.clone(),
            reply,
        });
    }
    Ok(())
}

/// The value that a GET found: `None` if this is no answered GET.
pub(crate) fn found(operation: &Operation) -> Option<Option<u64>> {
    match (operation.command, operation.reply()) {
        (Command::Get, Some(Reply::Value(value))) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(command: Command, invoked: u64, reply: Reply, completed: u64) -> Operation {
        Operation {
            client: 1,
            key: "k".into(),
            invoked,
            command,
            outcome: Outcome::Ok { reply, completed },
        }
    }

    #[test]
    fn what_completed_before_it_was_invoked_is_no_history() {
        let operation = answered(Command::Get, 5, Reply::Value(None), 4);
        let error = History::new(vec![operation]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "GET -> nil (client 1) on 'k': completed at 4, but must not be before invoked, 5"
        );
    }

    #[test]
    fn a_reply_of_another_command_is_no_history() {
        for (command, reply) in [
            (Command::Get, Reply::Count(1)),
            (Command::set(1), Reply::Stored(false)),
            (Command::Delete, Reply::Stored(true)),
            (Command::Increment, Reply::Value(Some(1))),
        ] {
            let operation = answered(command, 1, reply, 2);
            assert_eq!(
                History::new(vec![operation.clone()]),
                Err(Malformed::ReplyOfAnotherCommand { operation, reply })
            );
        }
    }

    #[test]
    fn keys_have_their_operations_by_invocation() {
        let at = |key: &str, invoked| Operation {
            key: key.into(),
            ..answered(Command::Get, invoked, Reply::Value(None), 9)
        };
        let history = History::new(vec![at("b", 3), at("a", 2), at("b", 1)]).unwrap();
        let invocations: Vec<(&str, Vec<u64>)> = history
            .by_key()
            .into_iter()
            .map(|(key, operations)| (key, operations.iter().map(|one| one.invoked).collect()))
            .collect();
        assert_eq!(invocations, [("a", vec![2]), ("b", vec![1, 3])]);
    }
}
