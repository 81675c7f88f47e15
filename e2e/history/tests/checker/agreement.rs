//! On small histories of all kinds the checker says what the definition says.

use history::{Command, Condition, DEFAULT_STEPS, Operation, Outcome, Reply, Verdict, check};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::brute_force::{Key, is_linearizable};
use crate::made::{history, unknown};

/// Values are few, so that most are written more than once.
const VALUES: std::ops::Range<u64> = 0..4;

/// Which commands there are.
#[derive(Clone, Copy, Debug)]
enum Mix {
    Register,
    Conditional,
    Counter,
    Everything,
}

impl Mix {
    fn commands(self) -> BoxedStrategy<Command> {
        let conditional = prop_oneof![
            Just(Condition::Always),
            Just(Condition::IfMissing),
            Just(Condition::IfPresent)
        ];
        let conditional =
            (VALUES, conditional).prop_map(|(value, condition)| Command::Set { value, condition });
        let get = Just(Command::Get);
        let set = VALUES.prop_map(Command::set);
        let delete = Just(Command::Delete);
        let increment = Just(Command::Increment);
        match self {
            Self::Register => prop_oneof![get, set].boxed(),
            Self::Conditional => prop_oneof![get, set, conditional, delete].boxed(),
            Self::Counter => prop_oneof![1 => get, 2 => increment].boxed(),
            Self::Everything => prop_oneof![get, conditional, delete, increment].boxed(),
        }
    }
}

/// What becomes of an operation: when it is answered after its invocation, if it is, and with what.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// With what a key answers that executes all in the order of their answers.
    Executed(u64),
    /// With something that the command allows, drawn by the number.
    Arbitrary(u64, u64),
    Unknown,
    Failed,
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => (0_u64..6).prop_map(Fate::Executed),
        1 => (0_u64..6, any::<u64>()).prop_map(|(after, drawn)| Fate::Arbitrary(after, drawn)),
        3 => Just(Fate::Unknown),
        1 => Just(Fate::Failed),
    ]
}

/// A command, when it is invoked, what becomes of it, and whether it has a value that no other writes.
type Draft = (Command, u64, Fate, bool);

fn drafts(mix: Mix) -> impl Strategy<Value = Vec<Draft>> {
    let draft = (mix.commands(), 0_u64..10, fates(), prop::bool::ANY);
    prop::collection::vec(draft, 1..=7)
}

fn arbitrary_reply(command: Command, drawn: u64) -> Reply {
    let yes = drawn.is_multiple_of(2);
    match command {
        Command::Get if yes => Reply::Value(None),
        Command::Get => Reply::Value(Some(drawn / 2 % 5)),
        Command::Set { condition, .. } => Reply::Stored(yes || condition == Condition::Always),
        Command::Delete => Reply::Deleted(yes),
        Command::Increment => Reply::Count(drawn % 6),
    }
}

/// Operations of which many have an order, and many have not.
fn operations(drafts: &[Draft]) -> Vec<Operation> {
    let mut operations: Vec<(u64, Fate, Operation)> = drafts
        .iter()
        .zip(0..)
        .map(|((command, invoked, fate, own_value), client)| {
            let command = match command {
                Command::Set { condition, .. } if *own_value => Command::Set {
                    value: 10 + u64::from(client),
                    condition: *condition,
                },
                other => *other,
            };
            let executed = match fate {
                Fate::Executed(after) | Fate::Arbitrary(after, _) => invoked + after,
                Fate::Unknown | Fate::Failed => invoked + u64::from(client),
            };
            (executed, *fate, unknown(client, *invoked, command))
        })
        .collect();
    operations.sort_by_key(|(executed, ..)| *executed);
    let mut key = Key::default();
    for (completed, fate, operation) in &mut operations {
        let completed = *completed;
        operation.outcome = match *fate {
            Fate::Executed(_) => Outcome::Ok {
                reply: key.execute(operation.command),
                completed,
            },
            Fate::Arbitrary(_, drawn) => Outcome::Ok {
                reply: arbitrary_reply(operation.command, drawn),
                completed,
            },
            // Half of the unknown ones are done.
            Fate::Unknown => {
                if operation.client.is_multiple_of(2) {
                    key.execute(operation.command);
                }
                Outcome::Unknown
            }
            Fate::Failed => Outcome::Failed,
        };
    }
    operations
        .into_iter()
        .map(|(_, _, operation)| operation)
        .collect()
}

/// Compares both on `cases` random histories, and sees to it that neither verdict is rare among them.
fn agree(mix: Mix, cases: u32) {
    let mut runner = TestRunner::new(ProptestConfig::with_cases(cases));
    let linearizable = std::cell::Cell::new(0);
    let outcome = runner.run(&drafts(mix), |drafts| {
        let operations = operations(&drafts);
        let expected = is_linearizable(&operations);
        linearizable.set(linearizable.get() + u32::from(expected));
        let verdict = check(&history(operations), DEFAULT_STEPS);
        let agrees = match &verdict {
            Verdict::Linearizable => expected,
            Verdict::Violation(violation) => {
                !expected
                    && !is_linearizable(&violation.prefix)
                    && violation.order.as_deref().is_some_and(is_order)
            }
            Verdict::Undecided { .. } => false,
        };
        prop_assert!(
            agrees,
            "by definition {expected}, by the checker {verdict:?}"
        );
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{mix:?}: {failure}"));
    let share = linearizable.get() * 100 / cases;
    assert!((10..=90).contains(&share), "{share} % are linearizable");
}

/// Whether `operations` can be executed one after the other with the replies that they have, and each was invoked before
/// those after it were answered.
fn is_order(operations: &[Operation]) -> bool {
    let mut key = Key::default();
    let fits = operations.iter().all(|operation| {
        let reply = key.execute(operation.command);
        operation.reply().is_none_or(|seen| seen == reply)
    });
    let in_time = |(index, operation): (usize, &Operation)| {
        let mut later = operations[index + 1..].iter();
        later.all(|other| other.completed().is_none_or(|end| end >= operation.invoked))
    };
    fits && operations.iter().enumerate().all(in_time)
}

#[test]
fn on_a_register() {
    agree(Mix::Register, 6000);
}

#[test]
fn with_conditions_and_deletes() {
    agree(Mix::Conditional, 12_000);
}

#[test]
fn on_a_counter() {
    agree(Mix::Counter, 6000);
}

#[test]
fn with_all_commands() {
    agree(Mix::Everything, 12_000);
}
