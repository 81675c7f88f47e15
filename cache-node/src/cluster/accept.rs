//! Incoming connections of the bus. Who connects must say who he is before he can make the node keep anything.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::handshake;
use super::hello::Refusal;
use super::link::WELCOME;
use super::refusals::Refusals;
use super::seal::Opener;
use super::secret::Secret;
use super::wire;
use crate::bus::Message;

/// Most connections whose other side has said who it is.
const MOST_CONNECTIONS: usize = 4096;
/// Most others of a listener. When one more comes, the oldest goes: a node needs a round trip to say who it is, so that
/// whoever wants to keep it out must open so many connections within that time, and again for its every attempt.
pub(super) const MOST_HALF_OPEN: usize = 256;

/// Where connections are taken in.
#[derive(Clone)]
pub(super) struct Reception {
    inbox: mpsc::Sender<Message>,
    room: Arc<Semaphore>,
    secret: Option<Secret>,
    refusals: Arc<Refusals>,
    stop: CancellationToken,
}

impl Reception {
    /// Messages go to `inbox`, until `stop`.
    pub(super) fn new(
        inbox: mpsc::Sender<Message>,
        secret: Option<Secret>,
        refusals: Arc<Refusals>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            inbox,
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
            () = receive_all(stream, from, opener, self.inbox) => {}
        }
    }
}

async fn receive_all(
    mut stream: TcpStream,
    from: SocketAddr,
    mut opener: Option<Opener>,
    inbox: mpsc::Sender<Message>,
) {
    if stream.write_all(&[WELCOME]).await.is_err() {
        return;
    }
    let mut stream = BufReader::new(stream);
    loop {
        match wire::read(&mut stream, opener.as_mut()).await {
            Ok(Some(message)) => {
                if inbox.send(message).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%from, %error, "a connection of the cluster bus ends");
                return;
            }
        }
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
