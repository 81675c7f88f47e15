//! `CLIENT`: connections about themselves and each other. What a line of `CLIENT LIST` says is in [`super::client_list`].

use std::sync::atomic::Ordering::Relaxed;

use crate::clock;

use super::client_list::{describe, info, kill, list};
use super::context::Context;
use super::error::{Failure, Result, SYNTAX, error};
use super::session::Replies;
use super::spec::{Command, Flags};
use super::text::integer;

const fn client(command: Command) -> Command {
    command.group("connection").anytime()
}

pub(super) static COMMANDS: &[Command] = &[client(Command::container(
    "client",
    SUBCOMMANDS,
    "Client connections.",
))];

static SUBCOMMANDS: &[Command] = &[
    client(Command::new("id", 2, id, "Returns the connection's id.")),
    client(Command::new("info", 2, info, "Describes this connection.")),
    client(Command::new("list", -2, list, "Describes connections.")).flag(Flags::ADMIN),
    client(Command::new("kill", -3, kill, "Ends connections.")).flag(Flags::ADMIN),
    client(Command::new(
        "setname",
        3,
        setname,
        "Names this connection.",
    )),
    client(Command::new(
        "getname",
        2,
        getname,
        "Returns this connection's name.",
    )),
    client(Command::new(
        "setinfo",
        4,
        setinfo,
        "Notes the client library.",
    )),
    client(Command::new(
        "no-evict",
        3,
        no_evict,
        "Protects this connection from eviction.",
    ))
    .flag(Flags::ADMIN),
    client(Command::new(
        "no-touch",
        3,
        no_touch,
        "Keeps this connection's accesses out of eviction's sight.",
    )),
    client(Command::new(
        "reply",
        3,
        reply,
        "Tells whether replies are sent.",
    ))
    .flag(Flags::NO_MULTI),
    client(Command::new(
        "pause",
        -3,
        pause,
        "Keeps commands back for a while.",
    ))
    .flag(Flags::ADMIN),
    client(Command::new("unpause", 2, unpause, "Ends CLIENT PAUSE.")).flag(Flags::ADMIN),
    client(Command::new(
        "unblock",
        -3,
        unblock,
        "Ends the wait of a connection in a blocking command.",
    ))
    .flag(Flags::ADMIN),
    client(Command::new(
        "tracking",
        -3,
        tracking,
        "Client-side caching, which is not supported.",
    )),
    client(Command::new(
        "trackinginfo",
        2,
        trackinginfo,
        "Tells that client-side caching is off.",
    )),
    client(Command::new(
        "caching",
        3,
        caching,
        "Client-side caching, which is not supported.",
    )),
    client(Command::new(
        "getredir",
        2,
        getredir,
        "Tells that client-side caching is off.",
    )),
    client(Command::new("help", 2, help, "Lists the subcommands.")),
];

/// A name that a connection gives itself, if it is one.
pub(super) fn checked_name(name: &[u8]) -> Result<String> {
    printable(name).ok_or(error(
        "ERR Client names cannot contain spaces, newlines or special characters.",
    ))
}

fn printable(text: &[u8]) -> Option<String> {
    let fine = text.iter().all(|byte| (b'!'..=b'~').contains(byte));
    fine.then(|| String::from_utf8_lossy(text).into_owned())
}

fn id(context: &mut Context<'_, '_>) -> Result {
    context.reply.integer(context.session.client.id as i64);
    Ok(())
}

fn setname(context: &mut Context<'_, '_>) -> Result {
    let name = checked_name(context.args.at(2))?;
    context.session.client.label(|labels| labels.name = name);
    context.reply.ok();
    Ok(())
}

fn getname(context: &mut Context<'_, '_>) -> Result {
    let name = context.session.client.labels().name;
    let name = Some(name.as_bytes()).filter(|name| !name.is_empty());
    context.reply.bulk_or_null(name);
    Ok(())
}

fn setinfo(context: &mut Context<'_, '_>) -> Result {
    let attribute = context.args.at(2);
    let Some(value) = printable(context.args.at(3)) else {
        let attribute = String::from_utf8_lossy(attribute).to_lowercase();
        return Err(Failure::new(format!(
            "ERR {attribute} cannot contain spaces, newlines or special characters."
        )));
    };
    let client = &context.session.client;
    if attribute.eq_ignore_ascii_case(b"lib-name") {
        client.label(|labels| labels.library = value);
    } else if attribute.eq_ignore_ascii_case(b"lib-ver") {
        client.label(|labels| labels.library_version = value);
    } else {
        let attribute = String::from_utf8_lossy(attribute);
        return Err(Failure::new(format!(
            "ERR Unrecognized option '{attribute}'"
        )));
    }
    context.reply.ok();
    Ok(())
}

