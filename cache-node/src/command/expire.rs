//! Deadlines of keys: `EXPIRE`, `TTL` and their relatives.

use crate::clock::Millis;
use crate::resp::Args;
use crate::store::Entry;

use super::context::Context;
use super::deadline::Unit;
use super::error::{Failure, Result, error};
use super::spec::{Command, Keys};

pub(super) static COMMANDS: &[Command] = &[
    Command::new("expire", -3, expire, "Sets the expiry of a key in seconds.")
        .writes(Keys::ONE)
        .fast(),
    Command::new(
        "pexpire",
        -3,
        pexpire,
        "Sets the expiry of a key in milliseconds.",
    )
    .writes(Keys::ONE)
    .fast(),
    Command::new(
        "expireat",
        -3,
        expireat,
        "Sets the expiry of a key as a Unix time.",
    )
    .writes(Keys::ONE)
    .fast(),
    Command::new(
        "pexpireat",
        -3,
        pexpireat,
        "Sets the expiry of a key as a Unix time in milliseconds.",
    )
    .writes(Keys::ONE)
    .fast(),
    Command::new("ttl", 2, ttl, "Returns the seconds until a key expires.")
        .reads(Keys::ONE)
        .fast(),
    Command::new(
        "pttl",
        2,
        pttl,
        "Returns the milliseconds until a key expires.",
    )
    .reads(Keys::ONE)
    .fast(),
    Command::new(
        "expiretime",
        2,
        expiretime,
        "Returns the Unix time at which a key expires.",
    )
    .reads(Keys::ONE)
    .fast(),
    Command::new(
        "pexpiretime",
        2,
        pexpiretime,
        "Returns the Unix time in milliseconds at which a key expires.",
    )
    .reads(Keys::ONE)
    .fast(),
    Command::new("persist", 2, persist, "Takes the expiry of a key away.")
        .writes(Keys::ONE)
        .fast(),
];

/// When an expiry is set.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    /// `NX`: there is none.
    absent: bool,
    /// `XX`: there is one.
    present: bool,
    /// `GT`: the new one is later; none counts as never.
    later: bool,
    /// `LT`: the new one is earlier.
    earlier: bool,
}

impl Conditions {
    fn read(args: Args<'_>) -> Result<Self> {
        let mut conditions = Self::default();
        for option in args.iter() {
            let flag = match option.to_ascii_lowercase().as_slice() {
                b"nx" => &mut conditions.absent,
                b"xx" => &mut conditions.present,
                b"gt" => &mut conditions.later,
                b"lt" => &mut conditions.earlier,
                _ => {
                    let option = String::from_utf8_lossy(option);
                    return Err(Failure::new(format!("ERR Unsupported option {option}")));
                }
            };
            *flag = true;
        }
        if conditions.absent && (conditions.present || conditions.later || conditions.earlier) {
            return Err(error(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if conditions.later && conditions.earlier {
            return Err(error(
                "ERR GT and LT options at the same time are not compatible",
            ));
        }
        Ok(conditions)
    }

    fn allow(self, present: Option<Millis>, moment: i64) -> bool {
        let present = present.map(|deadline| deadline as i64);
        !((self.absent && present.is_some())
            || (self.present && present.is_none())
            || (self.later && present.is_none_or(|present| moment <= present))
            || (self.earlier && present.is_some_and(|present| moment >= present)))
    }
}

fn expire(context: &mut Context<'_, '_>) -> Result {
    set_expiry(context, Unit::Seconds, "expire")
}

fn pexpire(context: &mut Context<'_, '_>) -> Result {
    set_expiry(context, Unit::Millis, "pexpire")
}

fn expireat(context: &mut Context<'_, '_>) -> Result {
    set_expiry(context, Unit::UnixSeconds, "expireat")
}

fn pexpireat(context: &mut Context<'_, '_>) -> Result {
    set_expiry(context, Unit::UnixMillis, "pexpireat")
}

fn set_expiry(context: &mut Context<'_, '_>, unit: Unit, name: &str) -> Result {
    let key = context.args.at(1);
    let moment = unit.moment(context.args.at(2), context.db.now(), name)?;
    let conditions = Conditions::read(context.args.from(3))?;
    let allowed = match context.db.existing(key) {
        None => false,
        Some(entry) => conditions.allow(entry.deadline(), moment),
    };
    if allowed {
        apply(context, key, Millis::try_from(moment).unwrap_or(0));
    }
    context.reply.integer(i64::from(allowed));
    Ok(())
}

/// Gives `key` a deadline and logs it; one that has passed deletes the key.
pub(super) fn apply(context: &mut Context<'_, '_>, key: &[u8], deadline: Millis) {
    if context.db.is_past(deadline) {
        context.db.delete(key);
        context.db.effect(key, &[b"DEL", key]);
        return;
    }
    context.db.set_deadline(key, Some(deadline));
    let mut number = itoa::Buffer::new();
    let time = number.format(deadline).as_bytes();
    context.db.effect(key, &[b"PEXPIREAT", key, time]);
}

fn ttl(context: &mut Context<'_, '_>) -> Result {
    let now = context.db.now();
    show_deadline(context, |deadline| {
        (deadline.saturating_sub(now) + 500) / 1000
    })
}

fn pttl(context: &mut Context<'_, '_>) -> Result {
    let now = context.db.now();
    show_deadline(context, |deadline| deadline.saturating_sub(now))
}

fn expiretime(context: &mut Context<'_, '_>) -> Result {
    show_deadline(context, |deadline| (deadline + 500) / 1000)
}

fn pexpiretime(context: &mut Context<'_, '_>) -> Result {
    show_deadline(context, |deadline| deadline)
}

/// -2: no such key; -1: it never expires.
fn show_deadline(context: &mut Context<'_, '_>, show: impl Fn(Millis) -> Millis) -> Result {
    let shown = match context.db.peek(context.args.at(1)).map(Entry::deadline) {
        None => -2,
        Some(None) => -1,
        Some(Some(deadline)) => show(deadline) as i64,
    };
    context.reply.integer(shown);
    Ok(())
}

fn persist(context: &mut Context<'_, '_>) -> Result {
    let key = context.args.at(1);
    let has_deadline = context
        .db
        .existing(key)
        .is_some_and(|entry| entry.deadline().is_some());
    if has_deadline {
        context.db.set_deadline(key, None);
        context.db.effect(key, &[b"PERSIST", key]);
    }
    context.reply.integer(i64::from(has_deadline));
    Ok(())
}
