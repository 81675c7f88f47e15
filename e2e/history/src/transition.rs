//! The sequential specification: what an operation needs to find in its key, and what it leaves there.
//!
//! One state covers both models. A key that is only written with SET and DEL is a register, one that is only written with
//! INCR a counter, and a key may be both, as a string in Redis is.

use crate::operation::{Command, Condition, Reply};

/// What a key holds.
pub(crate) type State = Option<u64>;

/// Which states an operation can have found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Guard {
    /// All.
    Any,
    /// No value.
    Missing,
    /// Any value.
    Present,
    /// This value.
    Is(u64),
    /// What one more makes this number; a missing key counts as 0.
    CountsTo(u64),
}

impl Guard {
    fn admits(self, state: State) -> bool {
        match self {
            Self::Any => true,
            Self::Missing => state.is_none(),
            Self::Present => state.is_some(),
            Self::Is(value) => state == Some(value),
            Self::CountsTo(count) => state.unwrap_or(0).checked_add(1) == Some(count),
        }
    }

    /// The states it admits, where these can be listed: none for `Any` and `Present`.
    pub(crate) fn listed(self) -> impl Iterator<Item = State> {
        let states: [Option<State>; 2] = match self {
            Self::Any | Self::Present | Self::CountsTo(0) => [None, None],
            Self::Missing => [Some(None), None],
            Self::Is(value) => [Some(Some(value)), None],
            Self::CountsTo(1) => [Some(None), Some(Some(0))],
            Self::CountsTo(count) => [Some(Some(count - 1)), None],
        };
        states.into_iter().flatten()
    }

    /// The one state that it admits, if it is only one.
    pub(crate) fn only(self) -> Option<State> {
        let mut listed = self.listed();
        let first = listed.next();
        first.filter(|_| listed.next().is_none())
    }
}

/// What an operation leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Effect {
    /// What it found.
    Keep,
    /// This, whatever it found.
    Become(State),
    /// One more than it found.
    Increment,
}

/// What an operation does to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Transition {
    pub(crate) guard: Guard,
    pub(crate) effect: Effect,
}

impl Transition {
    /// What `command` does if it is done, given its reply if there was one. A command without an effect and without a
    /// reply has none: nothing can be known of it.
    ///
    /// # Panics
    /// If `reply` does not answer `command`, which a history excludes.
    pub(crate) fn of(command: Command, reply: Option<Reply>) -> Option<Self> {
        let (guard, effect) = match (command, reply) {
            (Command::Get, None) => return None,
            (Command::Get, Some(Reply::Value(Some(value)))) => (Guard::Is(value), Effect::Keep),
            (Command::Get, Some(Reply::Value(None)))
            | (Command::Delete, Some(Reply::Deleted(false))) => (Guard::Missing, Effect::Keep),
            (Command::Set { condition, .. }, Some(Reply::Stored(false))) => {
                (refusing(condition), Effect::Keep)
            }
            (Command::Set { value, condition }, None | Some(Reply::Stored(true))) => {
                (storing(condition), Effect::Become(Some(value)))
            }
            // Without a reply too: a DEL that finds nothing is the same as none.
            (Command::Delete, None | Some(Reply::Deleted(true))) => {
                (Guard::Present, Effect::Become(None))
            }
            (Command::Increment, Some(Reply::Count(count))) => {
                (Guard::CountsTo(count), Effect::Become(Some(count)))
            }
            (Command::Increment, None) => (Guard::Any, Effect::Increment),
            (command, reply) => unreachable!("{command} with {reply:?} is in no history"),
        };
        Some(Self { guard, effect })
    }

    /// The state that it leaves where it finds `state`, or `None` if it cannot have found that.
    pub(crate) fn step(self, state: State) -> Option<State> {
        if !self.guard.admits(state) {
            return None;
        }
        match self.effect {
            Effect::Keep => Some(state),
            Effect::Become(next) => Some(next),
            Effect::Increment => state.unwrap_or(0).checked_add(1).map(Some),
        }
    }
}

fn storing(condition: Condition) -> Guard {
    match condition {
        Condition::Always => Guard::Any,
        Condition::IfMissing => Guard::Missing,
        Condition::IfPresent => Guard::Present,
    }
}

fn refusing(condition: Condition) -> Guard {
    match condition {
        Condition::Always => unreachable!("a SET without a condition is always stored"),
        Condition::IfMissing => Guard::Present,
        Condition::IfPresent => Guard::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_lists_what_it_admits() {
        for guard in [
            Guard::Missing,
            Guard::Is(0),
            Guard::Is(3),
            Guard::CountsTo(0),
            Guard::CountsTo(1),
            Guard::CountsTo(4),
        ] {
            let admitted: Vec<State> = [None, Some(0), Some(1), Some(3), Some(4)]
                .into_iter()
                .filter(|state| guard.admits(*state))
                .collect();
            assert_eq!(guard.listed().collect::<Vec<_>>(), admitted, "{guard:?}");
        }
    }
}
