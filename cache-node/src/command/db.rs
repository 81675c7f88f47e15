//! The keys that a command works on: locked slots, seen with the command's eyes.
//!
//! It knows what the slots do not: whether an expired key is there (never, for clients; always, for effects that are replayed), what
//! is counted as hit or miss, what eviction is to know, and what must be told to the log.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use cache_eviction::{Access, Meta};
use smallvec::SmallVec;

use crate::clock::Millis;
use crate::log::{Log, Scope};
use crate::node::Node;
use crate::resp::{Reply, encode_request, parse_integer, request_len};
use crate::slot::SlotId;
use crate::stats::Tally;
use crate::store::{
    Deadline, Entry, HashRef, KeyHash, ListRef, MAX_INLINE, Place, SetRef, SlotData, SortedSetRef,
    Text, Touched, Usage, Value, ValueRef, encode_entry,
};

use super::error::{Failure, Result, WRONG_TYPE};
use super::held::{Hashed, Held, Locks};
use super::wait::Wait;

/// What became of a value.
pub struct Edit<R> {
    /// What the one who changed it wants to know.
    pub result: R,
    /// Whether it is another value now; if not, nobody who watches it is told.
    pub changed: bool,
}

impl<R> Edit<R> {
    /// The value is another one.
    pub fn changed(result: R) -> Self {
        Self {
            result,
            changed: true,
        }
    }
}

impl Edit<usize> {
    /// So many parts of the value are other ones.
    pub fn of(count: usize) -> Self {
        Self {
            result: count,
            changed: count > 0,
        }
    }
}

/// The keys that a command works on.
pub struct Db<'g> {
    node: &'g Node,
    held: Held<'g>,
    tally: Tally,
    usage: Usage,
    /// The command's time.
    now: Millis,
    /// Entries with a deadline up to this time are not there; 0 when effects are replayed.
    horizon: Millis,
    /// Whether accesses count for eviction (`CLIENT NO-TOUCH`).
    touches: bool,
    recording: bool,
    /// Commands among the effects.
    commands: usize,
    effects: SmallVec<[(Option<SlotId>, Vec<u8>); 1]>,
}

impl<'g> Db<'g> {
    #[inline]
    pub(super) fn new(node: &'g Node, locks: Locks<'g>, now: Millis, usage: Usage) -> Self {
        Self {
            tally: Tally::default(),
            held: Held::new(locks),
            usage,
            now,
            horizon: now,
            touches: true,
            // Asked under the locks, as the log wants it.
            recording: node.log.is_recording(),
            commands: 0,
            effects: SmallVec::new(),
            node,
        }
    }

    /// The same for commands of a primary of another kind: nothing expires.
    pub(super) fn following(mut self) -> Self {
        self.horizon = 0;
        self
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

    /// The same with slots and hashes of the command's keys, of which `first` is the first. The keys outlive this.
    #[inline]
    pub(super) fn knowing(mut self, first: &[u8], keys: &'g [Hashed]) -> Self {
        self.held = self.held.knowing(first, keys);
        self
    }

    /// The command works on its key number `index` from now on, so that what it needs to know about it is worked out once.
    #[inline]
    pub fn aim(&mut self, index: usize, key: &[u8]) {
        self.held.aim(index, key);
    }

    /// The command's time.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// Whether `deadline` has passed, so that a key with it would not be there.
    pub fn is_past(&self, deadline: Millis) -> bool {
        deadline <= self.horizon
    }

    /// The slot of `key`, which is locked.
    #[inline]
    fn slot(&mut self, key: &[u8]) -> &mut SlotData {
        self.held.slot(key)
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> KeyHash {
        self.held.hash(key)
    }

    /// Works on one slot, which is locked for it if the command does not hold it.
    pub fn with_slot<R>(&mut self, slot: SlotId, work: impl FnOnce(&SlotData) -> R) -> Result<R> {
        if let Some(data) = self.held.of_slot(slot) {
            return Ok(work(data));
        }
        match self.node.store.try_lock_internal(slot) {
            Some(guard) => Ok(work(&guard)),
            None => Err(Failure::Wait(Wait::Slot(slot))),
        }
    }

    /// The entry of `key` for a command that reads: counts as hit or miss, and as access.
    #[inline]
    pub fn read(&mut self, key: &[u8]) -> Option<Entry<'_>> {
        let hash = self.hash(key);
        let (usage, horizon, touches) = (self.usage, self.horizon, self.touches);
        let slot = self.held.slot(key);
        let place = slot.find_live(key, hash, horizon);
        self.tally.count(place.is_some());
        if touches && usage.observed(hash) {
            let found = place.map(|place| slot.entry(place).bytes());
            let access = found.map_or(Access::Miss, |bytes| Access::Hit {
                bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            });
            self.node.eviction.observe(hash, access);
        }
        let place = place?;
        Some(if touches {
            slot.mark_read(place, &usage)
        } else {
            slot.entry(place)
        })
    }

    /// The entry of `key`, without counting as access.
    pub fn peek(&mut self, key: &[u8]) -> Option<Entry<'_>> {
        let (hash, horizon) = (self.hash(key), self.horizon);
        self.slot(key)
            .get(key, hash)
            .filter(|entry| !entry.is_expired(horizon))
    }

