//! Whether each key behaved as if its operations had happened one after the other, each between invocation and answer.
//!
//! The search is that of Wing and Gong with Lowe's memory of configurations, on a linked list of events and a bitset as in
//! Porcupine. What is added keeps the number of configurations small:
//!
//! - Operations that only look are placed as soon as what they found is there (`search.rs`).
//! - Operations that do the same, and writes whose readers are all waiting, are tried by deadline only (`search.rs`).
//! - A state that somebody needs and nobody can bring back is not left (`uses.rs`).
//! - An unknown operation is tried only where something depends on it (`search.rs`), left out if nothing can, and given
//!   a deadline if something was seen that it alone can have written (`items.rs`).
//! - Writes and reads are looked at without DELs and conditions first (`items.rs`).
//!
//! Each of these is safe for every command, on a register, a counter and a key that is both; they help most where each
//! value is written once.

mod events;
mod explain;
mod items;
mod placed;
mod search;
mod uses;

use crate::log::History;
use crate::operation::Operation;
use search::Found;

pub use explain::Violation;

/// Steps on one key after which [`check`] may give up: far more than a key with thousands of operations by tens of clients
/// takes if each value is written once.
pub const DEFAULT_STEPS: u64 = 200_000;

/// Whether a history is linearizable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Each key has an order.
    Linearizable,
    /// A key has none.
    Violation(Box<Violation>),
    /// No key is known to have none, but for this one the search was given up.
    Undecided {
        /// The first such key.
        key: String,
        /// The steps that it was given.
        steps: u64,
    },
}

/// Checks each key for itself, which is enough: a history is linearizable if and only if it is on each object (Herlihy and
/// Wing 1990). All keys are missing at the beginning. A search on a key ends after `steps` operations that were tried as
/// the next in the order, as [`DEFAULT_STEPS`]; there are at most two a key, and to explain a violation about as many as the
/// key's number of operations has binary digits. The first violation in the order of keys is the verdict.
#[must_use]
pub fn check(history: &History, steps: u64) -> Verdict {
    let mut verdict = Verdict::Linearizable;
    for (key, operations) in history.by_key() {
        match search_key(&operations, steps) {
            Found::Order(_) => {}
            Found::NoOrder => {
                return Verdict::Violation(Box::new(explain::violation(key, &operations, steps)));
            }
            Found::OutOfSteps if verdict == Verdict::Linearizable => {
                let key = key.to_owned();
                verdict = Verdict::Undecided { key, steps };
            }
            Found::OutOfSteps => {}
        }
    }
    verdict
}

fn search_key(operations: &[&Operation], steps: u64) -> Found {
    let writes_and_reads = items::writes_and_reads_of(operations);
    let part = writes_and_reads.map(|items| search::search(items, steps));
    if part == Some(Found::NoOrder) {
        return Found::NoOrder;
    }
    search::search(items::items_of(operations), steps)
}
