//! Commands about what is on disk: `SAVE`, `BGSAVE`, `LASTSAVE`, `BGREWRITEAOF`, `WAITAOF`.

use std::time::Duration;

use crate::persistence::NotBegun;
use crate::replication::follow::PrimaryTerm;
use crate::resp::parse_integer;

use super::context::{AsyncContext, Context};
use super::error::{Failure, Result, SYNTAX, UNBLOCKED, error};
use super::spec::{Command, Flags, Waiting};

const fn server(command: Command) -> Command {
    command.group("server").anytime()
}

pub(super) static COMMANDS: &[Command] = &[
    server(Command::waiting(
        "save",
        1,
        save,
        "Saves the data set, and answers when that is done; other clients go on.",
    ))
    .admin(),
    server(Command::new(
        "bgsave",
        -1,
        bgsave,
        "Saves the data set in the background.",
    ))
    .admin(),
    server(Command::new(
        "lastsave",
        1,
        lastsave,
        "Returns when the data set was last saved; before the first save, the start.",
    ))
    .fast(),
    server(Command::new(
        "bgrewriteaof",
        1,
        bgrewriteaof,
        "Rewrites the append-only file in the background, so that it is shorter.",
    ))
    .admin(),
    Command::waiting(
        "waitaof",
        4,
        waitaof,
        "Waits until all writes before this command are in the append-only files of this node and of so many replicas, on the disk.",
    )
    .group("generic")
    .flag(Flags::BLOCKING),
];

fn save(context: AsyncContext<'_>) -> Waiting<'_> {
    Box::pin(async move {
        let mut context = context;
        refuse_while_loading(context.node.is_loading())?;
        let node = context.node;
        match node.persistence.save_now(node).await {
            Ok(true) => context.reply.ok(),
            Ok(false) => {
                return Err(error("ERR the data set was not saved; the log says why"));
            }
            Err(why) => return Err(Failure::new(format!("ERR {why}"))),
        }
        Ok(())
    })
}

fn refuse_while_loading(loading: bool) -> Result {
    if loading {
        // What would be saved is not whole.
        return Err(super::error::LOADING);
    }
    Ok(())
}

fn bgsave(context: &mut Context<'_, '_>) -> Result {
    let option = |name: &[u8]| {
        context
            .args
            .get(1)
            .is_some_and(|option| option.eq_ignore_ascii_case(name))
    };
    let (node, reply) = (context.node, &mut context.reply);
    match context.args.len() {
        1 => {
            refuse_while_loading(node.is_loading())?;
            match node.persistence.begin_save(node) {
                Ok(()) => reply.simple("Background saving started"),
                Err(NotBegun::Rewriting) => match node.persistence.schedule_save(node) {
                    Ok(true) => reply.simple("Background saving started"),
                    Ok(false) => reply.simple("Background saving scheduled"),
                    Err(why) => return Err(Failure::new(format!("ERR {why}"))),
                },
                Err(why) => return Err(Failure::new(format!("ERR {why}"))),
            }
        }
        2 if option(b"schedule") => {
            refuse_while_loading(node.is_loading())?;
            match node.persistence.schedule_save(node) {
                Ok(true) => reply.simple("Background saving started"),
                Ok(false) => reply.simple("Background saving scheduled"),
                Err(why) => return Err(Failure::new(format!("ERR {why}"))),
            }
        }
        2 if option(b"cancel") => {
            if !node.persistence.cancel_save() {
                return Err(error(
                    "ERR Background saving is currently not in progress or scheduled",
                ));
            }
            reply.simple("Background saving cancelled");
        }
        _ => return Err(SYNTAX),
    }
    Ok(())
}

fn lastsave(context: &mut Context<'_, '_>) -> Result {
    let saved_at = context.node.persistence.report(context.node).saved_at;
    context.reply.integer((saved_at / 1000) as i64);
    Ok(())
}

fn bgrewriteaof(context: &mut Context<'_, '_>) -> Result {
    let node = context.node;
    refuse_while_loading(node.is_loading())?;
    match node.persistence.rewrite_aof(node) {
        Ok(true) => context
            .reply
            .simple("Background append only file rewriting started"),
        Ok(false) => context
            .reply
            .simple("Background append only file rewriting scheduled"),
        Err(why) => return Err(Failure::new(format!("ERR {why}"))),
    }
    Ok(())
}

/// `WAITAOF local replicas timeout`.
fn waitaof(context: AsyncContext<'_>) -> Waiting<'_> {
    Box::pin(async move {
        let AsyncContext {
            node,
            args,
            mut reply,
            ..
        } = context;
        let local = parse_integer(&args[1])
            .filter(|local| matches!(local, 0 | 1))
            .ok_or(error("ERR value is out of range, must be between 0 and 1"))?;
        let replicas = parse_integer(&args[2])
            .and_then(|replicas| usize::try_from(replicas).ok())
            .ok_or(error("ERR value is out of range, must be positive"))?;
        let timeout = parse_integer(&args[3])
            .ok_or(error("ERR timeout is not an integer or out of range"))?;
        let timeout = u64::try_from(timeout).map_err(|_| error("ERR timeout is negative"))?;
        let Some(term) = PrimaryTerm::of(node) else {
            return Err(error(
                "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local and are not propagated.",
            ));
        };
        let aof = &node.persistence.aof;
        if local == 1 && !aof.is_in_force() {
            return Err(error(
                "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
            ));
        }
        // Whatever this connection has written lies before the log's end.
        let offset = node.log.end();
        let limit = (timeout > 0).then(|| Duration::from_millis(timeout));
        let here = async {
            let synced = async {
                if local == 1 {
                    aof.synced(offset).await;
                }
            };
            match limit {
                Some(limit) => drop(tokio::time::timeout(limit, synced).await),
                None => synced.await,
            }
            i64::from(aof.is_in_force() && aof.is_synced(offset))
        };
        let elsewhere = node
            .replication
            .replicas
            .wait_synced(replicas, offset, limit);
        let both = async { tokio::join!(here, elsewhere) };
        let (here, elsewhere) = tokio::select! {
            biased;
            () = term.end(node) => return Err(UNBLOCKED),
            both = both => both,
        };
        reply.array(2);
        reply.integer(here);
        reply.count(elsewhere);
        Ok(())
    })
}
