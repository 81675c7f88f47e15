//! Ranges of sorted sets: reading, counting, storing and removing them.

use std::ops::Range;

use crate::resp::{Args, Protocol, Reply};
use crate::store::{Deadline, Item, PackLimits, SortedSet, SortedSetRef, Value, discard_part};

use super::context::Context;
use super::db::Edit;
use super::error::{Failure, Result, SYNTAX, error};
use super::long_reply::{Extent, Shape, is_long, show_member};
use super::sorted_set_bounds::Bounds;
use super::sorted_sets::{edit, limits};
use super::spec::{Command, Keys};
use super::text::integer;

const LIMIT_BY_RANK: Failure =
    error("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX");
const SCORES_BY_LEX: Failure =
    error("ERR syntax error, WITHSCORES not supported in combination with BYLEX");

const fn reads(command: Command) -> Command {
    command.reads(Keys::ONE).group("sorted-set")
}

const fn removes(command: Command) -> Command {
    command.writes(Keys::ONE).group("sorted-set")
}

pub(super) static COMMANDS: &[Command] = &[
    reads(Command::new(
        "zrange",
        -4,
        |context| show(context, Form::ANY),
        "Returns members in a range of ranks, scores or members.",
    )),
    reads(Command::new(
        "zrevrange",
        -4,
        |context| show(context, Form::of(By::Rank, true)),
        "Returns members in a range of ranks, counted from the highest score on.",
    )),
    reads(Command::new(
        "zrangebyscore",
        -4,
        |context| show(context, Form::of(By::Score, false)),
        "Returns members in a range of scores.",
    )),
    reads(Command::new(
        "zrevrangebyscore",
        -4,
        |context| show(context, Form::of(By::Score, true)),
        "Returns members in a range of scores, the highest first.",
    )),
    reads(Command::new(
        "zrangebylex",
        -4,
        |context| show(context, Form::of(By::Lex, false)),
        "Returns members in a range of members that have the same score.",
    )),
    reads(Command::new(
        "zrevrangebylex",
        -4,
        |context| show(context, Form::of(By::Lex, true)),
        "Returns members in a range of members that have the same score, the last first.",
    )),
    reads(Command::new("zcount", 4, zcount, "Counts members in a range of scores.").fast()),
    reads(
        Command::new(
            "zlexcount",
            4,
            zlexcount,
            "Counts members in a range of members that have the same score.",
        )
        .fast(),
    ),
    Command::new(
        "zrangestore",
        -5,
        zrangestore,
        "Stores members in a range of ranks, scores or members.",
    )
    .grows(Keys::TWO)
    .group("sorted-set"),
    removes(Command::new(
        "zremrangebyrank",
        4,
        |context| remove(context, Bounds::ranks),
        "Removes members in a range of ranks.",
    )),
    removes(Command::new(
        "zremrangebyscore",
        4,
        |context| remove(context, Bounds::scores),
        "Removes members in a range of scores.",
    )),
    removes(Command::new(
        "zremrangebylex",
        4,
        |context| remove(context, Bounds::members),
        "Removes members in a range of members that have the same score.",
    )),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

/// What a command's name says already.
#[derive(Clone, Copy)]
struct Form {
    by: By,
    reverse: bool,
    /// Whether options may say `BYSCORE`, `BYLEX` and `REV`.
    open: bool,
    /// Whether scores may be asked for.
    scores: bool,
}

impl Form {
    const ANY: Self = Self {
        by: By::Rank,
        reverse: false,
        open: true,
        scores: true,
    };

    const fn of(by: By, reverse: bool) -> Self {
        Self {
            by,
            reverse,
            open: false,
            scores: true,
        }
    }
}

/// A range as a command asks for it.
struct Query<'a> {
    bounds: Bounds<'a>,
    reverse: bool,
    with_scores: bool,
    skipped: usize,
    most: usize,
}

impl<'a> Query<'a> {
    /// Reads two bounds and options.
    fn read(args: Args<'a>, form: Form) -> Result<Self> {
        let (mut by, mut reverse, mut with_scores) = (form.by, form.reverse, false);
        let mut limit = None;
        let mut options = args.from(2).iter();
        while let Some(option) = options.next() {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            if form.scores && is(b"withscores") {
                with_scores = true;
            } else if is(b"limit") {
                let (skipped, most) = (options.next(), options.next());
                let (Some(skipped), Some(most)) = (skipped, most) else {
                    return Err(SYNTAX);
                };
                limit = Some((integer(skipped)?, integer(most)?));
            } else if form.open && is(b"rev") && !reverse {
                reverse = true;
            } else if form.open && by == By::Rank && is(b"byscore") {
                by = By::Score;
            } else if form.open && by == By::Rank && is(b"bylex") {
                by = By::Lex;
            } else {
                return Err(SYNTAX);
            }
        }
        if limit.is_some() && by == By::Rank {
            return Err(LIMIT_BY_RANK);
        }
        if with_scores && by == By::Lex {
            return Err(SCORES_BY_LEX);
        }
        // In reverse, the greater bound comes first, but for ranks.
        let (low, high) = if reverse && by != By::Rank {
            (args.at(1), args.at(0))
        } else {
            (args.at(0), args.at(1))
        };
        let bounds = match by {
            By::Rank => Bounds::ranks(low, high)?,
            By::Score => Bounds::scores(low, high)?,
            By::Lex => Bounds::members(low, high)?,
        };
        let (skipped, most) = limit.unwrap_or((0, -1));
        Ok(Self {
            bounds,
            reverse,
            with_scores,
            // Negative: nothing is left.
            skipped: usize::try_from(skipped).unwrap_or(usize::MAX),
            // Negative: all.
            most: usize::try_from(most).unwrap_or(usize::MAX),
        })
    }

