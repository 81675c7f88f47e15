//! Outgoing connections of the bus: one a peer, made again when it breaks. What cannot be sent is dropped; the bus repeats what matters.
//!
//! Only the loss of a connection that the other side had let in says something about a node. One that is refused, or ends before that, is with a
//! stranger, or with a living node that has another secret, another version or too many guests: nothing is told of it, and the
//! node is suspected when nothing has been heard of it for the node timeout, as if it were silent. That nobody listens at all is told as ever.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::handshake;
use super::hello::Refusal;
use super::refusals::Refusals;
use super::seal::Sealer;
use super::secret::Secret;
use super::wire;
use crate::bus::{Encoder, Message};
use crate::topology::{Address, NodeId};

/// What the accepting side writes, once, when the first message is for it.
pub(super) const WELCOME: u8 = 1;
/// Messages that wait for a slow connection.
const QUEUE: usize = 1024;
/// Messages are gathered up to this many bytes before they are written.
const GATHER_BYTES: usize = 256 << 10;
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_000);
/// A write that takes longer than this means that the peer does not read.
const WRITE_TIMEOUT: Duration = Duration::from_millis(2_000);
/// A connection that is refused within this time after one that was closed in order is refused for the same reason.
const SOON: Duration = Duration::from_secs(1);
/// So many connections that end without a welcome mean that another node may have the address by now: it closes what is not meant for it.
const MOST_UNWELCOME: u32 = 2;
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A link that had nothing to send for this long ends.
const IDLE: Duration = Duration::from_secs(30);

/// What a link has found out about the node at its other end.
#[derive(Clone, Debug)]
pub(super) enum Loss {
    /// A connection that the node had let in was lost, or nobody could be reached.
    Broken(NodeId),
    /// The process has ended: its system has closed a connection that it had let in, or had made, in order at this moment, and refused the next one. A firewall
    /// cannot make a living process look like that, since it may refuse or reset connections, but not close one; a proxy that dies could.
    Gone { node: NodeId, at: Instant },
    /// Whoever is at this address and this node do not talk, and will not before somebody changes something.
    Refused { address: Address, reason: String },
}

/// What all links have in common.
#[derive(Clone)]
pub(super) struct Dialing {
    /// Where losses are told.
    pub(super) lost: mpsc::UnboundedSender<Loss>,
    /// What the other sides must know.
    pub(super) secret: Option<Secret>,
    /// Where refusals are noted.
    pub(super) refusals: Arc<Refusals>,
}

/// Whether nobody listens at the address of a node that has just closed a connection in order: then its process has ended ([`Loss::Gone`]).
pub(super) async fn refuses(address: &Address) -> bool {
    let Ok(ip) = address.ip.parse() else {
        return false;
    };
    let connecting = TcpStream::connect(SocketAddr::new(ip, address.bus_port));
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    timeout(SOON, connecting)
        .await
        .is_ok_and(|connected| connected.is_err_and(refused))
}

/// A link's sending end. The link ends when this is dropped.
pub(super) struct Link {
    pub(super) address: Address,
    pub(super) created: std::time::SystemTime,
    queue: mpsc::Sender<Message>,
}

