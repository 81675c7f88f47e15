//! A connection's loop: read, execute every whole command, write the replies at once.
//!
//! Bytes are read into a buffer of the thread and commands are executed where they lie; only an unfinished command is kept. So an idle
//! connection holds no buffer. Work in a turn is bounded, so that a deep pipeline cannot starve the others. Memory is taken for what
//! has arrived, never for what was announced, and what a connection holds is counted at the end of each turn.

use std::cell::Cell;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Instant;

use socket2::SockRef;
use tokio::net::TcpStream;

use super::batch::Batch;
use super::scratch::{BEGINNING, READ, SCRATCH, read_available};
use super::stall;
use super::worker::Share;
use crate::clock::{self, TurnClock};
use crate::command::{Known, Outcome, Session, Wait, execute, execute_prepared, run_waiting};
use crate::node::Node;
use crate::replication::durability::Copies;
use crate::resp::{Limits, OwnedArgs, Parsed, Parser};

/// Most commands of a turn.
const TURN_COMMANDS: usize = 256;

/// The replies to so many commands wait for the other connections that have something to read, and are sent after those were served: one
/// after the other, which wakes up a client with many connections once.
const DEEP: usize = 32;

/// A turn ends when its replies are this long.
const TURN_OUTPUT: usize = 1024 * 1024;

thread_local! {
    static BATCH: Cell<Option<Box<Batch>>> = const { Cell::new(None) };
}

/// Why a turn ended.
enum Turn {
    /// All whole commands are executed.
    Drained,
    /// There may be more.
    Exhausted,
    /// A command has to wait for something, and is tried again.
    Wait(Wait),
    /// A command waits in its own way.
    Deferred(Known, OwnedArgs),
    /// A reply is too long for a turn: the rest of it comes next.
    Long,
    /// The connection is to be closed.
    Close,
}

struct Connection {
    node: Arc<Node>,
    stream: Arc<TcpStream>,
    session: Session,
    parser: Parser,
    limits: Limits,
    /// Bytes that are not executed yet, beginning where a command begins.
    pending: Vec<u8>,
    /// Replies that are not sent yet.
    output: Vec<u8>,
    /// Whether they wait for other connections.
    lingering: bool,
    /// What they wait for.
    held: Option<Held>,
}

/// What replies wait for before they are sent.
#[derive(Clone, Copy)]
struct Held {
    /// The log's offset that is to be on the disk (`appendfsync always`).
    disk: Option<u64>,
    /// What replicas are to have (`synchronous-replicas`).
    copies: Option<Copies>,
}

impl Held {
    /// Resolves when everything is where it is to be (true), or never will be.
    async fn over(self, node: &Node) -> bool {
        if let Some(offset) = self.disk {
            let aof = &node.persistence.aof;
            while !aof.is_synced(offset) {
                aof.synced(offset).await;
            }
        }
        match self.copies {
            Some(copies) => node.replication.durability.reached(node, copies).await,
            None => true,
        }
    }
}

/// Serves a connection until it ends.
pub(super) async fn serve(share: Arc<Share>, stream: TcpStream) {
    let stream = Arc::new(stream);
    let node = Arc::clone(&share.node);
    let client = node.clients.add(&stream);
    let id = client.id;
    let _registered = Registered {
        share: Arc::clone(&share),
        id,
    };
    let authenticated = node.config.get().requirepass.is_empty();
    let mut connection = Connection {
        session: Session::new(
            client,
            Arc::clone(&share.stats),
            node.eviction.usage(clock::now()),
            authenticated,
        ),
        parser: Parser::default(),
        limits: Limits::default(),
        pending: Vec::new(),
        output: Vec::new(),
        lingering: false,
        held: None,
        node,
        stream,
    };
    if let Err(error) = stall::watch_turns(&share.stats, pin!(connection.run())).await {
        tracing::debug!(client = id, %error, "connection failed");
    }
}

/// A connection that is counted, until this goes: also when a command has panicked.
struct Registered {
    share: Arc<Share>,
    id: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.share.node.clients.remove(self.id);
        self.share.stats.connections.fetch_sub(1, Relaxed);
    }
}

