//! One replica that speaks Redis's protocol: the task that sends it the data set and the log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, timeout};

use super::snapshot;
use super::spool::{Spool, Taken};
use crate::log::{Cursor, Overrun, Scope};
use crate::node::Node;
use crate::replication::replicas::{Connected, Order};
use crate::resp::{Args, Limits, Parsed, Parser, parse_integer};
use crate::topology::NodeId;

/// Bytes of the log that are sent at once.
const PIECE: usize = 256 << 10;

/// Something is sent at least so often while the replica waits for the data set.
const KEEPALIVE: Duration = Duration::from_secs(1);

/// What a replica has said of itself before `PSYNC`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The port on which it serves clients.
    pub port: u16,
    /// The address under which others reach it, if it has said so.
    pub ip: Option<String>,
    /// Whether it reads a data set whose length is not known before.
    pub eof: bool,
    /// Whether it understands that a history gets another name.
    pub psync2: bool,
    /// The history and the offset behind which it wants to go on, if it has data.
    pub place: Option<(NodeId, u64)>,
}

/// Why a replica is let go.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("connection closed by the replica")]
    Closed,
    #[error("the replica is silent")]
    Silent,
    #[error(transparent)]
    Overrun(#[from] Overrun),
    #[error("the data set was not sent whole: {0}")]
    Snapshot(String),
    #[error("the replica sent what is no command: {0}")]
    Protocol(String),
    #[error("my data have another history now")]
    History,
}

struct Serving {
    node: Arc<Node>,
    connected: Connected,
    write: OwnedWriteHalf,
    read: OwnedReadHalf,
    input: BytesMut,
    parser: Parser,
    heard: Instant,
}

/// Serves a replica until its connection ends.
pub async fn serve(node: Arc<Node>, hello: Hello, stream: TcpStream, already_read: Vec<u8>) {
    let peer = stream.peer_addr();
    let ip = hello
        .ip
        .clone()
        .unwrap_or_else(|| peer.map_or_else(|_| String::new(), |peer| peer.ip().to_string()));
    let replica = format!("{ip}:{}", hello.port);
    let replicas = &node.replication.replicas;
    let connected = replicas.add_foreign(ip, hello.port);
    let (read, write) = stream.into_split();
    let mut serving = Serving {
        node: node.clone(),
        connected,
        write,
        read,
        input: BytesMut::from(already_read.as_slice()),
        parser: Parser::default(),
        heard: Instant::now(),
    };
    let ended = serving.run(&hello, &replica).await;
    if let Err(error) = ended {
        if matches!(error, Ended::Overrun(_)) {
            node.replication.metrics.overruns.inc();
        }
        tracing::warn!(replica, "replica disconnected: {error}");
    }
}

impl Serving {
    async fn run(&mut self, hello: &Hello, replica: &str) -> Result<(), Ended> {
        let mut histories = self.node.replication.history.subscribe();
        let history = histories.borrow_and_update().clone();
        let missing = hello
            .place
            .filter(|(id, offset)| history.passes(*id, *offset))
            .and_then(|(_, offset)| self.node.log.cursor_at(offset));
        let metrics = &self.node.replication.metrics;
        let cursor = if let Some(cursor) = missing {
            metrics.served_partial.inc();
            tracing::info!(
                replica,
                offset = cursor.offset(),
                "a replica goes on where it was"
            );
            let line = if hello.psync2 {
                format!("+CONTINUE {}\r\n", history.id)
            } else {
                "+CONTINUE\r\n".to_owned()
            };
            self.write.write_all(line.as_bytes()).await?;
            self.connected.set_online();
            cursor
        } else {
            metrics.served_full.inc();
            tracing::info!(replica, "full sync begins, in Redis's protocol");
            self.send_all(hello, &history.id).await?
        };
        let mut cursor = cursor.named(format!("replica {replica}"));
        loop {
            let deadline = self.deadline();
            tokio::select! {
                () = cursor.ready() => self.send_log(&mut cursor).await?,
                read = self.read.read_buf(&mut self.input) => self.heard(read?)?,
                Some(order) = self.connected.inbox.recv() => self.obey(order),
                _ = histories.changed() => return Err(Ended::History),
                () = tokio::time::sleep_until(deadline) => return Err(Ended::Silent),
            }
        }
    }

    fn deadline(&self) -> Instant {
        self.heard + Duration::from_secs(self.node.config.get().repl_timeout)
    }

