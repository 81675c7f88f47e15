//! Connection commands: `PING`, `ECHO`, `HELLO`, `AUTH`, `SELECT`, `QUIT`, `RESET`, `READONLY`, `READWRITE`, `ASKING`.

use std::sync::atomic::Ordering::Relaxed;

use crate::node::Node;
use crate::resp::{Protocol, parse_integer};

use super::context::Context;
use super::error::{Result, SYNTAX, error, wrong_arity};
use super::session::Session;
use super::spec::{Command, Flags};

/// The version of Redis whose commands and texts are followed.
pub(crate) const REDIS_VERSION: &str = "7.4.0";

const fn connection(command: Command) -> Command {
    command.group("connection").fast().anytime()
}

pub(super) static COMMANDS: &[Command] = &[
    connection(Command::new(
        "ping",
        -1,
        ping,
        "Answers PONG, or the given text.",
    )),
    connection(Command::new("echo", 2, echo, "Answers the given text.")),
    connection(
        Command::new(
            "hello",
            -1,
            hello,
            "Agrees on the protocol, and authenticates.",
        )
        .flag(Flags::NO_AUTH)
        .flag(Flags::NO_MULTI),
    ),
    connection(
        Command::new("auth", -2, auth, "Authenticates the connection.").flag(Flags::NO_AUTH),
    ),
    connection(Command::new(
        "select",
        2,
        select,
        "Changes the database; there is only database 0.",
    )),
    connection(
        Command::new("quit", -1, quit, "Closes the connection.")
            .flag(Flags::NO_AUTH)
            .flag(Flags::NOT_QUEUED),
    ),
    connection(
        Command::new("reset", 1, reset, "Puts the connection's state back.")
            .flag(Flags::NO_AUTH)
            .flag(Flags::NOT_QUEUED),
    ),
    connection(Command::new(
        "readonly",
        1,
        readonly,
        "Lets a replica serve reads on this connection.",
    ))
    .group("cluster"),
    connection(Command::new("readwrite", 1, readwrite, "Ends READONLY.")).group("cluster"),
    connection(Command::new(
        "asking",
        1,
        asking,
        "Lets the next command follow an ASK redirection.",
    ))
    .group("cluster"),
];

const WRONG_PASSWORD: super::Failure =
    error("WRONGPASS invalid username-password pair or user is disabled.");

fn ping(context: &mut Context<'_, '_>) -> Result {
    match context.args.len() {
        1 => context.reply.simple("PONG"),
        2 => context.reply.bulk(context.args.at(1)),
        _ => return Err(wrong_arity("ping")),
    }
    Ok(())
}

fn echo(context: &mut Context<'_, '_>) -> Result {
    context.reply.bulk(context.args.at(1));
    Ok(())
}