/// Lets all tasks run that are ready now.
async fn go_last() {
    let mut gone = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut gone, true) {
            return Poll::Ready(());
        }
        // Woken at once, behind those who wait already. The runtime's own way of yielding would look for new events first.
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Connection {
    async fn run(&mut self) -> io::Result<()> {
        loop {
            self.stream.readable().await?;
            let mut turn = match self.read_and_execute() {
                Ok(Some(turn)) => turn,
                // The other side has closed.
                Ok(None) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            loop {
                if let Some(held) = self.held
                    && !Box::pin(self.hold(held)).await
                {
                    return Ok(());
                }
                if self.lingering {
                    go_last().await;
                    self.stop_lingering();
                }
                self.flush().await?;
                match turn {
                    Turn::Drained => break,
                    Turn::Close => return self.give_away(),
                    Turn::Exhausted => tokio::task::yield_now().await,
                    Turn::Long => Box::pin(self.answer_rest()).await?,
                    // Boxed: what is rare takes no room in every connection's task.
                    Turn::Wait(wait) => Box::pin(self.wait(wait)).await,
                    Turn::Deferred(known, args) => {
                        Box::pin(self.run_deferred(known, &args)).await;
                    }
                }
                if self.session.client.is_killed() {
                    return Ok(());
                }
                if self.session.takeover.is_some() {
                    turn = Turn::Close;
                    continue;
                }
                turn = self.execute_pending();
            }
        }
    }

    /// Sends the rest of a long reply piece by piece, as the other side takes it, and lets others have their turns in between.
    async fn answer_rest(&mut self) -> io::Result<()> {
        while let Some(mut rest) = self.session.long_reply.take() {
            stall::works_since(Instant::now());
            SCRATCH.with_borrow_mut(|scratch| {
                scratch.lend(&mut self.output);
                if !rest.go_on(&mut self.output) {
                    self.session.long_reply = Some(rest);
                }
                self.send();
                scratch.take_back(&mut self.output);
            });
            self.show_buffers();
            self.flush().await?;
            if self.session.client.is_killed() {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// The end of the loop: the socket is closed, unless somebody takes it over.
    fn give_away(&mut self) -> io::Result<()> {
        if let Some(takeover) = self.session.takeover.take() {
            // The socket is known by several names in this process; this one stays when the others are closed.
            let socket = SockRef::from(self.stream.as_ref()).try_clone()?;
            (takeover.0)(socket.into(), &self.pending);
        }
        Ok(())
    }

    /// Reads once and executes what came. `None`: the other side has closed.
    fn read_and_execute(&mut self) -> io::Result<Option<Turn>> {
        let begun = self.pending.len();
        if begun > BEGINNING {
            return self.read_more();
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let read = read_available(&self.stream, &mut scratch.input[begun..begun + READ])?;
            if read == 0 {
                return Ok(None);
            }
            self.heard(read);
            scratch.lend(&mut self.output);
            scratch.input[..begun].copy_from_slice(&self.pending);
            let data = &scratch.input[..begun + read];
            let (used, turn) = self.execute(data);
            self.keep(&data[used..]);
            let turn = self.settle(turn);
            scratch.take_back(&mut self.output);
            Ok(Some(turn))
        })
    }

    /// Keeps the beginning of a command until the rest arrives.
    fn keep(&mut self, beginning: &[u8]) {
        if beginning.is_empty() {
            self.pending = Vec::new();
        } else {
            self.pending.clear();
            self.pending.extend_from_slice(beginning);
        }
    }

    /// What comes after executing: sends what can be sent, and counts what is left.
    fn settle(&mut self, turn: Turn) -> Turn {
        let limit = self.session.output_limit;
        if self.output.len() > limit {
            tracing::warn!(
                client = self.session.client.id,
                limit,
                "closing a client whose replies exceed client-output-buffer-limit or maxmemory-clients"
            );
            self.node.clients.closed.output.fetch_add(1, Relaxed);
            self.output = Vec::new();
            return Turn::Close;
        }
        if !self.lingering && self.held.is_none() {
            self.send();
        }
        self.show_buffers();
        turn
    }

    /// Sends what others were waited for with.
    fn stop_lingering(&mut self) {
        self.lingering = false;
        stall::works_since(Instant::now());
        self.send();
        SCRATCH.with_borrow_mut(|scratch| scratch.take_back(&mut self.output));
        self.show_buffers();
    }

    /// Reads more of a long unfinished command, straight behind its beginning. Memory is taken as bytes arrive, whatever length the command has announced.
    fn read_more(&mut self) -> io::Result<Option<Turn>> {
        let limit = self.node.config.get().client_query_buffer_limit;
        if self.pending.len() >= limit {
            tracing::warn!(
                client = self.session.client.id,
                "closing a client whose command exceeds client-query-buffer-limit"
            );
            self.node.clients.closed.query.fetch_add(1, Relaxed);
            return Ok(None);
        }
        self.make_room();
        let read = self.stream.try_read_buf(&mut self.pending)?;
        if read == 0 {
            return Ok(None);
        }
        self.heard(read);
        Ok(Some(self.execute_pending()))
    }

    /// Makes room behind a long beginning: for all the rest, but never for more than half of what has arrived so far.
    fn make_room(&mut self) {
        let arrived = self.pending.len();
        if self.pending.capacity() == arrived {
            let more = match self.parser.missing(arrived) {
                0 => READ.max(arrived / 2),
                missing => missing.min(READ.max(arrived / 2)),
            };
            self.pending.reserve_exact(more);
        }
    }

    fn execute_pending(&mut self) -> Turn {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.lend(&mut self.output);
            let pending = std::mem::take(&mut self.pending);
            let (used, turn) = self.execute(&pending);
            self.pending = pending;
            self.pending.drain(..used);
            if self.pending.len() < self.pending.capacity() / 4 {
                self.pending.shrink_to_fit();
            }
            let turn = self.settle(turn);
            scratch.take_back(&mut self.output);
            turn
        })
    }

    /// Executes the commands in `data`; answers how many bytes are done with.
    fn execute(&mut self, data: &[u8]) -> (usize, Turn) {
        self.session.clock = TurnClock::start();
        stall::works_since(self.session.clock.began());
        let now = self.session.clock.now();
        self.session.client.last_heard.store(now, Relaxed);
        self.session.usage = self.node.eviction.usage(now);
        self.limits.unauthenticated = !self.session.authenticated;
        let mut batch = BATCH.take().unwrap_or_default();
        let mut used = 0;
        let mut commands = 0;
        let turn = loop {
            if !self.parser.is_midway() {
                batch.gather(&self.node.store, data, used, &self.limits);
                if batch.len() > 0 {
                    match self.execute_batch(&mut batch, data, &mut used) {
                        Some(turn) => break turn,
                        None if self.output.len() >= TURN_OUTPUT => break Turn::Exhausted,
                        None => {}
                    }
                    commands += batch.len();
                    if commands >= TURN_COMMANDS {
                        break Turn::Exhausted;
                    }
                    continue;
                }
            }
            let rest = &data[used..];
            match self.parser.parse(rest, &self.limits) {
                Ok(Parsed::Incomplete { .. }) => break Turn::Drained,
                Ok(Parsed::Nothing { length }) => used += length,
                Ok(Parsed::Command { length }) => {
                    let args = self.parser.args(rest);
                    match execute(&self.node, &mut self.session, args, &mut self.output) {
                        Outcome::Done => used += length,
                        Outcome::Wait(wait) => break Turn::Wait(wait),
                        Outcome::Deferred(known) => {
                            used += length;
                            break Turn::Deferred(known, args.to_owned());
                        }
                        Outcome::Long => {
                            used += length;
                            break Turn::Long;
                        }
                    }
                    if self.session.closing || self.session.takeover.is_some() {
                        break Turn::Close;
                    }
                    self.limits.unauthenticated = !self.session.authenticated;
                    commands += 1;
                    if commands == TURN_COMMANDS || self.output.len() >= TURN_OUTPUT {
                        break Turn::Exhausted;
                    }
                }
                Err(error) => {
                    let text = format!("-ERR Protocol error: {error}\r\n");
                    self.output.extend_from_slice(text.as_bytes());
                    break Turn::Close;
                }
            }
        };
        self.hold_back();
        self.lingering = commands >= DEEP && !self.output.is_empty() && self.held.is_none();
        self.parser.shrink();
        batch.shrink();
        BATCH.set(Some(batch));
        let unread = self.session.end_turn();
        if unread > 0 {
            self.node.log.skip(unread);
        }
        self.node.store.memory().publish();
        (used, turn)
    }

    /// Executes the commands of a batch; `None` when all are done with.
    #[inline]
    fn execute_batch(&mut self, batch: &mut Batch, data: &[u8], used: &mut usize) -> Option<Turn> {
        for index in 0..batch.len() {
            let (prepared, keys, args, end) = batch.get(data, index);
            let out = &mut self.output;
            match execute_prepared(&self.node, &mut self.session, &prepared, keys, args, out) {
                Outcome::Done => *used = end,
                Outcome::Wait(wait) => return Some(Turn::Wait(wait)),
                Outcome::Deferred(known) => {
                    *used = end;
                    return Some(Turn::Deferred(known, args.to_owned()));
                }
                Outcome::Long => {
                    *used = end;
                    return Some(Turn::Long);
                }
            }
            if self.session.closing || self.session.takeover.is_some() {
                return Some(Turn::Close);
            }
            if self.limits.unauthenticated == self.session.authenticated {
                // What the connection may send has changed, and so has what may be in the batch.
                self.limits.unauthenticated = !self.session.authenticated;
                return None;
            }
            if self.output.len() >= TURN_OUTPUT {
                return Some(Turn::Exhausted);
            }
        }
        None
    }

    fn heard(&mut self, bytes: usize) {
        self.limits.bulk = self.node.clients.argument_limit();
        self.session.output_limit = self.node.clients.output_limit();
        self.session.stats.bytes_in.add(bytes as u64);
    }

    /// Shows others how much is kept for this connection, which may be too much.
    fn show_buffers(&self) {
        let client = &self.session.client;
        let query = self.pending.capacity() + self.parser.size();
        client.query_buffer.store(query, Relaxed);
        client.output_buffer.store(self.output.len(), Relaxed);
        self.node.clients.account(client);
    }

    /// Sends what can be sent at once. An error shows again in [`Connection::flush`], or when reading.
    fn send(&mut self) {
        if self.output.is_empty() {
            return;
        }
        if let Ok(sent) = self.stream.try_write(&self.output) {
            self.session.stats.bytes_out.add(sent as u64);
            if sent == self.output.len() {
                self.output.clear();
            } else {
                self.output.drain(..sent);
            }
        }
    }

    /// Sends the rest. While the other side does not take it, nothing more is read or executed.
    async fn flush(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        let mut sent = 0;
        while sent < self.output.len() {
            self.stream.writable().await?;
            match self.stream.try_write(&self.output[sent..]) {
                Ok(more) => {
                    sent += more;
                    self.session.stats.bytes_out.add(more as u64);
                    let client = &self.session.client;
                    let unsent = self.output.len() - sent;
                    client.output_buffer.store(unsent, Relaxed);
                    client.last_heard.store(clock::now(), Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.output = Vec::new();
        self.show_buffers();
        Ok(())
    }

    async fn wait(&self, wait: Wait) {
        let client = &self.session.client;
        client.blocked.store(true, Relaxed);
        tokio::select! {
            () = wait.over(&self.node) => {}
            () = client.interrupt.notified() => {}
        }
        client.blocked.store(false, Relaxed);
    }

    /// Holds the replies back if what they tell is to be on the disk or at replicas before the client hears of it.
    #[inline]
    fn hold_back(&mut self) {
        let changed = self.session.take_changed();
        let shown = self.session.take_shown();
        // Of a long reply, too, the beginning is there.
        if self.output.is_empty() {
            return;
        }
        let node = &self.node;
        // Whatever this connection has written lies before the log's end.
        let disk = (changed && node.persistence.aof.holds()).then(|| node.log.end());
        let shown = match changed && node.synchronous() > 0 {
            true => Some(node.log.end()),
            false => shown,
        };
        let copies = shown.and_then(|offset| node.replication.durability.copies(node, offset));
        if disk.is_some() || copies.is_some() {
            let before = self.held.take();
            self.held = Some(Held {
                disk: disk.or(before.and_then(|held| held.disk)),
                copies: copies.or(before.and_then(|held| held.copies)),
            });
        }
    }

    /// Waits until what the replies tell is where it is to be, and sends them. False when that will never be: then nobody knows what became
    /// of the commands, as if the connection had been lost.
    async fn hold(&mut self, held: Held) -> bool {
        let client = Arc::clone(&self.session.client);
        let node = Arc::clone(&self.node);
        client.blocked.store(true, Relaxed);
        let told = loop {
            tokio::select! {
                told = held.over(&node) => break told,
                () = client.interrupt.notified() => {
                    if client.is_killed() {
                        break false;
                    }
                }
            }
        };
        client.blocked.store(false, Relaxed);
        if !told {
            return false;
        }
        self.held = None;
        self.send();
        SCRATCH.with_borrow_mut(|scratch| scratch.take_back(&mut self.output));
        self.show_buffers();
        true
    }

    async fn run_deferred(&mut self, known: Known, args: &OwnedArgs) {
        let client = Arc::clone(&self.session.client);
        client.blocked.store(true, Relaxed);
        run_waiting(&self.node, &mut self.session, known, args, &mut self.output).await;
        client.blocked.store(false, Relaxed);
        self.hold_back();
    }
}
