//! A model store with random writes between the steps must end equal at the receiver.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;
use proptest::prelude::*;

use super::{Budget, Overrun, Piece, Source, Walk};
use crate::log::{Batch, Record, Scope};
use crate::replication::frame::decode;
use crate::replication::receive::{ReceiveError, Receiver, Todo};
use crate::slot::{SlotId, SlotSet};
use crate::store::KeyHash;

/// Slots of the model; key `k` lives in slot `k mod SLOTS`.
const SLOTS: u16 = 6;

type Data = BTreeMap<u8, Vec<u8>>;

fn slot_of(key: u8) -> SlotId {
    SlotId::new(u16::from(key) % SLOTS).expect("small")
}

#[derive(Debug, Default)]
struct Model {
    data: Data,
    /// Scope, start, payload. Every record takes 10 bytes of log.
    log: Vec<(Scope, Vec<u8>)>,
    dropped: usize,
}

/// A record is as long as this, filled up with zeros.
const RECORD_LEN: u64 = 10;

/// Keys of a piece.
const PIECE: usize = 2;

/// Values of so many bytes are put off.
const BIG: usize = 2;

/// Effects of the model: `[0, key, bytes...]` sets, `[1, key, byte]` appends (so that a record applied twice shows), `[2, key]` deletes.
fn execute(data: &mut Data, effect: &[u8]) {
    match effect {
        [0, key, value @ ..] => {
            data.insert(*key, value.to_vec());
        }
        [1, key, byte] => data.entry(*key).or_default().push(*byte),
        [2, key] => {
            data.remove(key);
        }
        _ => panic!("no such effect {effect:?}"),
    }
}

#[derive(Default)]
struct ModelSource {
    model: RefCell<Model>,
    cursor: u64,
    /// The slot that is busy at present.
    busy: Option<SlotId>,
    /// Big entries that are sent later, and whether the first of them has begun.
    put_off: VecDeque<(SlotId, u8, Vec<u8>)>,
    appending: bool,
}

impl ModelSource {
    fn write(&self, operation: &Operation) {
        let mut model = self.model.borrow_mut();
        let (scope, effect) = match *operation {
            Operation::Set(key, value) => (Scope::Slot(slot_of(key)), vec![0, key, value]),
            Operation::Append(key, byte) => (Scope::Slot(slot_of(key)), vec![1, key, byte]),
            Operation::Delete(key) => (Scope::Slot(slot_of(key)), vec![2, key]),
            Operation::FlushSlot(key) => {
                model
                    .data
                    .retain(|other, _| slot_of(*other) != slot_of(key));
                (Scope::Emptied(slot_of(key)), Vec::new())
            }
            Operation::FlushAll => {
                model.data.clear();
                (Scope::All, Vec::new())
            }
            Operation::Step | Operation::Busy(_) | Operation::Break(_) => return,
        };
        if !effect.is_empty() {
            execute(&mut model.data, &effect);
        }
        model.log.push((scope, effect));
    }
}

impl Source for ModelSource {
    fn end(&self) -> u64 {
        self.model.borrow().log.len() as u64 * RECORD_LEN
    }

    fn cursor(&self) -> u64 {
        self.cursor
    }

    fn dump(&mut self, slot: SlotId, from: KeyHash, entry: &mut dyn FnMut(&[u8])) -> Option<Piece> {
        if self.busy == Some(slot) {
            return None;
        }
        let model = self.model.borrow();
        let mut keys = model
            .data
            .iter()
            .filter(|(key, _)| slot_of(**key) == slot && hash_of(**key) >= from);
        let mut sent = 0;
        for (key, value) in keys.by_ref().take(PIECE) {
            sent += 1;
            if value.len() >= BIG {
                self.put_off.push_back((slot, *key, value.clone()));
                continue;
            }
            let mut effect = vec![0, *key];
            effect.extend_from_slice(value);
            entry(&framed(&effect));
        }
        Some(Piece {
            cut: self.end(),
            keys: sent,
            next: keys.next().map(|(key, _)| hash_of(*key)),
        })
    }

    /// A byte at a time: the first one sets the key, the others are appended.
    fn put_off(&mut self, out: &mut Vec<u8>) -> Option<SlotId> {
        let (slot, key, value) = self.put_off.front_mut()?;
        let kind = u8::from(self.appending);
        out.extend(framed(&[kind, *key, value.remove(0)]));
        let slot = *slot;
        self.appending = !value.is_empty();
        if value.is_empty() {
            self.put_off.pop_front();
        }
        Some(slot)
    }

