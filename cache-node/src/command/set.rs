//! `SET` and its relatives: setting a string with conditions and an expiry.

use crate::clock::Millis;
use crate::resp::Args;
use crate::store::{Deadline, Entry};

use super::context::Context;
use super::db::StringBytes;
use super::deadline::Unit;
use super::error::{Result, SYNTAX, WRONG_TYPE};

/// When `SET` sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Condition {
    #[default]
    Always,
    /// `NX`
    Absent,
    /// `XX`
    Present,
}

/// The options of `SET`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Options<'a> {
    condition: Condition,
    get: bool,
    keep_deadline: bool,
    expiry: Option<(Unit, &'a [u8])>,
}

impl<'a> Options<'a> {
    fn read(args: Args<'a>) -> Result<Self> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(option) = args.next() {
            let free = options.expiry.is_none() && !options.keep_deadline;
            let unconditional = options.condition == Condition::Always;
            if option.eq_ignore_ascii_case(b"nx") && unconditional {
                options.condition = Condition::Absent;
            } else if option.eq_ignore_ascii_case(b"xx") && unconditional {
                options.condition = Condition::Present;
            } else if option.eq_ignore_ascii_case(b"get") {
                options.get = true;
            } else if option.eq_ignore_ascii_case(b"keepttl") && free {
                options.keep_deadline = true;
            } else if let (Some(unit), true) = (Unit::of_option(option), free) {
                options.expiry = Some((unit, args.next().ok_or(SYNTAX)?));
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(options)
    }
}

pub(super) fn set(context: &mut Context<'_, '_>) -> Result {
    let (key, value) = (context.args.at(1), context.args.at(2));
    if context.args.len() == 3 {
        put(context, key, value, Deadline::Never);
        context.reply.ok();
        return Ok(());
    }
    let options = Options::read(context.args.from(3))?;
    let deadline = match options.expiry {
        Some((unit, time)) => Deadline::At(unit.deadline(time, context.db.now(), "set")?),
        None if options.keep_deadline => Deadline::Keep,
        None => Deadline::Never,
    };
    set_with(context, key, value, options, deadline)
}

fn set_with(
    context: &mut Context<'_, '_>,
    key: &[u8],
    value: &[u8],
    options: Options<'_>,
    deadline: Deadline,
) -> Result {
    let start = context.reply.position();
    let present = context.db.existing(key).map(Entry::value);
    let exists = present.is_some();
    if options.get {
        let mut number = itoa::Buffer::new();
        match present {
            None => context.reply.null(),
            Some(old) => {
                let old = StringBytes::of(old, &mut number).ok_or(WRONG_TYPE)?;
                old.reply(&mut context.reply);
            }
        }
    }
    let wanted = match options.condition {
        Condition::Always => true,
        Condition::Absent => !exists,
        Condition::Present => exists,
    };
    if wanted {
        put(context, key, value, deadline);
    }
    if context.reply.position() == start {
        if wanted {
            context.reply.ok();
        } else {
            context.reply.null();
        }
    }
    Ok(())
}

/// Sets a string and logs it. A deadline that has passed already deletes the key.
fn put(context: &mut Context<'_, '_>, key: &[u8], value: &[u8], deadline: Deadline) {
    if let Deadline::At(time) = deadline
        && context.db.is_past(time)
    {
        if context.db.delete(key) {
            context.db.effect(key, &[b"DEL", key]);
        }
        return;
    }
    context.db.put_string(key, value, deadline);
    let deadline = match deadline {
        Deadline::Never => None,
        Deadline::At(time) => Some(time),
        Deadline::Keep => context.db.peek(key).and_then(Entry::deadline),
    };
    log_set(context, key, value, deadline);
}

/// Logs that `key` has become this string.
pub(super) fn log_set(
    context: &mut Context<'_, '_>,
    key: &[u8],
    value: &[u8],
    deadline: Option<Millis>,
) {
    match deadline {
        None => context.db.effect(key, &[b"SET", key, value]),
        Some(time) => {
            let mut number = itoa::Buffer::new();
            let time = number.format(time).as_bytes();
            context.db.effect(key, &[b"SET", key, value, b"PXAT", time]);
        }
    }
}

pub(super) fn setnx(context: &mut Context<'_, '_>) -> Result {
    let (key, value) = (context.args.at(1), context.args.at(2));
    let absent = context.db.existing(key).is_none();
    if absent {
        put(context, key, value, Deadline::Never);
    }
    context.reply.integer(i64::from(absent));
    Ok(())
}

pub(super) fn setex(context: &mut Context<'_, '_>) -> Result {
    set_for(context, Unit::Seconds, "setex")
}

pub(super) fn psetex(context: &mut Context<'_, '_>) -> Result {
    set_for(context, Unit::Millis, "psetex")
}

fn set_for(context: &mut Context<'_, '_>, unit: Unit, name: &str) -> Result {
    let (key, value) = (context.args.at(1), context.args.at(3));
    let deadline = unit.deadline(context.args.at(2), context.db.now(), name)?;
    put(context, key, value, Deadline::At(deadline));
    context.reply.ok();
    Ok(())
}

pub(super) fn getset(context: &mut Context<'_, '_>) -> Result {
    let (key, value) = (context.args.at(1), context.args.at(2));
    let options = Options {
        get: true,
        ..Options::default()
    };
    set_with(context, key, value, options, Deadline::Never)
}

/// What `GETEX` does to the deadline.
enum Change {
    Nothing,
    Persist,
    At(Millis),
}

pub(super) fn getex(context: &mut Context<'_, '_>) -> Result {
    let key = context.args.at(1);
    let change = match (context.args.get(2), context.args.get(3), context.args.len()) {
        (None, _, _) => Change::Nothing,
        (Some(option), None, _) if option.eq_ignore_ascii_case(b"persist") => Change::Persist,
        (Some(option), Some(time), 4) => {
            let unit = Unit::of_option(option).ok_or(SYNTAX)?;
            Change::At(unit.deadline(time, context.db.now(), "getex")?)
        }
        _ => return Err(SYNTAX),
    };
    let mut number = itoa::Buffer::new();
    let has_deadline = match context.db.existing(key) {
        None => {
            context.reply.null();
            return Ok(());
        }
        Some(entry) => {
            let value = StringBytes::of(entry.value(), &mut number).ok_or(WRONG_TYPE)?;
            value.reply(&mut context.reply);
            entry.deadline().is_some()
        }
    };
    match change {
        Change::Nothing => {}
        Change::Persist if !has_deadline => {}
        Change::Persist => {
            context.db.set_deadline(key, None);
            context.db.effect(key, &[b"PERSIST", key]);
        }
        Change::At(deadline) => super::expire::apply(context, key, deadline),
    }
    Ok(())
}