    /// The eviction policy's mark of `key`.
    pub fn meta(&mut self, key: &[u8]) -> Option<Meta> {
        let (hash, horizon) = (self.hash(key), self.horizon);
        let slot = self.slot(key);
        let place = slot.find(key, hash)?;
        (!slot.entry(place).is_expired(horizon)).then(|| slot.meta(place))
    }

    /// Where `key` stands, for a command that changes it: an expired one is removed first.
    #[inline]
    fn find(&mut self, key: &[u8]) -> Option<Place> {
        let (hash, horizon) = (self.hash(key), self.horizon);
        let slot = self.slot(key);
        let place = slot.find(key, hash)?;
        if !slot.entry(place).is_expired(horizon) {
            return Some(place);
        }
        slot.expire(place, key);
        self.tally.expired += 1;
        self.tell_removed(hash);
        self.effect(key, &[b"DEL", key]);
        None
    }

    /// Tells `auto` that a key is gone.
    fn tell_removed(&self, hash: KeyHash) {
        if self.usage.observed(hash) {
            self.node.eviction.observe(hash, Access::Remove);
        }
    }

    /// Tells `auto` that a key was written.
    #[inline]
    fn tell_written(&mut self, key: &[u8], hash: KeyHash, new: bool) {
        if !self.usage.observed(hash) {
            return;
        }
        let slot = self.held.slot(key);
        let bytes = slot.get(key, hash).map_or(0, Entry::bytes);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let access = if new {
            Access::Insert { bytes }
        } else {
            Access::Overwrite { bytes }
        };
        self.node.eviction.observe(hash, access);
    }

