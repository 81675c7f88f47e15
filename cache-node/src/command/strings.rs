//! Strings: reading, replacing and cutting. Counting is in [`super::counters`], `SET` in [`super::set`].

use crate::store::{Deadline, Entry, MAX_INLINE, Text, Value, ValueRef};

use super::context::Context;
use super::db::StringBytes;
use super::error::{Result, TOO_LONG, WRONG_TYPE, error, wrong_arity};
use super::long_reply::is_long_text;
use super::spec::{Command, Keys};
use super::text::integer;
use super::{counters, set};

const fn string(command: Command) -> Command {
    command.group("string")
}

pub(super) static COMMANDS: &[Command] = &[
    string(
        Command::new("get", 2, get, "Returns the string value of a key.")
            .reads(Keys::ONE)
            .brief()
            .fast(),
    ),
    string(
        Command::new("set", -3, set::set, "Sets the string value of a key.")
            .grows(Keys::ONE)
            .brief(),
    ),
    string(
        Command::new(
            "setnx",
            3,
            set::setnx,
            "Sets the string value of a key that does not exist.",
        )
        .grows(Keys::ONE)
        .brief()
        .fast(),
    ),
    string(
        Command::new(
            "setex",
            4,
            set::setex,
            "Sets the value of a key and its expiry in seconds.",
        )
        .grows(Keys::ONE),
    ),
    string(
        Command::new(
            "psetex",
            4,
            set::psetex,
            "Sets the value of a key and its expiry in milliseconds.",
        )
        .grows(Keys::ONE),
    ),
    string(
        Command::new(
            "getset",
            3,
            set::getset,
            "Returns the value of a key and sets a new one.",
        )
        .grows(Keys::ONE)
        .brief()
        .fast(),
    ),
    string(
        Command::new(
            "getdel",
            2,
            getdel,
            "Returns the value of a key and deletes it.",
        )
        .writes(Keys::ONE)
        .fast(),
    ),
    string(
        Command::new(
            "getex",
            -2,
            set::getex,
            "Returns the value of a key and sets its expiry.",
        )
        .writes(Keys::ONE)
        .fast(),
    ),
    string(
        Command::new("mget", -2, mget, "Returns the values of several keys.")
            .reads(Keys::ALL)
            .fast(),
    ),
    string(
        Command::new("mset", -3, mset, "Sets the values of several keys.")
            .grows(Keys::new(1, -1, 2)),
    ),
    string(
        Command::new(
            "msetnx",
            -3,
            msetnx,
            "Sets the values of several keys if none of them exists.",
        )
        .grows(Keys::new(1, -1, 2)),
    ),
    string(
        Command::new("append", 3, append, "Appends to the value of a key.")
            .grows(Keys::ONE)
            .fast(),
    ),
    string(
        Command::new("strlen", 2, strlen, "Returns the length of a value.")
            .reads(Keys::ONE)
            .brief()
            .fast(),
    ),
    string(Command::new("getrange", 4, getrange, "Returns a part of a value.").reads(Keys::ONE)),
    string(Command::new("substr", 4, getrange, "Returns a part of a value.").reads(Keys::ONE)),
    string(Command::new("setrange", 4, setrange, "Overwrites a part of a value.").grows(Keys::ONE)),
    string(
        Command::new(
            "incr",
            2,
            counters::incr,
            "Adds one to the integer value of a key.",
        )
        .grows(Keys::ONE)
        .brief()
        .fast(),
    ),
    string(
        Command::new(
            "decr",
            2,
            counters::decr,
            "Subtracts one from the integer value of a key.",
        )
        .grows(Keys::ONE)
        .brief()
        .fast(),
    ),
    string(
        Command::new(
            "incrby",
            3,
            counters::incrby,
            "Adds to the integer value of a key.",
        )
        .grows(Keys::ONE)
        .brief()
        .fast(),
    ),
    string(
        Command::new(
            "decrby",
            3,
            counters::decrby,
            "Subtracts from the integer value of a key.",
        )
        .grows(Keys::ONE)
        .brief()
        .fast(),
    ),
    string(
        Command::new(
            "incrbyfloat",
            3,
            counters::incrbyfloat,
            "Adds to the floating point value of a key.",
        )
        .grows(Keys::ONE)
        .fast(),
    ),
    string(
        Command::new(
            "lcs",
            -3,
            super::lcs::lcs,
            "Finds the longest common subsequence.",
        )
        .reads(Keys::TWO),
    ),
];

