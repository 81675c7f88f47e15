//! Lists: pushing, popping, reading and changing elements.

use crate::store::{End, Item, List, ListRef, PackLimits, Value, discard_part};

use super::context::Context;
use super::db::Edit;
use super::error::{NO_KEY, Result, SYNTAX, WRONG_TYPE, error, wrong_arity};
use super::long_reply::{Extent, Shape, is_long};
use super::several::positive;
use super::spec::{Command, Keys};
use super::text::{elements, integer};

const fn list(command: Command) -> Command {
    command.group("list")
}

pub(super) static COMMANDS: &[Command] = &[
    list(
        Command::new("lpush", -3, lpush, "Puts elements in front of a list.")
            .grows(Keys::ONE)
            .brief()
            .fast(),
    ),
    list(
        Command::new("rpush", -3, rpush, "Appends elements to a list.")
            .grows(Keys::ONE)
            .brief()
            .fast(),
    ),
    list(
        Command::new(
            "lpushx",
            -3,
            lpushx,
            "Puts elements in front of a list that exists.",
        )
        .grows(Keys::ONE)
        .fast(),
    ),
    list(
        Command::new(
            "rpushx",
            -3,
            rpushx,
            "Appends elements to a list that exists.",
        )
        .grows(Keys::ONE)
        .fast(),
    ),
    list(
        Command::new("lpop", -2, lpop, "Takes the first elements of a list.")
            .writes(Keys::ONE)
            .brief()
            .fast(),
    ),
    list(
        Command::new("rpop", -2, rpop, "Takes the last elements of a list.")
            .writes(Keys::ONE)
            .brief()
            .fast(),
    ),
    list(
        Command::new("llen", 2, llen, "Returns the length of a list.")
            .reads(Keys::ONE)
            .brief()
            .fast(),
    ),
    list(Command::new("lindex", 3, lindex, "Returns an element by its place.").reads(Keys::ONE)),
    list(Command::new("lrange", 4, lrange, "Returns a range of elements.").reads(Keys::ONE)),
    list(Command::new("lset", 4, lset, "Sets the element at a place.").grows(Keys::ONE)),
    list(
        Command::new(
            "ltrim",
            4,
            ltrim,
            "Removes all elements but those of a range.",
        )
        .writes(Keys::ONE),
    ),
    list(
        Command::new(
            "linsert",
            5,
            linsert,
            "Puts an element in before or after another.",
        )
        .grows(Keys::ONE),
    ),
    list(
        Command::new(
            "lrem",
            4,
            lrem,
            "Removes elements that are equal to another.",
        )
        .writes(Keys::ONE),
    ),
];

/// What a packed list may have.
pub(super) fn limits(context: &Context<'_, '_>) -> PackLimits {
    context.node.config.get().all_limits().list
}

/// Changes the list in `value`.
pub(super) fn edit<R>(
    value: &mut Value,
    change: impl FnOnce(&mut List) -> Result<Edit<R>>,
) -> Result<Edit<R>> {
    match value {
        Value::List(list) => change(list),
        _ => Err(WRONG_TYPE),
    }
}

/// Changes the list at `key`, if there is one.
pub(super) fn change_existing<R>(
    context: &mut Context<'_, '_>,
    key: &[u8],
    change: impl FnOnce(&mut List) -> Result<Edit<R>>,
) -> Result<Option<R>> {
    context
        .db
        .change_existing(key, "list", |value| edit(value, change))
}

fn lpush(context: &mut Context<'_, '_>) -> Result {
    push(context, End::Front, b"LPUSH")
}

fn rpush(context: &mut Context<'_, '_>) -> Result {
    push(context, End::Back, b"RPUSH")
}

fn push(context: &mut Context<'_, '_>, end: End, name: &'static [u8]) -> Result {
    let (args, key, limits) = (context.args, context.args.at(1), limits(context));
    let new = || Value::List(List::default());
    let length = context.db.change(key, "list", new, |value| {
        edit(value, |list| {
            Ok(push_all(list, end, args.from(2).iter(), &limits))
        })
    })?;
    context.tell_as(name);
    context.reply.count(length);
    Ok(())
}

