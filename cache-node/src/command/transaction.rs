//! `MULTI`, `EXEC`, `DISCARD`, `WATCH`, `UNWATCH`.
//!
//! A transaction holds the locks of all its slots (in cluster mode there is one) from the first command to the last, and its effects
//! reach the log together.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::node::Node;
use crate::resp::{Args, OwnedArgs, Reply};
use crate::slot::SlotId;

use super::context::Context;
use super::db::Db;
use super::error::{CROSS_SLOT, Failure, Result, error};
use super::execute::{
    Outcome, Slots, check_lease, check_memory, check_writable, lock_slots, lock_sorted, no_room,
    pre_route,
};
use super::held::Locks;
use super::session::{Session, Transaction, Watching};
use super::spec::{Command, Flags, Handler, Keys};
use super::table::{Known, commands};
use super::wait::Wait;

pub(super) static COMMANDS: &[Command] = &[
    Command::new("multi", 1, multi, "Starts a transaction.")
        .group("transactions")
        .fast()
        .anytime()
        .flag(Flags::NOT_QUEUED),
    Command::new(
        "exec",
        1,
        |_| Ok(()),
        "Executes all commands of a transaction.",
    )
    .handled_by(Handler::Exec)
    .group("transactions")
    .anytime()
    .flag(Flags::NOT_QUEUED),
    Command::new("discard", 1, discard, "Discards a transaction.")
        .group("transactions")
        .fast()
        .anytime()
        .flag(Flags::NOT_QUEUED),
    Command::new(
        "watch",
        -2,
        watch,
        "Monitors changes to keys to decide whether a transaction is executed.",
    )
    .group("transactions")
    .keys(Keys::ALL)
    .fast()
    .anytime()
    .flag(Flags::NOT_QUEUED),
    Command::new("unwatch", 1, unwatch, "Forgets about watched keys.")
        .group("transactions")
        .fast()
        .anytime(),
];

/// About what a key under `WATCH` takes beside its bytes, here and in its slot.
const WATCHED: usize = 128;

fn multi(context: &mut Context<'_, '_>) -> Result {
    if context.session.transaction.is_some() {
        return Err(error("ERR MULTI calls can not be nested"));
    }
    context.session.transaction = Some(Transaction::default());
    context.session.publish();
    context.reply.ok();
    Ok(())
}

fn discard(context: &mut Context<'_, '_>) -> Result {
    if context.session.transaction.take().is_none() {
        return Err(error("ERR DISCARD without MULTI"));
    }
    context.session.watching = None;
    context.session.publish();
    context.reply.ok();
    Ok(())
}

fn watch(context: &mut Context<'_, '_>) -> Result {
    if context.session.transaction.is_some() {
        return Err(error("ERR WATCH inside MULTI is not allowed"));
    }
    let watching = context.session.watching.get_or_insert_default();
    for key in context.args.from(1).iter() {
        if watching.keys.contains_key(key) {
            continue;
        }
        let expired = context.db.watch(key, &watching.touched);
        watching.keys.insert(key.into(), expired);
        watching.bytes += 2 * key.len() + WATCHED;
    }
    context.session.publish();
    context.reply.ok();
    Ok(())
}

fn unwatch(context: &mut Context<'_, '_>) -> Result {
    context.session.watching = None;
    context.session.publish();
    context.reply.ok();
    Ok(())
}

/// Puts a command into the queue, unless it is clear already that it cannot run here.
pub(super) fn queue(node: &Node, session: &mut Session, known: Known, args: Args<'_>) -> Result {
    let command = known.command;
    if command.flags.has(Flags::NO_MULTI) || matches!(command.handler, Handler::Async(_)) {
        return Err(error("ERR Command not allowed inside a transaction"));
    }
    check_memory(node, command, args)?;
    let mut slots = command.keys.of(args).map(SlotId::of);
    if let Some(slot) = slots.next() {
        let view = node.cluster.peek();
        if view.enabled && slots.any(|other| other != slot) {
            return Err(CROSS_SLOT);
        }
        pre_route(&view, session, command, slot)?;
    }
    if command.flags.has(Flags::WRITE) && !node.cluster.enabled() {
        check_writable(node)?;
    }
    if let Some(transaction) = &mut session.transaction {
        let args = args.to_owned();
        transaction.bytes += size_of::<OwnedArgs>() + args.size();
        // What waits for EXEC is a part of what was received and not executed.
        if transaction.bytes > node.config.get().client_query_buffer_limit {
            node.clients.closed.query.fetch_add(1, Relaxed);
            session.closing = true;
            return Err(error("ERR the transaction is too big"));
        }
        transaction.queue.push(args);
    }
    session.publish();
    Ok(())
}