    fn has_put_off(&self) -> bool {
        !self.put_off.is_empty()
    }

    fn commands(&self, mut effects: &[u8], visit: &mut dyn FnMut(KeyHash, &[u8])) {
        while let [length, _, key, ..] = effects
            && *length > 0
        {
            let (command, rest) = effects.split_at(1 + usize::from(*length));
            visit(hash_of(*key), command);
            effects = rest;
        }
    }

    fn read(&mut self, limit: usize) -> Result<Batch, Overrun> {
        let model = self.model.borrow();
        let first = (self.cursor / RECORD_LEN) as usize;
        if first < model.dropped {
            let behind = model.log.len() as u64 * RECORD_LEN - self.cursor;
            return Err(Overrun { behind });
        }
        let last = (first + limit / RECORD_LEN as usize).min(model.log.len());
        let (mut bytes, mut records) = (Vec::new(), Vec::new());
        for (index, (scope, effect)) in model.log.iter().enumerate().take(last).skip(first) {
            let before = bytes.len();
            bytes.extend(framed(effect));
            bytes.resize(before + RECORD_LEN as usize, 0);
            records.push(Record {
                scope: *scope,
                end: (index as u64 + 1) * RECORD_LEN,
                range: before..bytes.len(),
            });
        }
        self.cursor = last as u64 * RECORD_LEN;
        let bytes = bytes.into();
        Ok(Batch { bytes, records })
    }
}

/// Keys of the model have the order of their hashes.
fn hash_of(key: u8) -> KeyHash {
    KeyHash(u64::from(key) << 56)
}

/// Effects are self-delimiting, as RESP commands are.
fn framed(effect: &[u8]) -> Vec<u8> {
    let mut bytes = vec![effect.len() as u8];
    bytes.extend_from_slice(effect);
    bytes
}

struct ModelSink(Data);

