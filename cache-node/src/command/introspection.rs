//! `COMMAND`: what commands there are, from the table that executes them.

use crate::resp::Reply;

use super::client_list::describe;
use super::context::Context;
use super::error::{Result, SYNTAX, error};
use super::spec::{Command, Flags, Keys};
use super::table::{Known, commands};
use super::text::matches;

const fn server(command: Command) -> Command {
    command.group("server").anytime()
}

pub(super) static COMMANDS: &[Command] = &[server(Command::container(
    "command",
    SUBCOMMANDS,
    "Describes all commands.",
))
.arity(-1)
.sync(all)];

static SUBCOMMANDS: &[Command] = &[
    server(Command::new(
        "count",
        2,
        count,
        "Returns the number of commands.",
    )),
    server(Command::new(
        "list",
        -2,
        list,
        "Returns the names of commands.",
    )),
    server(Command::new("info", -2, info, "Describes commands.")),
    server(Command::new("docs", -2, docs, "Documents commands.")),
    server(Command::new(
        "getkeys",
        -3,
        getkeys,
        "Returns the keys of a command.",
    )),
    server(Command::new(
        "getkeysandflags",
        -3,
        getkeysandflags,
        "Returns the keys of a command and how it uses them.",
    )),
    server(Command::new("help", 2, help, "Lists the subcommands.")),
];

fn all(context: &mut Context<'_, '_>) -> Result {
    context.reply.array(commands().top_level().count());
    for known in commands().top_level() {
        describe_command(&mut context.reply, *known);
    }
    Ok(())
}

fn count(context: &mut Context<'_, '_>) -> Result {
    context.reply.count(commands().top_level().count());
    Ok(())
}

fn info(context: &mut Context<'_, '_>) -> Result {
    if context.args.len() == 2 {
        return all(context);
    }
    context.reply.array(context.args.len() - 2);
    for name in context.args.from(2).iter() {
        match commands().full_named(name) {
            Some(known) => describe_command(&mut context.reply, known),
            None => context.reply.null_array(),
        }
    }
    Ok(())
}

/// Ten items, as in Redis 7.
fn describe_command(reply: &mut Reply<'_>, known: Known) {
    let command = known.command;
    reply.array(10);
    reply.bulk(known.full_name().as_bytes());
    reply.integer(i64::from(command.arity));
    let movable = (command.keys.counted > 0).then_some("movablekeys");
    let flags: Vec<&str> = command.flags.names().chain(movable).collect();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.simple(flag));
    reply.integer(i64::from(command.keys.first));
    reply.integer(i64::from(command.keys.last));
    reply.integer(i64::from(command.keys.step));
    let categories = categories(command);
    reply.set(categories.len());
    categories.iter().for_each(|name| reply.simple(name));
    reply.array(0);
    if command.keys == Keys::NONE {
        reply.array(0);
    } else {
        describe_keys(reply, command);
    }
    let subcommands = commands().subcommands(known);
    reply.array(subcommands.len());
    for subcommand in subcommands {
        describe_command(reply, *subcommand);
    }
}

fn categories(command: &Command) -> Vec<&'static str> {
    let mut names = Vec::new();
    for (flag, name) in [
        (Flags::WRITE, "@write"),
        (Flags::READONLY, "@read"),
        (Flags::ADMIN, "@admin"),
        (Flags::BLOCKING, "@blocking"),
    ] {
        if command.flags.has(flag) {
            names.push(name);
        }
    }
    names.push(match command.group {
        "string" => "@string",
        "hash" => "@hash",
        "list" => "@list",
        "set" => "@set",
        "sorted-set" => "@sortedset",
        "connection" => "@connection",
        "transactions" => "@transaction",
        "generic" => "@keyspace",
        _ => "@admin",
    });
    names.push(if command.flags.has(Flags::FAST) {
        "@fast"
    } else {
        "@slow"
    });
    names.dedup();
    names
}

fn key_flags(command: &Command) -> [&'static str; 2] {
    if command.flags.has(Flags::WRITE) {
        ["RW", "update"]
    } else {
        ["RO", "access"]
    }
}

/// The key specifications: a range of keys from an index on, and a number of keys that an argument says.
fn describe_keys(reply: &mut Reply<'_>, command: &Command) {
    let keys = command.keys;
    reply.array(usize::from(keys.first > 0) + usize::from(keys.counted > 0));
    if keys.first > 0 {
        describe_begin(reply, command, keys.first);
        reply.bulk(b"range");
        reply.bulk(b"spec");
        // Counted from the first key; a negative one from the end.
        let last = if keys.last < 0 {
            keys.last
        } else {
            keys.last - keys.first as i16
        };
        describe_numbers(
            reply,
            [
                ("lastkey", i64::from(last)),
                ("keystep", i64::from(keys.step)),
                ("limit", 0),
            ],
        );
    }
    if keys.counted > 0 {
        describe_begin(reply, command, keys.counted);
        reply.bulk(b"keynum");
        reply.bulk(b"spec");
        describe_numbers(reply, [("keynumidx", 0), ("firstkey", 1), ("keystep", 1)]);
    }
}