    /// The entry of `key` for a command that changes it: an expired one is removed first.
    pub fn existing(&mut self, key: &[u8]) -> Option<Entry<'_>> {
        let place = self.find(key)?;
        let (usage, touches) = (self.usage, self.touches);
        let slot = self.slot(key);
        Some(if touches {
            slot.mark_read(place, &usage)
        } else {
            slot.entry(place)
        })
    }

    /// The string at `key`, as bytes.
    #[inline]
    pub fn read_string<'b>(
        &mut self,
        key: &[u8],
        number: &'b mut itoa::Buffer,
    ) -> Result<Option<StringBytes<'_, 'b>>> {
        match self.read(key) {
            None => Ok(None),
            Some(entry) => StringBytes::of(entry.value(), number)
                .map(Some)
                .ok_or(WRONG_TYPE),
        }
    }

    /// The hash at `key`.
    pub fn read_hash(&mut self, key: &[u8]) -> Result<Option<HashRef<'_>>> {
        match self.read(key).map(Entry::value) {
            None => Ok(None),
            Some(ValueRef::Hash(hash)) => Ok(Some(hash)),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    /// The list at `key`.
    pub fn read_list(&mut self, key: &[u8]) -> Result<Option<ListRef<'_>>> {
        match self.read(key).map(Entry::value) {
            None => Ok(None),
            Some(ValueRef::List(list)) => Ok(Some(list)),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    /// The set at `key`.
    pub fn read_set(&mut self, key: &[u8]) -> Result<Option<SetRef<'_>>> {
        match self.read(key).map(Entry::value) {
            None => Ok(None),
            Some(ValueRef::Set(set)) => Ok(Some(set)),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    /// The sorted set at `key`.
    pub fn read_sorted_set(&mut self, key: &[u8]) -> Result<Option<SortedSetRef<'_>>> {
        match self.read(key).map(Entry::value) {
            None => Ok(None),
            Some(ValueRef::SortedSet(set)) => Ok(Some(set)),
            Some(_) => Err(WRONG_TYPE),
        }
    }

    /// Changes the value of `key` in place, after making it with `new` if there is no such key. A collection that `change` leaves empty
    /// goes with its key. `type_name` is that of the values that `change` takes; it answers an error before it has changed anything.
    pub fn change<R>(
        &mut self,
        key: &[u8],
        type_name: &'static str,
        new: impl FnOnce() -> Value,
        change: impl FnOnce(&mut Value) -> Result<Edit<R>>,
    ) -> Result<R> {
        let hash = self.hash(key);
        let Some(place) = self.find(key) else {
            let mut value = new();
            let edit = change(&mut value)?;
            if !value.is_empty_collection() {
                let meta = self.fresh(hash);
                let slot = self.held.slot(key);
                slot.insert(key, hash, value, Deadline::Never, meta);
                self.tell_written(key, hash, true);
            }
            return Ok(edit.result);
        };
        self.change_at(place, key, type_name, change)
    }

    /// [`Db::change`] for a key that is there; `None` when it is not.
    pub fn change_existing<R>(
        &mut self,
        key: &[u8],
        type_name: &'static str,
        change: impl FnOnce(&mut Value) -> Result<Edit<R>>,
    ) -> Result<Option<R>> {
        match self.find(key) {
            None => Ok(None),
            Some(place) => self.change_at(place, key, type_name, change).map(Some),
        }
    }

    fn change_at<R>(
        &mut self,
        place: Place,
        key: &[u8],
        type_name: &'static str,
        change: impl FnOnce(&mut Value) -> Result<Edit<R>>,
    ) -> Result<R> {
        let (hash, usage) = (self.hash(key), self.usage);
        let slot = self.held.slot(key);
        if slot.mark_written(place, &usage).value().type_name() != type_name {
            return Err(WRONG_TYPE);
        }
        let mut empty = false;
        let edit = slot.update(place, key, |value| {
            let edit = change(value);
            empty = value.is_empty_collection();
            let changed = edit.as_ref().is_ok_and(|edit| edit.changed);
            (edit, changed)
        })?;
        if empty {
            slot.delete(place, key);
            self.tell_removed(hash);
        } else if edit.changed {
            self.tell_written(key, hash, false);
        }
        Ok(edit.result)
    }

    /// The mark of a key that is about to be added.
    #[inline]
    fn fresh(&self, hash: KeyHash) -> Meta {
        let memory = self.node.store.memory();
        self.node.eviction.fresh(memory, hash, &self.usage)
    }

    /// Sets the string at `key`, as an integer if it is one in canonical form.
    #[inline]
    pub fn put_string(&mut self, key: &[u8], bytes: &[u8], deadline: Deadline) {
        if bytes.len() > MAX_INLINE {
            self.put(key, Value::Text(Box::new(Text::from(bytes))), deadline);
            return;
        }
        if bytes.len() <= 20
            && let Some(number) = parse_integer(bytes)
        {
            self.put(key, Value::Integer(number), deadline);
            return;
        }
        let (hash, usage) = (self.hash(key), self.usage);
        let slot = self.held.slot(key);
        let new = match slot.find(key, hash) {
            Some(place) => {
                slot.mark_written(place, &usage);
                slot.set_string(place, key, bytes, deadline);
                false
            }
            None => {
                let meta = self.fresh(hash);
                let slot = self.held.slot(key);
                slot.insert_string(key, hash, bytes, deadline, meta);
                true
            }
        };
        self.tell_written(key, hash, new);
    }

    /// Sets the value of `key`; true when the key is new.
    pub fn put(&mut self, key: &[u8], value: Value, deadline: Deadline) -> bool {
        let (hash, usage) = (self.hash(key), self.usage);
        let slot = self.held.slot(key);
        let new = match slot.find(key, hash) {
            Some(place) => {
                slot.mark_written(place, &usage);
                slot.set(place, key, value, deadline);
                false
            }
            None => {
                let meta = self.fresh(hash);
                let slot = self.held.slot(key);
                slot.insert(key, hash, value, deadline, meta);
                true
            }
        };
        self.tell_written(key, hash, new);
        new
    }

    /// Changes the value of `key` in place; `None` when there is no such key.
    pub fn update<R>(&mut self, key: &[u8], change: impl FnOnce(&mut Value) -> R) -> Option<R> {
        let (hash, usage) = (self.hash(key), self.usage);
        let slot = self.held.slot(key);
        let place = slot.find(key, hash)?;
        slot.mark_written(place, &usage);
        let result = slot.update(place, key, |value| (change(value), true));
        self.tell_written(key, hash, false);
        Some(result)
    }

    /// Sets or takes away the deadline of `key`.
    pub fn set_deadline(&mut self, key: &[u8], deadline: Option<Millis>) -> bool {
        let hash = self.hash(key);
        let slot = self.slot(key);
        let Some(place) = slot.find(key, hash) else {
            return false;
        };
        slot.set_deadline(place, key, deadline);
        true
    }

    /// Removes `key`; false when it is not there or has expired.
    pub fn delete(&mut self, key: &[u8]) -> bool {
        let Some(place) = self.find(key) else {
            return false;
        };
        self.slot(key).delete(place, key);
        self.tell_removed(self.hash(key));
        true
    }

    /// Takes the value and the deadline of `key` out.
    pub fn take(&mut self, key: &[u8]) -> Option<(Value, Deadline)> {
        let place = self.find(key)?;
        let slot = self.slot(key);
        let deadline = slot.entry(place).deadline();
        let value = slot.take(place, key);
        self.tell_removed(self.hash(key));
        Some((value, deadline.map_or(Deadline::Never, Deadline::At)))
    }

    /// Empties those of the locked slots that `chosen` admits.
    pub fn clear(&mut self, chosen: impl Fn(SlotId) -> bool) {
        let Some(guards) = self.held.many() else {
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
            self.effect_on_all(&[b"FLUSHALL"]);
        }
    }

    /// Has `touched` set when `key` changes; true when the key has expired already but is still stored.
    pub fn watch(&mut self, key: &[u8], touched: &Arc<Touched>) -> bool {
        let (hash, now) = (self.hash(key), self.now);
        let slot = self.slot(key);
        slot.watch(key, hash, touched, now);
        slot.get(key, hash)
            .is_some_and(|entry| entry.is_expired(now))
    }

    /// Whether a stored key has expired.
    pub(super) fn has_expired(&mut self, key: &[u8]) -> bool {
        let (hash, now) = (self.hash(key), self.now);
        self.slot(key)
            .get(key, hash)
            .is_some_and(|entry| entry.is_expired(now))
    }

    /// Tells the log what was done to `key`: a command that is deterministic and absolute, so that replicas come to the same.
    #[inline]
    pub fn effect(&mut self, key: &[u8], command: &[&[u8]]) {
        self.effect_of(key, command.iter().copied());
    }

    /// The same, for an effect of many arguments.
    #[inline]
    pub fn effect_of<'b>(
        &mut self,
        key: &[u8],
        command: impl ExactSizeIterator<Item = &'b [u8]> + Clone,
    ) {
        self.tally.changes += 1;
        if self.recording {
            self.commands += 1;
            let slot = self.held.slot_id(key);
            encode_request(self.effects_of(Some(slot)), command);
        } else {
            self.tally.unread += request_len(command);
        }
    }

    /// Tells the log the whole entry of `key`, which replaces what was there.
    pub fn effect_entry(&mut self, key: &[u8]) {
        self.tally.changes += 1;
        let mut bytes = Vec::new();
        encode_request(&mut bytes, [b"DEL".as_slice(), key].into_iter());
        let hash = self.hash(key);
        if let Some(entry) = self.slot(key).get(key, hash) {
            encode_entry(entry, &mut bytes);
        }
        if self.recording {
            self.commands += 2;
            let slot = self.held.slot_id(key);
            self.effects_of(Some(slot)).extend_from_slice(&bytes);
        } else {
            self.tally.unread += bytes.len();
        }
    }

    fn effect_on_all(&mut self, command: &[&[u8]]) {
        self.tally.changes += 1;
        if self.recording {
            self.commands += 1;
            encode_request(self.effects_of(None), command.iter().copied());
        } else {
            self.tally.unread += request_len(command.iter().copied());
        }
    }

    /// Where the next effect of a slot goes: to the one before if that is of the same slot.
    fn effects_of(&mut self, slot: Option<SlotId>) -> &mut Vec<u8> {
        if self.effects.last().is_none_or(|(last, _)| *last != slot) {
            self.effects.push((slot, Vec::new()));
        }
        let last = self.effects.len() - 1;
        &mut self.effects[last].1
    }

    /// Hands the effects over to the log, one record for each run of effects on a slot, and releases the locks. Several commands take
    /// effect together: they stand between `MULTI` and `EXEC`.
    #[inline]
    pub(super) fn commit(self) -> Tally {
        if !self.effects.is_empty() {
            let records = self.effects.iter().map(|(slot, effects)| {
                let scope = slot.map_or(Scope::All, Scope::Slot);
                (scope, effects.as_slice())
            });
            let end = append_together(&self.node.log, records, self.commands);
            if self.node.synchronous() > 0 {
                let slots = self.effects.iter().map(|(slot, _)| *slot);
                self.node.replication.durability.note(slots, end);
            }
        }
        self.tally
    }

    /// Tells the log records that were replayed, as they came and with nothing between them, and releases the locks.
    pub(super) fn commit_records<'r>(self, records: impl Iterator<Item = (Scope, &'r [u8])>) {
        self.node.log.append_all(records);
    }

    /// Tells the log the effects that were replayed, as they came, and releases the locks.
    pub(super) fn commit_replayed(self, scope: Scope, effects: &[u8], commands: usize) {
        append_together(&self.node.log, [(scope, effects)].into_iter(), commands);
    }
}

