//! Hashes: setting, reading and removing fields.

use crate::resp::{format_float, parse_float};
use crate::store::{Entry, Hash, HashRef, PackLimits, Value, ValueRef};

use super::context::Context;
use super::db::Edit;
use super::error::{NOT_FINITE, NOT_FLOAT, OVERFLOW, Result, WRONG_TYPE, error, wrong_arity};
use super::hash_scan::{hrandfield, hscan};
use super::long_reply::{Extent, Shape, is_long, show_field};
use super::several::remove_named;
use super::spec::{Command, Keys};
use super::text::integer;

const fn hash(command: Command) -> Command {
    command.group("hash")
}

pub(super) static COMMANDS: &[Command] = &[
    hash(
        Command::new("hset", -4, hset, "Sets fields of a hash.")
            .grows(Keys::ONE)
            .brief()
            .fast(),
    ),
    hash(
        Command::new("hmset", -4, hmset, "Sets fields of a hash.")
            .grows(Keys::ONE)
            .fast(),
    ),
    hash(
        Command::new(
            "hsetnx",
            4,
            hsetnx,
            "Sets a field of a hash if it does not exist.",
        )
        .grows(Keys::ONE)
        .fast(),
    ),
    hash(
        Command::new("hget", 3, hget, "Returns the value of a field.")
            .reads(Keys::ONE)
            .brief()
            .fast(),
    ),
    hash(
        Command::new("hmget", -3, hmget, "Returns the values of several fields.")
            .reads(Keys::ONE)
            .fast(),
    ),
    hash(
        Command::new(
            "hgetall",
            2,
            hgetall,
            "Returns all fields with their values.",
        )
        .reads(Keys::ONE),
    ),
    hash(Command::new("hkeys", 2, hkeys, "Returns all fields.").reads(Keys::ONE)),
    hash(Command::new("hvals", 2, hvals, "Returns all values.").reads(Keys::ONE)),
    hash(
        Command::new("hlen", 2, hlen, "Returns the number of fields.")
            .reads(Keys::ONE)
            .brief()
            .fast(),
    ),
    hash(
        Command::new("hexists", 3, hexists, "Tells whether a field exists.")
            .reads(Keys::ONE)
            .brief()
            .fast(),
    ),
    hash(
        Command::new(
            "hstrlen",
            3,
            hstrlen,
            "Returns the length of a field's value.",
        )
        .reads(Keys::ONE)
        .fast(),
    ),
    hash(
        Command::new(
            "hdel",
            -3,
            hdel,
            "Deletes fields, and the hash with the last one.",
        )
        .writes(Keys::ONE)
        .fast(),
    ),
    hash(
        Command::new(
            "hincrby",
            4,
            hincrby,
            "Adds to the integer value of a field.",
        )
        .grows(Keys::ONE)
        .brief()
        .fast(),
    ),
    hash(
        Command::new(
            "hincrbyfloat",
            4,
            hincrbyfloat,
            "Adds to the floating point value of a field.",
        )
        .grows(Keys::ONE)
        .fast(),
    ),
    hash(Command::new("hscan", -3, hscan, "Iterates over the fields of a hash.").reads(Keys::ONE)),
    hash(
        Command::new(
            "hrandfield",
            -2,
            hrandfield,
            "Returns random fields of a hash.",
        )
        .reads(Keys::ONE),
    ),
];

/// The hash at `key` for a command that changes it.
fn existing<'c>(context: &'c mut Context<'_, '_>, key: &[u8]) -> Result<Option<HashRef<'c>>> {
    match context.db.existing(key).map(Entry::value) {
        None => Ok(None),
        Some(ValueRef::Hash(hash)) => Ok(Some(hash)),
        Some(_) => Err(WRONG_TYPE),
    }
}

fn limits(context: &Context<'_, '_>) -> PackLimits {
    context.node.config.get().all_limits().hash
}

/// Changes the hash at `key`, which is made if it is not there.
fn change<R>(
    context: &mut Context<'_, '_>,
    key: &[u8],
    change: impl FnOnce(&mut Hash, &PackLimits) -> R,
) -> Result<R> {
    let limits = limits(context);
    let new = || Value::Hash(Hash::default());
    context.db.change(key, "hash", new, |value| match value {
        Value::Hash(hash) => Ok(Edit::changed(change(hash, &limits))),
        _ => Err(WRONG_TYPE),
    })
}

/// Sets the pairs and logs them; answers how many fields are new.
fn set_pairs(context: &mut Context<'_, '_>, name: &str) -> Result<usize> {
    if !context.args.len().is_multiple_of(2) {
        return Err(wrong_arity(name));
    }
    let args = context.args;
    let key = args.at(1);
    let added = change(context, key, |hash, limits| {
        (2..args.len())
            .step_by(2)
            .filter(|index| hash.set(args.at(*index), args.at(index + 1), limits))
            .count()
    })?;
    context.tell_as(b"HSET");
    Ok(added)
}

