//! What the search has to put in order: the operations on one key, with unknown ones left out or given a deadline where
//! that is safe. Without this, each unknown operation would be concurrent with all that follows it.

use hashbrown::HashMap;

use crate::operation::{Operation, Outcome};
use crate::transition::{Effect, Guard, State, Transition};

/// An operation to be put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// Its index among the operations on the key.
    pub(super) source: usize,
    pub(super) transition: Transition,
    /// It happened at this time or later.
    pub(super) invoked: u64,
    /// It happened until this time; `None`: it may never have happened.
    pub(super) deadline: Option<u64>,
}

impl Item {
    /// The state it leaves, if that is the same wherever it happens.
    fn becomes(&self) -> Option<State> {
        match self.transition.effect {
            Effect::Become(state) => Some(state),
            Effect::Keep | Effect::Increment => None,
        }
    }

    /// Until when something of it may be seen to matter.
    fn until(&self) -> u64 {
        self.deadline.unwrap_or(u64::MAX)
    }
}

/// The items of `operations`, which are all on one key.
pub(super) fn items_of(operations: &[&Operation]) -> Vec<Item> {
    prepared(all_items(operations))
}

/// The writes among `operations` and the reads that found a value, as if no write had asked whether there is one; `None`
/// if that leaves nothing out, or cannot be told because of INCRs.
///
/// If these have no order, `operations` have none: from an order of those, leaving out DELs and what found nothing gives
/// one of these. And whether they have is soon known, where DELs and conditions would multiply the search.
pub(super) fn writes_and_reads_of(operations: &[&Operation]) -> Option<Vec<Item>> {
    let all = all_items(operations);
    let counts = |item: &Item| {
        item.transition.effect == Effect::Increment
            || matches!(item.transition.guard, Guard::CountsTo(_))
    };
    let asks = |item: &Item| matches!(item.transition.guard, Guard::Missing | Guard::Present);
    if all.iter().any(counts) || !all.iter().any(asks) {
        return None;
    }
    let left = all.into_iter().filter_map(|mut item| {
        if asks(&item) {
            item.becomes()??;
            item.transition.guard = Guard::Any;
        }
        Some(item)
    });
    Some(prepared(left.collect()))
}

fn all_items(operations: &[&Operation]) -> Vec<Item> {
    let operations = operations.iter().enumerate();
    operations
        .filter_map(|(source, operation)| item(source, operation))
        .collect()
}

fn prepared(mut items: Vec<Item>) -> Vec<Item> {
    leave_out_the_unseen(&mut items);
    give_deadlines_by_what_was_seen(&mut items);
    items
}

fn item(source: usize, operation: &Operation) -> Option<Item> {
    let (reply, deadline) = match operation.outcome {
        Outcome::Ok { reply, completed } => (Some(reply), Some(completed)),
        Outcome::Unknown => (None, None),
        Outcome::Failed => return None,
    };
    Some(Item {
        source,
        transition: Transition::of(operation.command, reply)?,
        invoked: operation.invoked,
        deadline,
    })
}

/// Leaves out each unknown operation whose state nothing can have found.
///
/// Safe, since in an order with such an operation the next one must be one that does not care what it finds: without the
/// former, all states after it are the same.
fn leave_out_the_unseen(items: &mut Vec<Item>) {
    let observers = Observers::of(items);
    items.retain(|item| match (item.deadline, item.becomes()) {
        (None, Some(state)) => observers.last(state) >= Some(item.invoked),
        _ => true,
    });
}

/// Until when operations may find a state.
#[derive(Default)]
struct Observers {
    listed: HashMap<State, u64>,
    any_value: Option<u64>,
    anything: Option<u64>,
}

impl Observers {
    fn of(items: &[Item]) -> Self {
        let mut observers = Self::default();
        for item in items {
            let until = Some(item.until());
            for state in item.transition.guard.listed() {
                let last = observers.listed.entry(state).or_default();
                *last = (*last).max(item.until());
            }
            // An unknown DEL needs no value: where there is none, leaving it out is the same.
            let unknown_delete = item.deadline.is_none() && item.becomes() == Some(None);
            if item.transition.guard == Guard::Present && !unknown_delete {
                observers.any_value = observers.any_value.max(until);
            }
            if item.transition.effect == Effect::Increment {
                observers.anything = observers.anything.max(until);
            }
        }
        observers
    }

