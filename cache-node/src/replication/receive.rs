//! The receiving side of walk and stream: checks the order of frames and says what each asks for.
//!
//! Pure: it touches no data and answers nothing itself.

use bytes::Bytes;

use super::frame::{Frame, FrameError, Kind};
use crate::slot::{SlotId, SlotSet};

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
    /// A place in a log that no log comes to, and behind which this node's could not count on.
    #[error("offset {0} cannot be")]
    Offset(u64),
    /// An effect is not a command that can be executed.
    #[error("effect on slot {slot} cannot be applied: {reason}")]
    Effect {
        /// The slot.
        slot: SlotId,
        /// Why.
        reason: String,
    },
}

/// What a frame asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Todo {
    /// Empty these slots.
    Clear(SlotSet),
    /// Execute these effects (one or several commands) on the slot.
    Execute(SlotId, Bytes),
    /// Execute these effects on the slot, and let this node's log go on with them.
    Mirror(SlotId, Bytes),
    /// Empty the slot, and let the log go on with this record.
    MirrorEmptied(SlotId, Bytes),
    /// Empty all slots, and let the log go on with this record.
    MirrorAll(Bytes),
    /// Let the log go on with this record, which changes nothing.
    MirrorOther(Bytes),
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
    /// Nothing.
    Nothing,
    /// The sender closes, with its reason.
    Goodbye(String),
}

/// Greatest place in a log.
const MOST_OFFSET: u64 = i64::MAX as u64;

/// State of a transfer at the receiver.
#[derive(Debug)]
pub struct Receiver {
    slots: SlotSet,
    begun: SlotSet,
    /// The slots of which everything up to `applied` is here.
    whole: SlotSet,
    applied: u64,
    synced: bool,
    /// Whether this node's log continues the sender's.
    mirrors: bool,
    bytes: u64,
}

impl Receiver {
    /// Nothing has arrived yet of a copy of everything, whose log continues the sender's.
    pub fn of_all() -> Self {
        Self {
            mirrors: true,
            ..Self::new(SlotSet::full())
        }
    }

    /// Everything is here up to `offset`, and the stream goes on.
    pub fn going_on(offset: u64) -> Self {
        Self {
            begun: SlotSet::full(),
            applied: offset,
            synced: true,
            ..Self::of_all()
        }
    }

    /// Nothing has arrived yet of a transfer of `slots`.
    pub fn new(slots: SlotSet) -> Self {
        Self {
            slots,
            begun: SlotSet::new(),
            whole: SlotSet::new(),
            applied: 0,
            synced: false,
            mirrors: false,
            bytes: 0,
        }
    }

    /// `whole` of `slots` are here up to `offset`; a transfer of the rest goes on.
    pub fn resuming(slots: SlotSet, whole: SlotSet, offset: u64) -> Self {
        Self {
            begun: whole.clone(),
            whole,
            applied: offset,
            ..Self::new(slots)
        }
    }

    /// The slots of which everything up to [`Self::applied`] is here.
    pub fn whole(&self) -> &SlotSet {
        &self.whole
    }

    /// The sender's log offset that is applied here once everything asked for is done.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Whether the whole content has arrived.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Bytes of entries and effects applied.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes note of one frame. What it asks for is to be done before the next one, and before anything is acknowledged.
    pub fn receive(&mut self, frame: &Frame) -> Result<Todo, ReceiveError> {
        if frame.offset > MOST_OFFSET {
            return Err(ReceiveError::Offset(frame.offset));
        }
        match frame.kind {
            Kind::Slot => {
                self.check_content(frame)?;
                self.begun.insert(frame.slot);
                self.whole.remove(frame.slot);
                Ok(Todo::Clear(SlotSet::from_iter([frame.slot])))
            }
            Kind::Entries => {
                self.check_content(frame)?;
                self.execute(frame)
            }
            Kind::Record => {
                self.applied = frame.offset;
                match self.execute(frame)? {
                    Todo::Execute(slot, effects) if self.mirrors && self.synced => {
                        Ok(Todo::Mirror(slot, effects))
                    }
                    other => Ok(other),
                }
            }
            Kind::Emptied | Kind::All | Kind::Other if self.mirrors && self.synced => {
                self.applied = frame.offset;
                self.bytes += frame.payload.len() as u64;
                let record = frame.payload.clone();
                Ok(match frame.kind {
                    Kind::Emptied => Todo::MirrorEmptied(frame.slot, record),
                    Kind::All => Todo::MirrorAll(record),
                    _ => Todo::MirrorOther(record),
                })
            }
            Kind::Clear => {
                let slots = frame.cleared()?;
                if let Some(foreign) = slots.iter().find(|slot| !self.begun.contains(*slot)) {
                    return Err(ReceiveError::Foreign(foreign));
                }
                self.applied = frame.offset;
                Ok(Todo::Clear(slots))
            }
            Kind::Whole if !self.mirrors => {
                self.check_content(frame)?;
                self.check_begun(frame.slot)?;
                self.whole.insert(frame.slot);
                self.applied = frame.offset;
                Ok(Todo::Nothing)
            }
            Kind::Synced => {
                self.synced = true;
                self.whole = self.slots.clone();
                self.applied = frame.offset;
                Ok(Todo::Synced)
            }
            Kind::Position => {
                if self.synced {
                    self.applied = frame.offset;
                }
                Ok(Todo::AckNow)
            }
            Kind::HandOver => Ok(Todo::Offered {
                within_ms: frame.offset,
            }),
            Kind::Final if self.synced => {
                self.applied = frame.offset;
                Ok(Todo::Final(frame.offset))
            }
            Kind::Resume => Ok(Todo::Resumed),
            Kind::Goodbye => Ok(Todo::Goodbye(frame.text())),
            Kind::Final
            | Kind::Ack
            | Kind::Owned
            | Kind::Emptied
            | Kind::All
            | Kind::Other
            | Kind::Whole
            | Kind::Have => Err(ReceiveError::Unexpected(frame.kind)),
        }
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

    fn check_begun(&self, slot: SlotId) -> Result<(), ReceiveError> {
        if self.begun.contains(slot) {
            Ok(())
        } else {
            Err(ReceiveError::Foreign(slot))
        }
    }

    fn execute(&mut self, frame: &Frame) -> Result<Todo, ReceiveError> {
        self.check_begun(frame.slot)?;
        self.bytes += frame.payload.len() as u64;
        Ok(Todo::Execute(frame.slot, frame.payload.clone()))
    }
}
