//! `DUMP` and `RESTORE`: a value as bytes, in the RDB format.

use cache_rdb::{Kind, Writer, read_value, seal_dump};

use crate::store::{Builder, Deadline};

use super::context::Context;
use super::error::{Result, SYNTAX, error};
use super::spec::{Command, Keys};
use super::text::integer;

pub(super) static COMMANDS: &[Command] = &[
    Command::new("dump", 2, dump, "Returns a value as bytes for RESTORE.").reads(Keys::ONE),
    Command::new(
        "restore",
        -4,
        restore,
        "Makes a key from what DUMP answered.",
    )
    .grows(Keys::ONE),
];

fn dump(context: &mut Context<'_, '_>) -> Result {
    let Some(entry) = context.db.peek(context.args.at(1)) else {
        context.reply.null();
        return Ok(());
    };
    let mut writer = Writer::new(context.node.config.get().rdbcompression);
    crate::store::write_value(&mut writer, entry.value());
    let mut bytes = writer.out;
    seal_dump(&mut bytes);
    context.reply.bulk(&bytes);
    Ok(())
}

/// What `RESTORE` was told besides key, time and value.
#[derive(Default)]
struct Options {
    replaces: bool,
    is_absolute: bool,
}

impl Options {
    fn read(context: &Context<'_, '_>) -> Result<Self> {
        let mut options = Self::default();
        let mut rest = context.args.from(4).iter();
        while let Some(option) = rest.next() {
            if option.eq_ignore_ascii_case(b"replace") {
                options.replaces = true;
            } else if option.eq_ignore_ascii_case(b"absttl") {
                options.is_absolute = true;
            } else if option.eq_ignore_ascii_case(b"idletime") {
                let seconds = integer(rest.next().ok_or(SYNTAX)?)?;
                if seconds < 0 {
                    return Err(error("ERR Invalid IDLETIME value, must be >= 0"));
                }
            } else if option.eq_ignore_ascii_case(b"freq") {
                let frequency = integer(rest.next().ok_or(SYNTAX)?)?;
                if !(0..=255).contains(&frequency) {
                    return Err(error("ERR Invalid FREQ value, must be >= 0 and <= 255"));
                }
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(options)
    }
}

fn restore(context: &mut Context<'_, '_>) -> Result {
    let options = Options::read(context)?;
    let key = context.args.at(1);
    if !options.replaces && context.db.existing(key).is_some() {
        return Err(error("BUSYKEY Target key name already exists."));
    }
    let time = integer(context.args.at(2))?;
    let time = u64::try_from(time).map_err(|_| error("ERR Invalid TTL value, must be >= 0"))?;
    let deadline = match (time, options.is_absolute) {
        (0, _) => None,
        (time, true) => Some(time),
        (time, false) => Some(context.db.now().saturating_add(time)),
    };
    let value = read(context)?;
    if context.db.delete(key) {
        context.db.effect(key, &[b"DEL", key]);
    }
    if deadline.is_none_or(|deadline| !context.db.is_past(deadline)) {
        let deadline = deadline.map_or(Deadline::Never, Deadline::At);
        context.db.put(key, value, deadline);
        context.db.effect_entry(key);
    }
    context.reply.ok();
    Ok(())
}

fn read(context: &Context<'_, '_>) -> Result<crate::store::Value> {
    let dump = context.args.at(3);
    if !cache_rdb::is_dump(dump) {
        return Err(error("ERR DUMP payload version or checksum are wrong"));
    }
    let limits = context.node.config.get().all_limits();
    let (begun, mut builder) = (std::cell::Cell::new(None), None);
    let begin = |kind: Kind| {
        begun.set(Some(kind));
        Ok(())
    };
    let result = read_value(dump, begin, &mut |event| {
        let builder = match (&mut builder, begun.take()) {
            (Some(builder), _) => builder,
            (empty, Some(kind)) => empty.insert(Builder::new(kind, limits)),
            (_, None) => return Err("a value without a kind".to_owned()),
        };
        match event {
            cache_rdb::Event::End => Ok(()),
            part => builder.add(part),
        }
    });
    if let Err(why) = result {
        tracing::debug!(%why, "RESTORE refused");
        return Err(error("ERR Bad data format"));
    }
    builder
        .and_then(Builder::finish)
        .ok_or(error("ERR Bad data format"))
}