/// A key specification up to the way in which keys are found.
fn describe_begin(reply: &mut Reply<'_>, command: &Command, index: u16) {
    reply.map(3);
    reply.bulk(b"flags");
    let flags = key_flags(command);
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.simple(flag));
    reply.bulk(b"begin_search");
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(b"index");
    reply.bulk(b"spec");
    describe_numbers(reply, [("index", i64::from(index))]);
    reply.bulk(b"find_keys");
    reply.map(2);
    reply.bulk(b"type");
}

fn describe_numbers<const N: usize>(reply: &mut Reply<'_>, numbers: [(&str, i64); N]) {
    reply.map(N);
    for (name, number) in numbers {
        reply.bulk(name.as_bytes());
        reply.integer(number);
    }
}

fn list(context: &mut Context<'_, '_>) -> Result {
    let args = context.args;
    let names: Vec<String> = match args.len() {
        2 => commands().top_level().map(Known::full_name).collect(),
        5 if args[2].eq_ignore_ascii_case(b"filterby") => {
            let wanted = args.at(4);
            let kind = args[3].to_ascii_lowercase();
            let admits = |known: &Known| match kind.as_slice() {
                b"pattern" => matches(wanted, known.full_name().as_bytes()),
                b"aclcat" => categories(known.command)
                    .iter()
                    .any(|name| name.as_bytes()[1..].eq_ignore_ascii_case(wanted)),
                _ => false,
            };
            if !matches!(kind.as_slice(), b"pattern" | b"aclcat" | b"module") {
                return Err(SYNTAX);
            }
            let all = commands().all().iter();
            all.filter(|known| admits(known))
                .map(Known::full_name)
                .collect()
        }
        _ => return Err(SYNTAX),
    };
    context.reply.array(names.len());
    names
        .iter()
        .for_each(|name| context.reply.bulk(name.as_bytes()));
    Ok(())
}

fn docs(context: &mut Context<'_, '_>) -> Result {
    let chosen: Vec<Known> = if context.args.len() == 2 {
        commands().top_level().copied().collect()
    } else {
        let names = context.args.from(2);
        let found = names.iter().filter_map(|name| commands().full_named(name));
        found.collect()
    };
    context.reply.map(chosen.len());
    for known in chosen {
        document(&mut context.reply, known);
    }
    Ok(())
}

fn document(reply: &mut Reply<'_>, known: Known) {
    let subcommands = commands().subcommands(known);
    reply.bulk(known.full_name().as_bytes());
    reply.map(if subcommands.is_empty() { 2 } else { 3 });
    reply.bulk(b"summary");
    reply.bulk(known.command.summary.as_bytes());
    reply.bulk(b"group");
    reply.bulk(known.command.group.as_bytes());
    if !subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(subcommands.len());
        for subcommand in subcommands {
            document(reply, *subcommand);
        }
    }
}

/// The command that `COMMAND GETKEYS` asks about, and the positions of its keys behind its name.
fn asked<'a>(context: &Context<'a, '_>) -> Result<(&'static Command, Vec<&'a [u8]>)> {
    let args = context.args.from(2);
    let known = commands()
        .named(&args[0])
        .ok_or(error("ERR Invalid command specified"))?;
    let known = commands()
        .resolve(args)
        .map_err(|_| match known.command.accepts(args.len()) {
            true => error("ERR Invalid command specified"),
            false => error("ERR Invalid number of arguments specified for command"),
        })?;
    let keys: Vec<&[u8]> = known.command.keys.of(args).collect();
    if keys.is_empty() {
        return Err(error("ERR The command has no key arguments"));
    }
    Ok((known.command, keys))
}

fn getkeys(context: &mut Context<'_, '_>) -> Result {
    let (_, keys) = asked(context)?;
    context.reply.array(keys.len());
    keys.iter().for_each(|key| context.reply.bulk(key));
    Ok(())
}

fn getkeysandflags(context: &mut Context<'_, '_>) -> Result {
    let (command, keys) = asked(context)?;
    context.reply.array(keys.len());
    for key in keys {
        context.reply.array(2);
        context.reply.bulk(key);
        let flags = key_flags(command);
        context.reply.set(flags.len());
        flags.iter().for_each(|flag| context.reply.simple(flag));
    }
    Ok(())
}

fn help(context: &mut Context<'_, '_>) -> Result {
    describe(&mut context.reply, "COMMAND", SUBCOMMANDS);
    Ok(())
}
