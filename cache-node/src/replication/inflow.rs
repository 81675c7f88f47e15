//! Receiving a data set over a [`Wire`] and applying it.

use std::time::Duration;

use tokio::time::Instant;

use super::FlowError;
use super::apply::Target;
use super::frame::{Kind, encode_ack, encode_goodbye, encode_signal};
use super::place::Place;
use super::receive::{Receiver, Todo};
use super::wire::Wire;
use crate::topology::NodeId;

/// An acknowledgement is sent at least so often while something arrives.
const ACK: Duration = Duration::from_millis(100);

/// Something is said at least so often even when nothing arrives.
const KEEPALIVE: Duration = Duration::from_secs(1);

/// After so many frames other tasks get their turn.
const FRAMES_PER_TURN: usize = 64;

/// What a turn brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told<T> {
    /// Nothing but data.
    Applied,
    /// Something on this side happened.
    Interrupted(T),
    /// The whole content is here.
    Synced,
    /// It asks this side to take over.
    Offered {
        /// How long it may take, in milliseconds.
        within_ms: u64,
    },
    /// It has paused; this offset is its last and is applied and acknowledged.
    Final(u64),
    /// It goes on without a hand-over.
    Resumed,
    /// It closes, with its reason.
    Goodbye(String),
}

/// A transfer that arrives, and the connection that carries it.
pub(crate) struct Inflow {
    wire: Wire,
    target: Target,
    receiver: Receiver,
    /// Whether a frame is half applied: for good, when that has failed.
    applying: bool,
    acknowledged: u64,
    /// Up to there, replicas have what must be at replicas before it is acknowledged.
    secured: u64,
    /// The offset that was said to be on the disk last, and the one that the sender waits for.
    synced: u64,
    sync_wanted: u64,
    next_ack: Instant,
    last_ack: Instant,
}

impl Inflow {
    /// Receives what a receiver expects.
    pub(crate) fn of(wire: Wire, target: Target, receiver: Receiver) -> Self {
        let now = Instant::now();
        Self {
            wire,
            target,
            applying: false,
            secured: 0,
            acknowledged: if receiver.is_synced() {
                receiver.applied()
            } else {
                0
            },
            receiver,
            synced: 0,
            sync_wanted: 0,
            next_ack: now + ACK,
            last_ack: now,
        }
    }

    /// The sender's log offset that is applied here.
    pub(crate) fn applied(&self) -> u64 {
        self.receiver.applied()
    }

    /// What of a migration is here, as the sender's history counts. Nothing is certain when a frame could not be applied.
    pub(crate) fn place(&self, history: NodeId) -> Option<Place> {
        let slots = self.receiver.whole().clone();
        (!slots.is_empty() && !self.applying).then(|| Place {
            history,
            offset: self.receiver.applied(),
            slots,
        })
    }

    /// Bytes of content and effects that arrived.
    pub(crate) fn bytes(&self) -> u64 {
        self.receiver.bytes()
    }

    /// Applies what has arrived, or waits for more, or until `interrupted` resolves. Must be run to its end: a frame may be half applied.
    ///
    /// # Errors
    ///
    /// The connection is lost, the sender silent, or what it sends cannot be applied.
    pub(crate) async fn next<T>(
        &mut self,
        interrupted: impl Future<Output = T>,
    ) -> Result<Told<T>, FlowError> {
        self.target.has_room().await;
        for _ in 0..FRAMES_PER_TURN {
            let Some(frame) = self.wire.try_frame()? else {
                self.target.applied(self.receiver.applied());
                self.ack_if_due();
                self.wire.poll_both()?;
                return self.wait(interrupted).await;
            };
            self.applying = true;
            let todo = self.receiver.receive(&frame)?;
            self.target.apply(&todo, frame.offset).await?;
            self.applying = false;
            match todo {
                Todo::Clear(_)
                | Todo::Execute(..)
                | Todo::Mirror(..)
                | Todo::MirrorEmptied(..)
                | Todo::MirrorAll(_)
                | Todo::MirrorOther(_)
                | Todo::Nothing => {}
                Todo::AckNow => {
                    self.ack();
                    self.sync_wanted = self.acknowledged;
                }
                Todo::Synced => {
                    self.ack();
                    return Ok(Told::Synced);
                }
                Todo::Final(offset) => {
                    self.target.secure().await?;
                    self.secured = self.receiver.applied();
                    self.ack();
                    return Ok(Told::Final(offset));
                }
                Todo::Offered { within_ms } => return Ok(Told::Offered { within_ms }),
                Todo::Resumed => return Ok(Told::Resumed),
                Todo::Goodbye(why) => return Ok(Told::Goodbye(why)),
            }
        }
        self.ack_if_due();
        self.wire.poll_both()?;
        tokio::task::yield_now().await;
        Ok(Told::Applied)
    }

    async fn wait<T>(
        &mut self,
        interrupted: impl Future<Output = T>,
    ) -> Result<Told<T>, FlowError> {
        let due = if self.acknowledged < self.receiver.applied() {
            self.next_ack
        } else {
            self.last_ack + KEEPALIVE
        };
        let syncing = self.synced < self.sync_wanted && self.target.synced_to().is_some();
        tokio::select! {
            progress = self.wire.progress() => progress?,
            () = self.target.synced_beyond(self.synced), if syncing => self.ack(),
            () = tokio::time::sleep_until(due) => {}
            happened = interrupted => return Ok(Told::Interrupted(happened)),
        }
        Ok(Told::Applied)
    }

    fn ack_if_due(&mut self) {
        let now = Instant::now();
        let news = self.acknowledged < self.receiver.applied();
        if (news && now >= self.next_ack) || now >= self.last_ack + KEEPALIVE {
            self.ack();
        }
    }

    /// Says everything that waits to be said.
    ///
    /// # Errors
    ///
    /// The connection is lost.
    pub(crate) async fn flush(&mut self) -> Result<(), FlowError> {
        Ok(self.wire.flush().await?)
    }

    /// Whether the whole content has arrived.
    pub(crate) fn is_synced(&self) -> bool {
        self.receiver.is_synced()
    }

    /// Acknowledges what is applied. Before the whole content is here that is nothing.
    fn ack(&mut self) {
        let now = Instant::now();
        self.target.applied(self.receiver.applied());
        if self.receiver.is_synced() {
            self.acknowledged = match self.target.must_secure() {
                true => self.secured,
                false => self.receiver.applied(),
            };
        }
        self.last_ack = now;
        self.next_ack = now + ACK;
        let on_disk = self.target.synced_to();
        let synced = on_disk.map(|synced| synced.min(self.acknowledged));
        self.synced = synced.unwrap_or_default();
        encode_ack(&mut self.wire.out, self.acknowledged, synced);
    }

    /// Sends a frame without content.
    pub(crate) fn signal(&mut self, kind: Kind, offset: u64) {
        encode_signal(&mut self.wire.out, kind, offset);
    }

    /// Says why the connection ends, as far as the socket takes it.
    pub(crate) fn goodbye(mut self, why: &str) {
        encode_goodbye(&mut self.wire.out, why);
        // The connection is given up in any case.
        let _ = self.wire.write_some();
    }
}
