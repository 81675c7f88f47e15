//! What commands on several keys or elements have in common: how many there are, which are wanted, removing them by name.

use crate::resp::{Args, parse_integer};
use crate::store::Value;

use super::context::Context;
use super::db::Edit;
use super::error::{Result, SYNTAX, error};

/// The keys whose number is argument `at`, and the arguments behind them.
pub(super) fn keys_of(args: Args<'_>, at: usize) -> Result<(Args<'_>, Args<'_>)> {
    let count = args.get(at).and_then(parse_integer);
    let count = count.and_then(|count| usize::try_from(count).ok());
    let count = count
        .filter(|count| *count > 0)
        .ok_or(error("ERR numkeys should be greater than 0"))?;
    let keys = args.from(at + 1);
    if count > keys.len() {
        return Err(SYNTAX);
    }
    Ok(keys.split_at(count))
}

/// A number of elements, which may be 0.
pub(super) fn positive(text: &[u8]) -> Result<usize> {
    parse_integer(text)
        .and_then(|count| usize::try_from(count).ok())
        .ok_or(error("ERR value is out of range, must be positive"))
}

/// The number in `COUNT n`, which may be left out; 1 then.
pub(super) fn count_option(args: Args<'_>) -> Result<usize> {
    match (args.get(0), args.get(1), args.len()) {
        (None, ..) => Ok(1),
        (Some(name), Some(count), 2) if name.eq_ignore_ascii_case(b"count") => {
            let count = parse_integer(count).and_then(|count| usize::try_from(count).ok());
            count
                .filter(|count| *count > 0)
                .ok_or(error("ERR count should be greater than 0"))
        }
        _ => Err(SYNTAX),
    }
}

/// The number in `LIMIT n`; 0, which it also is if left out, means no limit.
pub(super) fn limit_option(args: Args<'_>) -> Result<usize> {
    match (args.get(0), args.get(1), args.len()) {
        (None, ..) => Ok(0),
        (Some(name), Some(limit), 2) if name.eq_ignore_ascii_case(b"limit") => {
            let limit = parse_integer(limit).and_then(|limit| usize::try_from(limit).ok());
            limit.ok_or(error("ERR LIMIT can't be negative"))
        }
        _ => Err(SYNTAX),
    }
}

/// Removes the elements that the arguments from 2 on name from the collection at argument 1, by `remove`, which answers whether there was one.
/// Answers how many there were, and logs the command under `effect` for those alone.
pub(super) fn remove_named(
    context: &mut Context<'_, '_>,
    type_name: &'static str,
    effect: &'static [u8],
    remove: impl Fn(&mut Value, &[u8]) -> bool,
) -> Result {
    let (args, key) = (context.args, context.args.at(1));
    let mut removed: Vec<&[u8]> = vec![effect, key];
    context.db.change_existing(key, type_name, |value| {
        let names = args.from(2);
        removed.extend(names.iter().filter(|name| remove(value, name)));
        Ok(Edit::of(removed.len() - 2))
    })?;
    let count = removed.len() - 2;
    if count > 0 {
        context.db.effect(key, &removed);
    }
    context.reply.count(count);
    Ok(())
}
