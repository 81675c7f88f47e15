//! Operations, short enough to read a history at a glance.

use history::{Command, Condition, History, Operation, Outcome, Reply};

/// An answered operation.
pub(crate) fn answered(client: u32, times: [u64; 2], command: Command, reply: Reply) -> Operation {
    let [invoked, completed] = times;
    Operation {
        outcome: Outcome::Ok { reply, completed },
        ..unknown(client, invoked, command)
    }
}

/// An operation without an answer.
pub(crate) fn unknown(client: u32, invoked: u64, command: Command) -> Operation {
    Operation {
        client,
        key: "k".into(),
        invoked,
        command,
        outcome: Outcome::Unknown,
    }
}

/// An operation that was refused.
pub(crate) fn failed(client: u32, invoked: u64, command: Command) -> Operation {
    Operation {
        outcome: Outcome::Failed,
        ..unknown(client, invoked, command)
    }
}

/// A plain SET that was done.
pub(crate) fn set(client: u32, times: [u64; 2], value: u64) -> Operation {
    answered(client, times, Command::set(value), Reply::Stored(true))
}

/// A SET NX and whether it was done.
pub(crate) fn set_nx(client: u32, times: [u64; 2], value: u64, stored: bool) -> Operation {
    let condition = Condition::IfMissing;
    let command = Command::Set { value, condition };
    answered(client, times, command, Reply::Stored(stored))
}

/// A SET XX and whether it was done.
pub(crate) fn set_xx(client: u32, times: [u64; 2], value: u64, stored: bool) -> Operation {
    let condition = Condition::IfPresent;
    let command = Command::Set { value, condition };
    answered(client, times, command, Reply::Stored(stored))
}

/// A GET and what it found.
pub(crate) fn get(client: u32, times: [u64; 2], value: impl Into<Option<u64>>) -> Operation {
    let reply = Reply::Value(value.into());
    answered(client, times, Command::Get, reply)
}

/// A DEL and whether it found something.
pub(crate) fn del(client: u32, times: [u64; 2], deleted: bool) -> Operation {
    answered(client, times, Command::Delete, Reply::Deleted(deleted))
}

/// An INCR and its answer.
pub(crate) fn incr(client: u32, times: [u64; 2], count: u64) -> Operation {
    answered(client, times, Command::Increment, Reply::Count(count))
}

/// A history of these.
pub(crate) fn history(operations: impl Into<Vec<Operation>>) -> History {
    History::new(operations.into()).expect("well-formed")
}
