//! Strings as numbers: `INCR` and its relatives.

use crate::resp::{format_float, parse_float, parse_integer};
use crate::store::{Deadline, Entry, Value, ValueRef};

use super::context::Context;
use super::db::StringBytes;
use super::error::{NOT_FINITE, NOT_FLOAT, NOT_INTEGER, OVERFLOW, Result, WRONG_TYPE, error};
use super::set::log_set;
use super::text::integer;

pub(super) fn incr(context: &mut Context<'_, '_>) -> Result {
    add(context, 1)
}

pub(super) fn decr(context: &mut Context<'_, '_>) -> Result {
    add(context, -1)
}

pub(super) fn incrby(context: &mut Context<'_, '_>) -> Result {
    let amount = integer(context.args.at(2))?;
    add(context, amount)
}

pub(super) fn decrby(context: &mut Context<'_, '_>) -> Result {
    let amount = integer(context.args.at(2))?;
    let amount = amount
        .checked_neg()
        .ok_or(error("ERR decrement would overflow"))?;
    add(context, amount)
}

fn add(context: &mut Context<'_, '_>, amount: i64) -> Result {
    let key = context.args.at(1);
    let mut deadline = None;
    let present = match context.db.existing(key) {
        None => 0,
        Some(entry) => {
            deadline = entry.deadline();
            match entry.value() {
                ValueRef::Integer(number) => number,
                ValueRef::String(bytes, _) => parse_integer(bytes).ok_or(NOT_INTEGER)?,
                _ => return Err(WRONG_TYPE),
            }
        }
    };
    let number = present.checked_add(amount).ok_or(OVERFLOW)?;
    context.db.put(key, Value::Integer(number), Deadline::Keep);
    let mut text = itoa::Buffer::new();
    log_set(context, key, text.format(number).as_bytes(), deadline);
    context.reply.integer(number);
    Ok(())
}

pub(super) fn incrbyfloat(context: &mut Context<'_, '_>) -> Result {
    let key = context.args.at(1);
    let amount = parse_float(context.args.at(2)).ok_or(NOT_FLOAT)?;
    let mut number = itoa::Buffer::new();
    let (present, deadline) = match context.db.existing(key) {
        None => (0.0, None),
        Some(entry) => {
            let value = StringBytes::of(entry.value(), &mut number).ok_or(WRONG_TYPE)?;
            let present = parse_float(&value.bytes()).ok_or(NOT_FLOAT)?;
            (present, Entry::deadline(entry))
        }
    };
    let sum = present + amount;
    if !sum.is_finite() {
        return Err(NOT_FINITE);
    }
    let text = format_float(sum);
    context.db.put_string(key, text.as_bytes(), Deadline::Keep);
    log_set(context, key, text.as_bytes(), deadline);
    context.reply.bulk(text.as_bytes());
    Ok(())
}