fn get(context: &mut Context<'_, '_>) -> Result {
    let mut number = itoa::Buffer::new();
    let alone = context.alone;
    match context.db.read_string(context.args.at(1), &mut number)? {
        Some(StringBytes::Text(text)) if is_long_text(alone, text) => {
            let text = text.clone();
            context.answer_text_later(text);
        }
        Some(value) => value.reply(&mut context.reply),
        None => context.reply.null(),
    }
    Ok(())
}

fn getdel(context: &mut Context<'_, '_>) -> Result {
    let key = context.args.at(1);
    get(context)?;
    if context.db.delete(key) {
        context.db.effect(key, &[b"DEL", key]);
    }
    Ok(())
}

fn mget(context: &mut Context<'_, '_>) -> Result {
    context.reply.array(context.args.len() - 1);
    for (index, key) in context.args.from(1).iter().enumerate() {
        context.db.aim(index, key);
        let mut number = itoa::Buffer::new();
        let entry = context.db.read(key);
        match entry.and_then(|entry| StringBytes::of(entry.value(), &mut number)) {
            Some(value) => value.reply(&mut context.reply),
            None => context.reply.null(),
        }
    }
    Ok(())
}

fn mset(context: &mut Context<'_, '_>) -> Result {
    if context.args.len().is_multiple_of(2) {
        return Err(wrong_arity("mset"));
    }
    set_pairs(context);
    context.reply.ok();
    Ok(())
}

fn msetnx(context: &mut Context<'_, '_>) -> Result {
    if context.args.len().is_multiple_of(2) {
        return Err(wrong_arity("msetnx"));
    }
    let exists = (1..context.args.len())
        .step_by(2)
        .any(|index| context.db.existing(context.args.at(index)).is_some());
    if !exists {
        set_pairs(context);
    }
    context.reply.integer(i64::from(!exists));
    Ok(())
}

fn set_pairs(context: &mut Context<'_, '_>) {
    for index in (1..context.args.len()).step_by(2) {
        let (key, value) = (context.args.at(index), context.args.at(index + 1));
        context.db.aim(index / 2, key);
        context.db.put_string(key, value, Deadline::Never);
        context.db.effect(key, &[b"SET", key, value]);
    }
}

/// A string that is changed in place: short ones are one buffer, long ones chunks.
enum Edited {
    Bytes(Vec<u8>),
    Text(Box<Text>),
}

impl Edited {
    fn of(value: Value) -> Self {
        match value {
            Value::Text(text) => Self::Text(text),
            Value::String(bytes, _) => Self::Bytes(bytes),
            Value::Integer(number) => {
                Self::Bytes(itoa::Buffer::new().format(number).as_bytes().to_vec())
            }
            // The caller has looked: there is no other value here.
            _ => Self::Bytes(Vec::new()),
        }
    }

    fn into_value(self) -> Value {
        match self {
            Self::Bytes(bytes) => Value::string(bytes, true),
            Self::Text(text) => Value::Text(text),
        }
    }

    /// Makes it chunks if it is to have so many bytes that it cannot stay in one piece.
    fn make_room(&mut self, len: usize) {
        if let Self::Bytes(bytes) = self
            && len > MAX_INLINE
        {
            *self = Self::Text(Box::new(Text::from(bytes.as_slice())));
        }
    }

    fn append(&mut self, tail: &[u8], total: usize) {
        self.make_room(total);
        match self {
            Self::Bytes(bytes) => bytes.extend_from_slice(tail),
            Self::Text(text) => text.append(tail),
        }
    }

