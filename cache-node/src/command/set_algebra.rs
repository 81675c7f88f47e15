//! Sets compared with others: intersections, unions and differences.

use foldhash::{HashSet, HashSetExt};

use crate::resp::Args;
use crate::store::{Deadline, Item, PackLimits, Set, SetRef, Value, ValueRef};

use super::context::Context;
use super::db::Db;
use super::error::{Result, SYNTAX, error};
use super::sets::limits;
use super::several::{keys_of, limit_option};
use super::spec::{Command, Keys};

const fn set(command: Command) -> Command {
    command.group("set")
}

pub(super) static COMMANDS: &[Command] = &[
    set(Command::new(
        "sinter",
        -2,
        |context| answer(context, Operation::Intersection),
        "Returns the members that all sets have.",
    )
    .reads(Keys::ALL)),
    set(Command::new(
        "sunion",
        -2,
        |context| answer(context, Operation::Union),
        "Returns the members that any of the sets has.",
    )
    .reads(Keys::ALL)),
    set(Command::new(
        "sdiff",
        -2,
        |context| answer(context, Operation::Difference),
        "Returns the members of the first set that the others do not have.",
    )
    .reads(Keys::ALL)),
    set(Command::new(
        "sinterstore",
        -3,
        |context| store(context, Operation::Intersection),
        "Stores the members that all sets have.",
    )
    .grows(Keys::ALL)),
    set(Command::new(
        "sunionstore",
        -3,
        |context| store(context, Operation::Union),
        "Stores the members that any of the sets has.",
    )
    .grows(Keys::ALL)),
    set(Command::new(
        "sdiffstore",
        -3,
        |context| store(context, Operation::Difference),
        "Stores the members of the first set that the others do not have.",
    )
    .grows(Keys::ALL)),
    set(Command::new(
        "sintercard",
        -3,
        sintercard,
        "Returns how many members all sets have.",
    )
    .reads(Keys::NONE.counted(1))),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Intersection,
    Union,
    Difference,
}

/// The sets at `keys`, as they are now: of big ones, the chunks are shared until they change.
fn operands(db: &mut Db<'_>, keys: Args<'_>) -> Result<Vec<Set>> {
    keys.iter()
        .map(|key| {
            let set = db.read_set(key)?;
            Ok(match set.map(|set| ValueRef::Set(set).to_value()) {
                Some(Value::Set(set)) => set,
                _ => Set::default(),
            })
        })
        .collect()
}

/// Visits the members of the result until `visit` says no.
fn combine<'s>(sets: &'s [Set], operation: Operation, mut visit: impl FnMut(Item<'s>) -> bool) {
    let refs: Vec<SetRef<'s>> = sets.iter().map(Set::as_ref).collect();
    let mut text = itoa::Buffer::new();
    match operation {
        Operation::Union => {
            let mut seen: HashSet<Item<'s>> = HashSet::new();
            for item in refs.into_iter().flat_map(SetRef::iter) {
                if seen.insert(item) && !visit(item) {
                    return;
                }
            }
        }
        Operation::Intersection => {
            let mut refs = refs;
            refs.sort_by_key(|set| set.len());
            let Some((smallest, others)) = refs.split_first() else {
                return;
            };
            for item in smallest.iter() {
                let member = item.text(&mut text);
                if others.iter().all(|other| other.contains(member)) && !visit(item) {
                    return;
                }
            }
        }
        Operation::Difference => {
            let Some((first, others)) = refs.split_first() else {
                return;
            };
            for item in first.iter() {
                let member = item.text(&mut text);
                if !others.iter().any(|other| other.contains(member)) && !visit(item) {
                    return;
                }
            }
        }
    }
}

fn answer(context: &mut Context<'_, '_>, operation: Operation) -> Result {
    let sets = operands(context.db, context.args.from(1))?;
    let mut found = Vec::new();
    combine(&sets, operation, |item| {
        found.push(item);
        true
    });
    context.reply.set(found.len());
    found.into_iter().for_each(|item| context.reply.item(item));
    Ok(())
}

fn store(context: &mut Context<'_, '_>, operation: Operation) -> Result {
    let target = context.args.at(1);
    let sets = operands(context.db, context.args.from(2))?;
    let set = collect(&sets, operation, &limits(context));
    let length = set.as_ref().len();
    if length > 0 {
        context.db.put(target, Value::Set(set), Deadline::Never);
        context.db.effect_entry(target);
    } else if context.db.delete(target) {
        context.db.effect(target, &[b"DEL", target]);
    }
    context.reply.count(length);
    Ok(())
}

fn collect(sets: &[Set], operation: Operation, limits: &PackLimits) -> Set {
    let mut result = Set::default();
    let mut text = itoa::Buffer::new();
    combine(sets, operation, |item| {
        result.add(item.text(&mut text), limits);
        true
    });
    result
}

fn sintercard(context: &mut Context<'_, '_>) -> Result {
    let (keys, rest) = keys_of(context.args, 1).map_err(|failure| {
        if failure == SYNTAX {
            error("ERR Number of keys can't be greater than number of args")
        } else {
            failure
        }
    })?;
    let limit = limit_option(rest)?;
    let sets = operands(context.db, keys)?;
    let mut count = 0;
    combine(&sets, Operation::Intersection, |_| {
        count += 1;
        count != limit
    });
    context.reply.count(count);
    Ok(())
}
