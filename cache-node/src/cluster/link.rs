//! Outgoing connections of the bus: one a peer, made again when it breaks. What cannot be sent is dropped; the bus repeats what matters.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::wire;
use crate::bus::{Encoder, Message};
use crate::topology::{Address, NodeId};

/// Messages that wait for a slow connection.
const QUEUE: usize = 1024;
/// Messages are gathered up to this many bytes before they are written.
const GATHER_BYTES: usize = 256 << 10;
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_000);
/// A write that takes longer than this means that the peer does not read.
const WRITE_TIMEOUT: Duration = Duration::from_millis(2_000);
/// A connection that is refused within this time after one that was closed in order is refused for the same reason.
const SOON: Duration = Duration::from_secs(1);
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A link that had nothing to send for this long ends.
const IDLE: Duration = Duration::from_secs(30);

/// What a link has found out about the node at its other end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Loss {
    /// The connection was lost, or none could be made.
    Broken(NodeId),
    /// The process has ended: its system has closed the connection in order and refused the next one at this moment. A firewall
    /// cannot make a living process look like that, since it may refuse or reset connections, but not close one; a proxy that dies could.
    Gone { node: NodeId, at: Instant },
}

/// A link's sending end. The link ends when this is dropped.
pub(super) struct Link {
    pub(super) address: Address,
    pub(super) created: std::time::SystemTime,
    queue: mpsc::Sender<Message>,
}

impl Link {
    /// Starts a link to `node`, when it is known who is there. Refused and reset connections are told to `lost`.
    pub(super) fn start(
        node: Option<NodeId>,
        address: Address,
        lost: mpsc::UnboundedSender<Loss>,
    ) -> Self {
        let (queue, messages) = mpsc::channel(QUEUE);
        let worker = Worker {
            node,
            address: address.clone(),
            by_name: false,
            messages,
            lost,
            closed: None,
        };
        tokio::spawn(worker.run());
        Self {
            address,
            created: std::time::SystemTime::now(),
            queue,
        }
    }

    /// Queues a message, or drops it when the queue is full.
    pub(super) fn send(&self, message: Message) {
        // A full queue means a peer that does not read; the bus notices its silence.
        let _ = self.queue.try_send(message);
    }

    /// Whether the link has ended by itself.
    pub(super) fn is_over(&self) -> bool {
        self.queue.is_closed()
    }

    /// Number of messages that wait.
    pub(super) fn waiting(&self) -> usize {
        QUEUE - self.queue.capacity()
    }
}

struct Worker {
    node: Option<NodeId>,
    address: Address,
    /// Try the host name next: the address may be out of date.
    by_name: bool,
    messages: mpsc::Receiver<Message>,
    lost: mpsc::UnboundedSender<Loss>,
    /// When a connection was closed by the other side in order.
    closed: Option<Instant>,
}

/// How a connection ends.
enum End {
    /// The other side has closed it.
    Closed,
    /// Otherwise.
    Broken,
    /// The link is not wanted any more.
    Unwanted,
}

impl Worker {
    async fn run(mut self) {
        let mut pause = SHORTEST_PAUSE;
        // The first message is sent over the first connection; later ones are dropped while there is none.
        let Some(mut first) = self.messages.recv().await.map(Some) else {
            return;
        };
        loop {
            match self.connect().await {
                Ok(stream) => {
                    pause = SHORTEST_PAUSE;
                    match self.serve(stream, first.take()).await {
                        End::Unwanted => return,
                        End::Broken => self.tell(Loss::Broken),
                        End::Closed => {
                            self.tell(Loss::Broken);
                            let closed = self.closed.replace(Instant::now());
                            // At once: whether somebody listens still says whether the process lives.
                            if closed.is_none_or(|at| at.elapsed() > SOON) {
                                continue;
                            }
                        }
                    }
                }
                Err(error) => {
                    let refused = error.kind() == io::ErrorKind::ConnectionRefused;
                    let closed = self.closed.filter(|at| at.elapsed() < SOON);
                    if refused && closed.is_some() && !self.by_name {
                        let at = Instant::now();
                        self.tell(|node| Loss::Gone { node, at });
                        self.closed = None;
                    }
                    self.by_name = !self.by_name && !self.address.hostname.is_empty();
                    self.tell(Loss::Broken);
                }
            }
            if !self.rest(pause).await {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn tell(&self, loss: impl FnOnce(NodeId) -> Loss) {
        if let Some(node) = self.node {
            // The driver may be gone; then nobody needs to know.
            let _ = self.lost.send(loss(node));
        }
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let port = self.address.bus_port;
        let attempt = async {
            if self.by_name {
                TcpStream::connect((self.address.hostname.as_str(), port)).await
            } else {
                let ip = self.address.ip.parse().map_err(std::io::Error::other)?;
                TcpStream::connect(SocketAddr::new(ip, port)).await
            }
        };
        let stream = timeout(CONNECT_TIMEOUT, attempt)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Writes messages until the connection ends.
    async fn serve(&mut self, mut stream: TcpStream, first: Option<Message>) -> End {
        let (mut reader, mut writer) = stream.split();
        let (mut bytes, mut encoder) = (Vec::new(), Encoder::default());
        if let Some(message) = first {
            wire::append(&mut bytes, &mut encoder, &message);
        }
        let mut nothing = [0; 64];
        loop {
            while bytes.len() < GATHER_BYTES
                && let Ok(message) = self.messages.try_recv()
            {
                wire::append(&mut bytes, &mut encoder, &message);
            }
            if !bytes.is_empty() {
                match timeout(WRITE_TIMEOUT, writer.write_all(&bytes)).await {
                    Ok(Ok(())) => bytes.clear(),
                    _ => return End::Broken,
                }
            }
            tokio::select! {
                message = self.messages.recv() => match message {
                    Some(message) => wire::append(&mut bytes, &mut encoder, &message),
                    None => return End::Unwanted,
                },
                // The peer never writes here: this only ever ends.
                read = reader.read(&mut nothing) => match read {
                    Ok(0) => return End::Closed,
                    Ok(_) => {}
                    Err(_) => return End::Broken,
                },
                () = tokio::time::sleep(IDLE) => {
                    self.messages.close();
                    return End::Unwanted;
                }
            }
            if bytes.capacity() > 2 * GATHER_BYTES {
                bytes.shrink_to(GATHER_BYTES);
            }
        }
    }

    /// Drops messages for a while. False when the link is not wanted any more.
    async fn rest(&mut self, pause: Duration) -> bool {
        let end = tokio::time::Instant::now() + pause;
        loop {
            match tokio::time::timeout_at(end, self.messages.recv()).await {
                Err(_) => return true,
                Ok(Some(_)) => {}
                Ok(None) => return false,
            }
        }
    }
}
