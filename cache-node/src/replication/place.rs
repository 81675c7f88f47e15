//! How far a transfer of slots has come at its receiver, so that another connection can go on there.

use bytes::BytesMut;

use super::frame::{self, Frame, FrameError, Kind};
use crate::slot::SlotSet;
use crate::topology::NodeId;

/// What a receiver has of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The sender's history, to which the offset belongs.
    pub history: NodeId,
    /// The offset up to which nothing is missing of the slots that are there.
    pub offset: u64,
    /// The slots that are there.
    pub slots: SlotSet,
}

impl Place {
    /// Appends the frame that says so, or that there is nothing.
    pub fn encode(place: Option<&Self>, out: &mut BytesMut) {
        let (offset, mut payload) = (place.map_or(0, |place| place.offset), Vec::new());
        if let Some(place) = place {
            payload.extend_from_slice(place.history.bytes());
            payload.extend(frame::ranges(&place.slots));
        }
        frame::encode(out, Kind::Have, frame::no_slot(), offset, &payload);
    }

    /// Reads a frame of [`Kind::Have`].
    ///
    /// # Errors
    ///
    /// The frame is of another kind, or damaged.
    pub fn decode(frame: &Frame) -> Result<Option<Self>, FrameError> {
        if frame.kind != Kind::Have {
            return Err(FrameError::Place);
        }
        if frame.payload.is_empty() {
            return Ok(None);
        }
        let (history, ranges) = frame.payload.split_first_chunk().ok_or(FrameError::Place)?;
        Ok(Some(Self {
            history: NodeId::new(*history),
            offset: frame.offset,
            slots: frame::slots_of(ranges)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::SlotId;

    #[test]
    fn places_survive_the_wire() {
        let slots = [0, 1, 2, 77, 16_383].into_iter().filter_map(SlotId::new);
        let place = Place {
            history: NodeId::new([7; 20]),
            offset: 99,
            slots: slots.collect(),
        };
        for place in [None, Some(&place)] {
            let mut out = BytesMut::new();
            Place::encode(place, &mut out);
            let frame = frame::decode(&mut out).expect("valid").expect("whole");
            assert_eq!(Place::decode(&frame).expect("valid").as_ref(), place);
        }
    }

    #[test]
    fn what_names_no_place_is_refused() {
        let mut out = BytesMut::new();
        frame::encode(&mut out, Kind::Have, frame::no_slot(), 1, b"short");
        frame::encode_signal(&mut out, Kind::Ack, 1);
        for _ in 0..2 {
            let frame = frame::decode(&mut out).expect("valid").expect("whole");
            assert_eq!(Place::decode(&frame), Err(FrameError::Place));
        }
    }
}