fn push_all<'a>(
    list: &mut List,
    end: End,
    values: impl Iterator<Item = &'a [u8]>,
    limits: &PackLimits,
) -> Edit<usize> {
    for value in values {
        list.push(end, value, limits);
    }
    Edit::changed(list.as_ref().len())
}

fn lpushx(context: &mut Context<'_, '_>) -> Result {
    push_existing(context, End::Front, b"LPUSH")
}

fn rpushx(context: &mut Context<'_, '_>) -> Result {
    push_existing(context, End::Back, b"RPUSH")
}

fn push_existing(context: &mut Context<'_, '_>, end: End, name: &'static [u8]) -> Result {
    let (args, key, limits) = (context.args, context.args.at(1), limits(context));
    let length = change_existing(context, key, |list| {
        Ok(push_all(list, end, args.from(2).iter(), &limits))
    })?;
    if length.is_some() {
        context.tell_as(name);
    }
    context.reply.count(length.unwrap_or(0));
    Ok(())
}

fn lpop(context: &mut Context<'_, '_>) -> Result {
    pop(context, End::Front, b"LPOP", "lpop")
}

fn rpop(context: &mut Context<'_, '_>) -> Result {
    pop(context, End::Back, b"RPOP", "rpop")
}

fn pop(
    context: &mut Context<'_, '_>,
    end: End,
    effect: &'static [u8],
    name: &'static str,
) -> Result {
    let key = context.args.at(1);
    let count = match (context.args.get(2), context.args.len()) {
        (None, _) => None,
        (Some(count), 3) => Some(positive(count)?),
        _ => return Err(wrong_arity(name)),
    };
    let reply = &mut context.reply;
    let popped = context.db.change_existing(key, "list", |value| {
        edit(value, |list| {
            if let Some(count) = count {
                reply.array(count.min(list.as_ref().len()));
            }
            let popped = take(list, end, count.unwrap_or(1), |item| reply.item(item));
            Ok(Edit::of(popped))
        })
    })?;
    match popped {
        None if count.is_some() => context.reply.null_array(),
        None => context.reply.null(),
        Some(popped) => log_pop(context, key, effect, popped),
    }
    Ok(())
}

