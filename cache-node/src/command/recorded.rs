//! Executing the commands of an append-only file: each is done again as it is.
//!
//! Like effects from another node they bypass routing, roles, `maxmemory` and expiry. Other than those, they may have been written by
//! redis-server, so that a command may have keys in several slots; and they are not told to the log, whose reader has them on the disk.

use std::sync::Arc;

use crate::clock;
use crate::node::Node;
use crate::resp::{Args, Protocol, Reply, parse_integer};
use crate::slot::SlotId;
use crate::stats::WorkerStats;

use super::context::Context;
use super::db::Db;
use super::error::Failure;
use super::execute::Slots;
use super::held::Locks;
use super::session::Session;
use super::spec::{Flags, Handler};
use super::table::commands;

/// Executes recorded commands.
pub(crate) struct Recorded {
    node: Arc<Node>,
    session: Session,
    replies: Vec<u8>,
}

impl Recorded {
    /// For the data set of `node`.
    pub(crate) fn new(node: &Arc<Node>) -> Self {
        let client = node.clients.internal();
        let usage = node.eviction.usage(clock::now());
        let stats = Arc::new(WorkerStats::new());
        Self {
            session: Session::new(client, stats, usage, true),
            node: Arc::clone(node),
            replies: Vec::new(),
        }
    }

    /// Executes a command. Blocks the thread while others hold its slots. The error says why it is none that was recorded.
    pub(crate) fn execute(&mut self, args: Args<'_>) -> Result<(), String> {
        let named = |index: usize, name: &[u8]| {
            args.get(index)
                .is_some_and(|arg| arg.eq_ignore_ascii_case(name))
        };
        if named(0, b"cluster") && named(1, b"flushslot") {
            return self.empty(args);
        }
        if named(0, b"flushall") || named(0, b"flushdb") {
            // All of it, whatever slots this node shows to clients by now.
            SlotId::all().for_each(|slot| {
                self.node.store.lock_blocking(slot).clear();
            });
            return Ok(());
        }
        let name = || String::from_utf8_lossy(&args[0]).into_owned();
        let known = commands().resolve(args).map_err(|failure| match failure {
            Failure::Error(text) => text.into_owned(),
            Failure::Wait(_) => format!("'{}' cannot be executed", name()),
        })?;
        let command = known.command;
        let writes = command.flags.has(Flags::WRITE);
        let Some(handler) = (match command.handler {
            Handler::Sync(handler) if writes => Some(handler),
            _ => None,
        }) else {
            return Err(format!("'{}' changes nothing", name()));
        };
        let node = Arc::clone(&self.node);
        let locks = lock(&node, command.flags, command.keys.of(args).map(SlotId::of));
        let mut db = Db::new(&node, locks, clock::now(), self.session.usage).replaying();
        self.replies.clear();
        let mut context = Context {
            node: &node,
            session: &mut self.session,
            args,
            alone: false,
            reply: Reply::new(&mut self.replies, Protocol::Resp2),
            db: &mut db,
        };
        handler(&mut context).map_err(|failure| match failure {
            Failure::Error(text) => format!("'{}' failed: {text}", name()),
            Failure::Wait(_) => format!("'{}' cannot be executed", name()),
        })
    }

    /// `CLUSTER FLUSHSLOT`, which the log has of slots that are copied anew.
    fn empty(&mut self, args: Args<'_>) -> Result<(), String> {
        let slot = args
            .get(2)
            .and_then(parse_integer)
            .and_then(|number| u16::try_from(number).ok())
            .and_then(SlotId::new)
            .ok_or("a slot that cannot be")?;
        self.node.store.lock_blocking(slot).clear();
        Ok(())
    }
}

/// Locks the slots of a command's keys.
fn lock(node: &Node, flags: Flags, slots: impl Iterator<Item = SlotId>) -> Locks<'_> {
    if flags.has(Flags::ALL_SLOTS) {
        let guards = SlotId::all().map(|slot| node.store.lock_blocking(slot));
        return Locks::Many(guards.collect());
    }
    let mut slots: Slots = slots.collect();
    slots.sort_unstable();
    slots.dedup();
    match slots.as_slice() {
        [] => Locks::None,
        [slot] => Locks::One(node.store.lock_blocking(*slot)),
        slots => {
            let guards = slots.iter().map(|slot| node.store.lock_blocking(*slot));
            Locks::Many(guards.collect())
        }
    }
}
