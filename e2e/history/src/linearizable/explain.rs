//! What a person needs to see of a violation: the first answer that has no explanation, and what led to it.

use std::fmt;

use super::search::Found;
use super::search_key;
use crate::log::found;
use crate::operation::{Command, Operation, Outcome};
use crate::transition::{State, Transition};

/// How many operations of a list are shown.
const SHOWN: usize = 24;

/// A key whose operations have no order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The key.
    pub key: String,
    /// The operation with whose answer the history became impossible. Until then there was an order; it need not be the
    /// one that went wrong.
    pub operation: Operation,
    /// The smallest impossible beginning of the history of this key, as far as the steps sufficed to tell: what was invoked
    /// until that answer, by invocation. What was answered later is unknown in it.
    pub prefix: Vec<Operation>,
    /// An order of what was answered before, with the unknown operations that this needs; `None` if the steps did not
    /// suffice to find one.
    pub order: Option<Vec<Operation>>,
}

/// Explains why `operations`, by invocation, all on `key` and known to have no order, have none.
pub(super) fn violation(key: &str, operations: &[&Operation], steps: u64) -> Violation {
    let mut answers: Vec<(u64, usize)> = operations
        .iter()
        .enumerate()
        .filter_map(|(index, operation)| Some((operation.completed()?, index)))
        .collect();
    answers.sort_unstable();

    // A beginning of a history with an order has one too, so the first without is found by halving.
    let (mut possible, mut impossible) = (0, answers.len());
    while impossible - possible > 1 {
        let middle = usize::midpoint(possible, impossible);
        let (end, _) = answers[middle - 1];
        let found = search_all(&beginning(operations, &answers[..middle], end), steps);
        match found {
            Found::NoOrder => impossible = middle,
            Found::Order(_) | Found::OutOfSteps => possible = middle,
        }
    }

    let (end, last) = answers[impossible - 1];
    let before = beginning(operations, &answers[..impossible - 1], end);
    let order = match search_all(&before, steps) {
        Found::Order(order) => Some(order.into_iter().map(|at| before[at].clone()).collect()),
        Found::NoOrder | Found::OutOfSteps => None,
    };
    Violation {
        key: key.to_owned(),
        operation: operations[last].clone(),
        prefix: beginning(operations, &answers[..impossible], end),
        order,
    }
}

/// What was invoked until `end`, with no other answers than `answers`.
fn beginning(operations: &[&Operation], answers: &[(u64, usize)], end: u64) -> Vec<Operation> {
    let mut known = vec![false; operations.len()];
    for (_, index) in answers {
        known[*index] = true;
    }
    let invoked = operations.iter().zip(known);
    invoked
        .take_while(|(operation, _)| operation.invoked <= end)
        .map(|(operation, known)| {
            let mut operation = (*operation).clone();
            if operation.completed().is_some() && !known {
                operation.outcome = Outcome::Unknown;
            }
            operation
        })
        .collect()
}

fn search_all(operations: &[Operation], steps: u64) -> Found {
    let operations: Vec<&Operation> = operations.iter().collect();
    search_key(&operations, steps)
}

impl Violation {
    /// Whether `operation`, which is not among the last, is shown nevertheless.
    fn concerns(&self, operation: &Operation) -> bool {
        let wrote = match operation.command {
            Command::Set { value, .. } => Some(value),
            Command::Get | Command::Delete | Command::Increment => None,
        };
        let is_found = wrote.is_some() && found(&self.operation) == Some(wrote);
        is_found || *operation == self.operation
    }

    fn write_prefix(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unshown = self.prefix.len().saturating_sub(SHOWN);
        let mut left_out = 0;
        for (index, operation) in self.prefix.iter().enumerate() {
            if index < unshown && !self.concerns(operation) {
                left_out += 1;
                continue;
            }
            write_left_out(out, &mut left_out)?;
            let mark = if *operation == self.operation {
                '*'
            } else {
                ' '
            };
            let answered = operation.completed().map_or_else(String::new, milliseconds);
            let invoked = milliseconds(operation.invoked);
            writeln!(out, "{mark} {invoked:>16} {answered:>16}  {operation}")?;
        }
        Ok(())
    }

    fn write_order(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(order) = &self.order else {
            return write!(out, "An order of the others was not found in these steps.");
        };
        writeln!(out, "All that was answered before fits in this order:")?;
        let mut left_out = order.len().saturating_sub(SHOWN);
        let shown = &order[left_out..];
        write_left_out(out, &mut left_out)?;
        for operation in shown {
            writeln!(out, "  {operation}")?;
        }
        match last_state(order) {
            Some(value) => write!(out, "It leaves {value}."),
            None => write!(out, "It leaves no value."),
        }
    }
}

fn write_left_out(out: &mut fmt::Formatter<'_>, count: &mut usize) -> fmt::Result {
    match std::mem::take(count) {
        0 => Ok(()),
        count => writeln!(out, "  ({count} left out)"),
    }
}

/// What an order of operations leaves.
fn last_state(order: &[Operation]) -> State {
    let transitions = order
        .iter()
        .filter_map(|operation| Transition::of(operation.command, operation.reply()));
    transitions.fold(None, |state, transition| {
        transition.step(state).unwrap_or(state)
    })
}

/// Nanoseconds as milliseconds, exactly.
fn milliseconds(nanoseconds: u64) -> String {
    format!("{}.{:06}", nanoseconds / 1_000_000, nanoseconds % 1_000_000)
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, operation) = (&self.key, &self.operation);
        writeln!(
            out,
            "Key '{key}' is not linearizable: with {operation} no order of its operations is left."
        )?;
        writeln!(out, "Invoked and answered until then, in ms:")?;
        self.write_prefix(out)?;
        self.write_order(out)
    }
}