/// Appends records of so many commands; answers the offset behind them.
fn append_together<'a>(
    log: &Log,
    records: impl Iterator<Item = (Scope, &'a [u8])>,
    commands: usize,
) -> u64 {
    if commands > 1 {
        let begin = [(Scope::Other, MULTI)].into_iter();
        log.append_all(begin.chain(records).chain([(Scope::Other, EXEC)]))
    } else {
        log.append_all(records)
    }
}

/// What stands before effects that belong together, as a record of its own.
pub(crate) const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
/// What stands behind them.
pub(crate) const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// A string: bytes of the entry, the text of a number, or the chunks of a long one.
pub enum StringBytes<'e, 'n> {
    /// Stored as they are.
    Stored(&'e [u8]),
    /// The text of an integer.
    Number(&'n [u8]),
    /// Stored in chunks.
    Text(&'e Text),
}

impl<'e, 'n> StringBytes<'e, 'n> {
    /// The bytes of `value`, if it is a string; a number is written into `number`.
    #[inline]
    pub fn of(value: ValueRef<'e>, number: &'n mut itoa::Buffer) -> Option<Self> {
        match value {
            ValueRef::Integer(integer) => Some(Self::Number(number.format(integer).as_bytes())),
            ValueRef::String(bytes, _) => Some(Self::Stored(bytes)),
            ValueRef::Text(text) => Some(Self::Text(text)),
            _ => None,
        }
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Stored(bytes) => bytes.len(),
            Self::Number(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
        }
    }

    /// The bytes in one piece.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        self.range(0..self.len())
    }

    /// Some of the bytes in one piece.
    pub fn range(&self, range: Range<usize>) -> Cow<'_, [u8]> {
        match self {
            Self::Stored(bytes) => Cow::Borrowed(&bytes[range]),
            Self::Number(bytes) => Cow::Borrowed(&bytes[range]),
            Self::Text(text) => Cow::Owned(text.get_range(range)),
        }
    }

    /// Answers the string.
    #[inline]
    pub fn reply(&self, reply: &mut Reply<'_>) {
        match self {
            Self::Stored(bytes) => reply.bulk(bytes),
            Self::Number(bytes) => reply.bulk(bytes),
            Self::Text(text) => reply.bulk_pieces(text.len(), text.slices(0..text.len())),
        }
    }
}