    /// The ranks that are asked for, from the lowest score on.
    fn part(&self, set: SortedSetRef<'_>) -> Range<usize> {
        let part = self.bounds.part(set, self.reverse);
        let skipped = self.skipped.min(part.len());
        let count = self.most.min(part.len() - skipped);
        if self.reverse {
            let end = part.end - skipped;
            end - count..end
        } else {
            let start = part.start + skipped;
            start..start + count
        }
    }
}

/// The members of a part with their scores, from the highest score on if `reverse`.
fn members<'a>(
    set: SortedSetRef<'a>,
    part: Range<usize>,
    reverse: bool,
) -> impl Iterator<Item = (Item<'a>, f64)> {
    set.range(first(&part, reverse), part.len(), reverse)
}

/// The rank that is shown first.
fn first(part: &Range<usize>, reverse: bool) -> usize {
    if reverse {
        part.end.saturating_sub(1)
    } else {
        part.start
    }
}

/// Answers `count` members, with their scores as RESP3 and RESP2 have them.
pub(super) fn answer_members<'a>(
    reply: &mut Reply<'_>,
    count: usize,
    members: impl Iterator<Item = (Item<'a>, f64)>,
    with_scores: bool,
) {
    begin_members(reply, count, with_scores);
    for (member, score) in members {
        show_member(reply, member, score, with_scores);
    }
}

/// The beginning of the answer.
fn begin_members(reply: &mut Reply<'_>, count: usize, with_scores: bool) {
    let flat = with_scores && reply.protocol() == Protocol::Resp2;
    reply.array(if flat { 2 * count } else { count });
}

fn show(context: &mut Context<'_, '_>, form: Form) -> Result {
    let query = Query::read(context.args.from(2), form)?;
    let alone = context.alone;
    let Some(set) = context.db.read_sorted_set(context.args.at(1))? else {
        context.reply.array(0);
        return Ok(());
    };
    let part = query.part(set);
    let (count, scores) = (part.len(), query.with_scores);
    if is_long(alone, count) {
        let extent = Extent {
            start: first(&part, query.reverse),
            count,
            reverse: query.reverse,
        };
        let snapshot = set.snapshot();
        begin_members(&mut context.reply, count, scores);
        context.answer_later(snapshot, Shape::Members { scores }, extent);
    } else {
        let members = members(set, part, query.reverse);
        answer_members(&mut context.reply, count, members, scores);
    }
    Ok(())
}

fn zcount(context: &mut Context<'_, '_>) -> Result {
    let bounds = Bounds::scores(context.args.at(2), context.args.at(3))?;
    count(context, bounds)
}

fn zlexcount(context: &mut Context<'_, '_>) -> Result {
    let bounds = Bounds::members(context.args.at(2), context.args.at(3))?;
    count(context, bounds)
}

fn count(context: &mut Context<'_, '_>, bounds: Bounds<'_>) -> Result {
    let set = context.db.read_sorted_set(context.args.at(1))?;
    let count = set.map_or(0, |set| bounds.part(set, false).len());
    context.reply.count(count);
    Ok(())
}

fn zrangestore(context: &mut Context<'_, '_>) -> Result {
    let form = Form {
        scores: false,
        ..Form::ANY
    };
    let query = Query::read(context.args.from(3), form)?;
    let limits = limits(context);
    let source = context.db.read_sorted_set(context.args.at(2))?;
    let stored = source.map_or_else(SortedSet::default, |set| {
        copy(set, query.part(set), &limits)
    });
    store(context, stored)
}

fn copy(set: SortedSetRef<'_>, part: Range<usize>, limits: &PackLimits) -> SortedSet {
    let mut copy = SortedSet::default();
    let mut text = itoa::Buffer::new();
    for (member, score) in members(set, part, false) {
        copy.insert(member.text(&mut text), score, limits);
    }
    copy
}

/// Stores a result at the first key, and answers how many members it has.
pub(super) fn store(context: &mut Context<'_, '_>, result: SortedSet) -> Result {
    let target = context.args.at(1);
    let length = result.as_ref().len();
    if length > 0 {
        context
            .db
            .put(target, Value::SortedSet(result), Deadline::Never);
        context.db.effect_entry(target);
    } else if context.db.delete(target) {
        context.db.effect(target, &[b"DEL", target]);
    }
    context.reply.count(length);
    Ok(())
}

fn remove<'a>(
    context: &mut Context<'a, '_>,
    read: impl Fn(&'a [u8], &'a [u8]) -> Result<Bounds<'a>>,
) -> Result {
    let key = context.args.at(1);
    let bounds = read(context.args.at(2), context.args.at(3))?;
    let part = context.db.change_existing(key, "zset", |value| {
        edit(value, |set| {
            let part = bounds.part(set.as_ref(), false);
            discard_part(set.remove_range(part.start, part.len()));
            Ok(Edit {
                changed: !part.is_empty(),
                result: part,
            })
        })
    })?;
    let part = part.unwrap_or_default();
    tell_removed(context, key, &part);
    context.reply.count(part.len());
    Ok(())
}

/// Logs that a range of ranks was removed.
pub(super) fn tell_removed(context: &mut Context<'_, '_>, key: &[u8], part: &Range<usize>) {
    if part.is_empty() {
        return;
    }
    let (mut first, mut last) = (itoa::Buffer::new(), itoa::Buffer::new());
    let first = first.format(part.start).as_bytes();
    let last = last.format(part.end - 1).as_bytes();
    context
        .db
        .effect(key, &[b"ZREMRANGEBYRANK", key, first, last]);
}
