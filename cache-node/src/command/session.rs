//! A connection's state, as far as commands know it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::long_reply::LongReply;
use crate::clients::Client;
use crate::clock::TurnClock;
use crate::node::Node;
use crate::replication::psync;
use crate::resp::{OwnedArgs, Protocol};
use crate::slot::SlotId;
use crate::stats::{Tally, WorkerStats};
use crate::store::{Touched, Usage};

/// What a connection has said so far.
pub struct Session {
    /// The connection, as others see it.
    pub client: Arc<Client>,
    /// Statistics of the thread that executes its commands.
    pub stats: Arc<WorkerStats>,
    /// The time of the command that is executed.
    pub clock: TurnClock,
    /// How the eviction policy marks keys in this turn.
    pub usage: Usage,
    /// RESP2 or RESP3.
    pub protocol: Protocol,
    /// Whether it has authenticated, or need not.
    pub authenticated: bool,
    /// It said `READONLY`.
    pub readonly: bool,
    /// It said `ASKING`, which holds for the next command.
    pub asking: bool,
    /// It said `MULTI`.
    pub transaction: Option<Transaction>,
    /// It said `WATCH`.
    pub watching: Option<Watching>,
    /// What `CLIENT REPLY` asked for.
    pub replies: Replies,
    /// Bytes of replies at which nothing more is appended, because the connection will be closed.
    pub output_limit: usize,
    /// It is to be closed when the replies are sent.
    pub closing: bool,
    /// What it has said of itself as a replica that speaks Redis's protocol.
    pub replica: Option<Box<psync::Hello>>,
    /// It is no client's connection any more: who gets it.
    pub takeover: Option<Takeover>,
    /// The rest of a reply that is too long for one turn.
    pub long_reply: Option<Box<LongReply>>,
    /// Brief commands whose time has not been taken yet.
    run: Run,
    /// Bytes by which the log's offset is to move at the end of the turn.
    unread: usize,
    /// Its commands have changed something since that was last asked.
    changed: bool,
    /// The log's offset behind what its commands have shown since that was last asked.
    shown: Option<u64>,
}

/// Calls of the same command one after the other. Looking at the clock after each would take longer than many a command.
#[derive(Default)]
struct Run {
    /// The command's place in the list of all commands.
    id: usize,
    calls: u64,
}

/// Commands gathered by `MULTI`.
#[derive(Debug, Default)]
pub struct Transaction {
    /// They wait for `EXEC`.
    pub queue: Vec<OwnedArgs>,
    /// Bytes that the queue holds.
    pub bytes: usize,
    /// A command was refused, so `EXEC` will be too.
    pub failed: bool,
}

/// Keys under `WATCH`.
#[derive(Debug, Default)]
pub struct Watching {
    /// Set when one of them changes.
    pub touched: Arc<Touched>,
    /// The keys, and whether they had expired already.
    pub keys: HashMap<Box<[u8]>, bool>,
    /// Bytes that the keys take.
    pub bytes: usize,
}

/// What takes a connection over: called with the socket and the bytes that were read beyond the command.
pub struct Takeover(pub(crate) Box<TakeOver>);

/// See [`Takeover`].
pub(crate) type TakeOver = dyn FnOnce(std::net::TcpStream, &[u8]) + Send + Sync;

/// What becomes of replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replies {
    /// They are sent.
    #[default]
    On,
    /// They are not sent (`CLIENT REPLY OFF`).
    Off,
    /// The reply to the next command is not sent (`CLIENT REPLY SKIP`).
    SkipNext,
    /// The reply to this command is not sent.
    Skip,
}

impl Session {
    /// A connection that has said nothing yet.
    pub fn new(
        client: Arc<Client>,
        stats: Arc<WorkerStats>,
        usage: Usage,
        authenticated: bool,
    ) -> Self {
        Self {
            client,
            stats,
            clock: TurnClock::start(),
            usage,
            protocol: Protocol::default(),
            authenticated,
            readonly: false,
            asking: false,
            transaction: None,
            watching: None,
            replies: Replies::On,
            output_limit: usize::MAX,
            closing: false,
            replica: None,
            takeover: None,
            long_reply: None,
            run: Run::default(),
            unread: 0,
            changed: false,
            shown: None,
        }
    }

    /// A brief command has run.
    #[inline]
    pub(super) fn go_on(&mut self, id: usize) {
        if self.run.id != id {
            self.end_run();
            self.run.id = id;
        }
        self.run.calls += 1;
    }

    /// Takes the time of the brief commands since the last look at the clock.
    #[inline]
    pub(super) fn end_run(&mut self) {
        let calls = std::mem::take(&mut self.run.calls);
        if calls > 0 {
            let took = self.clock.lap();
            self.stats.count_calls(self.run.id, calls, took);
        }
    }

    /// Counts what a command did.
    #[inline]
    pub(super) fn settle(&mut self, tally: Tally) {
        self.unread += tally.unread;
        self.changed |= tally.changes > 0;
        self.stats.count_lookups(tally);
    }

    /// Ends a turn. Answers by how many bytes the log's offset is to move for effects that nobody reads.
    pub fn end_turn(&mut self) -> usize {
        self.end_run();
        std::mem::take(&mut self.unread)
    }

    /// Whether its commands have changed something since this was last asked.
    #[inline]
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// A command shows what is in `slot`, which is locked.
    #[inline]
    pub(super) fn shows(&mut self, node: &Node, slot: SlotId) {
        if node.synchronous() > 0 {
            let offset = node.replication.durability.behind(node, slot);
            self.shown = self.shown.max(Some(offset));
        }
    }

    /// The offset behind what its commands have shown since this was last asked, where replies wait for replicas.
    #[inline]
    pub fn take_shown(&mut self) -> Option<u64> {
        self.shown.take()
    }

    /// Shows others how far the transaction is (`CLIENT LIST`).
    pub fn publish(&self) {
        let queued = self
            .transaction
            .as_ref()
            .map_or(usize::MAX, |transaction| transaction.queue.len());
        let watching = self
            .watching
            .as_ref()
            .map_or(0, |watching| watching.keys.len());
        let queued_bytes = self.transaction.as_ref().map_or(0, |queue| queue.bytes);
        let watched_bytes = self.watching.as_ref().map_or(0, |keys| keys.bytes);
        self.client
            .queued_bytes
            .store(queued_bytes + watched_bytes, Relaxed);
        self.client.queued.store(queued, Relaxed);
        self.client.watching.store(watching, Relaxed);
    }

    /// Puts everything back that `RESET` puts back.
    pub fn reset(&mut self, authenticated: bool) {
        self.protocol = Protocol::default();
        self.authenticated = authenticated;
        self.readonly = false;
        self.asking = false;
        self.transaction = None;
        self.watching = None;
        self.replies = Replies::On;
    }
}
