//! Executing effects: what a primary or a migration source has done is done here again, as it is.
//!
//! Effects bypass routing, roles, `maxmemory` and expiry, and go on to this node's own log as they came.

use std::sync::Arc;

use crate::clock;
use crate::log::Scope;
use crate::node::Node;
use crate::resp::{Limits, Parsed, Parser, Reply};
use crate::slot::SlotId;
use crate::stats::WorkerStats;
use crate::store::Store;

use super::context::Context;
use super::db::Db;
use super::error::Failure;
use super::held::Locks;
use super::session::Session;
use super::spec::{Flags, Handler};
use super::table::commands;

/// Effects that cannot be executed: they come from an incompatible or broken node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// They are not whole RESP commands.
    #[error("effects are not whole commands")]
    Malformed,
    /// This is not a command that writes, or a key is in another slot.
    #[error("'{0}' is no effect on slot {1}")]
    NoEffect(String, SlotId),
    /// A command failed.
    #[error("effect '{0}' failed: {1}")]
    Failed(String, String),
}

/// Executes effects; one for each thread or task that applies them.
pub struct Replayer {
    node: Arc<Node>,
    session: Session,
    parser: Parser,
    replies: Vec<u8>,
}

impl Replayer {
    /// A replayer for `node`.
    pub fn new(node: &Arc<Node>) -> Self {
        let client = node.clients.internal();
        Self {
            session: Session::new(
                client,
                Arc::new(WorkerStats::new()),
                node.eviction.usage(clock::now()),
                true,
            ),
            node: Arc::clone(node),
            parser: Parser::default(),
            replies: Vec::new(),
        }
    }

    /// Executes effects on `slot` as one step if `allowed`, which is asked under the slot's lock, and appends them to this node's log.
    /// Answers what it said. Blocks the thread while another holds the slot.
    ///
    /// # Errors
    ///
    /// They cannot be executed.
    pub fn replay_if(
        &mut self,
        slot: SlotId,
        effects: &[u8],
        allowed: impl FnOnce() -> bool,
    ) -> Result<bool, ReplayError> {
        let node = Arc::clone(&self.node);
        self.run(&node.store, slot, effects, allowed, |db, commands| {
            db.commit_replayed(Scope::Slot(slot), effects, commands);
        })
    }

    /// The same for effects from a log that this node's log continues: they stand there as they came.
    ///
    /// # Errors
    ///
    /// They cannot be executed.
    pub fn mirror_if(
        &mut self,
        slot: SlotId,
        effects: &[u8],
        allowed: impl FnOnce() -> bool,
    ) -> Result<bool, ReplayError> {
        let node = Arc::clone(&self.node);
        self.run(&node.store, slot, effects, allowed, |db, _| {
            db.commit_replayed(Scope::Slot(slot), effects, 1);
        })
    }

    /// The same in a data set beside the node's, or in a state of the node's that has no place in its log.
    ///
    /// # Errors
    ///
    /// They cannot be executed.
    pub fn load_if(
        &mut self,
        store: &Store,
        slot: SlotId,
        effects: &[u8],
        allowed: impl FnOnce() -> bool,
    ) -> Result<bool, ReplayError> {
        self.run(store, slot, effects, allowed, |db, _| drop(db))
    }

    fn run(
        &mut self,
        store: &Store,
        slot: SlotId,
        effects: &[u8],
        allowed: impl FnOnce() -> bool,
        commit: impl FnOnce(Db<'_>, usize),
    ) -> Result<bool, ReplayError> {
        let node = Arc::clone(&self.node);
        let locks = Locks::One(store.lock_blocking(slot));
        if !allowed() {
            return Ok(false);
        }
        self.session.usage = node.eviction.usage(clock::now());
        let mut db = Db::new(&node, locks, clock::now(), self.session.usage).replaying();
        let (commands, result) = self.execute(slot, effects, &mut db);
        commit(db, commands);
        store.memory().publish();
        result.map(|()| true)
    }

    /// Answers also how many commands there were.
    fn execute(
        &mut self,
        slot: SlotId,
        effects: &[u8],
        db: &mut Db<'_>,
    ) -> (usize, Result<(), ReplayError>) {
        let mut commands = 0;
        let result = self.try_execute(slot, effects, db, &mut commands);
        (commands, result)
    }

    fn try_execute(
        &mut self,
        slot: SlotId,
        mut effects: &[u8],
        db: &mut Db<'_>,
        executed: &mut usize,
    ) -> Result<(), ReplayError> {
        let limits = Limits::default();
        while !effects.is_empty() {
            *executed += 1;
            let length = match self.parser.parse(effects, &limits) {
                Ok(Parsed::Command { length }) => length,
                _ => {
                    self.parser = Parser::default();
                    return Err(ReplayError::Malformed);
                }
            };
            let args = self.parser.args(effects);
            let name = || String::from_utf8_lossy(&args[0]).into_owned();
            let no_effect = || ReplayError::NoEffect(name(), slot);
            let command = commands().resolve(args).map_err(|_| no_effect())?.command;
            let Handler::Sync(handler) = command.handler else {
                return Err(no_effect());
            };
            let elsewhere = command.keys.of(args).any(|key| SlotId::of(key) != slot);
            if elsewhere || !command.flags.has(Flags::WRITE) || command.flags.has(Flags::ALL_SLOTS)
            {
                return Err(no_effect());
            }
            self.replies.clear();
            let mut context = Context {
                node: &self.node,
                session: &mut self.session,
                args,
                alone: false,
                reply: Reply::new(&mut self.replies, crate::resp::Protocol::Resp2),
                db,
            };
            handler(&mut context).map_err(|failure| match failure {
                Failure::Error(text) => ReplayError::Failed(name(), text.into_owned()),
                Failure::Busy(_) => no_effect(),
            })?;
            effects = &effects[length..];
            self.node.persistence.count_replayed(1);
        }
        Ok(())
    }
}