    fn last(&self, state: State) -> Option<u64> {
        let any_value = self.any_value.filter(|_| state.is_some());
        let listed = self.listed.get(&state).copied();
        listed.max(any_value).max(self.anything)
    }
}

/// Where only one operation can have written a value that was found, it happened, and before the first that found it was
/// answered.
fn give_deadlines_by_what_was_seen(items: &mut [Item]) {
    // Any value may come of these.
    if items
        .iter()
        .any(|item| item.transition.effect == Effect::Increment)
    {
        return;
    }
    let mut writers: HashMap<State, usize> = HashMap::new();
    let mut first_found: HashMap<State, u64> = HashMap::new();
    for item in items.iter() {
        if let Some(state) = item.becomes() {
            *writers.entry(state).or_default() += 1;
        }
        if let (Some(state), Some(deadline)) = (item.transition.guard.only(), item.deadline) {
            let first = first_found.entry(state).or_insert(deadline);
            *first = (*first).min(deadline);
        }
    }
    for item in items {
        // A missing value needs no writer.
        let Some(state @ Some(_)) = item.becomes() else {
            continue;
        };
        let Some(found) = first_found.get(&state) else {
            continue;
        };
        // What was found before it was written has no explanation: the search will say so.
        if writers[&state] == 1 && *found >= item.invoked {
            item.deadline = Some(item.until().min(*found));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{Command, Condition, Reply};

    fn operation(invoked: u64, command: Command, outcome: Outcome) -> Operation {
        Operation {
            client: 0,
            key: "k".into(),
            invoked,
            command,
            outcome,
        }
    }

    fn get(invoked: u64, value: Option<u64>, completed: u64) -> Operation {
        let reply = Reply::Value(value);
        operation(invoked, Command::Get, Outcome::Ok { reply, completed })
    }

    fn unknown(invoked: u64, command: Command) -> Operation {
        operation(invoked, command, Outcome::Unknown)
    }

    /// Index and deadline of what is left.
    fn left(operations: &[Operation]) -> Vec<(usize, Option<u64>)> {
        let operations: Vec<&Operation> = operations.iter().collect();
        let items = items_of(&operations);
        items
            .iter()
            .map(|item| (item.source, item.deadline))
            .collect()
    }

    #[test]
    fn reads_without_an_answer_and_refused_writes_are_left_out() {
        let refused = operation(1, Command::set(1), Outcome::Failed);
        assert_eq!(left(&[unknown(1, Command::Get), refused]), []);
    }

    #[test]
    fn an_unknown_write_that_was_found_happened_before_that_and_one_that_was_not_is_left_out() {
        let history = [
            unknown(1, Command::set(1)),
            unknown(2, Command::set(2)),
            get(5, Some(2), 8),
            get(6, Some(2), 7),
        ];
        assert_eq!(left(&history), [(1, Some(7)), (2, Some(8)), (3, Some(7))]);
    }

    #[test]
    fn an_unknown_write_stays_open_if_another_may_have_written_the_same() {
        let twice = [
            unknown(1, Command::set(2)),
            unknown(2, Command::set(2)),
            get(5, Some(2), 8),
        ];
        assert_eq!(left(&twice), [(0, None), (1, None), (2, Some(8))]);
        let counted = [
            unknown(1, Command::set(2)),
            unknown(2, Command::Increment),
            get(5, Some(2), 8),
        ];
        assert_eq!(left(&counted), [(0, None), (1, None), (2, Some(8))]);
    }

    #[test]
    fn an_unknown_write_stays_where_its_presence_may_have_been_found() {
        let exists = Command::Set {
            value: 9,
            condition: Condition::IfPresent,
        };
        for later in [exists, Command::Increment] {
            let history = [
                unknown(1, Command::set(1)),
                unknown(2, later),
                get(3, Some(9), 4),
            ];
            assert_eq!(left(&history)[0], (0, None), "{later}");
        }
        let deleted = [
            unknown(1, Command::set(1)),
            unknown(2, Command::Delete),
            get(3, None, 4),
        ];
        assert_eq!(left(&deleted), [(1, None), (2, Some(4))]);
    }

    #[test]
    fn what_was_found_before_it_was_written_gives_no_deadline() {
        let history = [get(1, Some(1), 2), unknown(3, Command::set(1))];
        assert_eq!(left(&history), [(0, Some(2))]);
    }
}
