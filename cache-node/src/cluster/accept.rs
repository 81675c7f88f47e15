//! Incoming connections of the bus. Who connects must say who he is before he can make the node keep anything.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::handshake;
use super::hello::Refusal;
use super::link::{self, Loss, WELCOME};
use super::refusals::Refusals;
use super::seal::Opener;
use super::secret::Secret;
use super::{Shared, wire};
use crate::bus::{Decoder, Message};
use crate::topology::{Address, NodeId};

/// Most connections whose other side has said who it is.
const MOST_CONNECTIONS: usize = 4096;
/// Most others of a listener. When one more comes, the oldest goes: a node needs a round trip to say who it is, so that
/// whoever wants to keep it out must open so many connections within that time, and again for its every attempt.
pub(super) const MOST_HALF_OPEN: usize = 256;

/// Where what comes is told.
#[derive(Clone)]
pub(super) struct Told {
    /// Messages.
    pub(super) inbox: mpsc::Sender<Message>,
    /// Nodes that have ended.
    pub(super) lost: mpsc::UnboundedSender<Loss>,
}

/// Where connections are taken in.
#[derive(Clone)]
pub(super) struct Reception {
    told: Told,
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
    secret: Option<Secret>,
    refusals: Arc<Refusals>,
    stop: CancellationToken,
}

impl Reception {
    /// What comes is told until `stop`.
    pub(super) fn new(
        told: Told,
        shared: Arc<Shared>,
        secret: Option<Secret>,
        refusals: Arc<Refusals>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            told,
            shared,
            room: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
            secret,
            refusals,
            stop,
        }
    }

    /// Takes in the listener's connections.
    pub(super) async fn accept_all(self, listener: TcpListener) {
        let mut half_open = HalfOpen::default();
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, from)) => {
                    let greeting = tokio::spawn(self.clone().greet(stream, from));
                    if let Some(crowded) = half_open.add(from.ip(), greeting.abort_handle()) {
                        self.refusals.note(crowded, &Refusal::Crowded);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection of the cluster bus");
                    // Out of descriptors, most likely: it passes, but not at once.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Lets the other side in when it has said who it is. May be aborted before.
    async fn greet(self, mut stream: TcpStream, from: SocketAddr) {
        let answered = tokio::select! {
            () = self.stop.cancelled() => return,
            answered = handshake::answer(&mut stream, self.secret.as_ref()) => answered,
        };
        let admitted = answered.and_then(|opener| {
            let permit = self.room.clone().try_acquire_owned();
            Ok((opener, permit.map_err(|_| Refusal::Full)?))
        });
        match admitted {
            // A task of its own, for this one counts as half open until it ends.
            Ok((opener, permit)) => drop(tokio::spawn(self.serve(stream, from, opener, permit))),
            Err(refusal) => self.refusals.note(from.ip(), &refusal),
        }
    }

    async fn serve(
        self,
        stream: TcpStream,
        from: SocketAddr,
        opener: Option<Opener>,
        _permit: OwnedSemaphorePermit,
    ) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.serve_node(stream, from, opener) => {}
        }
    }

    async fn serve_node(&self, stream: TcpStream, from: SocketAddr, opener: Option<Opener>) {
        let ended = self.receive_all(stream, opener).await;
        let at = Instant::now();
        match ended {
            // Its system resets connections with something to be read when a process ends, but what is sent this way was read.
            Ok(Some((node, address))) if link::refuses(&address).await => {
                // The driver may be gone; then nobody needs to know.
                let _ = self.told.lost.send(Loss::Gone { node, at });
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%from, %error, "a connection of the cluster bus ends"),
        }
    }

    /// Takes in messages until the other side closes the connection in order: who that was. One over which messages for another node come is
    /// closed: whoever sends them took this node's address for that node's, and must learn that it is not.
    async fn receive_all(
        &self,
        stream: TcpStream,
        mut opener: Option<Opener>,
    ) -> io::Result<Option<(NodeId, Address)>> {
        let mut stream = BufReader::new(stream);
        let (mut sender, mut decoder) = (None, Decoder::default());
        while let Some(bytes) = wire::read(&mut stream, opener.as_mut()).await? {
            let message = decoder
                .decode(&bytes)
                .map_err(|error| wire::invalid(error.to_string()))?;
            if !message.may_be_for(self.shared.view.load().myself) {
                return Ok(None);
            }
            if sender.is_none() {
                stream.write_all(&[WELCOME]).await?;
            }
            sender = Some((message.from(), message.address().clone()));
            if self.told.inbox.send(message).await.is_err() {
                return Ok(None);
            }
        }
        Ok(sender)
    }
}

/// Connections whose other side has not said who it is, in the order in which they came.
#[derive(Default)]
struct HalfOpen(VecDeque<(IpAddr, AbortHandle)>);

impl HalfOpen {
    /// One more. Ends the oldest when there are too many; answers whose that was.
    fn add(&mut self, from: IpAddr, greeting: AbortHandle) -> Option<IpAddr> {
        self.0.retain(|(_, greeting)| !greeting.is_finished());
        self.0.push_back((from, greeting));
        if self.0.len() <= MOST_HALF_OPEN {
            return None;
        }
        let (from, oldest) = self.0.pop_front()?;
        oldest.abort();
        Some(from)
    }
}