impl Link {
    /// Starts a link to `node`, when it is known who is there.
    pub(super) fn start(node: Option<NodeId>, address: Address, dialing: Dialing) -> Self {
        let (queue, messages) = mpsc::channel(QUEUE);
        let worker = Worker {
            node,
            address: address.clone(),
            by_name: false,
            messages,
            dialing,
            wanted: tokio::time::Instant::now(),
            closed: None,
            unwelcome: 0,
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
    dialing: Dialing,
    /// When there was a connection or a message for it.
    wanted: tokio::time::Instant,
    /// When a connection was closed by the other side in order.
    closed: Option<Instant>,
    /// Connections that ended before the other side had let this node in, since the way to find it was chosen.
    unwelcome: u32,
}

/// Why there is no connection.
enum Failure {
    /// Nobody could be reached.
    Unreachable(io::Error),
    /// Whoever is there is not who should be, or does not let this node in.
    Refused(Refusal),
}

/// How a connection ends.
enum End {
    /// The other side has closed it.
    Closed,
    /// Otherwise.
    Broken,
    /// In either way, before the other side had let this node in.
    Unwelcome,
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
                Ok((stream, sealer)) => match self.serve(stream, sealer, first.take()).await {
                    End::Unwanted => return,
                    End::Unwelcome => self.unwelcome(),
                    End::Broken => {
                        pause = SHORTEST_PAUSE;
                        self.tell(Loss::Broken);
                    }
                    End::Closed => {
                        pause = SHORTEST_PAUSE;
                        self.tell(Loss::Broken);
                        let closed = self.closed.replace(Instant::now());
                        // At once: whether somebody listens still says whether the process lives.
                        if closed.is_none_or(|at| at.elapsed() > SOON) {
                            continue;
                        }
                    }
                },
                Err(Failure::Unreachable(error)) => self.not_reached(&error),
                Err(Failure::Refused(refusal)) => {
                    self.refused(&refusal);
                    // Who is there is not known, and will be no other: whoever still wants to know starts a new link.
                    if self.node.is_none() && refusal.is_final() {
                        return;
                    }
                }
            }
            if !self.rest(pause).await {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Another node may have the address by now: after several such ends, the other way to find the right one is tried.
    fn unwelcome(&mut self) {
        self.unwelcome += 1;
        if self.unwelcome == MOST_UNWELCOME {
            self.turn();
        }
    }

    fn not_reached(&mut self, error: &io::Error) {
        let refused = error.kind() == io::ErrorKind::ConnectionRefused;
        if refused
            && !self.by_name
            && let Some(at) = self.was_closed()
        {
            self.tell(|node| Loss::Gone { node, at });
            self.closed = None;
        }
        self.turn();
        self.tell(Loss::Broken);
    }

    fn refused(&mut self, refusal: &Refusal) {
        // A process that ends may still take in a connection and drop it: the next one says whether it does.
        if self.was_closed().is_none() {
            self.turn();
        }
        if self.node.is_none() && refusal.is_final() {
            let (address, reason) = (self.address.clone(), refusal.to_string());
            // The driver may be gone; then nobody needs to know.
            let _ = self.dialing.lost.send(Loss::Refused { address, reason });
        }
    }

    /// When the other side has closed a connection, if that was just now.
    fn was_closed(&self) -> Option<Instant> {
        self.closed.filter(|at| at.elapsed() < SOON)
    }

    /// From the address to the host name, or back.
    fn turn(&mut self) {
        self.unwelcome = 0;
        self.by_name = !self.by_name && !self.address.hostname.is_empty();
    }

    fn tell(&self, loss: impl FnOnce(NodeId) -> Loss) {
        if let Some(node) = self.node {
            // The driver may be gone; then nobody needs to know.
            let _ = self.dialing.lost.send(loss(node));
        }
    }

    /// A connection over which frames can be sent.
    async fn connect(&self) -> Result<(TcpStream, Option<Sealer>), Failure> {
        let (mut stream, peer) = self.reach().await.map_err(Failure::Unreachable)?;
        let Dialing {
            secret, refusals, ..
        } = &self.dialing;
        match handshake::dial(&mut stream, secret.as_ref()).await {
            Ok(sealer) => Ok((stream, sealer)),
            Err(refusal) => {
                refusals.note(peer.ip(), &refusal);
                Err(Failure::Refused(refusal))
            }
        }
    }

    async fn reach(&self) -> io::Result<(TcpStream, SocketAddr)> {
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
        let peer = stream.peer_addr()?;
        Ok((stream, peer))
    }

    /// Writes messages until the connection ends.
    async fn serve(
        &mut self,
        stream: TcpStream,
        sealer: Option<Sealer>,
        first: Option<Message>,
    ) -> End {
        let mut welcome = false;
        let end = self.write_all(stream, sealer, first, &mut welcome).await;
        self.wanted = tokio::time::Instant::now();
        match end {
            End::Closed | End::Broken if !welcome => End::Unwelcome,
            end => end,
        }
    }

    async fn write_all(
        &mut self,
        mut stream: TcpStream,
        mut sealer: Option<Sealer>,
        first: Option<Message>,
        welcome: &mut bool,
    ) -> End {
        let (mut reader, mut writer) = stream.split();
        let (mut bytes, mut encoder) = (Vec::new(), Encoder::default());
        if let Some(message) = first {
            wire::append(&mut bytes, &encoder.encode(&message), sealer.as_mut());
        }
        let mut nothing = [0; 8];
        loop {
            while bytes.len() < GATHER_BYTES
                && let Ok(message) = self.messages.try_recv()
            {
                wire::append(&mut bytes, &encoder.encode(&message), sealer.as_mut());
            }
            if !bytes.is_empty() {
                match timeout(WRITE_TIMEOUT, writer.write_all(&bytes)).await {
                    Ok(Ok(())) => bytes.clear(),
                    _ => return End::Broken,
                }
            }
            tokio::select! {
                message = self.messages.recv() => match message {
                    Some(message) => wire::append(&mut bytes, &encoder.encode(&message), sealer.as_mut()),
                    None => return End::Unwanted,
                },
                // But for its welcome, the peer never writes here: this only ever ends.
                read = reader.read(&mut nothing) => match read {
                    Ok(0) => return End::Closed,
                    Ok(_) => *welcome = true,
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

    /// Drops messages for a while. False when the link is not wanted any more: nobody sends to members that were forgotten.
    async fn rest(&mut self, pause: Duration) -> bool {
        let end = tokio::time::Instant::now() + pause;
        loop {
            match tokio::time::timeout_at(end, self.messages.recv()).await {
                Err(_) => break,
                Ok(Some(_)) => self.wanted = tokio::time::Instant::now(),
                Ok(None) => return false,
            }
        }
        let wanted = self.wanted.elapsed() < IDLE;
        if !wanted {
            self.messages.close();
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::super::wire::tests::message;
    use super::*;

    fn address_of(listener: &TcpListener) -> Address {
        Address {
            ip: "127.0.0.1".to_owned(),
            port: 0,
            bus_port: listener.local_addr().unwrap().port(),
            hostname: String::new(),
        }
    }

    fn dialing() -> (Dialing, mpsc::UnboundedReceiver<Loss>) {
        let (lost, losses) = mpsc::unbounded_channel();
        let dialing = Dialing {
            lost,
            secret: Some(Secret::new(b"the right one")),
            refusals: Arc::default(),
        };
        (dialing, losses)
    }

    /// How the other side, which knows the secret that is given, behaves before it ends.
    async fn losses(secret: &str, welcomes: bool) -> Vec<Loss> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (dialing, mut losses) = dialing();
        let link = Link::start(Some(NodeId::random()), address_of(&listener), dialing);
        link.send(message());
        let (mut stream, _) = listener.accept().await.unwrap();
        let secret = Secret::new(secret.as_bytes());
        let answered = handshake::answer(&mut stream, Some(&secret)).await;
        if let Ok(mut opener) = answered {
            // Read, so that the system closes the connection in order.
            let sent = wire::read(&mut stream, opener.as_mut()).await.unwrap();
            assert!(sent.is_some());
            if welcomes {
                stream.write_all(&[WELCOME]).await.unwrap();
            }
        }
        // Nobody listens any more when the connection ends, as when a process does.
        drop(listener);
        drop(stream);
        let mut told = Vec::new();
        for _ in 0..3 {
            let loss = timeout(Duration::from_secs(20), losses.recv()).await;
            told.push(loss.unwrap().unwrap());
        }
        told
    }

    fn is_gone(loss: &Loss) -> bool {
        matches!(loss, Loss::Gone { .. })
    }

    #[tokio::test]
    async fn a_process_has_ended_when_it_closes_a_connection_that_it_had_let_in_and_listens_no_more()
     {
        let told = losses("the right one", true).await;
        assert!(told.iter().any(is_gone), "{told:?}");
    }

    #[tokio::test]
    async fn what_a_stranger_does_does_not_say_that_a_process_has_ended() {
        let told = losses("the wrong one", true).await;
        assert!(!told.iter().any(is_gone), "{told:?}");
    }

    #[tokio::test]
    async fn nor_does_the_end_of_a_connection_that_was_not_let_in() {
        let told = losses("the right one", false).await;
        assert!(!told.iter().any(is_gone), "{told:?}");
    }

    #[tokio::test]
    async fn a_refusal_alone_is_no_loss() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (dialing, mut losses) = dialing();
        let link = Link::start(Some(NodeId::random()), address_of(&listener), dialing);
        link.send(message());
        // That it comes again says that it is through with the one before.
        for _ in 0..4 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let secret = Secret::new(b"the wrong one");
            let answered = handshake::answer(&mut stream, Some(&secret)).await;
            assert!(matches!(answered, Err(Refusal::OtherSecret)));
        }
        assert!(losses.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_to_nobody_lasts_as_long_as_somebody_sends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (dialing, _losses) = dialing();
        let link = Link::start(Some(NodeId::random()), address_of(&listener), dialing);
        drop(listener);
        for _ in 0..2 * IDLE.as_secs() {
            link.send(message());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(!link.is_over());
        timeout(2 * IDLE, link.queue.closed()).await.unwrap();
    }
}
