//! Lists: moving elements from one to another, and popping from the first of several.

use crate::store::{End, List, Value};

use super::context::Context;
use super::db::Edit;
use super::error::{Result, SYNTAX};
use super::lists::{change_existing, edit, limits, log_pop, take};
use super::several::{count_option, keys_of};
use super::spec::{Command, Keys};

pub(super) static COMMANDS: &[Command] = &[
    Command::new(
        "lmove",
        5,
        lmove,
        "Takes an element off an end of a list and puts it to an end of another.",
    )
    .grows(Keys::TWO)
    .group("list"),
    Command::new(
        "rpoplpush",
        3,
        rpoplpush,
        "Takes the last element of a list and puts it in front of another.",
    )
    .grows(Keys::TWO)
    .group("list"),
    Command::new(
        "lmpop",
        -4,
        lmpop,
        "Takes elements off an end of the first list that is not empty.",
    )
    .writes(Keys::NONE.counted(1))
    .group("list"),
];

fn end_of(text: &[u8]) -> Result<End> {
    if text.eq_ignore_ascii_case(b"left") {
        Ok(End::Front)
    } else if text.eq_ignore_ascii_case(b"right") {
        Ok(End::Back)
    } else {
        Err(SYNTAX)
    }
}

fn name_of(end: End) -> &'static [u8] {
    match end {
        End::Front => b"LEFT",
        End::Back => b"RIGHT",
    }
}

fn pop_effect(end: End) -> &'static [u8] {
    match end {
        End::Front => b"LPOP",
        End::Back => b"RPOP",
    }
}

fn lmove(context: &mut Context<'_, '_>) -> Result {
    let (from, to) = (end_of(context.args.at(3))?, end_of(context.args.at(4))?);
    move_element(context, from, to)
}

fn rpoplpush(context: &mut Context<'_, '_>) -> Result {
    move_element(context, End::Back, End::Front)
}

fn move_element(context: &mut Context<'_, '_>, from: End, to: End) -> Result {
    let (source, target) = (context.args.at(1), context.args.at(2));
    if context.db.read_list(source)?.is_none() {
        context.reply.null();
        return Ok(());
    }
    if source == target {
        return rotate(context, source, from, to);
    }
    // Looked at before anything is changed, so that an element cannot get lost.
    context.db.read_list(target)?;
    let mut element = Vec::new();
    change_existing(context, source, |list| {
        let taken = take(list, from, 1, |item| item.write(&mut element));
        Ok(Edit::of(taken))
    })?;
    let limits = limits(context);
    let new = || Value::List(List::default());
    context.db.change(target, "list", new, |value| {
        edit(value, |list| {
            list.push(to, &element, &limits);
            Ok(Edit::changed(()))
        })
    })?;
    context.db.effect(source, &[pop_effect(from), source]);
    let push: &[u8] = match to {
        End::Front => b"LPUSH",
        End::Back => b"RPUSH",
    };
    context.db.effect(target, &[push, target, &element]);
    context.reply.bulk(&element);
    Ok(())
}

/// Moves an element within a list, which stays the same key with the same deadline even if that is its only element.
fn rotate(context: &mut Context<'_, '_>, key: &[u8], from: End, to: End) -> Result {
    let limits = limits(context);
    let mut element = Vec::new();
    change_existing(context, key, |list| {
        take(list, from, 1, |item| item.write(&mut element));
        list.push(to, &element, &limits);
        Ok(Edit::changed(()))
    })?;
    let effect: &[&[u8]] = &[b"LMOVE", key, key, name_of(from), name_of(to)];
    context.db.effect(key, effect);
    context.reply.bulk(&element);
    Ok(())
}

fn lmpop(context: &mut Context<'_, '_>) -> Result {
    let (keys, rest) = keys_of(context.args, 1)?;
    let end = end_of(rest.get(0).ok_or(SYNTAX)?)?;
    let count = count_option(rest.from(1))?;
    for key in keys.iter() {
        if context.db.read_list(key)?.is_none() {
            continue;
        }
        let reply = &mut context.reply;
        reply.array(2);
        reply.bulk(key);
        let popped = context.db.change_existing(key, "list", |value| {
            edit(value, |list| {
                reply.array(count.min(list.as_ref().len()));
                Ok(Edit::of(take(list, end, count, |item| reply.item(item))))
            })
        })?;
        log_pop(context, key, pop_effect(end), popped.unwrap_or(0));
        return Ok(());
    }
    context.reply.null_array();
    Ok(())
}
