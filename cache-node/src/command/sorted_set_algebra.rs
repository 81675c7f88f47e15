//! Sorted sets compared with others: unions, intersections and differences. Plain sets count as sorted sets with scores of 1.

use foldhash::{HashMap, HashMapExt};

use crate::resp::{Args, parse_float};
use crate::store::{Entry, Item, PackLimits, Set, SortedSet, Value, ValueRef};

use super::context::Context;
use super::db::Db;
use super::error::{Failure, Result, SYNTAX, WRONG_TYPE, error};
use super::several::{keys_of, limit_option};
use super::sorted_set_ranges::{answer_members, store};
use super::sorted_sets::limits;
use super::spec::{Command, Keys};
use super::text::integer;

const fn zset(command: Command) -> Command {
    command.group("sorted-set")
}

pub(super) static COMMANDS: &[Command] = &[
    zset(
        Command::new(
            "zunion",
            -3,
            |context| answer(context, Operation::Union, "zunion"),
            "Returns the members that any of the sorted sets has.",
        )
        .reads(Keys::NONE.counted(1)),
    ),
    zset(
        Command::new(
            "zinter",
            -3,
            |context| answer(context, Operation::Intersection, "zinter"),
            "Returns the members that all sorted sets have.",
        )
        .reads(Keys::NONE.counted(1)),
    ),
    zset(
        Command::new(
            "zdiff",
            -3,
            |context| answer(context, Operation::Difference, "zdiff"),
            "Returns the members of the first sorted set that the others do not have.",
        )
        .reads(Keys::NONE.counted(1)),
    ),
    zset(
        Command::new(
            "zunionstore",
            -4,
            |context| keep(context, Operation::Union, "zunionstore"),
            "Stores the members that any of the sorted sets has.",
        )
        .grows(Keys::ONE.counted(2)),
    ),
    zset(
        Command::new(
            "zinterstore",
            -4,
            |context| keep(context, Operation::Intersection, "zinterstore"),
            "Stores the members that all sorted sets have.",
        )
        .grows(Keys::ONE.counted(2)),
    ),
    zset(
        Command::new(
            "zdiffstore",
            -4,
            |context| keep(context, Operation::Difference, "zdiffstore"),
            "Stores the members of the first sorted set that the others do not have.",
        )
        .grows(Keys::ONE.counted(2)),
    ),
    zset(
        Command::new(
            "zintercard",
            -3,
            zintercard,
            "Returns how many members all sorted sets have.",
        )
        .reads(Keys::NONE.counted(1)),
    ),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

/// How the scores of a member that several have become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Least,
    Greatest,
}

impl Aggregate {
    fn of(self, left: f64, right: f64) -> f64 {
        match self {
            // Infinity and its opposite: as Redis has it.
            Self::Sum => Some(left + right)
                .filter(|sum| !sum.is_nan())
                .unwrap_or(0.0),
            Self::Least => left.min(right),
            Self::Greatest => left.max(right),
        }
    }
}

/// A set or a sorted set as it is now: of a big one, the chunks are shared until they change.
enum Members {
    Plain(Set),
    Sorted(SortedSet),
}

struct Operand {
    members: Members,
    weight: f64,
}

impl Operand {
    fn len(&self) -> usize {
        match &self.members {
            Members::Plain(set) => set.as_ref().len(),
            Members::Sorted(set) => set.as_ref().len(),
        }
    }

    fn weighed(&self, score: f64) -> f64 {
        Some(score * self.weight)
            .filter(|score| !score.is_nan())
            .unwrap_or(0.0)
    }

    /// The weighed score of a member.
    fn score(&self, member: &[u8]) -> Option<f64> {
        let score = match &self.members {
            Members::Plain(set) => set.as_ref().contains(member).then_some(1.0),
            Members::Sorted(set) => set.as_ref().score(member),
        };
        score.map(|score| self.weighed(score))
    }

    /// Visits members with their weighed scores until `visit` says no.
    fn visit<'s>(&'s self, mut visit: impl FnMut(Item<'s>, f64) -> bool) {
        match &self.members {
            Members::Plain(set) => {
                let mut members = set.as_ref().iter();
                members.all(|member| visit(member, self.weighed(1.0)));
            }
            Members::Sorted(set) => {
                let mut members = set.as_ref().range(0, usize::MAX, false);
                members.all(|(member, score)| visit(member, self.weighed(score)));
            }
        }
    }
}

fn operand(db: &mut Db<'_>, key: &[u8]) -> Result<Operand> {
    let members = match db.read(key).map(Entry::value) {
        None => Members::Plain(Set::default()),
        Some(value @ (ValueRef::Set(_) | ValueRef::SortedSet(_))) => match value.to_value() {
            Value::Set(set) => Members::Plain(set),
            Value::SortedSet(set) => Members::Sorted(set),
            _ => return Err(WRONG_TYPE),
        },
        Some(_) => return Err(WRONG_TYPE),
    };
    Ok(Operand {
        members,
        weight: 1.0,
    })
}

/// A command on several sorted sets.
struct Query {
    operands: Vec<Operand>,
    operation: Operation,
    aggregate: Aggregate,
    with_scores: bool,
}

