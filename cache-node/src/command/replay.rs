//! Executing effects: what a primary or a migration source has done is done here again, as it is.
//!
//! Effects bypass routing, roles, `maxmemory` and expiry, and go on to this node's own log as they came.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock;
use crate::log::Scope;
use crate::node::Node;
use crate::resp::{Args, Limits, OwnedArgs, Parsed, Parser, Protocol, Reply};
use crate::slot::SlotId;
use crate::stats::WorkerStats;
use crate::store::Store;

use super::context::Context;
use super::db::Db;
use super::error::Failure;
use super::held::Locks;
use super::session::Session;
use super::spec::{Flags, Handler, SyncHandler};
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

/// What became of commands that were to be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// They are executed.
    Done,
    /// They are not wanted any more.
    Unwanted,
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

    /// Executes records of such a log that stand between `MULTI` and `EXEC`, these included, as one step: nobody sees a part of them, in the
    /// data or in the log.
    ///
    /// # Errors
    ///
    /// They cannot be executed.
    pub fn mirror_group_if(
        &mut self,
        records: &[(Scope, Bytes)],
        allowed: impl FnOnce() -> bool,
    ) -> Result<bool, ReplayError> {
        let node = Arc::clone(&self.node);
        let mut slots = BTreeSet::new();
        for (scope, _) in records {
            match scope {
                Scope::Slot(slot) | Scope::Emptied(slot) => slots.extend([*slot]),
                Scope::All => slots.extend(SlotId::all()),
                Scope::Other => {}
            }
        }
        let guards = slots
            .into_iter()
            .map(|slot| node.store.lock_blocking(slot))
            .collect();
        if !allowed() {
            return Ok(false);
        }
        let now = clock::now();
        self.session.usage = node.eviction.usage(now);
        let mut db = Db::new(&node, Locks::Many(guards), now, self.session.usage).replaying();
        let mut result = Ok(());
        for (scope, effects) in records {
            match scope {
                Scope::Slot(slot) => result = self.execute(*slot, effects, &mut db).1,
                Scope::Emptied(slot) => db.clear(|other| other == *slot),
                Scope::All => db.clear(|_| true),
                Scope::Other => {}
            }
            if result.is_err() {
                break;
            }
        }
        db.commit_records(records.iter().map(|(scope, record)| (*scope, &record[..])));
        node.store.memory().publish();
        result.map(|()| true)
    }

    /// Executes effects in a data set beside the node's, or in a state of the node's that has no place in its log.
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

    /// Executes commands of a primary of another kind as one step if they are `wanted`, which is asked under the locks of their slots; their
    /// effects go to this node's log. Blocks the thread while others hold slots.
    ///
    /// # Errors
    ///
    /// One of them cannot be executed here.
    pub fn follow(
        &mut self,
        group: &[OwnedArgs],
        wanted: impl FnOnce() -> bool,
    ) -> Result<Followed, ReplayError> {
        let node = Arc::clone(&self.node);
        let mut known = Vec::with_capacity(group.len());
        let mut slots = BTreeSet::new();
        for args in group {
            let args = args.as_args();
            let name = || String::from_utf8_lossy(&args[0]).into_owned();
            let unknown = |_| ReplayError::Failed(name(), "it is not known here".to_owned());
            let command = commands().resolve(args).map_err(unknown)?.command;
            let (Handler::Sync(handler), true) = (command.handler, command.flags.has(Flags::WRITE))
            else {
                return Err(ReplayError::Failed(name(), "it changes nothing".to_owned()));
            };
            if command.flags.has(Flags::ALL_SLOTS) {
                slots.extend(SlotId::all());
            }
            slots.extend(command.keys.of(args).map(SlotId::of));
            known.push((args, handler));
        }
        let guards = slots
            .into_iter()
            .map(|slot| node.store.lock_blocking(slot))
            .collect();
        if !wanted() {
            return Ok(Followed::Unwanted);
        }
        let now = clock::now();
        self.session.usage = node.eviction.usage(now);
        let mut db = Db::new(&node, Locks::Many(guards), now, self.session.usage).following();
        let mut result = Ok(Followed::Done);
        for (args, handler) in known {
            let (session, replies) = (&mut self.session, &mut self.replies);
            if let Err(error) = run_one(&node, session, replies, args, handler, &mut db) {
                result = Err(error);
                break;
            }
        }
        let tally = db.commit();
        node.persistence.count_replayed(tally.changes);
        if tally.unread > 0 {
            node.log.skip(tally.unread);
        }
        node.store.memory().publish();
        result
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
            let (session, replies) = (&mut self.session, &mut self.replies);
            run_one(&self.node, session, replies, args, handler, db)?;
            effects = &effects[length..];
            self.node.persistence.count_replayed(1);
        }
        Ok(())
    }
}

/// Executes one command; its reply is nobody's.
fn run_one(
    node: &Arc<Node>,
    session: &mut Session,
    replies: &mut Vec<u8>,
    args: Args<'_>,
    handler: SyncHandler,
    db: &mut Db<'_>,
) -> Result<(), ReplayError> {
    replies.clear();
    let mut context = Context {
        node,
        session,
        args,
        alone: false,
        reply: Reply::new(replies, Protocol::Resp2),
        db,
    };
    handler(&mut context).map_err(|failure| {
        let why = match failure {
            Failure::Error(text) => text.into_owned(),
            Failure::Wait(wait) => format!("it has to wait: {wait:?}"),
        };
        ReplayError::Failed(String::from_utf8_lossy(&args[0]).into_owned(), why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_of_another_kind_changes_data_and_nothing_else() {
        let node = crate::fuzzed::node();
        let mut replayer = Replayer::new(&node);
        for line in [
            "SHUTDOWN NOSAVE",
            "CONFIG SET appendonly yes",
            "REPLICAOF NO ONE",
            "GET a",
        ] {
            let args = OwnedArgs::new(line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
            let error = replayer.follow(&[args], || true).unwrap_err().to_string();
            assert!(error.contains("it changes nothing"), "{line}: {error}");
        }
        assert!(!node.shutdown.is_requested() && !node.config.get().appendonly);
        for line in ["SET a 1", "FLUSHALL"] {
            let args = OwnedArgs::new(line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
            assert_eq!(replayer.follow(&[args], || true), Ok(Followed::Done));
        }
    }
}
