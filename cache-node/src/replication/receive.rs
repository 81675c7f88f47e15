//! The receiving side of walk and stream: checks the order of frames and applies them to a [`Sink`].
//!
//! Pure apart from the sink. It must never answer or wait: what is to be answered is returned as [`Outcome`].

use super::frame::{Frame, FrameError, Kind};
use crate::slot::{SlotId, SlotSet};

/// Where received data goes.
pub trait Sink {
    /// Empties a slot.
    fn clear(&mut self, slot: SlotId);

    /// Executes effects (one or several commands in RESP) on a slot.
    fn execute(&mut self, slot: SlotId, effects: &[u8]) -> Result<(), ReceiveError>;
}

/// The stream cannot be applied; the connection is of no more use and the data must be fetched anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// A frame could not be read.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame came where it has no business.
    #[error("unexpected {0:?} frame")]
    Unexpected(Kind),
    /// A slot was named that is not part of this transfer.
    #[error("slot {0} is not part of this transfer")]
    Foreign(SlotId),
    /// An effect is not a command that can be executed.
    #[error("effect on slot {slot} cannot be applied: {reason}")]
    Effect {
        /// The slot.
        slot: SlotId,
        /// Why.
        reason: String,
    },
}

/// What the connection has to do after a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing.
    Applied,
    /// The whole content has arrived.
    Synced,
    /// The sender wants an acknowledgement now.
    AckNow,
    /// The sender asks this side to take over.
    Offered {
        /// How long it may take, in milliseconds.
        within_ms: u64,
    },
    /// The sender has paused; this offset is the last.
    Final(u64),
    /// The sender goes on without a hand-over.
    Resumed,
    /// The sender closes, with its reason.
    Goodbye(String),
}

/// State of a transfer at the receiver.
#[derive(Debug)]
pub struct Receiver {
    slots: SlotSet,
    begun: SlotSet,
    applied: u64,
    synced: bool,
    keys_bytes: u64,
}

impl Receiver {
    /// Nothing has arrived yet of a transfer of `slots`.
    pub fn new(slots: SlotSet) -> Self {
        Self {
            slots,
            begun: SlotSet::new(),
            applied: 0,
            synced: false,
            keys_bytes: 0,
        }
    }

    /// The sender's log offset that is applied here.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Whether the whole content has arrived.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Bytes of entries and effects applied.
    pub fn bytes(&self) -> u64 {
        self.keys_bytes
    }

    /// Applies one frame.
    pub fn receive(
        &mut self,
        frame: &Frame,
        sink: &mut impl Sink,
    ) -> Result<Outcome, ReceiveError> {
        match frame.kind {
            Kind::Slot => {
                self.check_content(frame)?;
                self.begun.insert(frame.slot);
                sink.clear(frame.slot);
            }
            Kind::Entries => {
                self.check_content(frame)?;
                self.execute(frame, sink)?;
            }
            Kind::Record => {
                self.execute(frame, sink)?;
                self.applied = frame.offset;
            }
            Kind::Clear => {
                let slots = frame.cleared()?;
                if let Some(foreign) = slots.iter().find(|slot| !self.begun.contains(*slot)) {
                    return Err(ReceiveError::Foreign(foreign));
                }
                slots.iter().for_each(|slot| sink.clear(slot));
                self.applied = frame.offset;
            }
            Kind::Synced => {
                self.synced = true;
                self.applied = frame.offset;
                return Ok(Outcome::Synced);
            }
            Kind::Position => {
                if self.synced {
                    self.applied = frame.offset;
                }
                return Ok(Outcome::AckNow);
            }
            Kind::HandOver => {
                return Ok(Outcome::Offered {
                    within_ms: frame.offset,
                });
            }
            Kind::Final => {
                if !self.synced {
                    return Err(ReceiveError::Unexpected(frame.kind));
                }
                self.applied = frame.offset;
                return Ok(Outcome::Final(frame.offset));
            }
            Kind::Resume => return Ok(Outcome::Resumed),
            Kind::Goodbye => return Ok(Outcome::Goodbye(frame.text())),
            Kind::Ack | Kind::Owned => return Err(ReceiveError::Unexpected(frame.kind)),
        }
        Ok(Outcome::Applied)
    }

    fn check_content(&self, frame: &Frame) -> Result<(), ReceiveError> {
        if self.synced {
            return Err(ReceiveError::Unexpected(frame.kind));
        }
        if !self.slots.contains(frame.slot) {
            return Err(ReceiveError::Foreign(frame.slot));
        }
        Ok(())
    }

    fn execute(&mut self, frame: &Frame, sink: &mut impl Sink) -> Result<(), ReceiveError> {
        if !self.begun.contains(frame.slot) {
            return Err(ReceiveError::Foreign(frame.slot));
        }
        self.keys_bytes += frame.payload.len() as u64;
        sink.execute(frame.slot, &frame.payload)
    }
}
