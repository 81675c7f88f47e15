//! Executing a command: look it up, check it, lock its keys' slots, route it, run it, log its effects.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use smallvec::SmallVec;

use crate::cluster::{Access, Route, View};
use crate::node::Node;
use crate::resp::{Args, Reply};
use crate::slot::SlotId;
use crate::store::SlotGuard;

use super::context::Context;
use super::db::Db;
use super::error::{
    CROSS_SLOT, Failure, LOADING, NO_AUTH, NO_LEASE, NO_REPLICAS, OUT_OF_MEMORY, READ_ONLY, Result,
    TRY_AGAIN,
};
use super::held::{Hashed, Locks};
use super::prepare::Prepared;
use super::session::{Replies, Session};
use super::spec::{Command, Flags, Handler, SyncHandler};
use super::table::{Known, commands};
use super::transaction;
use super::wait::Wait;

/// A brief command of more bytes is measured like any other.
const BRIEF_BYTES: usize = 4096;

/// What became of a command.
#[derive(Clone, Copy)]
pub enum Outcome {
    /// It has run, and its reply is written.
    Done,
    /// It has not run; try again when this is over.
    Wait(Wait),
    /// It may wait, so it is to be run by [`super::run_waiting`].
    Deferred(Known),
    /// It has run, and the rest of its reply is the session's `long_reply`.
    Long,
}

/// Executes the command in `args` and appends its reply to `out`. Never waits.
pub fn execute(
    node: &Arc<Node>,
    session: &mut Session,
    args: Args<'_>,
    out: &mut Vec<u8>,
) -> Outcome {
    match commands().resolve(args) {
        Ok(known) => execute_prepared(node, session, &Prepared::unhashed(known), &[], args, out),
        Err(failure) => {
            let start = out.len();
            refuse(node, session, None, &failure, out);
            finish_reply(session, start, out);
            Outcome::Done
        }
    }
}

/// Executes a command that was looked up before, and appends its reply to `out`. Never waits.
#[inline]
pub fn execute_prepared(
    node: &Arc<Node>,
    session: &mut Session,
    prepared: &Prepared,
    keys: &[Hashed],
    args: Args<'_>,
    out: &mut Vec<u8>,
) -> Outcome {
    let start = out.len();
    let known = prepared.known;
    let brief = known.command.flags.has(Flags::BRIEF) && args.extent() < BRIEF_BYTES;
    if !brief {
        session.end_run();
    }
    session.client.last_command.store(known.id, Relaxed);
    match admit_and_run(node, session, prepared, keys, args, out) {
        Ok(None) => {}
        Ok(Some(outcome)) => return outcome,
        Err(Failure::Wait(wait)) => {
            out.truncate(start);
            return Outcome::Wait(wait);
        }
        Err(failure) => {
            out.truncate(start);
            refuse(node, session, Some(known), &failure, out);
        }
    }
    if session.asking && known.command.name != "asking" && session.transaction.is_none() {
        session.asking = false;
    }
    if brief {
        session.go_on(known.id);
    } else {
        let took = session.clock.lap();
        node.finished(session, known, args, took);
    }
    finish_reply(session, start, out);
    if session.long_reply.is_some() {
        Outcome::Long
    } else {
        Outcome::Done
    }
}

/// `Ok(None)`: done. A command that is turned away has written nothing.
fn admit_and_run(
    node: &Arc<Node>,
    session: &mut Session,
    prepared: &Prepared,
    keys: &[Hashed],
    args: Args<'_>,
    out: &mut Vec<u8>,
) -> Result<Option<Outcome>> {
    let known = prepared.known;
    let command = known.command;
    if !session.authenticated && !command.flags.has(Flags::NO_AUTH) {
        return Err(NO_AUTH);
    }
    let writes = command.flags.has(Flags::WRITE);
    if writes && let Some(refusal) = node.persistence.refusal(node) {
        return Err(Failure::new(refusal.to_string()));
    }
    if writes && node.lacks_replicas() {
        return Err(match node.cluster.is_new_primary() {
            true => Failure::Wait(Wait::Replicas),
            false => NO_REPLICAS,
        });
    }
    if session.transaction.is_some() && !command.flags.has(Flags::NOT_QUEUED) {
        transaction::queue(node, session, known, args)?;
        out.extend_from_slice(b"+QUEUED\r\n");
        return Ok(None);
    }
    if node.is_paused(command.flags) {
        return Ok(Some(Outcome::Wait(Wait::Pause)));
    }
    if writes && let Some(wait) = no_room(node) {
        return Ok(Some(Outcome::Wait(wait)));
    }
    match command.handler {
        Handler::Sync(handler) => {
            run(node, session, command, handler, keys, args, out).map(|()| None)
        }
        Handler::Exec => transaction::exec(node, session, out),
        Handler::Async(_) => Ok(Some(Outcome::Deferred(known))),
        Handler::Container => Err(super::error::wrong_arity(command.name)),
    }
}

