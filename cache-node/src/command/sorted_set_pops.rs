//! Members of sorted sets by no name: the lowest, the highest, random ones, and all in turns.

use std::ops::Range;

use crate::resp::{Protocol, Reply};
use crate::store::{Item, SortedSet, discard_part};

use super::context::Context;
use super::db::Edit;
use super::error::{Result, SYNTAX};
use super::random::{Wanted, one_of};
use super::scan::{ScanOptions, begin_answer};
use super::several::{count_option, keys_of, positive};
use super::sorted_set_ranges::{answer_members, tell_removed};
use super::sorted_sets::{edit, text_of};
use super::spec::{Command, Keys};

const fn zset(command: Command) -> Command {
    command.group("sorted-set")
}

pub(super) static COMMANDS: &[Command] = &[
    zset(
        Command::new(
            "zpopmin",
            -2,
            |context| pop(context, Side::Lowest),
            "Takes the members with the lowest scores out.",
        )
        .writes(Keys::ONE)
        .fast(),
    ),
    zset(
        Command::new(
            "zpopmax",
            -2,
            |context| pop(context, Side::Highest),
            "Takes the members with the highest scores out.",
        )
        .writes(Keys::ONE)
        .fast(),
    ),
    zset(
        Command::new(
            "zmpop",
            -4,
            zmpop,
            "Takes members out of the first sorted set that is not empty.",
        )
        .writes(Keys::NONE.counted(1)),
    ),
    zset(Command::new("zrandmember", -2, zrandmember, "Returns random members.").reads(Keys::ONE)),
    zset(Command::new("zscan", -3, zscan, "Iterates over the members.").reads(Keys::ONE)),
];

/// Which members are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Lowest,
    Highest,
}

/// Takes up to `count` members out and shows them; answers their ranks.
fn take(
    set: &mut SortedSet,
    side: Side,
    count: usize,
    show: impl FnMut((Item<'_>, f64)),
) -> Range<usize> {
    let length = set.as_ref().len();
    let count = count.min(length);
    if count == 0 {
        return 0..0;
    }
    let (first, part) = match side {
        Side::Lowest => (0, 0..count),
        Side::Highest => (length - 1, length - count..length),
    };
    let members = set.as_ref().range(first, count, side == Side::Highest);
    members.for_each(show);
    discard_part(set.remove_range(part.start, count));
    part
}

fn show_pair(reply: &mut Reply<'_>, (member, score): (Item<'_>, f64)) {
    reply.item(member);
    reply.double(score);
}

fn pop(context: &mut Context<'_, '_>, side: Side) -> Result {
    let key = context.args.at(1);
    let count = match (context.args.get(2), context.args.len()) {
        (None, _) => None,
        (Some(count), 3) => Some(positive(count)?),
        _ => return Err(SYNTAX),
    };
    let reply = &mut context.reply;
    let pairs = count.is_some() && reply.protocol() == Protocol::Resp3;
    let popped = context.db.change_existing(key, "zset", |value| {
        edit(value, |set| {
            let count = count.unwrap_or(1).min(set.as_ref().len());
            reply.array(if pairs { count } else { 2 * count });
            let part = take(set, side, count, |pair| {
                if pairs {
                    reply.array(2);
                }
                show_pair(reply, pair);
            });
            Ok(Edit {
                changed: !part.is_empty(),
                result: part,
            })
        })
    })?;
    match popped {
        Some(part) => tell_removed(context, key, &part),
        None => context.reply.array(0),
    }
    Ok(())
}

fn zmpop(context: &mut Context<'_, '_>) -> Result {
    let (keys, rest) = keys_of(context.args, 1)?;
    let side = match rest.get(0) {
        Some(side) if side.eq_ignore_ascii_case(b"min") => Side::Lowest,
        Some(side) if side.eq_ignore_ascii_case(b"max") => Side::Highest,
        _ => return Err(SYNTAX),
    };
    let count = count_option(rest.from(1))?;
    for key in keys.iter() {
        if context.db.read_sorted_set(key)?.is_none() {
            continue;
        }
        let reply = &mut context.reply;
        reply.array(2);
        reply.bulk(key);
        let popped = context.db.change_existing(key, "zset", |value| {
            edit(value, |set| {
                reply.array(count.min(set.as_ref().len()));
                let part = take(set, side, count, |pair| {
                    reply.array(2);
                    show_pair(reply, pair);
                });
                Ok(Edit {
                    changed: true,
                    result: part,
                })
            })
        })?;
        tell_removed(context, key, &popped.unwrap_or_default());
        return Ok(());
    }
    context.reply.null_array();
    Ok(())
}

fn zrandmember(context: &mut Context<'_, '_>) -> Result {
    let Some(count) = context.args.get(2) else {
        let set = context.db.read_sorted_set(context.args.at(1))?;
        let picked = set.and_then(|set| set.range(one_of(set.len()), 1, false).next());
        context.reply.item_or_null(picked.map(|(member, _)| member));
        return Ok(());
    };
    let wanted = Wanted::read(count)?;
    let with_scores = match (context.args.get(3), context.args.len()) {
        (None, _) => false,
        (Some(option), 4) if option.eq_ignore_ascii_case(b"withscores") => true,
        _ => return Err(SYNTAX),
    };
    let Some(set) = context.db.read_sorted_set(context.args.at(1))? else {
        context.reply.array(0);
        return Ok(());
    };
    let places = wanted.pick(set.len());
    let count = places.len();
    let members = places
        .into_iter()
        .filter_map(|place| set.range(place, 1, false).next());
    answer_members(&mut context.reply, count, members, with_scores);
    Ok(())
}

fn zscan(context: &mut Context<'_, '_>) -> Result {
    let (from, options) = ScanOptions::of_collection(context.args)?;
    options.keep_values()?;
    let mut found: Vec<(Item<'_>, f64)> = Vec::new();
    let mut next = 0;
    let mut text = itoa::Buffer::new();
    if let Some(set) = context.db.read_sorted_set(context.args.at(1))? {
        next = set.scan(from, options.count, |member, score| {
            if options.admits(member.text(&mut text)) {
                found.push((member, score));
            }
        });
    }
    let reply = &mut context.reply;
    let parts = if options.without_scores { 1 } else { 2 };
    begin_answer(reply, next, parts * found.len());
    for (member, score) in found {
        reply.item(member);
        if !options.without_scores {
            reply.bulk(&text_of(score));
        }
    }
    Ok(())
}