fn on_off(text: &[u8]) -> Result<bool> {
    if text.eq_ignore_ascii_case(b"on") {
        Ok(true)
    } else if text.eq_ignore_ascii_case(b"off") {
        Ok(false)
    } else {
        Err(SYNTAX)
    }
}

fn no_evict(context: &mut Context<'_, '_>) -> Result {
    let on = on_off(context.args.at(2))?;
    context.session.client.no_evict.store(on, Relaxed);
    context.reply.ok();
    Ok(())
}

fn no_touch(context: &mut Context<'_, '_>) -> Result {
    let on = on_off(context.args.at(2))?;
    context.session.client.set_untouching(on);
    context.reply.ok();
    Ok(())
}

fn reply(context: &mut Context<'_, '_>) -> Result {
    let mode = context.args.at(2);
    if mode.eq_ignore_ascii_case(b"on") {
        context.session.replies = Replies::On;
        context.reply.ok();
    } else if mode.eq_ignore_ascii_case(b"off") {
        context.session.replies = Replies::Off;
    } else if mode.eq_ignore_ascii_case(b"skip") {
        if context.session.replies == Replies::On {
            context.session.replies = Replies::SkipNext;
        }
    } else {
        return Err(SYNTAX);
    }
    Ok(())
}

fn pause(context: &mut Context<'_, '_>) -> Result {
    let timeout = integer(context.args.at(2))
        .ok()
        .and_then(|timeout| u64::try_from(timeout).ok())
        .ok_or(error("ERR timeout is not an integer or out of range"))?;
    let writes_only = match (context.args.get(3), context.args.len()) {
        (None, _) => false,
        (Some(mode), 4) if mode.eq_ignore_ascii_case(b"all") => false,
        (Some(mode), 4) if mode.eq_ignore_ascii_case(b"write") => true,
        _ => return Err(error("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let until = clock::now().saturating_add(timeout);
    context.node.pause.begin(until, writes_only);
    context.reply.ok();
    Ok(())
}

fn unpause(context: &mut Context<'_, '_>) -> Result {
    context.node.pause.end();
    context.reply.ok();
    Ok(())
}

fn unblock(context: &mut Context<'_, '_>) -> Result {
    let id = integer(context.args.at(2))?;
    let with_error = match context.args.get(3) {
        None => false,
        Some(mode) if mode.eq_ignore_ascii_case(b"timeout") => false,
        Some(mode) if mode.eq_ignore_ascii_case(b"error") => true,
        Some(_) => {
            return Err(error(
                "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR",
            ));
        }
    };
    let client = context.node.clients.get(u64::try_from(id).unwrap_or(0));
    let blocked = client.filter(|client| client.blocked.load(Relaxed));
    if let Some(client) = &blocked {
        client.interrupt_with_error.store(with_error, Relaxed);
        client.interrupt.notify_one();
    }
    context.reply.integer(i64::from(blocked.is_some()));
    Ok(())
}

fn tracking(context: &mut Context<'_, '_>) -> Result {
    if on_off(context.args.at(2))? {
        return Err(error(
            "ERR CLIENT TRACKING is not supported: this server does not send invalidation messages",
        ));
    }
    context.reply.ok();
    Ok(())
}

fn trackinginfo(context: &mut Context<'_, '_>) -> Result {
    let reply = &mut context.reply;
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(1);
    reply.bulk(b"off");
    reply.bulk(b"redirect");
    reply.integer(-1);
    reply.bulk(b"prefixes");
    reply.array(0);
    Ok(())
}

fn caching(_: &mut Context<'_, '_>) -> Result {
    Err(error(
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
    ))
}

fn getredir(context: &mut Context<'_, '_>) -> Result {
    context.reply.integer(-1);
    Ok(())
}

fn help(context: &mut Context<'_, '_>) -> Result {
    describe(&mut context.reply, "CLIENT", SUBCOMMANDS);
    Ok(())
}
