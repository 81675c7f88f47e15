//! Sorted sets: giving members scores, asking for scores and ranks, removing members.

use cache_engine::sorted_set::write_score;
use smallvec::SmallVec;

use crate::resp::{Args, parse_float};
use crate::store::{PackLimits, SortedSet, SortedSetRef, Value};

use super::context::Context;
use super::db::Edit;
use super::error::{NOT_FLOAT, Result, SYNTAX, WRONG_TYPE, error, wrong_arity};
use super::several::remove_named;
use super::spec::{Command, Keys};

const NOT_A_NUMBER: &str = "ERR resulting score is not a number (NaN)";

const fn zset(command: Command) -> Command {
    command.group("sorted-set")
}

pub(super) static COMMANDS: &[Command] = &[
    zset(
        Command::new("zadd", -4, zadd, "Gives members scores.")
            .grows(Keys::ONE)
            .brief()
            .fast(),
    ),
    zset(
        Command::new("zincrby", 4, zincrby, "Adds to a member's score.")
            .grows(Keys::ONE)
            .brief()
            .fast(),
    ),
    zset(
        Command::new("zrem", -3, zrem, "Removes members.")
            .writes(Keys::ONE)
            .brief()
            .fast(),
    ),
    zset(
        Command::new("zscore", 3, zscore, "Returns a member's score.")
            .reads(Keys::ONE)
            .brief()
            .fast(),
    ),
    zset(
        Command::new(
            "zmscore",
            -3,
            zmscore,
            "Returns the scores of several members.",
        )
        .reads(Keys::ONE)
        .fast(),
    ),
    zset(
        Command::new("zcard", 2, zcard, "Returns the number of members.")
            .reads(Keys::ONE)
            .brief()
            .fast(),
    ),
    zset(
        Command::new(
            "zrank",
            -3,
            zrank,
            "Returns a member's rank from the lowest score on.",
        )
        .reads(Keys::ONE)
        .fast(),
    ),
    zset(
        Command::new(
            "zrevrank",
            -3,
            zrevrank,
            "Returns a member's rank from the highest score on.",
        )
        .reads(Keys::ONE)
        .fast(),
    ),
];

/// What a packed sorted set may have.
pub(super) fn limits(context: &Context<'_, '_>) -> PackLimits {
    context.node.config.get().all_limits().sorted_set
}

/// Changes the sorted set in `value`.
pub(super) fn edit<R>(
    value: &mut Value,
    change: impl FnOnce(&mut SortedSet) -> Result<Edit<R>>,
) -> Result<Edit<R>> {
    match value {
        Value::SortedSet(set) => change(set),
        _ => Err(WRONG_TYPE),
    }
}

/// What `ZADD` was told besides members and scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rules {
    /// `NX`: only members that are not there.
    absent: bool,
    /// `XX`: only members that are there.
    present: bool,
    /// `GT`: only if the score is greater than before.
    greater: bool,
    /// `LT`: only if it is less.
    less: bool,
    /// `CH`: answer how many have changed.
    changes: bool,
    /// `INCR`: add to the score.
    increment: bool,
}

impl Rules {
    /// Reads options from argument 2 on; answers also where they end.
    fn read(args: Args<'_>) -> (Self, usize) {
        let mut rules = Self::default();
        let mut at = 2;
        while let Some(option) = args.get(at) {
            let rule = match option.to_ascii_lowercase().as_slice() {
                b"nx" => &mut rules.absent,
                b"xx" => &mut rules.present,
                b"gt" => &mut rules.greater,
                b"lt" => &mut rules.less,
                b"ch" => &mut rules.changes,
                b"incr" => &mut rules.increment,
                _ => break,
            };
            *rule = true;
            at += 1;
        }
        (rules, at)
    }

    fn check(self, pairs: usize) -> Result {
        if self.absent && self.present {
            return Err(error(
                "ERR XX and NX options at the same time are not compatible",
            ));
        }
        let conditions = [self.greater, self.less, self.absent];
        if conditions
            .into_iter()
            .filter(|condition| *condition)
            .count()
            > 1
        {
            return Err(error(
                "ERR GT, LT, and/or NX options at the same time are not compatible",
            ));
        }
        if self.increment && pairs > 1 {
            return Err(error(
                "ERR INCR option supports a single increment-element pair",
            ));
        }
        Ok(())
    }

    /// The score that a member gets; `None` if it stays as it is.
    fn score(self, old: Option<f64>, given: f64) -> Result<Option<f64>> {
        let Some(old) = old else {
            return Ok((!self.present).then_some(given));
        };
        if self.absent {
            return Ok(None);
        }
        let score = if self.increment { old + given } else { given };
        if score.is_nan() {
            return Err(error(NOT_A_NUMBER));
        }
        let refused = (self.greater && score <= old) || (self.less && score >= old);
        Ok((!refused).then_some(score))
    }
}

