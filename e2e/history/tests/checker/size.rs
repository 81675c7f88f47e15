//! As many operations as a long fault test makes, and keys that are as hot.

use history::{DEFAULT_STEPS, Operation, Outcome, Reply, Verdict, check};

use crate::made::history;
use crate::simulated::{Commands, Load, simulate};

/// 100,000 operations of 50 clients.
const MANY: Load = Load {
    clients: 50,
    each: 2000,
    keys: 2000,
    commands: Commands::Conditional,
    unknown: 20,
};

/// 5,000 operations of 50 clients on one key, about 100 of them unknown.
const HOT: Load = Load {
    clients: 50,
    each: 100,
    keys: 1,
    commands: Commands::Conditional,
    unknown: 20,
};

#[test]
fn a_hundred_thousand_operations_on_thousands_of_keys() {
    let history = simulate(MANY, 1, None);
    assert!(history.operations().len() > 100_000);
    assert_eq!(check(&history, DEFAULT_STEPS), Verdict::Linearizable);
}

#[test]
fn thousands_of_operations_on_one_key_with_tens_of_clients_and_unknowns() {
    for commands in [Commands::Register, Commands::Conditional, Commands::Counter] {
        let history = simulate(Load { commands, ..HOT }, 2, None);
        assert_eq!(
            check(&history, DEFAULT_STEPS),
            Verdict::Linearizable,
            "{commands:?}"
        );
    }
}

#[test]
fn one_stale_read_among_thousands_of_operations_on_one_key() {
    for commands in [Commands::Register, Commands::Conditional] {
        let honest = simulate(Load { commands, ..HOT }, 3, None);
        let mut operations = honest.operations().to_vec();
        operations.sort_by_key(|one| one.invoked);
        let stale = |one: &Operation| matches!(one.reply(), Some(Reply::Value(Some(_))));
        let first = operations.iter().find(|one| stale(one)).expect("a GET");
        let old = first.reply().expect("answered");
        let at = operations.iter().rposition(stale).expect("a GET");
        let completed = operations[at].completed().expect("answered");
        operations[at].outcome = Outcome::Ok {
            reply: old,
            completed,
        };
        match check(&history(operations.clone()), DEFAULT_STEPS) {
            Verdict::Violation(violation) => assert_eq!(violation.operation, operations[at]),
            other => panic!("{commands:?}: {other:?}"),
        }
    }
}
