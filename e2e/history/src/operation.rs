//! What a client asked of one key, and what it knows of the outcome.

use std::fmt;
use std::sync::Arc;

/// What a SET must find to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Nothing: a plain SET.
    Always,
    /// No value (`NX`).
    IfMissing,
    /// A value (`XX`).
    IfPresent,
}

/// A command on one key. Values are numbers; a test that stores text maps it to numbers, and what it cannot map to one
/// that is never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// GET.
    Get,
    /// SET.
    Set {
        /// The new value.
        value: u64,
        /// When it is stored.
        condition: Condition,
    },
    /// DEL.
    Delete,
    /// INCR. A missing key counts as 0.
    Increment,
}

impl Command {
    /// A SET without a condition.
    #[must_use]
    pub const fn set(value: u64) -> Self {
        Self::Set {
            value,
            condition: Condition::Always,
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get => out.write_str("GET"),
            Self::Set { value, condition } => {
                let suffix = match condition {
                    Condition::Always => "",
                    Condition::IfMissing => " NX",
                    Condition::IfPresent => " XX",
                };
                write!(out, "SET {value}{suffix}")
            }
            Self::Delete => out.write_str("DEL"),
            Self::Increment => out.write_str("INCR"),
        }
    }
}

/// What the server answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// Of a GET: the value, or that there is none.
    Value(Option<u64>),
    /// Of a SET: whether it was done. One without a condition always is.
    Stored(bool),
    /// Of a DEL: whether there was a value.
    Deleted(bool),
    /// Of an INCR: the new value.
    Count(u64),
}

impl Reply {
    /// Whether a server can answer `command` like this at all, whatever the key holds.
    #[must_use]
    pub fn answers(self, command: Command) -> bool {
        match (command, self) {
            (Command::Set { condition, .. }, Self::Stored(stored)) => {
                stored || condition != Condition::Always
            }
            (Command::Get, Self::Value(_))
            | (Command::Delete, Self::Deleted(_))
            | (Command::Increment, Self::Count(_)) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(Some(value)) | Self::Count(value) => write!(out, "{value}"),
            Self::Value(None) | Self::Stored(false) => out.write_str("nil"),
            Self::Stored(true) => out.write_str("OK"),
            Self::Deleted(deleted) => write!(out, "{}", u8::from(*deleted)),
        }
    }
}

/// What a client knows of how its operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was answered.
    Ok {
        /// The answer.
        reply: Reply,
        /// When the client had it, in nanoseconds of the history's clock.
        completed: u64,
    },
    /// It was certainly not done, and never will be: refused with `CLUSTERDOWN`, `MOVED`, `READONLY`.
    Failed,
    /// No answer (timeout, connection lost): it happened at any time after the invocation, or happens still, or never.
    Unknown,
}

/// One operation of one client on one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    /// The client's number, for people: order follows from times alone.
    pub client: u32,
    /// The key.
    pub key: Arc<str>,
    /// When it was about to be sent, in nanoseconds of the history's clock.
    pub invoked: u64,
    /// What was asked.
    pub command: Command,
    /// How it ended.
    pub outcome: Outcome,
}

impl Operation {
    /// When it was answered, in nanoseconds; `None` if it was not.
    #[must_use]
    pub fn completed(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Ok { completed, .. } => Some(completed),
            Outcome::Failed | Outcome::Unknown => None,
        }
    }

    /// The answer, if there was one.
    #[must_use]
    pub fn reply(&self) -> Option<Reply> {
        match self.outcome {
            Outcome::Ok { reply, .. } => Some(reply),
            Outcome::Failed | Outcome::Unknown => None,
        }
    }
}

/// `SET 4 -> OK (client 1)`.
impl fmt::Display for Operation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} -> ", self.command)?;
        match self.outcome {
            Outcome::Ok { reply, .. } => write!(out, "{reply}")?,
            Outcome::Failed => out.write_str("refused")?,
            Outcome::Unknown => out.write_str("?")?,
        }
        write!(out, " (client {})", self.client)
    }
}