fn run(
    node: &Arc<Node>,
    session: &mut Session,
    command: &'static Command,
    handler: SyncHandler,
    keys: &[Hashed],
    args: Args<'_>,
    out: &mut Vec<u8>,
) -> Result {
    check_memory(node, command, args)?;
    let (slot, locks) = match keys {
        [] => lock(node, command, args)?,
        [(slot, _)] => (Some(*slot), lock_one(node, *slot)?),
        keys => lock_sorted(node, keys.iter().map(|(slot, _)| *slot).collect())?,
    };
    let mut db = Db::new(node, locks, session.clock.now(), session.usage);
    if !keys.is_empty() && command.keys.first > 0 {
        db = db.knowing(args.at(usize::from(command.keys.first)), keys);
    }
    if let Some(slot) = slot {
        route(node, session, command, slot, args, &mut db)?;
        session.shows(node, slot);
    } else if command.flags.has(Flags::WRITE) || command.flags.has(Flags::READONLY) {
        if node.is_loading() {
            return Err(LOADING);
        }
        if command.flags.has(Flags::WRITE) {
            check_writable(node)?;
            check_lease(node)?;
        }
    }
    if session.client.is_untouching() {
        db = db.without_touching();
    }
    let mut context = Context {
        node,
        reply: Reply::new(out, session.protocol).limited(session.output_limit),
        alone: session.replies == Replies::On,
        session,
        args,
        db: &mut db,
    };
    let result = handler(&mut context);
    // A handler that fails half-way through leaves effects that must not be lost.
    let tally = db.commit();
    session.settle(tally);
    result
}

/// What a command that writes is to wait for, because others must get on first.
#[inline]
pub(crate) fn no_room(node: &Node) -> Option<Wait> {
    if node.store.is_walk_full() {
        Some(Wait::Walk)
    } else if node.persistence.aof.is_behind(node) {
        Some(Wait::Aof)
    } else if node.log.is_crowded() {
        Some(Wait::Log)
    } else {
        None
    }
}

/// Makes room before a command that may need memory, and refuses it if there is none.
pub(super) fn check_memory(node: &Node, command: &Command, args: Args<'_>) -> Result {
    if command.flags.has(Flags::DENYOOM) && !node.make_room(args.extent()) {
        return Err(OUT_OF_MEMORY);
    }
    Ok(())
}

/// Locks the slots of a command's keys. With one slot it is answered, for routing.
fn lock<'g>(
    node: &'g Node,
    command: &Command,
    args: Args<'_>,
) -> Result<(Option<SlotId>, Locks<'g>)> {
    if command.flags.has(Flags::ALL_SLOTS) {
        return Ok((None, lock_slots(node, SlotId::all())?));
    }
    let mut keys = command.keys.of(args);
    let Some(first) = keys.next() else {
        return Ok((None, Locks::None));
    };
    let slot = SlotId::of(first);
    let Some(second) = keys.next() else {
        return Ok((Some(slot), lock_one(node, slot)?));
    };
    let mut slots = Slots::from_slice(&[slot, SlotId::of(second)]);
    slots.extend(keys.map(SlotId::of));
    lock_sorted(node, slots)
}

/// The slots of a command's keys.
pub(super) type Slots = SmallVec<[SlotId; 32]>;

/// Locks several slots, given in any order and more than once. In cluster mode they must be one.
pub(super) fn lock_sorted(node: &Node, mut slots: Slots) -> Result<(Option<SlotId>, Locks<'_>)> {
    slots.sort_unstable();
    slots.dedup();
    if let [slot] = slots.as_slice() {
        return Ok((Some(*slot), lock_one(node, *slot)?));
    }
    if node.cluster.enabled() {
        return Err(CROSS_SLOT);
    }
    let first = slots.first().copied();
    Ok((first, lock_slots(node, slots.into_iter())?))
}

fn lock_one(node: &Node, slot: SlotId) -> Result<Locks<'_>> {
    match node.store.try_lock(slot) {
        Some(guard) => Ok(Locks::One(guard)),
        None => Err(Failure::Wait(Wait::Slot(slot))),
    }
}

