//! Frames: how a data set and its changes travel between two nodes.
//!
//! A connection that was handed over by `EVENKEEL.SYNC` or `EVENKEEL.IMPORT` carries frames in both directions:
//! a header of 19 bytes (kind, slot, offset, length, CRC-32 of header and payload; little endian) and the payload.
//! This module only encodes and decodes; it must never do I/O.

use bytes::{Buf, Bytes, BytesMut};

use crate::slot::{SLOT_COUNT, SlotId, SlotSet};

/// Bytes before the payload.
pub const HEADER_LEN: usize = 19;

/// Longest payload that is accepted: one effect may carry a value of 512 MiB and its key.
pub const MAX_PAYLOAD: usize = 1 << 30;

const CRC_AT: usize = 15;

/// Version of the frames and of their meaning; both sides must speak the same.
pub const PROTOCOL_VERSION: u64 = 4;

/// What a frame says. "Sender" is the side that has the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Sender: the content of `slot` follows; what the receiver holds of it is void.
    Slot = 1,
    /// Sender: a part of the slot's content, as effects.
    Entries = 2,
    /// Sender: one effect on `slot`, newer than the content that was sent. `offset` is the log offset after it.
    Record = 3,
    /// Sender: the slots in the payload were emptied. `offset` is the log offset after that.
    Clear = 4,
    /// Sender: every slot has been sent; with this frame the receiver holds the exact state of `offset`.
    Synced = 5,
    /// Sender: nothing up to `offset` is missing; acknowledge at once.
    Position = 6,
    /// Receiver: everything up to `offset` is applied. The payload, if there is one, is the offset up to which it is on the disk (8 bytes).
    Ack = 7,
    /// Receiver: pause your slots for a hand-over. Sender: please ask for a hand-over. `offset` is the time it may take in milliseconds.
    HandOver = 8,
    /// Sender: writes are paused; nothing follows `offset` until it is decided who owns the slots.
    Final = 9,
    /// Either side: the hand-over is abandoned.
    Resume = 10,
    /// Receiver: the topology of index `offset`, in which the slots are mine, is applied here.
    Owned = 11,
    /// Either side: the connection ends; the payload says why, as text.
    Goodbye = 12,
    /// Sender, after [`Kind::Synced`]: the slot was emptied; the payload is the record as it stands in the log. `offset` is the log offset after it.
    Emptied = 13,
    /// Sender, after [`Kind::Synced`]: all slots were emptied; likewise.
    All = 14,
    /// Sender, after [`Kind::Synced`]: a record that changes nothing; likewise.
    Other = 15,
    /// Sender of a migration: the slot's content was sent whole, and with this frame the receiver holds its exact state of `offset`.
    Whole = 16,
    /// Receiver of a migration, first of all: what it has of an earlier connection, a [`Place`](super::place::Place). Sender, in answer:
    /// the same when it goes on there, nothing when it begins anew.
    Have = 17,
}

impl Kind {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Slot,
            2 => Self::Entries,
            3 => Self::Record,
            4 => Self::Clear,
            5 => Self::Synced,
            6 => Self::Position,
            7 => Self::Ack,
            8 => Self::HandOver,
            9 => Self::Final,
            10 => Self::Resume,
            11 => Self::Owned,
            12 => Self::Goodbye,
            13 => Self::Emptied,
            14 => Self::All,
            15 => Self::Other,
            16 => Self::Whole,
            17 => Self::Have,
            _ => return None,
        })
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it says.
    pub kind: Kind,
    /// The slot that it concerns; slot 0 where it concerns none.
    pub slot: SlotId,
    /// A log offset of the sender, unless the kind says otherwise.
    pub offset: u64,
    /// The content.
    pub payload: Bytes,
}

/// The bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The first byte names no kind.
    #[error("unknown frame kind {0}")]
    Kind(u8),
    /// The slot number is not below 16384.
    #[error("frame for slot {0}, which does not exist")]
    Slot(u16),
    /// The payload would be longer than [`MAX_PAYLOAD`].
    #[error("frame of {0} bytes is longer than allowed")]
    Length(usize),
    /// The checksum does not fit the content.
    #[error("frame is damaged (checksum)")]
    Checksum,
    /// The payload is not a list of ranges of slots.
    #[error("frame has a bad list of slots")]
    Ranges,
    /// The payload of a `Have` frame names no place.
    #[error("frame has a bad place")]
    Place,
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