fn hset(context: &mut Context<'_, '_>) -> Result {
    let added = set_pairs(context, "hset")?;
    context.reply.count(added);
    Ok(())
}

fn hmset(context: &mut Context<'_, '_>) -> Result {
    set_pairs(context, "hmset")?;
    context.reply.ok();
    Ok(())
}

fn hsetnx(context: &mut Context<'_, '_>) -> Result {
    let (key, field) = (context.args.at(1), context.args.at(2));
    let absent = existing(context, key)?.is_none_or(|hash| !hash.contains(field));
    if absent {
        set_field(context, key, field, context.args.at(3))?;
    }
    context.reply.integer(i64::from(absent));
    Ok(())
}

fn set_field(context: &mut Context<'_, '_>, key: &[u8], field: &[u8], value: &[u8]) -> Result {
    change(context, key, |hash, limits| hash.set(field, value, limits))?;
    context.db.effect(key, &[b"HSET", key, field, value]);
    Ok(())
}

fn hget(context: &mut Context<'_, '_>) -> Result {
    let hash = context.db.read_hash(context.args.at(1))?;
    let value = hash.and_then(|hash| hash.get(context.args.at(2)));
    context.reply.item_or_null(value);
    Ok(())
}

fn hmget(context: &mut Context<'_, '_>) -> Result {
    let hash = context.db.read_hash(context.args.at(1))?;
    context.reply.array(context.args.len() - 2);
    for field in context.args.from(2).iter() {
        context
            .reply
            .item_or_null(hash.and_then(|hash| hash.get(field)));
    }
    Ok(())
}

fn hgetall(context: &mut Context<'_, '_>) -> Result {
    show_all(context, Shape::Pairs)
}

fn hkeys(context: &mut Context<'_, '_>) -> Result {
    show_all(context, Shape::Fields)
}

fn hvals(context: &mut Context<'_, '_>) -> Result {
    show_all(context, Shape::Values)
}

fn show_all(context: &mut Context<'_, '_>, shape: Shape) -> Result {
    let alone = context.alone;
    let hash = context.db.read_hash(context.args.at(1))?;
    let length = hash.map_or(0, HashRef::len);
    match shape {
        Shape::Pairs => context.reply.map(length),
        _ => context.reply.array(length),
    }
    match hash {
        Some(hash) if is_long(alone, length) => {
            let snapshot = hash.snapshot();
            context.answer_later(snapshot, shape, Extent::all(length));
        }
        Some(hash) => {
            for (field, value) in hash.iter() {
                show_field(&mut context.reply, shape, field, value);
            }
        }
        None => {}
    }
    Ok(())
}

fn hlen(context: &mut Context<'_, '_>) -> Result {
    let hash = context.db.read_hash(context.args.at(1))?;
    context.reply.count(hash.map_or(0, HashRef::len));
    Ok(())
}

fn hexists(context: &mut Context<'_, '_>) -> Result {
    let hash = context.db.read_hash(context.args.at(1))?;
    let found = hash.is_some_and(|hash| hash.contains(context.args.at(2)));
    context.reply.integer(i64::from(found));
    Ok(())
}

fn hstrlen(context: &mut Context<'_, '_>) -> Result {
    let hash = context.db.read_hash(context.args.at(1))?;
    let value = hash.and_then(|hash| hash.get(context.args.at(2)));
    context
        .reply
        .count(value.map_or(0, |value| value.text_len()));
    Ok(())
}

fn hdel(context: &mut Context<'_, '_>) -> Result {
    remove_named(context, "hash", b"HDEL", |value, field| match value {
        Value::Hash(hash) => hash.remove(field),
        _ => false,
    })
}

fn hincrby(context: &mut Context<'_, '_>) -> Result {
    let (key, field) = (context.args.at(1), context.args.at(2));
    let amount = integer(context.args.at(3))?;
    let present = match existing(context, key)?.and_then(|hash| hash.get(field)) {
        None => 0,
        Some(value) => value
            .integer()
            .ok_or(error("ERR hash value is not an integer"))?,
    };
    let number = present.checked_add(amount).ok_or(OVERFLOW)?;
    let mut text = itoa::Buffer::new();
    set_field(context, key, field, text.format(number).as_bytes())?;
    context.reply.integer(number);
    Ok(())
}

fn hincrbyfloat(context: &mut Context<'_, '_>) -> Result {
    let (key, field) = (context.args.at(1), context.args.at(2));
    let amount = parse_float(context.args.at(3)).ok_or(NOT_FLOAT)?;
    let present = match existing(context, key)?.and_then(|hash| hash.get(field)) {
        None => 0.0,
        Some(value) => {
            parse_float(&value.to_vec()).ok_or(error("ERR hash value is not a float"))?
        }
    };
    let sum = present + amount;
    if !sum.is_finite() {
        return Err(NOT_FINITE);
    }
    let text = format_float(sum);
    set_field(context, key, field, text.as_bytes())?;
    context.reply.bulk(text.as_bytes());
    Ok(())
}