impl Query {
    /// Reads the number of keys at argument `at`, the keys and the options. `stores`: the result is not shown.
    fn read(
        context: &mut Context<'_, '_>,
        at: usize,
        operation: Operation,
        stores: bool,
        name: &str,
    ) -> Result<Self> {
        let (keys, options) = input_keys(context.args, at, name)?;
        let operands: Result<Vec<Operand>> =
            keys.iter().map(|key| operand(context.db, key)).collect();
        let mut query = Self {
            operands: operands?,
            operation,
            aggregate: Aggregate::Sum,
            with_scores: false,
        };
        query.read_options(options, stores)?;
        Ok(query)
    }

    fn read_options(&mut self, mut args: Args<'_>, stores: bool) -> Result {
        let weighs = self.operation != Operation::Difference;
        while let Some(option) = args.get(0) {
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            if weighs && is(b"weights") && args.len() > self.operands.len() {
                for (operand, weight) in self.operands.iter_mut().zip(args.from(1).iter()) {
                    operand.weight =
                        parse_float(weight).ok_or(error("ERR weight value is not a float"))?;
                }
                args = args.from(1 + self.operands.len());
            } else if weighs && is(b"aggregate") && args.len() > 1 {
                self.aggregate = match args.at(1).to_ascii_lowercase().as_slice() {
                    b"sum" => Aggregate::Sum,
                    b"min" => Aggregate::Least,
                    b"max" => Aggregate::Greatest,
                    _ => return Err(SYNTAX),
                };
                args = args.from(2);
            } else if !stores && is(b"withscores") {
                self.with_scores = true;
                args = args.from(1);
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(())
    }

    fn run(mut self, limits: &PackLimits) -> SortedSet {
        match self.operation {
            Operation::Union => {
                self.operands.sort_by_key(Operand::len);
                union(&self.operands, self.aggregate, limits)
            }
            Operation::Intersection => {
                self.operands.sort_by_key(Operand::len);
                collect(limits, |put| {
                    intersect(&self.operands, self.aggregate, |member, score| {
                        put(member, score);
                        true
                    });
                })
            }
            Operation::Difference => collect(limits, |put| subtract(&self.operands, put)),
        }
    }
}

/// The keys whose number is argument `at`, and the arguments behind them.
fn input_keys<'a>(args: Args<'a>, at: usize, name: &str) -> Result<(Args<'a>, Args<'a>)> {
    if integer(args.at(at))? < 1 {
        return Err(Failure::new(format!(
            "ERR at least 1 input key is needed for '{name}' command"
        )));
    }
    keys_of(args, at)
}

/// Gathers the members that `visit` puts.
fn collect<'s>(
    limits: &PackLimits,
    visit: impl FnOnce(&mut dyn FnMut(Item<'s>, f64)),
) -> SortedSet {
    let mut result = SortedSet::default();
    let mut text = itoa::Buffer::new();
    visit(&mut |member, score| {
        result.insert(member.text(&mut text), score, limits);
    });
    result
}

fn union(operands: &[Operand], aggregate: Aggregate, limits: &PackLimits) -> SortedSet {
    let mut scores: HashMap<Item<'_>, f64> = HashMap::new();
    for operand in operands {
        operand.visit(|member, score| {
            scores
                .entry(member)
                .and_modify(|old| *old = aggregate.of(*old, score))
                .or_insert(score);
            true
        });
    }
    collect(limits, |put| {
        scores
            .iter()
            .for_each(|(member, score)| put(*member, *score));
    })
}

/// Visits the members that all operands have, the smallest of which is the first, until `visit` says no.
fn intersect<'s>(
    operands: &'s [Operand],
    aggregate: Aggregate,
    mut visit: impl FnMut(Item<'s>, f64) -> bool,
) {
    let Some((smallest, others)) = operands.split_first() else {
        return;
    };
    let mut text = itoa::Buffer::new();
    smallest.visit(|member, score| {
        let name = member.text(&mut text);
        let total = others.iter().try_fold(score, |total, other| {
            Some(aggregate.of(total, other.score(name)?))
        });
        total.is_none_or(|total| visit(member, total))
    });
}

fn subtract<'s>(operands: &'s [Operand], put: &mut dyn FnMut(Item<'s>, f64)) {
    let Some((first, others)) = operands.split_first() else {
        return;
    };
    let mut text = itoa::Buffer::new();
    first.visit(|member, score| {
        let name = member.text(&mut text);
        if !others.iter().any(|other| other.score(name).is_some()) {
            put(member, score);
        }
        true
    });
}

fn answer(context: &mut Context<'_, '_>, operation: Operation, name: &str) -> Result {
    let query = Query::read(context, 1, operation, false, name)?;
    let with_scores = query.with_scores;
    let result = query.run(&limits(context));
    let set = result.as_ref();
    let members = set.range(0, set.len(), false);
    answer_members(&mut context.reply, set.len(), members, with_scores);
    Ok(())
}

fn keep(context: &mut Context<'_, '_>, operation: Operation, name: &str) -> Result {
    let query = Query::read(context, 2, operation, true, name)?;
    let result = query.run(&limits(context));
    store(context, result)
}

fn zintercard(context: &mut Context<'_, '_>) -> Result {
    let (keys, rest) = input_keys(context.args, 1, "zintercard")?;
    let operands: Result<Vec<Operand>> = keys.iter().map(|key| operand(context.db, key)).collect();
    let mut operands = operands?;
    let limit = limit_option(rest)?;
    operands.sort_by_key(Operand::len);
    let mut count = 0;
    intersect(&operands, Aggregate::Sum, |_, _| {
        count += 1;
        count != limit
    });
    context.reply.count(count);
    Ok(())
}