/// Appends a frame to `out`. The payload is at most [`MAX_PAYLOAD`] bytes.
pub fn encode(out: &mut BytesMut, kind: Kind, slot: SlotId, offset: u64, payload: &[u8]) {
    let mut header = [0; CRC_AT];
    header[0] = kind as u8;
    header[1..3].copy_from_slice(&slot.number().to_le_bytes());
    header[3..11].copy_from_slice(&offset.to_le_bytes());
    header[11..15].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    let crc = checksum(&header, payload);
    out.reserve(HEADER_LEN + payload.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(payload);
}

/// Appends a frame that concerns no slot and has no payload.
pub fn encode_signal(out: &mut BytesMut, kind: Kind, offset: u64) {
    encode(out, kind, no_slot(), offset, &[]);
}

/// Appends a [`Kind::Ack`].
pub fn encode_ack(out: &mut BytesMut, applied: u64, synced: Option<u64>) {
    let payload = synced.map(u64::to_le_bytes);
    let payload = payload.as_ref().map_or(&[][..], |bytes| bytes);
    encode(out, Kind::Ack, no_slot(), applied, payload);
}

/// Appends a [`Kind::Goodbye`].
pub fn encode_goodbye(out: &mut BytesMut, why: &str) {
    encode(out, Kind::Goodbye, no_slot(), 0, why.as_bytes());
}

/// Appends a [`Kind::Clear`] of `slots`.
pub fn encode_clear(out: &mut BytesMut, slots: &SlotSet, offset: u64) {
    encode(out, Kind::Clear, no_slot(), offset, &ranges(slots));
}

/// Slots as a payload: the first and the last one of each range.
pub(super) fn ranges(slots: &SlotSet) -> Vec<u8> {
    slots
        .ranges()
        .into_iter()
        .flat_map(|(first, last)| [first.number(), last.number()])
        .flat_map(u16::to_le_bytes)
        .collect()
}

/// Reads [`ranges`].
pub(super) fn slots_of(ranges: &[u8]) -> Result<SlotSet, FrameError> {
    if !ranges.len().is_multiple_of(4) {
        return Err(FrameError::Ranges);
    }
    let mut slots = SlotSet::new();
    for pair in ranges.chunks_exact(4) {
        let first = SlotId::new(u16::from_le_bytes([pair[0], pair[1]]));
        let last = SlotId::new(u16::from_le_bytes([pair[2], pair[3]]));
        let (Some(first), Some(last)) = (first, last) else {
            return Err(FrameError::Ranges);
        };
        slots.insert_range(first, last);
    }
    Ok(slots)
}

pub(super) fn no_slot() -> SlotId {
    SlotId::new(0).expect("slot 0 exists")
}

impl Frame {
    /// The slots of a [`Kind::Clear`].
    pub fn cleared(&self) -> Result<SlotSet, FrameError> {
        slots_of(&self.payload)
    }

    /// The offset up to which the receiver that sends a [`Kind::Ack`] has everything on its disk, if it says so.
    pub fn synced(&self) -> Option<u64> {
        let bytes: &[u8; 8] = self.payload.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }

    /// The text of a [`Kind::Goodbye`].
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// Takes the first frame from `input`, or `None` when it is not complete yet. After an error the connection is of no more use.
pub fn decode(input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    if input.len() < HEADER_LEN {
        return Ok(None);
    }
    let kind = Kind::from_byte(input[0]).ok_or(FrameError::Kind(input[0]))?;
    let number = u16::from_le_bytes([input[1], input[2]]);
    let slot = SlotId::new(number).ok_or(FrameError::Slot(number))?;
    let offset = (&input[3..11]).get_u64_le();
    let length = (&input[11..15]).get_u32_le() as usize;
    let crc = (&input[15..19]).get_u32_le();
    if length > MAX_PAYLOAD {
        return Err(FrameError::Length(length));
    }
    if input.len() < HEADER_LEN + length {
        return Ok(None);
    }
    let mut whole = input.split_to(HEADER_LEN + length).freeze();
    let payload = whole.split_off(HEADER_LEN);
    if checksum(&whole[..CRC_AT], &payload) != crc {
        return Err(FrameError::Checksum);
    }
    Ok(Some(Frame {
        kind,
        slot,
        offset,
        payload,
    }))
}

const _: () = assert!(SLOT_COUNT <= u16::MAX as usize);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_frame() -> impl Strategy<Value = Frame> {
        (
            1u8..=17,
            0u16..SLOT_COUNT as u16,
            any::<u64>(),
            proptest::collection::vec(any::<u8>(), 0..200),
        )
            .prop_map(|(kind, slot, offset, payload)| Frame {
                kind: Kind::from_byte(kind).expect("in range"),
                slot: SlotId::new(slot).expect("in range"),
                offset,
                payload: payload.into(),
            })
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_the_bytes_arrive(
            frames in proptest::collection::vec(any_frame(), 1..8),
            piece in 1usize..64,
        ) {
            let mut wire = BytesMut::new();
            for frame in &frames {
                encode(&mut wire, frame.kind, frame.slot, frame.offset, &frame.payload);
            }
            let mut input = BytesMut::new();
            let mut decoded = Vec::new();
            for part in wire.chunks(piece) {
                input.extend_from_slice(part);
                while let Some(frame) = decode(&mut input).expect("valid") {
                    decoded.push(frame);
                }
            }
            prop_assert_eq!(decoded, frames);
            prop_assert!(input.is_empty());
        }

        #[test]
        fn acknowledgements_say_what_is_on_the_disk(applied: u64, synced: Option<u64>) {
            let mut wire = BytesMut::new();
            encode_ack(&mut wire, applied, synced);
            let frame = decode(&mut wire).expect("valid").expect("whole");
            prop_assert_eq!((frame.kind, frame.offset, frame.synced()), (Kind::Ack, applied, synced));
        }

        #[test]
        fn a_damaged_frame_is_never_taken_for_a_good_one(
            frame in any_frame(),
            at in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let mut wire = BytesMut::new();
            encode(&mut wire, frame.kind, frame.slot, frame.offset, &frame.payload);
            let at = at.index(wire.len());
            wire[at] ^= 1 << bit;
            prop_assert!(!matches!(decode(&mut wire), Ok(Some(_))));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut input = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = decode(&mut input) {}
        }

        #[test]
        fn cleared_slots_survive_the_wire(numbers in proptest::collection::btree_set(0u16..SLOT_COUNT as u16, 0..50)) {
            let slots: SlotSet = numbers.into_iter().filter_map(SlotId::new).collect();
            let mut wire = BytesMut::new();
            encode_clear(&mut wire, &slots, 7);
            let frame = decode(&mut wire).expect("valid").expect("whole");
            prop_assert_eq!(frame.cleared(), Ok(slots));
        }
    }
}