    /// Sends the data set; answers where the log goes on.
    async fn send_all(&mut self, hello: &Hello, history: &NodeId) -> Result<Cursor, Ended> {
        let spool = Arc::new(Spool::new(&self.node.config.get().dir));
        let _abandoned = Abandon(Arc::clone(&spool));
        let mut begins = snapshot::begin(self.node.clone(), Arc::clone(&spool))?;
        let cursor = loop {
            match timeout(KEEPALIVE, &mut begins).await {
                Ok(Ok(cursor)) => break cursor,
                Ok(Err(_)) => return Err(Ended::Snapshot("its thread has ended".to_owned())),
                Err(_) => self.write.write_all(b"\n").await?,
            }
        };
        let line = format!("+FULLRESYNC {history} {}\r\n", cursor.offset());
        self.write.write_all(line.as_bytes()).await?;
        let mark = NodeId::random().to_string();
        if hello.eof {
            let line = format!("$EOF:{mark}\r\n");
            self.write.write_all(line.as_bytes()).await?;
        } else {
            let length = loop {
                match timeout(KEEPALIVE, spool.whole()).await {
                    Ok(length) => break length.map_err(Ended::Snapshot)?,
                    Err(_) => self.write.write_all(b"\n").await?,
                }
            };
            let line = format!("${length}\r\n");
            self.write.write_all(line.as_bytes()).await?;
        }
        loop {
            match spool.take().await {
                Taken::Bytes(bytes) => self.write.write_all(&bytes).await?,
                Taken::End(ended) => break ended.map_err(Ended::Snapshot)?,
            }
        }
        self.heard = Instant::now();
        if hello.eof {
            self.write.write_all(mark.as_bytes()).await?;
            // The mark is known by being the last that came, so nothing follows before the replica says that it has it all.
            while !self.connected.replica.is_online() {
                let deadline = self.deadline();
                tokio::select! {
                    read = self.read.read_buf(&mut self.input) => self.heard(read?)?,
                    () = tokio::time::sleep_until(deadline) => return Err(Ended::Silent),
                }
            }
        }
        Ok(cursor)
    }

    async fn send_log(&mut self, cursor: &mut Cursor) -> Result<(), Ended> {
        let batch = cursor.try_next(PIECE)?;
        // A replica that takes nothing for so long is as good as gone.
        let patience = Duration::from_secs(self.node.config.get().repl_timeout);
        timeout(patience, self.write.write_all(&batch.bytes))
            .await
            .map_err(|_| Ended::Silent)??;
        Ok(())
    }

    /// The replica has said something: acknowledgements, mostly.
    fn heard(&mut self, read: usize) -> Result<(), Ended> {
        if read == 0 {
            return Err(Ended::Closed);
        }
        self.heard = Instant::now();
        let limits = Limits::default();
        loop {
            match self.parser.parse(&self.input, &limits) {
                Ok(Parsed::Command { length }) => {
                    let args = self.parser.args(&self.input);
                    let name = |index: usize, name: &[u8]| {
                        args.get(index)
                            .is_some_and(|arg| arg.eq_ignore_ascii_case(name))
                    };
                    if name(0, b"REPLCONF") && name(1, b"ACK") {
                        let offset = args.get(2).and_then(parse_integer);
                        if let Some(offset) = offset.and_then(|offset| u64::try_from(offset).ok()) {
                            self.connected.set_online();
                            self.connected.acknowledge(offset);
                            if let Some(synced) = synced_of(&args) {
                                self.connected.acknowledge_synced(synced);
                            }
                        }
                    }
                    self.input.advance(length);
                }
                Ok(Parsed::Nothing { length }) => self.input.advance(length),
                Ok(Parsed::Incomplete { .. }) => return Ok(()),
                Err(error) => return Err(Ended::Protocol(error.to_string())),
            }
        }
    }

    fn obey(&self, order: Order) {
        match order {
            Order::AskAck => ask_acks(&self.node),
            // It does not understand that.
            Order::Offer(_) => {}
        }
    }
}

/// What a `REPLCONF ACK offset FACK offset` says to be on the replica's disk.
fn synced_of(args: &Args<'_>) -> Option<u64> {
    let named = args.get(3)?.eq_ignore_ascii_case(b"FACK");
    let offset = args.get(4).filter(|_| named).and_then(parse_integer)?;
    u64::try_from(offset).ok()
}

/// Has all replicas of this kind acknowledge what they have, if this node may write to the log.
fn ask_acks(node: &Node) {
    if !node.is_replica() {
        let ask: &[u8] = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";
        node.log.append(Scope::Other, ask);
    }
}

/// Tells replicas of this kind that the primary is there. To be called every second.
pub fn ping(node: &Node) {
    /// Seconds between pings, as in Redis (`repl-ping-replica-period`).
    const PERIOD: u64 = 10;
    let replication = &node.replication;
    let due = replication
        .seconds
        .fetch_add(1, Relaxed)
        .is_multiple_of(PERIOD);
    let closing = node.shutdown.is_closing();
    if due && !closing && !node.is_replica() && replication.replicas.has_foreign() {
        node.log.append(Scope::Other, b"*1\r\n$4\r\nPING\r\n");
    }
}

/// Lets the thread of a data set end when nobody takes it any more.
struct Abandon(Arc<Spool>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
