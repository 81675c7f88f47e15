//! `OBJECT` and `MEMORY`: how values are stored, and what they cost.

use cache_eviction::{Kind, Policy};

use crate::store::Entry;

use super::client_list::describe;
use super::context::Context;
use super::error::{Result, SYNTAX, error};
use super::spec::{Command, Keys};
use super::text::integer;

const KEY: Keys = Keys::new(2, 2, 1);

pub(super) static COMMANDS: &[Command] = &[
    Command::container("object", OBJECT, "How values are stored."),
    Command::container("memory", MEMORY, "What values cost.").group("server"),
];

static OBJECT: &[Command] = &[
    Command::new("encoding", 3, encoding, "Returns the encoding of a value.").reads(KEY),
    Command::new(
        "idletime",
        3,
        idletime,
        "Returns the seconds since a key was used.",
    )
    .reads(KEY),
    Command::new(
        "freq",
        3,
        freq,
        "Returns how often a key is used, if the policy is one of lfu.",
    )
    .reads(KEY),
    Command::new("refcount", 3, refcount, "Returns 1 for a key that exists.").reads(KEY),
    Command::new("help", 2, object_help, "Lists the subcommands.").anytime(),
];

static MEMORY: &[Command] = &[
    Command::new("usage", -3, usage, "Returns the bytes that a key takes.").reads(KEY),
    Command::new("stats", 2, stats, "Describes the use of memory."),
    Command::new("doctor", 2, doctor, "Looks for trouble with memory."),
    Command::new(
        "purge",
        2,
        purge,
        "Does nothing: freed memory goes back to the allocator at once.",
    ),
    Command::new("help", 2, memory_help, "Lists the subcommands.").anytime(),
];

fn encoding(context: &mut Context<'_, '_>) -> Result {
    let entry = context.db.peek(context.args.at(2));
    let encoding = entry.map(|entry| entry.value().encoding().as_bytes());
    context.reply.bulk_or_null(encoding);
    Ok(())
}

fn integer_or_null(context: &mut Context<'_, '_>, value: Option<i64>) -> Result {
    match value {
        Some(value) => context.reply.integer(value),
        None => context.reply.null(),
    }
    Ok(())
}

fn idletime(context: &mut Context<'_, '_>) -> Result {
    let usage = context.session.usage;
    if usage.rules.kind == Kind::Lfu && context.node.eviction.choice().policy != Policy::Auto {
        return Err(error(
            "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies at runtime \
             LRU and LFU data will take some time to adjust.",
        ));
    }
    let meta = context.db.meta(context.args.at(2));
    let idle = meta.map(|meta| context.node.eviction.idle_seconds(meta, &usage) as i64);
    integer_or_null(context, idle)
}

fn freq(context: &mut Context<'_, '_>) -> Result {
    let Some(meta) = context.db.meta(context.args.at(2)) else {
        context.reply.null();
        return Ok(());
    };
    let usage = context.session.usage;
    if usage.rules.kind == Kind::Lfu {
        let counter = usage.rules.lfu_counter(meta, usage.now);
        context.reply.integer(i64::from(counter));
        return Ok(());
    }
    Err(error(
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at \
         runtime LRU and LFU data will take some time to adjust.",
    ))
}

fn refcount(context: &mut Context<'_, '_>) -> Result {
    let found = context.db.peek(context.args.at(2)).map(|_| 1);
    integer_or_null(context, found)
}

fn object_help(context: &mut Context<'_, '_>) -> Result {
    describe(&mut context.reply, "OBJECT", OBJECT);
    Ok(())
}

fn usage(context: &mut Context<'_, '_>) -> Result {
    match (context.args.get(3), context.args.get(4), context.args.len()) {
        (None, _, _) => {}
        // Sizes are known exactly, without samples.
        (Some(option), Some(samples), 5) if option.eq_ignore_ascii_case(b"samples") => {
            integer(samples)?;
        }
        _ => return Err(SYNTAX),
    }
    // A word of a bucket, and what of its bucket is free.
    const WORD: usize = 9;
    let size = |entry: Entry<'_>| (entry.bytes() + WORD) as i64;
    let bytes = context.db.peek(context.args.at(2)).map(size);
    integer_or_null(context, bytes)
}

fn stats(context: &mut Context<'_, '_>) -> Result {
    let node = context.node;
    let memory = node.store.memory();
    memory.publish();
    let (log_bytes, _) = node.log.held();
    let keys = node.count_keys();
    let per_key = memory.used().checked_div(keys).unwrap_or(0);
    let numbers = [
        ("peak.allocated", memory.peak()),
        ("total.allocated", memory.used() + log_bytes),
        ("replication.backlog", log_bytes),
        ("clients.normal", context.node.clients.bytes()),
        ("keys.count", keys),
        ("keys.bytes-per-key", per_key),
        ("dataset.bytes", memory.used()),
    ];
    context.reply.map(numbers.len());
    for (name, number) in numbers {
        context.reply.bulk(name.as_bytes());
        context.reply.count(number);
    }
    Ok(())
}

fn doctor(context: &mut Context<'_, '_>) -> Result {
    let node = context.node;
    let (used, limit) = (node.store.memory().used(), node.config.get().maxmemory);
    let text = if limit > 0 && used >= limit / 100 * 95 {
        format!("The data set takes {used} bytes, nearly all of maxmemory ({limit}).\n")
    } else if limit == 0 {
        format!("The data set takes {used} bytes. There is no limit: set maxmemory.\n")
    } else {
        format!(
            "The data set takes {used} bytes of maxmemory ({limit}). Nothing to complain about.\n"
        )
    };
    context.reply.verbatim(&text);
    Ok(())
}

fn purge(context: &mut Context<'_, '_>) -> Result {
    context.reply.ok();
    Ok(())
}

fn memory_help(context: &mut Context<'_, '_>) -> Result {
    describe(&mut context.reply, "MEMORY", MEMORY);
    Ok(())
}
