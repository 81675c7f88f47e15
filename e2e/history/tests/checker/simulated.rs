//! Clients of a simulated cache, each of whose keys executes one command at a time, and of one with faults.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use history::{
    Command, Condition, DEFAULT_STEPS, History, Operation, Outcome, Reply, Verdict, check,
};
use proptest::prelude::*;
use proptest::sample::Index;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::brute_force::Key;
use crate::made::{history, unknown};

/// What the clients do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) clients: u32,
    /// Operations of each client.
    pub(crate) each: usize,
    pub(crate) keys: usize,
    pub(crate) commands: Commands,
    /// Operations without an answer, of a thousand.
    pub(crate) unknown: u32,
}

/// Which commands they send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commands {
    /// GET and SET, half and half.
    Register,
    /// GET and SET, with and without conditions, and one DEL in twenty.
    Conditional,
    /// GET and two INCR.
    Counter,
}

/// What goes wrong with a command that is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is answered and leaves no trace.
    Forgotten,
    /// It is done twice, with the answer of the first time.
    Doubled,
}

/// An operation and when its command is executed, if it is.
struct Sent {
    executed: Option<u64>,
    answered: Option<u64>,
    operation: Operation,
}

/// What `load` sends. Values are all different.
fn sent(load: Load, random: &mut StdRng) -> Vec<Sent> {
    let mut sent = vec![];
    for client in 0..load.clients {
        let mut now = random.random_range(0..100);
        for _ in 0..load.each {
            now += random.random_range(1..100);
            let value = 1_000_000 * u64::from(client) + now;
            let command = command(load.commands, value, random);
            let key = format!("k{}", random.random_range(0..load.keys));
            let operation = Operation {
                key: key.into(),
                ..unknown(client, now, command)
            };
            let (executed, answered) = delays(now, load.unknown, random);
            now = answered.unwrap_or(now + 1000);
            sent.push(Sent {
                executed,
                answered,
                operation,
            });
        }
    }
    sent
}

fn command(commands: Commands, value: u64, random: &mut StdRng) -> Command {
    let drawn = random.random_range(0..20);
    let condition = match drawn {
        0..=1 => Condition::IfMissing,
        2..=3 => Condition::IfPresent,
        _ => Condition::Always,
    };
    match (commands, drawn) {
        (_, 13..) => Command::Get,
        (Commands::Register, _) => Command::set(value),
        (Commands::Conditional, 12) => Command::Delete,
        (Commands::Conditional, _) => Command::Set { value, condition },
        (Commands::Counter, _) => Command::Increment,
    }
}

/// When a command that is sent `now` is executed and answered. Without an answer it may be executed long after, or never.
fn delays(now: u64, unknown: u32, random: &mut StdRng) -> (Option<u64>, Option<u64>) {
    let executed = now + random.random_range(0..200);
    if random.random_ratio(unknown, 1000) {
        let late = now + random.random_range(0..5000);
        let fates = [None, Some(executed), Some(late)];
        return (fates[random.random_range(0..3)], None);
    }
    (Some(executed), Some(executed + random.random_range(0..200)))
}

/// The history that `load` makes, with a last GET of each key when all is over. `fault` befalls the command that is
/// executed as number `at`.
pub(crate) fn simulate(load: Load, seed: u64, fault: Option<(Fault, usize)>) -> History {
    let mut random = StdRng::seed_from_u64(seed);
    let mut sent = sent(load, &mut random);
    let last_reads = last_reads(&sent);
    sent.extend(last_reads);
    sent.sort_by_key(|one| one.executed);
    let mut keys: HashMap<Arc<str>, Key> = HashMap::new();
    let executed = sent.iter_mut().filter(|one| one.executed.is_some());
    for (number, one) in executed.enumerate() {
        let key = keys.entry(Arc::clone(&one.operation.key)).or_default();
        let before = *key;
        let command = one.operation.command;
        let reply = key.execute(command);
        match fault.filter(|(_, at)| *at == number) {
            Some((Fault::Forgotten, _)) => *key = before,
            Some((Fault::Doubled, _)) => {
                key.execute(command);
            }
            None => {}
        }
        if let Some(completed) = one.answered {
            one.operation.outcome = Outcome::Ok { reply, completed };
        }
    }
    let operations: Vec<Operation> = sent.into_iter().map(|one| one.operation).collect();
    history(operations)
}

fn last_reads(sent: &[Sent]) -> Vec<Sent> {
    let times = sent.iter().flat_map(|one| [one.executed, one.answered]);
    let end = times.flatten().max().unwrap_or(0) + 1;
    let keys: BTreeSet<&Arc<str>> = sent.iter().map(|one| &one.operation.key).collect();
    let read = |key: &Arc<str>| Sent {
        executed: Some(end),
        answered: Some(end),
        operation: Operation {
            key: Arc::clone(key),
            ..unknown(u32::MAX, end, Command::Get)
        },
    };
    keys.into_iter().map(read).collect()
}