impl ModelSink {
    fn execute(&mut self, slot: SlotId, mut effects: &[u8]) {
        while let Some((length, rest)) = effects.split_first()
            && *length > 0
        {
            let (effect, rest) = rest.split_at(usize::from(*length));
            assert_eq!(slot_of(effect[1]), slot);
            execute(&mut self.0, effect);
            effects = rest;
        }
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Set(u8, u8),
    Append(u8, u8),
    Delete(u8),
    FlushSlot(u8),
    FlushAll,
    Step,
    Busy(Option<u8>),
    /// The connection is lost when so many frames of what is on its way have arrived; another one goes on.
    Break(usize),
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let key = 0u8..48;
    prop_oneof![
        4 => (key.clone(), any::<u8>()).prop_map(|(key, value)| Operation::Set(key, value)),
        6 => (key.clone(), any::<u8>()).prop_map(|(key, byte)| Operation::Append(key, byte)),
        2 => key.clone().prop_map(Operation::Delete),
        1 => key.prop_map(Operation::FlushSlot),
        1 => Just(Operation::FlushAll),
        6 => Just(Operation::Step),
        1 => proptest::option::of(0u8..48).prop_map(Operation::Busy),
        1 => (0usize..12).prop_map(Operation::Break),
    ]
}

fn deliver(wire: &mut BytesMut, receiver: &mut Receiver, sink: &mut ModelSink) {
    deliver_some(usize::MAX, wire, receiver, sink);
}

fn deliver_some(frames: usize, wire: &mut BytesMut, receiver: &mut Receiver, sink: &mut ModelSink) {
    for _ in 0..frames {
        let Some(frame) = decode(wire).expect("our own frames") else {
            return;
        };
        match receiver.receive(&frame).expect("our own stream") {
            Todo::Clear(slots) => sink.0.retain(|key, _| !slots.contains(slot_of(*key))),
            Todo::Execute(slot, effects) => sink.execute(slot, &effects),
            _ => {}
        }
    }
}

fn slots_of(numbers: impl IntoIterator<Item = u16>) -> SlotSet {
    numbers.into_iter().filter_map(SlotId::new).collect()
}

const SMALL: Budget = Budget {
    walk_bytes: 1,
    walk_slots: 1,
    log_bytes: 3 * RECORD_LEN as usize,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_receiver_ends_equal_whatever_is_written_between_the_steps(
        moving in proptest::collection::btree_set(0..SLOTS, 0..=SLOTS as usize),
        before in proptest::collection::vec(any_operation(), 0..30),
        during in proptest::collection::vec(any_operation(), 0..150),
        stale in proptest::collection::btree_map(0u8..48, proptest::collection::vec(any::<u8>(), 0..3), 0..10),
    ) {
        let slots = slots_of(moving);
        let mut source = ModelSource::default();
        before.iter().for_each(|operation| source.write(operation));
        source.cursor = source.end();
        let mut walk = Walk::new(slots.clone());
        let mut receiver = Receiver::new(slots.clone());
        let mut sink = ModelSink(stale.into_iter().filter(|(key, _)| slots.contains(slot_of(*key))).collect());
        let mut wire = BytesMut::new();
        let mut states: BTreeMap<u64, Data> = BTreeMap::new();
        let moved = |source: &ModelSource| -> Data {
            source.model.borrow().data.iter().filter(|(key, _)| slots.contains(slot_of(**key))).map(|(k, v)| (*k, v.clone())).collect()
        };
        for operation in &during {
            states.insert(source.end(), moved(&source));
            match operation {
                Operation::Step => {
                    walk.step(&mut source, SMALL, &mut wire).expect("log is kept");
                    deliver(&mut wire, &mut receiver, &mut sink);
                    if receiver.is_synced() {
                        // The state of every acknowledged offset is exact, not only the last one.
                        prop_assert_eq!(receiver.applied(), source.cursor());
                        let now = moved(&source);
                        prop_assert_eq!(states.get(&receiver.applied()).unwrap_or(&now), &sink.0);
                    }
                }
                Operation::Busy(key) => source.busy = key.map(slot_of),
                Operation::Break(frames) => {
                    for _ in 0..3 {
                        walk.step(&mut source, SMALL, &mut wire).expect("log is kept");
                    }
                    deliver_some(*frames, &mut wire, &mut receiver, &mut sink);
                    wire.clear();
                    source.put_off.clear();
                    source.appending = false;
                    let (whole, offset) = (receiver.whole().clone(), receiver.applied());
                    walk = Walk::resuming(slots.clone(), &whole, offset);
                    source.cursor = offset;
                    receiver = Receiver::resuming(slots.clone(), whole, offset);
                }
                write => source.write(write),
            }
        }
        source.busy = None;
        while walk.has_work(&source) {
            walk.step(&mut source, SMALL, &mut wire).expect("log is kept");
        }
        deliver(&mut wire, &mut receiver, &mut sink);
        prop_assert!(receiver.is_synced());
        prop_assert_eq!(receiver.applied(), source.end());
        prop_assert_eq!(moved(&source), sink.0);
    }
}

#[test]
fn a_reader_that_is_too_slow_is_told_how_far_it_is_behind() {
    let mut source = ModelSource::default();
    let mut walk = Walk::new(slots_of(0..SLOTS));
    (0..20).for_each(|key| source.write(&Operation::Set(key, 1)));
    source.model.borrow_mut().dropped = 5;
    let mut wire = BytesMut::new();
    let result = walk.step(&mut source, SMALL, &mut wire);
    assert_eq!(result, Err(Overrun { behind: 200 }));
}

#[test]
fn an_empty_set_of_slots_is_synced_at_once() {
    let mut source = ModelSource::default();
    let mut walk = Walk::new(SlotSet::new());
    let mut wire = BytesMut::new();
    walk.step(&mut source, SMALL, &mut wire).expect("empty log");
    assert!(walk.is_synced());
    assert!(!walk.has_work(&source));
}

#[test]
fn data_for_a_slot_that_was_not_announced_is_refused() {
    let mut receiver = Receiver::new(slots_of([1]));
    let mut wire = BytesMut::new();
    let foreign = SlotId::new(2).expect("small");
    crate::replication::frame::encode(
        &mut wire,
        crate::replication::frame::Kind::Slot,
        foreign,
        0,
        &[],
    );
    let frame = decode(&mut wire).expect("valid").expect("whole");
    assert_eq!(
        receiver.receive(&frame),
        Err(ReceiveError::Foreign(foreign))
    );
}
