//! Sets: adding, removing, asking for and moving members.

use crate::store::{PackLimits, Set, SetRef, Value};

use super::context::Context;
use super::db::Edit;
use super::error::{Result, WRONG_TYPE};
use super::long_reply::{Extent, Shape, is_long};
use super::several::remove_named;
use super::spec::{Command, Keys};

const fn set(command: Command) -> Command {
    command.group("set")
}

pub(super) static COMMANDS: &[Command] = &[
    set(Command::new("sadd", -3, sadd, "Adds members to a set.")
        .grows(Keys::ONE)
        .brief()
        .fast()),
    set(
        Command::new("srem", -3, srem, "Removes members from a set.")
            .writes(Keys::ONE)
            .brief()
            .fast(),
    ),
    set(Command::new(
        "sismember",
        3,
        sismember,
        "Tells whether a set has a member.",
    )
    .reads(Keys::ONE)
    .brief()
    .fast()),
    set(Command::new(
        "smismember",
        -3,
        smismember,
        "Tells which of several members a set has.",
    )
    .reads(Keys::ONE)
    .fast()),
    set(
        Command::new("scard", 2, scard, "Returns the number of members.")
            .reads(Keys::ONE)
            .brief()
            .fast(),
    ),
    set(Command::new("smembers", 2, smembers, "Returns all members.").reads(Keys::ONE)),
    set(
        Command::new("smove", 4, smove, "Moves a member from one set to another.")
            .writes(Keys::TWO)
            .fast(),
    ),
];

/// What a packed set may have.
pub(super) fn limits(context: &Context<'_, '_>) -> PackLimits {
    context.node.config.get().all_limits().set
}

/// Adds members to the set at `key`, which is made if it is not there; answers how many are new.
fn add<'a>(
    context: &mut Context<'_, '_>,
    key: &[u8],
    members: impl Iterator<Item = &'a [u8]>,
) -> Result<usize> {
    let limits = limits(context);
    let new = || Value::Set(Set::default());
    context.db.change(key, "set", new, |value| match value {
        Value::Set(set) => Ok(Edit::of(
            members.filter(|member| set.add(member, &limits)).count(),
        )),
        _ => Err(WRONG_TYPE),
    })
}

fn sadd(context: &mut Context<'_, '_>) -> Result {
    let args = context.args;
    let added = add(context, args.at(1), args.from(2).iter())?;
    if added > 0 {
        context.tell_as(b"SADD");
    }
    context.reply.count(added);
    Ok(())
}

fn srem(context: &mut Context<'_, '_>) -> Result {
    remove_named(context, "set", b"SREM", |value, member| match value {
        Value::Set(set) => set.remove(member),
        _ => false,
    })
}

fn sismember(context: &mut Context<'_, '_>) -> Result {
    let set = context.db.read_set(context.args.at(1))?;
    let found = set.is_some_and(|set| set.contains(context.args.at(2)));
    context.reply.integer(i64::from(found));
    Ok(())
}

fn smismember(context: &mut Context<'_, '_>) -> Result {
    let set = context.db.read_set(context.args.at(1))?;
    context.reply.array(context.args.len() - 2);
    for member in context.args.from(2).iter() {
        let found = set.is_some_and(|set| set.contains(member));
        context.reply.integer(i64::from(found));
    }
    Ok(())
}

fn scard(context: &mut Context<'_, '_>) -> Result {
    let set = context.db.read_set(context.args.at(1))?;
    context.reply.count(set.map_or(0, SetRef::len));
    Ok(())
}

fn smembers(context: &mut Context<'_, '_>) -> Result {
    let alone = context.alone;
    let set = context.db.read_set(context.args.at(1))?;
    let length = set.map_or(0, SetRef::len);
    context.reply.set(length);
    match set {
        Some(set) if is_long(alone, length) => {
            let snapshot = set.snapshot();
            context.answer_later(snapshot, Shape::Elements, Extent::all(length));
        }
        Some(set) => set.iter().for_each(|member| context.reply.item(member)),
        None => {}
    }
    Ok(())
}

fn smove(context: &mut Context<'_, '_>) -> Result {
    let args = context.args;
    let (source, target, member) = (args.at(1), args.at(2), args.at(3));
    let Some(set) = context.db.read_set(source)? else {
        context.reply.integer(0);
        return Ok(());
    };
    let found = set.contains(member);
    // Looked at before anything is changed, so that the member cannot get lost.
    context.db.read_set(target)?;
    if found && source != target {
        context
            .db
            .change_existing(source, "set", |value| match value {
                Value::Set(set) => Ok(Edit::of(usize::from(set.remove(member)))),
                _ => Err(WRONG_TYPE),
            })?;
        context.db.effect(source, &[b"SREM", source, member]);
        if add(context, target, std::iter::once(member))? > 0 {
            context.db.effect(target, &[b"SADD", target, member]);
        }
    }
    context.reply.integer(i64::from(found));
    Ok(())
}
