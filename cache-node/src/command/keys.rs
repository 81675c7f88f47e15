//! Keys whatever they hold: deleting, renaming, copying, asking for them.

use crate::slot::SlotId;
use crate::store::{Deadline, Entry};

use super::context::Context;
use super::db::Db;
use super::error::{NO_KEY, Result, SYNTAX, error};
use super::spec::{Command, Keys};
use super::text::integer;

pub(super) static COMMANDS: &[Command] = &[
    Command::new("del", -2, del, "Deletes keys.").writes(Keys::ALL),
    Command::new(
        "unlink",
        -2,
        del,
        "Deletes keys; big values are freed in the background, as with DEL.",
    )
    .writes(Keys::ALL)
    .fast(),
    Command::new("exists", -2, exists, "Counts which of the keys exist.")
        .reads(Keys::ALL)
        .fast(),
    Command::new(
        "type",
        2,
        type_name,
        "Returns the type of the value of a key.",
    )
    .reads(Keys::ONE)
    .fast(),
    Command::new(
        "touch",
        -2,
        touch,
        "Counts which of the keys exist, and marks them as used.",
    )
    .reads(Keys::ALL)
    .fast(),
    Command::new(
        "rename",
        3,
        rename,
        "Renames a key and overwrites the destination.",
    )
    .writes(Keys::TWO),
    Command::new(
        "renamenx",
        3,
        renamenx,
        "Renames a key if the destination does not exist.",
    )
    .writes(Keys::TWO)
    .fast(),
    Command::new("copy", -3, copy, "Copies the value of a key to another.").grows(Keys::TWO),
];

fn del(context: &mut Context<'_, '_>) -> Result {
    answer_count(context, |db, key| {
        let deleted = db.delete(key);
        if deleted {
            db.effect(key, &[b"DEL", key]);
        }
        deleted
    })
}

fn exists(context: &mut Context<'_, '_>) -> Result {
    answer_count(context, |db, key| db.peek(key).is_some())
}

/// Answers for how many of the arguments, which are all keys, `test` is true.
fn answer_count(
    context: &mut Context<'_, '_>,
    test: impl Fn(&mut Db<'_>, &[u8]) -> bool,
) -> Result {
    let mut count = 0;
    for (index, key) in context.args.from(1).iter().enumerate() {
        context.db.aim(index, key);
        count += usize::from(test(context.db, key));
    }
    context.reply.count(count);
    Ok(())
}

fn type_name(context: &mut Context<'_, '_>) -> Result {
    let entry = context.db.peek(context.args.at(1));
    context
        .reply
        .simple(entry.map_or("none", |entry| entry.value().type_name()));
    Ok(())
}

fn touch(context: &mut Context<'_, '_>) -> Result {
    answer_count(context, |db, key| db.read(key).is_some())
}

fn rename(context: &mut Context<'_, '_>) -> Result {
    let (from, to) = (context.args.at(1), context.args.at(2));
    move_key(context, from, to)?;
    context.reply.ok();
    Ok(())
}

fn renamenx(context: &mut Context<'_, '_>) -> Result {
    let (from, to) = (context.args.at(1), context.args.at(2));
    if context.db.existing(from).is_none() {
        return Err(NO_KEY);
    }
    let free = context.db.existing(to).is_none();
    if free {
        move_key(context, from, to)?;
    }
    context.reply.integer(i64::from(free));
    Ok(())
}

fn move_key(context: &mut Context<'_, '_>, from: &[u8], to: &[u8]) -> Result {
    if from == to {
        return context.db.existing(from).map(|_| ()).ok_or(NO_KEY);
    }
    let (value, deadline) = context.db.take(from).ok_or(NO_KEY)?;
    context.db.put(to, value, deadline);
    if SlotId::of(from) == SlotId::of(to) {
        context.db.effect(from, &[b"RENAME", from, to]);
    } else {
        context.db.effect(from, &[b"DEL", from]);
        context.db.effect_entry(to);
    }
    Ok(())
}

fn deadline_of(entry: Entry<'_>) -> Deadline {
    entry.deadline().map_or(Deadline::Never, Deadline::At)
}

fn copy(context: &mut Context<'_, '_>) -> Result {
    let (from, to) = (context.args.at(1), context.args.at(2));
    let mut replace = false;
    let mut options = context.args.from(3).iter();
    while let Some(option) = options.next() {
        if option.eq_ignore_ascii_case(b"replace") {
            replace = true;
        } else if option.eq_ignore_ascii_case(b"db") {
            if integer(options.next().ok_or(SYNTAX)?)? != 0 {
                return Err(error("ERR DB index is out of range"));
            }
        } else {
            return Err(SYNTAX);
        }
    }
    if from == to {
        return Err(error("ERR source and destination objects are the same"));
    }
    let copied = context
        .db
        .existing(from)
        .map(|entry| (entry.value().to_value(), deadline_of(entry)));
    let Some((value, deadline)) = copied else {
        context.reply.integer(0);
        return Ok(());
    };
    if !replace && context.db.existing(to).is_some() {
        context.reply.integer(0);
        return Ok(());
    }
    context.db.put(to, value, deadline);
    if SlotId::of(from) == SlotId::of(to) {
        context.db.effect(from, &[b"COPY", from, to, b"REPLACE"]);
    } else {
        context.db.effect_entry(to);
    }
    context.reply.integer(1);
    Ok(())
}
