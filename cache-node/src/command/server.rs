//! Commands about the process: `TIME`, `SHUTDOWN`, `SLOWLOG`, `LATENCY`, `DEBUG`.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::clock;
use crate::resp::parse_float;

use super::client_list::describe;
use super::context::{AsyncContext, Context};
use super::error::{NO_KEY, NOT_FLOAT, Result, SYNTAX, error};
use super::spec::{Command, Keys, Waiting};
use super::text::integer;

const fn server(command: Command) -> Command {
    command.group("server").anytime()
}

pub(super) static COMMANDS: &[Command] = &[
    server(Command::new("time", 1, time, "Returns the server's time.")).fast(),
    server(Command::new(
        "shutdown",
        -1,
        shutdown,
        "Hands over, closes connections and ends the process.",
    ))
    .admin(),
    server(Command::container(
        "slowlog",
        SLOWLOG,
        "The latest slow commands.",
    )),
    server(Command::container(
        "latency",
        LATENCY,
        "Latency events, which are not sampled.",
    )),
    server(Command::container("debug", DEBUG, "For tests.")),
];

static SLOWLOG: &[Command] = &[
    server(Command::new(
        "get",
        -2,
        slowlog_get,
        "Returns the latest slow commands.",
    ))
    .admin(),
    server(Command::new(
        "len",
        2,
        slowlog_len,
        "Returns the number of slow commands held.",
    ))
    .admin(),
    server(Command::new(
        "reset",
        2,
        slowlog_reset,
        "Forgets the slow commands.",
    ))
    .admin(),
    server(Command::new(
        "help",
        2,
        slowlog_help,
        "Lists the subcommands.",
    )),
];

static LATENCY: &[Command] = &[
    server(Command::new("latest", 2, latency_none, "Returns no event.")).admin(),
    server(Command::new(
        "history",
        3,
        latency_none,
        "Returns no event.",
    ))
    .admin(),
    server(Command::new("reset", -2, latency_reset, "Resets no event.")).admin(),
    server(Command::new(
        "doctor",
        2,
        latency_doctor,
        "Tells where to look instead.",
    ))
    .admin(),
    server(Command::new(
        "help",
        2,
        latency_help,
        "Lists the subcommands.",
    )),
];

static DEBUG: &[Command] = &[
    server(Command::waiting(
        "sleep",
        3,
        debug_sleep,
        "Lets this connection wait for so many seconds.",
    ))
    .admin(),
    server(Command::new(
        "object",
        3,
        debug_object,
        "Describes how a value is stored.",
    ))
    .admin()
    .keys(Keys::new(2, 2, 1)),
    server(Command::new(
        "set-active-expire",
        3,
        set_active_expire,
        "Switches the removal of expired keys in the background.",
    ))
    .admin(),
    server(Command::new(
        "help",
        2,
        debug_help,
        "Lists the subcommands.",
    )),
];

fn time(context: &mut Context<'_, '_>) -> Result {
    let micros = clock::now_micros();
    context.reply.array(2);
    for part in [micros / 1_000_000, micros % 1_000_000] {
        context.reply.bulk_integer(part as i64);
    }
    Ok(())
}

fn shutdown(context: &mut Context<'_, '_>) -> Result {
    let mut saving = None;
    for option in context.args.from(1).iter() {
        if option.eq_ignore_ascii_case(b"abort") {
            return Err(error("ERR No shutdown in progress."));
        } else if option.eq_ignore_ascii_case(b"save") {
            saving = Some(true);
        } else if option.eq_ignore_ascii_case(b"nosave") {
            saving = Some(false);
        } else if !option.eq_ignore_ascii_case(b"now") && !option.eq_ignore_ascii_case(b"force") {
            return Err(SYNTAX);
        }
    }
    if let Some(saving) = saving {
        context.node.persistence.save_at_end_is(saving);
    }
    // There is no reply: the connection closes, as with Redis.
    context.node.shutdown.request();
    Ok(())
}

fn slowlog_get(context: &mut Context<'_, '_>) -> Result {
    let count = match context.args.get(2) {
        None => 10,
        Some(count) => match integer(count)? {
            -1 => usize::MAX,
            count => usize::try_from(count)
                .map_err(|_| error("ERR count should be greater than or equal to -1"))?,
        },
    };
    let latest = context.node.slowlog.latest(count);
    let reply = &mut context.reply;
    reply.array(latest.len());
    for slow in latest {
        reply.array(6);
        reply.integer(slow.id as i64);
        reply.integer(slow.time as i64);
        reply.integer(slow.took.as_micros() as i64);
        reply.array(slow.args.len());
        slow.args.iter().for_each(|arg| reply.bulk(arg));
        reply.bulk(slow.peer.as_bytes());
        reply.bulk(slow.name.as_bytes());
    }
    Ok(())
}

fn slowlog_len(context: &mut Context<'_, '_>) -> Result {
    context.reply.count(context.node.slowlog.len());
    Ok(())
}

fn slowlog_reset(context: &mut Context<'_, '_>) -> Result {
    context.node.slowlog.clear();
    context.reply.ok();
    Ok(())
}

fn slowlog_help(context: &mut Context<'_, '_>) -> Result {
    describe(&mut context.reply, "SLOWLOG", SLOWLOG);
    Ok(())
}

fn latency_none(context: &mut Context<'_, '_>) -> Result {
    context.reply.array(0);
    Ok(())
}

fn latency_reset(context: &mut Context<'_, '_>) -> Result {
    context.reply.integer(0);
    Ok(())
}

fn latency_doctor(context: &mut Context<'_, '_>) -> Result {
    context.reply.verbatim(
        "Latency events are not sampled. SLOWLOG GET shows slow commands; the metrics port has calls and seconds of every command.\n",
    );
    Ok(())
}

fn latency_help(context: &mut Context<'_, '_>) -> Result {
    describe(&mut context.reply, "LATENCY", LATENCY);
    Ok(())
}

fn debug_sleep(context: AsyncContext<'_>) -> Waiting<'_> {
    Box::pin(async move {
        let mut context = context;
        let seconds = parse_float(context.args.at(2)).ok_or(NOT_FLOAT)?;
        let time = Duration::try_from_secs_f64(seconds).map_err(|_| NOT_FLOAT)?;
        let client = context.session.client.clone();
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = client.interrupt.notified() => {}
        }
        context.reply.ok();
        Ok(())
    })
}

fn debug_object(context: &mut Context<'_, '_>) -> Result {
    let usage = context.session.usage;
    let meta = context.db.meta(context.args.at(2)).ok_or(NO_KEY)?;
    let idle = context.node.eviction.idle_seconds(meta, &usage);
    let entry = context.db.peek(context.args.at(2)).ok_or(NO_KEY)?;
    let text = format!(
        "Value at:0x0 refcount:1 encoding:{} serializedlength:{} lru:0 lru_seconds_idle:{idle}",
        entry.value().encoding(),
        entry.bytes(),
    );
    context.reply.simple(&text);
    Ok(())
}

fn set_active_expire(context: &mut Context<'_, '_>) -> Result {
    let on = match context.args.at(2) {
        b"0" => false,
        b"1" => true,
        _ => return Err(SYNTAX),
    };
    context.node.active_expiry.store(on, Relaxed);
    context.reply.ok();
    Ok(())
}

fn debug_help(context: &mut Context<'_, '_>) -> Result {
    describe(&mut context.reply, "DEBUG", DEBUG);
    Ok(())
}
