//! The keys that a command works on: locked slots, seen with the command's eyes.
//!
//! It knows what the slots do not: whether an expired key is there (never, for clients; always, for effects that are replayed), what
//! is counted as hit or miss, and what must be told to the log.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::clock::Millis;
use crate::log::{Log, Scope};
use crate::resp::{encode_request, request_len};
use crate::slot::SlotId;
use crate::stats::Lookups;
use crate::store::{
    Deadline, Entry, Hash, Keyed, SlotData, SlotGuard, Store, Touched, Value, encode_entry,
};

use super::error::{Failure, Result, WRONG_TYPE};

/// The locks that a command holds.
pub(super) enum Locks<'g> {
    /// None: it has no keys.
    None,
    /// One slot.
    One(SlotGuard<'g>),
    /// Several slots in ascending order.
    Many(Vec<SlotGuard<'g>>),
}

impl<'g> Locks<'g> {
    fn of_slot(&mut self, slot: SlotId) -> Option<&mut SlotGuard<'g>> {
        match self {
            Self::None => None,
            Self::One(guard) => (guard.id() == slot).then_some(guard),
            Self::Many(guards) => {
                let index = guards.binary_search_by_key(&slot, SlotGuard::id).ok()?;
                guards.get_mut(index)
            }
        }
    }
}

/// Effects of one slot.
#[derive(Default)]
struct Effects {
    bytes: Vec<u8>,
    len: usize,
}

/// The keys that a command works on.
pub struct Db<'g> {
    store: &'g Store,
    log: &'g Log,
    locks: Locks<'g>,
    lookups: Lookups,
    /// The command's time.
    now: Millis,
    /// Entries with a deadline up to this time are not there; 0 when effects are replayed.
    horizon: Millis,
    /// Whether accesses count for eviction (`CLIENT NO-TOUCH`).
    touches: bool,
    recording: bool,
    effects: SmallVec<[(Option<SlotId>, Effects); 1]>,
}

impl<'g> Db<'g> {
    pub(super) fn new(store: &'g Store, log: &'g Log, locks: Locks<'g>, now: Millis) -> Self {
        Self {
            store,
            log,
            lookups: Lookups::default(),
            locks,
            now,
            horizon: now,
            touches: true,
            // Asked under the locks, as the log wants it.
            recording: log.is_recording(),
            effects: SmallVec::new(),
        }
    }

    /// The same for effects, which are executed as they are: nothing expires, and nothing is told to the log.
    pub(super) fn replaying(mut self) -> Self {
        self.horizon = 0;
        self.recording = false;
        self
    }

    pub(super) fn without_touching(mut self) -> Self {
        self.touches = false;
        self
    }

    /// The command's time.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// Whether `deadline` has passed, so that a key with it would not be there.
    pub fn is_past(&self, deadline: Millis) -> bool {
        deadline <= self.horizon
    }