/// What `ZADD` did.
#[derive(Default)]
struct Added<'a> {
    added: usize,
    updated: usize,
    /// The last score that was set, or was so already.
    score: Option<f64>,
    /// Members with another score than before.
    changed: SmallVec<[(&'a [u8], f64); 4]>,
}

fn zadd(context: &mut Context<'_, '_>) -> Result {
    let args = context.args;
    let (rules, first) = Rules::read(args);
    let pairs = args.from(first);
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    rules.check(pairs.len() / 2)?;
    let done = add(context, rules, pairs)?;
    if rules == Rules::default() && !done.changed.is_empty() {
        context.tell_as(b"ZADD");
    } else {
        tell(context, &done.changed);
    }
    if rules.increment {
        answer_score(context, done.score);
    } else {
        let updated = if rules.changes { done.updated } else { 0 };
        context.reply.count(done.added + updated);
    }
    Ok(())
}

fn zincrby(context: &mut Context<'_, '_>) -> Result {
    let rules = Rules {
        increment: true,
        ..Rules::default()
    };
    let done = add(context, rules, context.args.from(2))?;
    tell(context, &done.changed);
    answer_score(context, done.score);
    Ok(())
}

fn answer_score(context: &mut Context<'_, '_>, score: Option<f64>) {
    match score {
        Some(score) => context.reply.double(score),
        None => context.reply.null(),
    }
}

/// Gives the members in `pairs` of scores and members their scores.
fn add<'a>(context: &mut Context<'a, '_>, rules: Rules, pairs: Args<'a>) -> Result<Added<'a>> {
    let (key, limits) = (context.args.at(1), limits(context));
    let scores: Result<SmallVec<[f64; 4]>> = pairs
        .iter()
        .step_by(2)
        .map(|score| parse_float(score).ok_or(NOT_FLOAT))
        .collect();
    let scores = scores?;
    let new = || Value::SortedSet(SortedSet::default());
    context.db.change(key, "zset", new, |value| {
        edit(value, |set| {
            let members = pairs.iter().skip(1).step_by(2);
            let mut done = Added::default();
            for (member, given) in members.zip(scores) {
                give(set, member, given, rules, &limits, &mut done)?;
            }
            let changed = !done.changed.is_empty();
            Ok(Edit {
                result: done,
                changed,
            })
        })
    })
}

/// Gives one member its score. Fails only where there is one member.
fn give<'a>(
    set: &mut SortedSet,
    member: &'a [u8],
    given: f64,
    rules: Rules,
    limits: &PackLimits,
    done: &mut Added<'a>,
) -> Result {
    let conditional = rules != Rules::default();
    let score = if conditional {
        rules.score(set.as_ref().score(member), given)?
    } else {
        Some(given)
    };
    let Some(score) = score else {
        return Ok(());
    };
    done.score = Some(score);
    match set.insert(member, score, limits) {
        None => done.added += 1,
        Some(old) if old != score => done.updated += 1,
        Some(_) => return Ok(()),
    }
    done.changed.push((member, score));
    Ok(())
}

/// Logs the scores that members have now.
fn tell(context: &mut Context<'_, '_>, changed: &[(&[u8], f64)]) {
    if changed.is_empty() {
        return;
    }
    let key = context.args.at(1);
    let texts: Vec<Vec<u8>> = changed.iter().map(|(_, score)| text_of(*score)).collect();
    let mut effect: Vec<&[u8]> = vec![b"ZADD", key];
    for ((member, _), score) in changed.iter().zip(&texts) {
        effect.extend([score.as_slice(), *member]);
    }
    context.db.effect(key, &effect);
}

/// The text of a score, which reads back as the same.
pub(super) fn text_of(score: f64) -> Vec<u8> {
    let mut text = Vec::new();
    write_score(score, &mut text);
    text
}

fn zrem(context: &mut Context<'_, '_>) -> Result {
    remove_named(context, "zset", b"ZREM", |value, member| match value {
        Value::SortedSet(set) => set.remove(member).is_some(),
        _ => false,
    })
}

fn zscore(context: &mut Context<'_, '_>) -> Result {
    let set = context.db.read_sorted_set(context.args.at(1))?;
    let score = set.and_then(|set| set.score(context.args.at(2)));
    answer_score(context, score);
    Ok(())
}

fn zmscore(context: &mut Context<'_, '_>) -> Result {
    let set = context.db.read_sorted_set(context.args.at(1))?;
    context.reply.array(context.args.len() - 2);
    for member in context.args.from(2).iter() {
        match set.and_then(|set| set.score(member)) {
            Some(score) => context.reply.double(score),
            None => context.reply.null(),
        }
    }
    Ok(())
}

fn zcard(context: &mut Context<'_, '_>) -> Result {
    let set = context.db.read_sorted_set(context.args.at(1))?;
    context.reply.count(set.map_or(0, SortedSetRef::len));
    Ok(())
}

fn zrank(context: &mut Context<'_, '_>) -> Result {
    rank(context, "zrank", |rank, _| rank)
}

fn zrevrank(context: &mut Context<'_, '_>) -> Result {
    rank(context, "zrevrank", |rank, length| length - 1 - rank)
}

fn rank(
    context: &mut Context<'_, '_>,
    name: &'static str,
    counted: impl Fn(usize, usize) -> usize,
) -> Result {
    let with_score = match (context.args.get(3), context.args.len()) {
        (None, _) => false,
        (Some(option), 4) if option.eq_ignore_ascii_case(b"withscore") => true,
        (Some(_), 4) => return Err(SYNTAX),
        _ => return Err(wrong_arity(name)),
    };
    let set = context.db.read_sorted_set(context.args.at(1))?;
    let found = set.and_then(|set| {
        let (rank, score) = set.rank(context.args.at(2))?;
        Some((counted(rank, set.len()), score))
    });
    let reply = &mut context.reply;
    match found {
        Some((rank, score)) => {
            if with_score {
                reply.array(2);
            }
            reply.count(rank);
            if with_score {
                reply.double(score);
            }
        }
        None if with_score => reply.null_array(),
        None => reply.null(),
    }
    Ok(())
}