fn hello(context: &mut Context<'_, '_>) -> Result {
    let mut protocol = context.session.protocol;
    if let Some(version) = context.args.get(1) {
        protocol = match parse_integer(version) {
            Some(2) => Protocol::Resp2,
            Some(3) => Protocol::Resp3,
            Some(_) => return Err(error("NOPROTO unsupported protocol version")),
            None => {
                return Err(error(
                    "ERR Protocol version is not an integer or out of range",
                ));
            }
        };
    }
    let mut name = None;
    let mut options = context.args.from(2).iter();
    let mut authenticated = context.session.authenticated;
    while let Some(option) = options.next() {
        if option.eq_ignore_ascii_case(b"auth") {
            let (Some(user), Some(password)) = (options.next(), options.next()) else {
                return Err(SYNTAX);
            };
            if !is_right(context.node, user, password) {
                return Err(WRONG_PASSWORD);
            }
            authenticated = true;
        } else if option.eq_ignore_ascii_case(b"setname") {
            name = Some(super::client::checked_name(options.next().ok_or(SYNTAX)?)?);
        } else {
            return Err(SYNTAX);
        }
    }
    if !authenticated {
        return Err(error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option \
             can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    context.session.authenticated = true;
    if let Some(name) = name {
        context.session.client.label(|labels| labels.name = name);
    }
    set_protocol(context.session, protocol);
    context.reply.set_protocol(protocol);
    greet(context);
    Ok(())
}

fn set_protocol(session: &mut Session, protocol: Protocol) {
    session.protocol = protocol;
    let number = if protocol == Protocol::Resp3 { 3 } else { 2 };
    session.client.protocol.store(number, Relaxed);
}

fn greet(context: &mut Context<'_, '_>) {
    let node = context.node;
    let cluster = node.cluster.enabled();
    let replica = node.is_replica();
    let reply = &mut context.reply;
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(if reply.protocol() == Protocol::Resp3 {
        3
    } else {
        2
    });
    reply.bulk(b"id");
    reply.integer(context.session.client.id as i64);
    reply.bulk(b"mode");
    reply.bulk(if cluster { b"cluster" } else { b"standalone" });
    reply.bulk(b"role");
    reply.bulk(if replica { b"replica" } else { b"master" });
    reply.bulk(b"modules");
    reply.array(0);
}

/// Whether user and password are right. There is one user, `default`; without a configured password any will do.
fn is_right(node: &Node, user: &[u8], password: &[u8]) -> bool {
    let settings = node.config.get();
    let wanted = settings.requirepass.as_bytes();
    user == b"default" && (wanted.is_empty() || is_equal(wanted, password))
}

/// Compares without telling by its time where the difference is.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .fold(0, |difference, (a, b)| difference | (a ^ b))
            == 0
}

fn auth(context: &mut Context<'_, '_>) -> Result {
    let (user, password) = match context.args.len() {
        2 => (b"default".as_slice(), context.args.at(1)),
        3 => (context.args.at(1), context.args.at(2)),
        _ => return Err(SYNTAX),
    };
    if context.args.len() == 2 && context.node.config.get().requirepass.is_empty() {
        return Err(error(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
        ));
    }
    if !is_right(context.node, user, password) {
        return Err(WRONG_PASSWORD);
    }
    context.session.authenticated = true;
    context.reply.ok();
    Ok(())
}

fn select(context: &mut Context<'_, '_>) -> Result {
    match parse_integer(context.args.at(1)) {
        Some(0) => {
            context.reply.ok();
            Ok(())
        }
        Some(_) if context.node.cluster.enabled() => {
            Err(error("ERR SELECT is not allowed in cluster mode"))
        }
        Some(_) => Err(error("ERR DB index is out of range")),
        None => Err(super::error::NOT_INTEGER),
    }
}

fn quit(context: &mut Context<'_, '_>) -> Result {
    context.session.closing = true;
    context.reply.ok();
    Ok(())
}

fn reset(context: &mut Context<'_, '_>) -> Result {
    let authenticated = context.node.config.get().requirepass.is_empty();
    context.session.reset(authenticated);
    context.session.publish();
    let client = &context.session.client;
    client.label(|labels| labels.name.clear());
    client.set_untouching(false);
    client.no_evict.store(false, Relaxed);
    client.readonly.store(false, Relaxed);
    client.protocol.store(2, Relaxed);
    context.reply.set_protocol(Protocol::Resp2);
    context.reply.simple("RESET");
    Ok(())
}

fn needs_cluster(node: &Node) -> Result {
    if node.cluster.enabled() {
        Ok(())
    } else {
        Err(error("ERR This instance has cluster support disabled"))
    }
}

fn readonly(context: &mut Context<'_, '_>) -> Result {
    needs_cluster(context.node)?;
    context.session.readonly = true;
    context.session.client.readonly.store(true, Relaxed);
    context.reply.ok();
    Ok(())
}

fn readwrite(context: &mut Context<'_, '_>) -> Result {
    needs_cluster(context.node)?;
    context.session.readonly = false;
    context.session.client.readonly.store(false, Relaxed);
    context.reply.ok();
    Ok(())
}

fn asking(context: &mut Context<'_, '_>) -> Result {
    needs_cluster(context.node)?;
    context.session.asking = true;
    context.reply.ok();
    Ok(())
}