    /// The store, for commands that look through all slots.
    pub fn store(&self) -> &'g Store {
        self.store
    }

    /// The slot of `key`, which is locked.
    fn slot(&mut self, key: &[u8]) -> &mut SlotData {
        slot_of(&mut self.locks, key)
    }

    fn slot_id(&self, key: &[u8]) -> SlotId {
        match &self.locks {
            Locks::One(guard) => guard.id(),
            _ => SlotId::of(key),
        }
    }

    /// Works on one slot, which is locked for it if the command does not hold it.
    pub fn with_slot<R>(&mut self, slot: SlotId, work: impl FnOnce(&SlotData) -> R) -> Result<R> {
        if let Some(guard) = self.locks.of_slot(slot) {
            return Ok(work(guard));
        }
        match self.store.try_lock_internal(slot) {
            Some(guard) => Ok(work(&guard)),
            None => Err(Failure::Busy(slot)),
        }
    }

    /// The entry of `key` for a command that reads: counts as hit or miss, and as access.
    pub fn read(&mut self, key: &[u8]) -> Option<&Entry> {
        let (now, horizon, touches) = (self.now, self.horizon, self.touches);
        let slot = slot_of(&mut self.locks, key);
        let entry = if touches {
            slot.access(key, now)
        } else {
            slot.get(key)
        };
        let live = entry.filter(|entry| !entry.is_expired(horizon));
        self.lookups.count(live.is_some());
        live
    }

    /// The entry of `key`, without counting as access.
    pub fn peek(&mut self, key: &[u8]) -> Option<&Entry> {
        let horizon = self.horizon;
        self.slot(key)
            .get(key)
            .filter(|entry| !entry.is_expired(horizon))
    }

    /// The entry of `key` for a command that changes it: an expired one is removed first.
    pub fn existing(&mut self, key: &[u8]) -> Option<&Entry> {
        let (now, horizon, touches) = (self.now, self.horizon, self.touches);
        if self.slot(key).expire(key, horizon) {
            self.lookups.expired += 1;
            self.effect(key, &[b"DEL", key]);
            return None;
        }
        if touches {
            self.slot(key).access(key, now)
        } else {
            self.slot(key).get(key)
        }
    }

    /// The string at `key`, as bytes.
    pub fn read_string<'b>(
        &mut self,
        key: &[u8],
        number: &'b mut itoa::Buffer,
    ) -> Result<Option<StringBytes<'_, 'b>>> {
        match self.read(key) {
            None => Ok(None),
            Some(entry) => StringBytes::of(&entry.value, number)
                .map(Some)
                .ok_or(WRONG_TYPE),
        }
    }

    /// The hash at `key`.
    pub fn read_hash(&mut self, key: &[u8]) -> Result<Option<&Hash>> {
        match self.read(key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::Hash(hash)) => Ok(Some(hash)),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    /// Sets the value of `key`; true when the key is new.
    pub fn put(&mut self, key: &[u8], value: Value, deadline: Deadline) -> bool {
        let now = self.now;
        self.slot(key).put(key, value, deadline, now)
    }

    /// Changes the value of `key` in place; `None` when there is no such key.
    pub fn update<R>(&mut self, key: &[u8], change: impl FnOnce(&mut Value) -> R) -> Option<R> {
        self.slot(key).update(key, change)
    }

    /// Sets or takes away the deadline of `key`.
    pub fn set_deadline(&mut self, key: &[u8], deadline: Option<Millis>) -> bool {
        self.slot(key).set_deadline(key, deadline)
    }

    /// Removes `key`; false when it is not there or has expired.
    pub fn delete(&mut self, key: &[u8]) -> bool {
        self.existing(key).is_some() && self.slot(key).delete(key)
    }

    /// Takes the entry of `key` out.
    pub fn take(&mut self, key: &[u8]) -> Option<Entry> {
        self.existing(key)?;
        self.slot(key).remove(key)
    }

    /// Empties those of the locked slots that `chosen` admits.
    pub fn clear(&mut self, chosen: impl Fn(SlotId) -> bool) {
        let Locks::Many(guards) = &mut self.locks else {
            return;
        };
        let spared = guards
            .iter()
            .any(|guard| !guard.is_empty() && !chosen(guard.id()));
        let mut removed = Vec::new();
        for guard in guards.iter_mut().filter(|guard| chosen(guard.id())) {
            if spared {
                removed.extend(guard.iter().map(|entry| entry.key().to_vec()));
            }
            guard.clear();
        }
        if spared {
            // What is spared here must be spared by those who read the log, too.
            for key in &removed {
                self.effect(key, &[b"DEL", key]);
            }
        } else {
            self.add_effect(None, &[b"FLUSHALL"]);
        }
    }

    /// Has `touched` set when `key` changes; true when the key has expired already but is still stored.
    pub fn watch(&mut self, key: &[u8], touched: &Arc<Touched>) -> bool {
        let now = self.now;
        let slot = self.slot(key);
        slot.watch(key, touched, now);
        slot.get(key).is_some_and(|entry| entry.is_expired(now))
    }

    /// Whether a stored key has expired.
    pub(super) fn has_expired(&mut self, key: &[u8]) -> bool {
        let now = self.now;
        self.slot(key)
            .get(key)
            .is_some_and(|entry| entry.is_expired(now))
    }

    /// Tells the log what was done to `key`: a command that is deterministic and absolute, so that replicas come to the same.
    pub fn effect(&mut self, key: &[u8], command: &[&[u8]]) {
        let slot = self.slot_id(key);
        self.add_effect(Some(slot), command);
    }

    /// The same, for an effect of many arguments.
    pub fn effect_of<'b>(
        &mut self,
        key: &[u8],
        command: impl ExactSizeIterator<Item = &'b [u8]> + Clone,
    ) {
        let slot = self.slot_id(key);
        self.add_effect_of(Some(slot), command);
    }

    /// Tells the log the whole entry of `key`, which replaces what was there.
    pub fn effect_entry(&mut self, key: &[u8]) {
        let mut bytes = Vec::new();
        encode_request(&mut bytes, [b"DEL".as_slice(), key].into_iter());
        if let Some(entry) = self.slot(key).get(key) {
            encode_entry(entry, &mut bytes);
        }
        let slot = self.slot_id(key);
        let recording = self.recording;
        let effects = self.effects_of(Some(slot));
        if recording {
            effects.bytes.extend_from_slice(&bytes);
        } else {
            effects.len += bytes.len();
        }
    }

    fn add_effect(&mut self, slot: Option<SlotId>, command: &[&[u8]]) {
        self.add_effect_of(slot, command.iter().copied());
    }

    fn add_effect_of<'b>(
        &mut self,
        slot: Option<SlotId>,
        command: impl ExactSizeIterator<Item = &'b [u8]> + Clone,
    ) {
        let recording = self.recording;
        let effects = self.effects_of(slot);
        if recording {
            encode_request(&mut effects.bytes, command);
        } else {
            effects.len += request_len(command);
        }
    }

    /// Where the next effect of a slot goes: to the one before if that is of the same slot.
    fn effects_of(&mut self, slot: Option<SlotId>) -> &mut Effects {
        if self.effects.last().is_none_or(|(last, _)| *last != slot) {
            self.effects.push((slot, Effects::default()));
        }
        let last = self.effects.len() - 1;
        &mut self.effects[last].1
    }

    /// Hands the effects over to the log, one record for each run of effects on a slot, and releases the locks.
    pub(super) fn commit(self) -> Lookups {
        for (slot, effects) in &self.effects {
            if self.recording {
                let scope = slot.map_or(Scope::All, Scope::Slot);
                self.log.append(scope, &effects.bytes);
            } else {
                self.log.skip(effects.len);
            }
        }
        self.lookups
    }

    /// Tells the log the effects that were replayed, as they came, and releases the locks.
    pub(super) fn commit_replayed(self, scope: Scope, effects: &[u8]) {
        self.log.append(scope, effects);
    }
}

/// The slot of `key`, which is locked.
fn slot_of<'l>(locks: &'l mut Locks<'_>, key: &[u8]) -> &'l mut SlotData {
    let guard = match locks {
        Locks::One(guard) => Some(guard),
        locks => locks.of_slot(SlotId::of(key)),
    };
    guard.expect("the slots of a command's keys are locked before it runs")
}

/// A string's bytes: those of the entry, or those of a number's text.
pub enum StringBytes<'e, 'n> {
    /// Stored as they are.
    Stored(&'e [u8]),
    /// The text of an integer.
    Number(&'n [u8]),
}

impl<'e, 'n> StringBytes<'e, 'n> {
    /// The bytes of `value`, if it is a string; a number is written into `number`.
    pub fn of(value: &'e Value, number: &'n mut itoa::Buffer) -> Option<Self> {
        match value {
            Value::Integer(integer) => Some(Self::Number(number.format(*integer).as_bytes())),
            Value::String(bytes) => Some(Self::Stored(bytes)),
            Value::Buffer(bytes) => Some(Self::Stored(bytes)),
            Value::Hash(_) => None,
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Stored(bytes) => bytes,
            Self::Number(bytes) => bytes,
        }
    }
}