/// Takes up to `count` elements off an end and shows them; answers how many.
pub(super) fn take(list: &mut List, end: End, count: usize, show: impl FnMut(Item<'_>)) -> usize {
    let length = list.as_ref().len();
    let count = count.min(length);
    if count == 0 {
        return 0;
    }
    let (first, removed) = match end {
        End::Front => (0, 0),
        End::Back => (length - 1, length - count),
    };
    let elements = list.as_ref().run(first, count, end == End::Back);
    elements.for_each(show);
    discard_part(list.remove(removed, count));
    count
}

/// Logs that elements were taken off an end.
pub(super) fn log_pop(context: &mut Context<'_, '_>, key: &[u8], effect: &[u8], popped: usize) {
    match popped {
        0 => {}
        1 => context.db.effect(key, &[effect, key]),
        _ => {
            let mut text = itoa::Buffer::new();
            let count = text.format(popped).as_bytes();
            context.db.effect(key, &[effect, key, count]);
        }
    }
}

fn llen(context: &mut Context<'_, '_>) -> Result {
    let list = context.db.read_list(context.args.at(1))?;
    context.reply.count(list.map_or(0, ListRef::len));
    Ok(())
}

/// The place that `index`, which counts from the end if it is negative, means in a list.
fn place(index: i64, length: usize) -> Option<usize> {
    let place = if index < 0 {
        index.checked_add(length as i64)?
    } else {
        index
    };
    usize::try_from(place).ok().filter(|place| *place < length)
}

fn lindex(context: &mut Context<'_, '_>) -> Result {
    let Some(list) = context.db.read_list(context.args.at(1))? else {
        context.reply.null();
        return Ok(());
    };
    let index = integer(context.args.at(2))?;
    let item = place(index, list.len()).and_then(|place| list.get(place));
    context.reply.item_or_null(item);
    Ok(())
}

fn lrange(context: &mut Context<'_, '_>) -> Result {
    let (start, end) = (integer(context.args.at(2))?, integer(context.args.at(3))?);
    let alone = context.alone;
    let Some(list) = context.db.read_list(context.args.at(1))? else {
        context.reply.array(0);
        return Ok(());
    };
    let part = elements(start, end, list.len());
    context.reply.array(part.len());
    if is_long(alone, part.len()) {
        let snapshot = list.snapshot();
        let extent = Extent {
            start: part.start,
            count: part.len(),
            reverse: false,
        };
        context.answer_later(snapshot, Shape::Elements, extent);
    } else {
        let items = list.run(part.start, part.len(), false);
        items.for_each(|item| context.reply.item(item));
    }
    Ok(())
}

fn lset(context: &mut Context<'_, '_>) -> Result {
    let (args, key, limits) = (context.args, context.args.at(1), limits(context));
    let set = change_existing(context, key, |list| {
        let index = integer(args.at(2))?;
        let place = place(index, list.as_ref().len());
        let place = place.ok_or(error("ERR index out of range"))?;
        list.set(place, args.at(3), &limits);
        Ok(Edit::changed(()))
    })?;
    set.ok_or(NO_KEY)?;
    context.tell_as(b"LSET");
    context.reply.ok();
    Ok(())
}

fn ltrim(context: &mut Context<'_, '_>) -> Result {
    let (start, end) = (integer(context.args.at(2))?, integer(context.args.at(3))?);
    let key = context.args.at(1);
    let removed = change_existing(context, key, |list| {
        let length = list.as_ref().len();
        let kept = elements(start, end, length);
        discard_part(list.remove(kept.end, length - kept.end));
        discard_part(list.remove(0, kept.start));
        Ok(Edit::of(length - kept.len()))
    })?;
    if removed.is_some_and(|removed| removed > 0) {
        context.tell_as(b"LTRIM");
    }
    context.reply.ok();
    Ok(())
}

fn linsert(context: &mut Context<'_, '_>) -> Result {
    let (args, key, limits) = (context.args, context.args.at(1), limits(context));
    let behind = if args.at(2).eq_ignore_ascii_case(b"after") {
        1
    } else if args.at(2).eq_ignore_ascii_case(b"before") {
        0
    } else {
        return Err(SYNTAX);
    };
    let length = change_existing(context, key, |list| {
        let pivot = list.as_ref().positions(End::Front, args.at(3), 0).next();
        if let Some(pivot) = pivot {
            list.insert(pivot + behind, args.at(4), &limits);
        }
        Ok(Edit {
            result: pivot.map(|_| list.as_ref().len()),
            changed: pivot.is_some(),
        })
    })?;
    if let Some(Some(_)) = length {
        context.tell_as(b"LINSERT");
    }
    let answer = length.map_or(0, |length| length.map_or(-1, |length| length as i64));
    context.reply.integer(answer);
    Ok(())
}

fn lrem(context: &mut Context<'_, '_>) -> Result {
    let (args, key) = (context.args, context.args.at(1));
    let count = integer(args.at(2))?;
    let (end, most) = match count {
        0 => (End::Front, usize::MAX),
        1.. => (End::Front, count.unsigned_abs() as usize),
        _ => (End::Back, count.unsigned_abs() as usize),
    };
    let removed = change_existing(context, key, |list| {
        Ok(Edit::of(list.remove_equal(end, args.at(3), most)))
    })?;
    let removed = removed.unwrap_or(0);
    if removed > 0 {
        context.tell_as(b"LREM");
    }
    context.reply.count(removed);
    Ok(())
}
