//! What a history must be like, by how writes are acknowledged and what was done to the cluster. Pure.

use history::{
    DEFAULT_STEPS, Failover, History, Operation, Reason, Verdict, bounded_loss, check,
    no_lost_acknowledged,
};

/// Acknowledged writes of one key that a failover may lose when somebody follows. A register has one writer, which waits for each answer, so this is
/// far more than is on its way to a replica that follows.
pub const MAY_LOSE: usize = 64;

/// What clients are promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Each key is as if there were one copy of it, and nothing that was acknowledged is lost.
    Linearizable,
    /// No value is invented, and what was acknowledged is lost only in failovers.
    Loss {
        /// These.
        failovers: Vec<Failover>,
        /// Writes of a key that each may lose at most.
        most: usize,
    },
}

/// Judges a history of registers with one writer each, and of counters, which `is_counter` tells from these by key. Each key must
/// have been read at the end.
///
/// # Errors
/// What was not as promised.
pub fn judge(
    history: &History,
    promise: &Promise,
    is_counter: impl Fn(&str) -> bool,
) -> Result<(), Vec<String>> {
    let mut broken = match promise {
        Promise::Linearizable => linearizable(history),
        Promise::Loss { failovers, most } => {
            let registers = part(history, |one| !is_counter(&one.key));
            explained(&registers, failovers, *most)
        }
    };
    let may_lose = matches!(promise, Promise::Loss { .. });
    let counters_only = part(history, |one| !may_lose || is_counter(&one.key));
    for unexplained in no_lost_acknowledged(&counters_only) {
        if !may_lose || !is_too_little(&unexplained.reason) {
            broken.push(unexplained.to_string());
        }
    }
    if broken.is_empty() {
        Ok(())
    } else {
        Err(broken)
    }
}

fn part(history: &History, belongs: impl Fn(&Operation) -> bool) -> History {
    let operations = history.operations().iter();
    let operations = operations.filter(|one| belongs(one)).cloned().collect();
    History::new(operations).expect("operations of a history are well formed")
}

fn linearizable(history: &History) -> Vec<String> {
    match check(history, DEFAULT_STEPS) {
        Verdict::Linearizable => vec![],
        Verdict::Violation(violation) => vec![violation.to_string()],
        Verdict::Undecided { key, steps } => {
            vec![format!("key '{key}': undecided in {steps} steps")]
        }
    }
}

fn explained(registers: &History, failovers: &[Failover], most: usize) -> Vec<String> {
    match bounded_loss(registers, failovers, most) {
        Ok(losses) => losses.iter().map(ToString::to_string).collect(),
        Err(not_increasing) => vec![not_increasing.to_string()],
    }
}

/// Whether a counter has lost INCRs, and not made some up.
fn is_too_little(reason: &Reason) -> bool {
    match reason {
        Reason::Miscounted {
            read, acknowledged, ..
        } => {
            matches!(read.reply(), Some(history::Reply::Value(found)) if found.unwrap_or(0) < *acknowledged)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use history::{Command, Outcome, Reply};

    use super::*;

    fn answered(key: &str, invoked: u64, command: Command, reply: Reply) -> Operation {
        Operation {
            client: 1,
            key: key.into(),
            invoked,
            command,
            outcome: Outcome::Ok {
                reply,
                completed: invoked + 1,
            },
        }
    }

    fn set(at: u64, value: u64) -> Operation {
        answered("r", at, Command::set(value), Reply::Stored(true))
    }

    fn get(key: &str, at: u64, value: u64) -> Operation {
        answered(key, at, Command::Get, Reply::Value(Some(value)))
    }

    fn loss(failovers: Vec<Failover>) -> Promise {
        let most = MAY_LOSE;
        Promise::Loss { failovers, most }
    }

    fn broken(operations: Vec<Operation>, promise: &Promise) -> bool {
        let history = History::new(operations).unwrap();
        judge(&history, promise, |key| key == "c").is_err()
    }

    #[test]
    fn a_lost_write_of_a_register_is_for_failovers_alone() {
        let lost = || vec![set(1, 1), set(10, 2), get("r", 50, 1)];
        let failover = Failover { from: 20, to: 30 };
        assert!(broken(lost(), &Promise::Linearizable));
        assert!(broken(lost(), &loss(vec![])));
        assert!(!broken(lost(), &loss(vec![failover])));
    }

    #[test]
    fn an_invented_value_is_for_nobody() {
        let failover = Failover { from: 2, to: 30 };
        let invented = || vec![set(1, 1), get("r", 50, 7)];
        assert!(broken(invented(), &Promise::Linearizable));
        assert!(broken(invented(), &loss(vec![failover])));
    }

    #[test]
    fn a_counter_may_lose_but_not_gain() {
        let counted = |found| {
            let first = answered("c", 1, Command::Increment, Reply::Count(1));
            let second = answered("c", 10, Command::Increment, Reply::Count(2));
            vec![first, second, get("c", 50, found)]
        };
        let loss = loss(vec![Failover { from: 20, to: 30 }]);
        assert!(!broken(counted(1), &loss));
        assert!(!broken(counted(2), &loss));
        assert!(broken(counted(3), &loss));
        assert!(broken(counted(1), &Promise::Linearizable));
        assert!(!broken(counted(2), &Promise::Linearizable));
    }
}