/// All or nothing, so that two commands never hold what the other needs.
pub(super) fn lock_slots(node: &Node, slots: impl Iterator<Item = SlotId>) -> Result<Locks<'_>> {
    let guards: Result<Vec<SlotGuard<'_>>> = slots
        .map(|slot| {
            node.store
                .try_lock(slot)
                .ok_or(Failure::Wait(Wait::Slot(slot)))
        })
        .collect();
    guards.map(Locks::Many)
}

/// Checks that a command on `slot`, which is locked, may run here.
fn route(
    node: &Node,
    session: &Session,
    command: &Command,
    slot: SlotId,
    args: Args<'_>,
    db: &mut Db<'_>,
) -> Result {
    if node.is_loading() {
        return Err(loading(&node.cluster.peek(), slot));
    }
    if !node.cluster.enabled() {
        return if command.flags.has(Flags::WRITE) {
            check_writable(node)
        } else {
            Ok(())
        };
    }
    let view = node.cluster.peek();
    match view.route(slot, access(session, command)) {
        Route::Serve if command.flags.has(Flags::WRITE) => check_lease(node),
        // Where a read must show what was last written, nobody else may take writes either.
        Route::Serve if node.synchronous() > 0 && view.is_serving_primary() => check_lease(node),
        Route::Serve => Ok(()),
        Route::ServeOrAsk(address) => {
            let missing = command
                .keys
                .of(args)
                .filter(|key| db.peek(key).is_none())
                .count();
            if missing == 0 {
                check_lease(node)
            } else if missing == command.keys.of(args).count() {
                Err(Failure::new(format!(
                    "ASK {slot} {}:{}",
                    address.ip, address.port
                )))
            } else {
                Err(TRY_AGAIN)
            }
        }
        other => redirect(&other, slot),
    }
}

/// A replica in the middle of a full sync shows nothing: its data are partly old and partly new.
fn loading(view: &View, slot: SlotId) -> Failure {
    match view.my_primary() {
        Some(primary) => Failure::new(format!(
            "MOVED {slot} {}:{}",
            primary.address.ip, primary.address.port
        )),
        None => LOADING,
    }
}

/// Checks before its slot is locked whether a command may run here, as far as that can be said then.
pub(super) fn pre_route(view: &View, session: &Session, command: &Command, slot: SlotId) -> Result {
    match view.route(slot, access(session, command)) {
        Route::Serve | Route::ServeOrAsk(_) => Ok(()),
        other => redirect(&other, slot),
    }
}

fn access(session: &Session, command: &Command) -> Access {
    Access {
        write: command.flags.has(Flags::WRITE),
        readonly: session.readonly,
        asking: session.asking,
    }
}

fn redirect(route: &Route, slot: SlotId) -> Result {
    match route {
        Route::Serve | Route::ServeOrAsk(_) => Ok(()),
        Route::Moved(address) => Err(Failure::new(format!(
            "MOVED {slot} {}:{}",
            address.ip, address.port
        ))),
        Route::Down(text) => Err(Failure::new(format!("CLUSTERDOWN {text}"))),
    }
}

/// Whether nobody else can take writes in this node's place at this moment. One that has just become a primary waits for its first lease.
pub(super) fn check_lease(node: &Node) -> Result {
    if !node.cluster.lacks_lease() {
        Ok(())
    } else if node.cluster.is_new_primary() {
        Err(Failure::Wait(Wait::Lease))
    } else {
        Err(NO_LEASE)
    }
}

/// Whether this node takes writes at all.
pub(super) fn check_writable(node: &Node) -> Result {
    if node.is_replica() {
        Err(READ_ONLY)
    } else {
        Ok(())
    }
}

/// Writes an error, which also dooms a transaction that is being gathered.
fn refuse(
    node: &Node,
    session: &mut Session,
    known: Option<Known>,
    failure: &Failure,
    out: &mut Vec<u8>,
) {
    let Failure::Error(text) = failure else {
        return;
    };
    let queued = known.is_none_or(|known| !known.command.flags.has(Flags::NOT_QUEUED));
    if let Some(transaction) = &mut session.transaction
        && queued
    {
        transaction.failed = true;
    }
    node.stats.count_error(text);
    if let Some(known) = known {
        session.stats.count_failure(known.id);
    }
    Reply::new(out, session.protocol).error(text);
}

/// Drops the reply if the client does not want it.
pub(super) fn finish_reply(session: &mut Session, start: usize, out: &mut Vec<u8>) {
    match session.replies {
        Replies::On => {}
        Replies::Off => out.truncate(start),
        Replies::SkipNext => {
            out.truncate(start);
            session.replies = Replies::Skip;
        }
        Replies::Skip => {
            out.truncate(start);
            session.replies = Replies::On;
        }
    }
}
