//! The stream of a copy or a migration between two nodes, as the receiver has it: bytes, frames, what they ask for, the data set.

use std::sync::Arc;

use bytes::BytesMut;

use super::{Nobody, Steps, migration, node, occupied};
use crate::replication::Target;
use crate::replication::frame::{self, Kind, encode};
use crate::replication::history::History;
use crate::replication::receive::{Receiver, Todo};
use crate::slot::{SlotId, SlotSet};

/// A transfer at its receiver.
struct Transfer {
    // Before the node, which is used again.
    target: Target,
    node: Nobody,
    receiver: Receiver,
    /// Slots whose content was begun.
    begun: SlotSet,
    input: BytesMut,
}

/// Receives what an input says: its first byte is the kind of transfer and how the bytes arrive, then come frames and raw bytes.
pub fn receive(input: &[u8]) {
    let mut steps = Steps(input);
    let Some(form) = steps.byte() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without a network");
    runtime.block_on(async {
        let mut transfer = match form % 4 {
            0 => Transfer::copy(true).await,
            1 => Transfer::copy(false).await,
            2 => Transfer::going_on(),
            _ => Transfer::import(),
        };
        let piece = match form >> 2 {
            0 => usize::MAX,
            piece => usize::from(piece),
        };
        while let Some(bytes) = transfer.next_bytes(&mut steps) {
            for part in bytes.chunks(piece) {
                transfer.input.extend_from_slice(part);
                if !transfer.take_frames().await {
                    return;
                }
            }
        }
    });
}

impl Transfer {
    async fn copy(room: bool) -> Self {
        let mut transfer = Self::replica(Receiver::of_all());
        let begun = transfer.target.begin_copy(History::begin(), room).await;
        begun.expect("it is to copy that node");
        transfer
    }

    fn going_on() -> Self {
        let mut transfer = Self::replica(Receiver::going_on(1000));
        transfer.node.log.restart_at(1000);
        transfer.begun = SlotSet::full();
        transfer
    }

    fn replica(receiver: Receiver) -> Self {
        let node = node();
        let upstream = node.replication.upstream(&node);
        let target = Target::replica(Arc::clone(&node), upstream.expect("it was configured"));
        Self::of(target, receiver, node)
    }

    /// The slots of some keys and a few others.
    fn import() -> Self {
        let node = node();
        let history = node.replication.history().id;
        let target = Target::import(Arc::clone(&node), migration(), history);
        let slots = (0..4).map(slot).collect();
        Self::of(target, Receiver::new(slots), node)
    }

    fn of(target: Target, receiver: Receiver, node: Nobody) -> Self {
        Self {
            node,
            target,
            receiver,
            begun: SlotSet::new(),
            input: BytesMut::new(),
        }
    }

    /// The next bytes that arrive: a frame that may be damaged, or anything.
    fn next_bytes(&self, steps: &mut Steps<'_>) -> Option<BytesMut> {
        let form = steps.byte()?;
        let mut bytes = BytesMut::new();
        let kind = match Kind::from_byte(form & 15) {
            // It is the receiver who says that; another one has no number as small.
            Some(Kind::Ack) => Some(Kind::Whole),
            kind => kind,
        };
        let Some(kind) = kind else {
            let count = usize::from(form);
            bytes.extend_from_slice(steps.bytes(count));
            return Some(bytes);
        };
        let place = slot(steps.byte()?);
        let payload = if form & 64 == 0 {
            let commands = steps.byte()? % 4;
            let commands = (0..commands).map_while(|_| steps.command());
            commands.flatten().collect()
        } else {
            let count = usize::from(steps.byte()?);
            steps.bytes(count).to_vec()
        };
        let offset = match form >> 4 & 3 {
            // Where the log goes on with it.
            0 | 1 => {
                let here = self.node.log.end().max(self.receiver.applied());
                here.saturating_add(payload.len() as u64)
            }
            2 => u64::from(steps.byte()?),
            _ => {
                let mut wide = [0; 8];
                let given = steps.bytes(8);
                wide[..given.len()].copy_from_slice(given);
                u64::from_le_bytes(wide)
            }
        };
        encode(&mut bytes, kind, place, offset, &payload);
        if form & 128 != 0 {
            let at = usize::from(steps.byte()?) % bytes.len();
            bytes[at] ^= 1;
        }
        Some(bytes)
    }

    /// Applies what has arrived. False: the connection ends.
    async fn take_frames(&mut self) -> bool {
        while let Ok(next) = frame::decode(&mut self.input) {
            let Some(frame) = next else {
                return true;
            };
            let Ok(todo) = self.receiver.receive(&frame) else {
                return false;
            };
            if frame.kind == Kind::Slot {
                self.begun.insert(frame.slot);
            }
            let done = self.target.apply(&todo, frame.offset).await;
            self.check(&todo, done.is_ok());
            if done.is_err() {
                return false;
            }
        }
        false
    }

    /// There is nothing but in slots whose content was begun, and the log is where it should be.
    fn check(&self, todo: &Todo, done: bool) {
        let beside = self.target.beside();
        for store in beside.as_deref().into_iter().chain([&self.node.store]) {
            for slot in occupied(store) {
                assert!(self.begun.contains(slot), "slot {slot} was not begun");
            }
        }
        let mirrored = matches!(
            todo,
            Todo::Mirror(..) | Todo::MirrorEmptied(..) | Todo::MirrorAll(_) | Todo::MirrorOther(_)
        );
        // A transaction waits for its end.
        if done && mirrored && !self.target.is_within_group() {
            assert_eq!(self.node.log.end(), self.receiver.applied());
        }
    }
}

/// Those of the keys that commands are about, or another.
fn slot(number: u8) -> SlotId {
    match number {
        0 => SlotId::of(b"a"),
        1 => SlotId::of(b"b"),
        other => SlotId::new(u16::from(other)).expect("there are more"),
    }
}
