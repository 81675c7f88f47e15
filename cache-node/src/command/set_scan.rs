//! Parts of a set: `SSCAN`, `SRANDMEMBER` and `SPOP`.

use crate::resp::Reply;
use crate::store::{Item, Set, SetRef, Value, discard_value};

use super::context::Context;
use super::db::Edit;
use super::error::{Result, SYNTAX, WRONG_TYPE};
use super::random::{Wanted, one_of};
use super::scan::{ScanOptions, begin_answer};
use super::several::positive;
use super::spec::{Command, Keys};

/// Members of one effect.
const PIECE: usize = 256;

pub(super) static COMMANDS: &[Command] = &[
    Command::new("sscan", -3, sscan, "Iterates over the members of a set.")
        .reads(Keys::ONE)
        .group("set"),
    Command::new(
        "srandmember",
        -2,
        srandmember,
        "Returns random members of a set.",
    )
    .reads(Keys::ONE)
    .group("set"),
    Command::new("spop", -2, spop, "Takes random members out of a set.")
        .writes(Keys::ONE)
        .fast()
        .group("set"),
];

fn sscan(context: &mut Context<'_, '_>) -> Result {
    let (from, options) = ScanOptions::of_collection(context.args)?;
    options.keep_values()?;
    options.keep_scores()?;
    let mut found: Vec<Item<'_>> = Vec::new();
    let mut next = 0;
    let mut text = itoa::Buffer::new();
    if let Some(set) = context.db.read_set(context.args.at(1))? {
        next = set.scan(from, options.count, |member| {
            if options.admits(member.text(&mut text)) {
                found.push(member);
            }
        });
    }
    let reply = &mut context.reply;
    begin_answer(reply, next, found.len());
    found.into_iter().for_each(|item| reply.item(item));
    Ok(())
}

fn srandmember(context: &mut Context<'_, '_>) -> Result {
    let wanted = match (context.args.get(2), context.args.len()) {
        (None, _) => None,
        (Some(count), 3) => Some(Wanted::read(count)?),
        _ => return Err(SYNTAX),
    };
    let set = context.db.read_set(context.args.at(1))?;
    let reply = &mut context.reply;
    let Some(wanted) = wanted else {
        let picked = set.and_then(|set| set.nth(one_of(set.len())));
        reply.item_or_null(picked);
        return Ok(());
    };
    let Some(set) = set else {
        reply.array(0);
        return Ok(());
    };
    let places = wanted.pick(set.len());
    reply.array(places.len());
    for item in places.into_iter().filter_map(|place| set.nth(place)) {
        reply.item(item);
    }
    Ok(())
}

fn spop(context: &mut Context<'_, '_>) -> Result {
    let key = context.args.at(1);
    let Some(count) = context.args.get(2) else {
        let picked = pop(context, key, 1)?;
        context
            .reply
            .bulk_or_null(picked.first().map(Vec::as_slice));
        return Ok(());
    };
    if context.args.len() > 3 {
        return Err(SYNTAX);
    }
    let count = positive(count)?;
    let length = context.db.read_set(key)?.map_or(0, SetRef::len);
    if count > 0 && count >= length {
        return pop_all(context, key);
    }
    let picked = pop(context, key, count)?;
    context.reply.set(picked.len());
    picked.iter().for_each(|member| context.reply.bulk(member));
    Ok(())
}

/// Takes `count` random members out, fewer than there are or one.
fn pop(context: &mut Context<'_, '_>, key: &[u8], count: usize) -> Result<Vec<Vec<u8>>> {
    let picked = context
        .db
        .change_existing(key, "set", |value| match value {
            Value::Set(set) => {
                let picked = take(set, count);
                let changed = !picked.is_empty();
                Ok(Edit {
                    result: picked,
                    changed,
                })
            }
            _ => Err(WRONG_TYPE),
        })?
        .unwrap_or_default();
    for piece in picked.chunks(PIECE) {
        let mut effect: Vec<&[u8]> = vec![b"SREM", key];
        effect.extend(piece.iter().map(Vec::as_slice));
        context.db.effect(key, &effect);
    }
    Ok(picked)
}

fn take(set: &mut Set, count: usize) -> Vec<Vec<u8>> {
    let places = Wanted::Different(count).pick(set.as_ref().len());
    let members = places
        .into_iter()
        .filter_map(|place| set.as_ref().nth(place));
    let picked: Vec<Vec<u8>> = members.map(|member| member.to_vec()).collect();
    for member in &picked {
        set.remove(member);
    }
    picked
}

/// Answers all members and removes the key.
fn pop_all(context: &mut Context<'_, '_>, key: &[u8]) -> Result {
    match context.db.take(key) {
        Some((Value::Set(set), _)) => {
            show_all(&mut context.reply, set.as_ref());
            discard_value(Value::Set(set));
            context.db.effect(key, &[b"DEL", key]);
        }
        _ => context.reply.set(0),
    }
    Ok(())
}

fn show_all(reply: &mut Reply<'_>, set: SetRef<'_>) {
    reply.set(set.len());
    set.iter().for_each(|member| reply.item(member));
}