/// Executes the transaction. `Ok(None)`: done.
pub(super) fn exec(
    node: &Arc<Node>,
    session: &mut Session,
    out: &mut Vec<u8>,
) -> Result<Option<Outcome>> {
    let Some(transaction) = session.transaction.take() else {
        return Err(error("ERR EXEC without MULTI"));
    };
    let watching = session.watching.take();
    if transaction.failed {
        return Err(error(
            "EXECABORT Transaction discarded because of previous errors.",
        ));
    }
    let mut queue = Vec::with_capacity(transaction.queue.len());
    for args in &transaction.queue {
        queue.push((commands().resolve(args.as_args())?, args.as_args()));
    }
    for (known, args) in &queue {
        check_memory(node, known.command, *args).map_err(|_| {
            error(
                "EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.",
            )
        })?;
    }
    let writes = queue
        .iter()
        .any(|(known, _)| known.command.flags.has(Flags::WRITE));
    if writes && let Some(refusal) = node.persistence.refusal(node) {
        return Err(Failure::new(format!(
            "EXECABORT Transaction discarded because of: {refusal}"
        )));
    }
    let paused = queue
        .iter()
        .any(|(known, _)| node.is_paused(known.command.flags));
    let result = if paused {
        Ok(Some(Outcome::Wait(Wait::Pause)))
    } else if let Some(wait) = no_room(node).filter(|_| writes) {
        Ok(Some(Outcome::Wait(wait)))
    } else {
        run_all(node, session, &queue, watching.as_ref(), out)
    };
    // A transaction that has not run yet stays.
    if matches!(result, Ok(Some(_)) | Err(Failure::Wait(_))) {
        session.transaction = Some(transaction);
        session.watching = watching;
    }
    session.publish();
    result
}

fn run_all(
    node: &Arc<Node>,
    session: &mut Session,
    queue: &[(Known, Args<'_>)],
    watching: Option<&Watching>,
    out: &mut Vec<u8>,
) -> Result<Option<Outcome>> {
    let (slot, locks) = lock_all(node, queue, watching)?;
    let mut db = Db::new(node, locks, session.clock.now(), session.usage);
    let touched = watching.is_some_and(|watching| {
        watching.touched.is_set()
            || watching
                .keys
                .iter()
                .any(|(key, expired)| !expired && db.has_expired(key))
    });
    if touched {
        Reply::new(out, session.protocol).null_array();
        return Ok(None);
    }
    if let Some(slot) = slot {
        let view = node.cluster.peek();
        for (known, _) in queue {
            if known.command.keys != Keys::NONE {
                pre_route(&view, session, known.command, slot)?;
            }
        }
    }
    let writes = queue
        .iter()
        .any(|(known, _)| known.command.flags.has(Flags::WRITE));
    // In a cluster, commands with keys were routed.
    let unrouted = queue.iter().any(|(known, _)| {
        let keyless = known.command.keys == Keys::NONE;
        known.command.flags.has(Flags::WRITE) && (keyless || !node.cluster.enabled())
    });
    if unrouted {
        check_writable(node)?;
    }
    if writes || node.synchronous() > 0 && node.cluster.peek().is_serving_primary() {
        check_lease(node)?;
    }
    if let Some(slot) = slot {
        session.shows(node, slot);
    }
    Reply::new(out, session.protocol).array(queue.len());
    for (known, args) in queue {
        run_one(node, session, *known, *args, &mut db, out);
    }
    let tally = db.commit();
    session.settle(tally);
    Ok(None)
}

fn lock_all<'g>(
    node: &'g Node,
    queue: &[(Known, Args<'_>)],
    watching: Option<&Watching>,
) -> Result<(Option<SlotId>, Locks<'g>)> {
    let all = queue
        .iter()
        .any(|(known, _)| known.command.flags.has(Flags::ALL_SLOTS));
    let slots: Slots = queue
        .iter()
        .flat_map(|(known, args)| known.command.keys.of(*args))
        .chain(
            watching
                .into_iter()
                .flat_map(|watching| watching.keys.keys().map(AsRef::as_ref)),
        )
        .map(SlotId::of)
        .collect();
    if all {
        return Ok((slots.first().copied(), lock_slots(node, SlotId::all())?));
    }
    if slots.is_empty() {
        return Ok((None, Locks::None));
    }
    lock_sorted(node, slots)
}

/// Runs one command of a transaction. An error is its reply; the others run all the same.
fn run_one(
    node: &Arc<Node>,
    session: &mut Session,
    known: Known,
    args: Args<'_>,
    db: &mut Db<'_>,
    out: &mut Vec<u8>,
) {
    let Handler::Sync(handler) = known.command.handler else {
        return;
    };
    let start = out.len();
    let mut context = Context {
        node,
        reply: Reply::new(out, session.protocol).limited(session.output_limit),
        session,
        args,
        alone: false,
        db,
    };
    if let Err(failure) = handler(&mut context) {
        out.truncate(start);
        let text = match failure {
            Failure::Error(text) => text,
            Failure::Wait(_) => "ERR busy, try again".into(),
        };
        node.stats.count_error(&text);
        session.stats.count_failure(known.id);
        Reply::new(out, session.protocol).error(&text);
    }
    let took = session.clock.lap();
    node.finished(session, known, args, took);
}