    /// Overwrites from `offset` on, with zeros before it if the string is shorter.
    fn overwrite(&mut self, offset: usize, patch: &[u8]) {
        self.make_room(offset + patch.len());
        match self {
            Self::Bytes(bytes) => {
                if bytes.len() < offset + patch.len() {
                    bytes.resize(offset + patch.len(), 0);
                }
                bytes[offset..offset + patch.len()].copy_from_slice(patch);
            }
            Self::Text(text) => text.set_range(offset, patch),
        }
    }
}

/// Changes the string at `key` in place; false when there is no such key.
fn edit(
    context: &mut Context<'_, '_>,
    key: &[u8],
    change: impl FnOnce(&mut Edited),
) -> Result<bool> {
    match context.db.existing(key).map(Entry::value) {
        None => return Ok(false),
        Some(ValueRef::Integer(_) | ValueRef::String(..) | ValueRef::Text(_)) => {}
        Some(_) => return Err(WRONG_TYPE),
    }
    let changed = context.db.update(key, |value| {
        let mut edited = Edited::of(std::mem::replace(value, Value::Integer(0)));
        change(&mut edited);
        *value = edited.into_value();
    });
    Ok(changed.is_some())
}

fn check_length(context: &Context<'_, '_>, length: usize) -> Result {
    if length > context.node.config.get().proto_max_bulk_len {
        Err(TOO_LONG)
    } else {
        Ok(())
    }
}

/// Length of the string at `key`, 0 when there is none.
fn length(context: &mut Context<'_, '_>, key: &[u8]) -> Result<usize> {
    let mut number = itoa::Buffer::new();
    match context.db.peek(key) {
        None => Ok(0),
        Some(entry) => StringBytes::of(entry.value(), &mut number)
            .map(|value| value.len())
            .ok_or(WRONG_TYPE),
    }
}

fn append(context: &mut Context<'_, '_>) -> Result {
    let (key, tail) = (context.args.at(1), context.args.at(2));
    let total = length(context, key)? + tail.len();
    check_length(context, total)?;
    if !edit(context, key, |string| string.append(tail, total))? {
        context.db.put_string(key, tail, Deadline::Never);
        context.db.effect(key, &[b"SET", key, tail]);
    } else {
        context.db.effect(key, &[b"APPEND", key, tail]);
    }
    context.reply.count(total);
    Ok(())
}

fn strlen(context: &mut Context<'_, '_>) -> Result {
    let mut number = itoa::Buffer::new();
    let value = context.db.read_string(context.args.at(1), &mut number)?;
    context.reply.count(value.map_or(0, |value| value.len()));
    Ok(())
}

fn getrange(context: &mut Context<'_, '_>) -> Result {
    let start = integer(context.args.at(2))?;
    let end = integer(context.args.at(3))?;
    let mut number = itoa::Buffer::new();
    match context.db.read_string(context.args.at(1), &mut number)? {
        Some(value) => {
            let range = super::text::range(start, end, value.len());
            context.reply.bulk(&value.range(range));
        }
        None => context.reply.bulk(b""),
    }
    Ok(())
}

fn setrange(context: &mut Context<'_, '_>) -> Result {
    let (key, patch) = (context.args.at(1), context.args.at(3));
    let offset = integer(context.args.at(2))?;
    let Ok(offset) = usize::try_from(offset) else {
        return Err(error("ERR offset is out of range"));
    };
    let present = length(context, key)?;
    if patch.is_empty() {
        context.reply.count(present);
        return Ok(());
    }
    check_length(context, offset.saturating_add(patch.len()))?;
    if !edit(context, key, |string| string.overwrite(offset, patch))? {
        let mut string = Edited::Bytes(Vec::new());
        string.overwrite(offset, patch);
        context.db.put(key, string.into_value(), Deadline::Never);
    }
    let at = itoa::Buffer::new().format(offset).to_owned();
    context
        .db
        .effect(key, &[b"SETRANGE", key, at.as_bytes(), patch]);
    context.reply.count(present.max(offset + patch.len()));
    Ok(())
}