/// All values that were surely written to the only key, by whom; where nothing deletes, also that it has none at first.
fn written(history: &History) -> Vec<(Option<u64>, Option<&Operation>)> {
    let operations = history.operations().iter();
    let deletes = operations.clone().any(|one| one.command == Command::Delete);
    let first = (!deletes).then_some((None, None));
    let writes = operations.filter_map(|one| match (one.command, one.reply()) {
        (Command::Set { value, .. }, Some(Reply::Stored(true))) => Some((Some(value), Some(one))),
        _ => None,
    });
    first.into_iter().chain(writes).collect()
}

/// The values on one key that were surely replaced before `read` began, all values being different.
fn replaced(history: &History, read: &Operation) -> Vec<Option<u64>> {
    let written = written(history);
    let replaced = |old: Option<&Operation>| {
        let mut news = written.iter().filter_map(|(_, new)| *new);
        news.any(|new| {
            let after = old.is_none_or(|old| old.completed() < Some(new.invoked));
            after && new.completed() < Some(read.invoked)
        })
    };
    let olds = written.iter().filter(|(_, old)| replaced(*old));
    olds.map(|(value, _)| *value).collect()
}

/// The answered reads, by index, and what they found.
fn reads(history: &History) -> Vec<(usize, Option<u64>)> {
    let operations = history.operations().iter().enumerate();
    let found = |(index, one): (usize, &Operation)| match one.reply() {
        Some(Reply::Value(value)) => Some((index, value)),
        _ => None,
    };
    operations.filter_map(found).collect()
}

/// Whether a read on the only key is stale for certain.
fn has_stale_read(history: &History) -> bool {
    reads(history)
        .into_iter()
        .any(|(index, found)| replaced(history, &history.operations()[index]).contains(&found))
}

/// `honest` in which a read finds a value that was replaced before, if there can be one.
fn with_stale_read(honest: &History, read: Index, old: Index) -> Option<History> {
    let reads = reads(honest);
    let (at, _) = reads[read.index(reads.len())];
    let mut operations = honest.operations().to_vec();
    let values = replaced(honest, &operations[at]);
    let reply = Reply::Value(*values.get(old.index(values.len().max(1)))?);
    let completed = operations[at].completed()?;
    operations[at].outcome = Outcome::Ok { reply, completed };
    Some(history(operations))
}

fn loads() -> impl Strategy<Value = (Load, u64)> {
    let commands = prop_oneof![
        Just(Commands::Register),
        Just(Commands::Conditional),
        Just(Commands::Counter)
    ];
    let shape = (1_u32..=30, 1_usize..=30, 1_usize..=3, commands, 0_u32..=150);
    (shape, any::<u64>()).prop_map(|((clients, each, keys, commands, unknown), seed)| {
        let load = Load {
            clients,
            each,
            keys,
            commands,
            unknown,
        };
        (load, seed)
    })
}

fn is_violation(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Violation(_))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_a_cache_without_faults_does_is_accepted((load, seed) in loads()) {
        let history = simulate(load, seed, None);
        prop_assert_eq!(check(&history, DEFAULT_STEPS), Verdict::Linearizable);
    }

    #[test]
    fn a_stale_read_is_found((load, seed) in loads(), read: Index, old: Index) {
        prop_assume!(load.commands != Commands::Counter);
        let history = simulate(Load { keys: 1, ..load }, seed, None);
        if let Some(stale) = with_stale_read(&history, read, old) {
            prop_assert!(is_violation(&check(&stale, DEFAULT_STEPS)));
        }
    }

    #[test]
    fn a_forgotten_write_that_a_read_misses_is_found((load, seed) in loads(), at: Index) {
        let load = Load { commands: Commands::Register, keys: 1, clients: load.clients.min(4), ..load };
        let at = at.index(load.clients as usize * load.each);
        let history = simulate(load, seed, Some((Fault::Forgotten, at)));
        let verdict = check(&history, DEFAULT_STEPS);
        if has_stale_read(&history) {
            prop_assert!(is_violation(&verdict));
        }
        // Where that alone does not tell, there is a verdict nevertheless.
        prop_assert!(!matches!(verdict, Verdict::Undecided { .. }), "{verdict:?}");
    }

    #[test]
    fn a_doubled_increment_is_found((load, seed) in loads(), at: Index) {
        let load = Load { commands: Commands::Counter, keys: 1, unknown: 0, ..load };
        let at = at.index(load.clients as usize * load.each);
        let history = simulate(load, seed, Some((Fault::Doubled, at)));
        let increments = history.operations().iter().filter(|one| one.command == Command::Increment);
        let increments = u64::try_from(increments.count()).expect("few");
        let last = reads(&history).into_iter().filter_map(|(_, found)| found).max();
        // A doubled GET is none.
        let doubled = last.unwrap_or(0) > increments;
        prop_assert_eq!(is_violation(&check(&history, DEFAULT_STEPS)), doubled);
    }
}
