//! What a slot holds: its table, and the keys that are watched.
//!
//! Nothing here knows roles, routing or the log; time comes in as an argument, and so does how the eviction policy marks keys.

use std::sync::Arc;

use cache_engine::table::{Due, Expiry, Identity, Place, Table};
use cache_eviction::{Meta, Now, Rules, Sampler};

use super::keeper::Keeper;
use super::reaper::{discard_table, discard_value};
use super::slot::Counts;
use super::watch::{Touched, Watches};
use super::{Entry, KeyHash, Value};
use crate::clock::{Millis, Tick};

/// What happens to a key's deadline when its value is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// Stays as it is.
    Keep,
    /// Is taken away.
    Never,
    /// Becomes this time, in milliseconds since the epoch.
    At(Millis),
}

impl Deadline {
    #[inline]
    fn expiry(self) -> Expiry {
        match self {
            Self::Keep => Expiry::Keep,
            Self::Never => Expiry::Never,
            Self::At(time) => Expiry::At(due(time)),
        }
    }

    /// The deadline of a key that is new.
    #[inline]
    fn of_new(self) -> Option<Due> {
        match self {
            Self::At(time) => Some(due(time)),
            Self::Keep | Self::Never => None,
        }
    }
}

/// A deadline with the tick at which it has passed for sure.
#[inline]
fn due(time: Millis) -> Due {
    // 0 is no deadline in Redis's formats.
    let time = time.max(1);
    (time, Tick::after(time).0.min(u32::MAX - 1))
}

/// How the eviction policy marks keys that are used now.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// The policy's rules.
    pub rules: Rules,
    /// Its time.
    pub now: Now,
    /// The keys whose use `auto` wants to know of.
    pub sampler: Option<Sampler>,
}

impl Usage {
    /// Whether the use of a key is to be told to `auto`.
    #[inline]
    pub fn observed(&self, hash: KeyHash) -> bool {
        self.sampler.is_some_and(|sampler| sampler.picks(hash.0))
    }

    #[inline]
    fn random() -> u64 {
        rand::random()
    }
}

/// The content of a slot. What every command needs comes first.
#[derive(Default)]
#[repr(C)]
pub struct SlotData {
    watches: Option<Box<Watches>>,
    table: Table,
    /// What the counts outside the lock say.
    published: Counts,
    /// Who gets entries that a walk has not reached before they change, since the first walk.
    keeper: Option<Arc<Keeper>>,
}

impl SlotData {
    /// Where the places of the table's buckets begin, in bytes: see [`Table::PLACES`].
    pub(super) const PLACES: usize = std::mem::offset_of!(SlotData, table) + Table::PLACES;

    /// Bytes from the beginning that every search may need.
    pub(super) const SEARCHED: usize = std::mem::offset_of!(SlotData, table) + Table::SEARCHED;

    /// Number of entries, expired ones that are still there included.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Number of entries with a deadline.
    pub fn volatile(&self) -> usize {
        self.table.volatile()
    }

    /// Where `key` stands, expired or not.
    #[inline]
    pub fn find(&self, key: &[u8], hash: KeyHash) -> Option<Place> {
        self.table.find(key, hash)
    }

    /// Where `key` stands unless it has expired at `now`.
    #[inline]
    pub fn find_live(&self, key: &[u8], hash: KeyHash, now: Millis) -> Option<Place> {
        let (place, entry) = self.table.find_entry(key, hash)?;
        (!entry.is_expired(now)).then_some(place)
    }

    /// The entry at a place.
    #[inline]
    pub fn entry(&self, place: Place) -> Entry<'_> {
        self.table.entry(place)
    }

    /// The entry of `key`, expired or not.
    pub fn get(&self, key: &[u8], hash: KeyHash) -> Option<Entry<'_>> {
        self.find(key, hash).map(|place| self.entry(place))
    }

    /// What an entry is recognized by after the lock was given up.
    pub fn identity(&self, place: Place) -> Identity {
        self.table.identity(place)
    }

    /// Where an entry stands now, if it is still there.
    pub fn locate(&self, identity: Identity) -> Option<Place> {
        self.table.locate(identity)
    }

    /// The eviction policy's mark of an entry.
    pub fn meta(&self, place: Place) -> Meta {
        Meta::from_bits(self.table.meta(place))
    }

    /// Sets the eviction policy's mark of an entry.
    pub fn set_meta(&mut self, place: Place, meta: Meta) {
        self.table.set_meta(place, meta.to_bits());
    }

    /// Marks an entry as read, and answers it.
    #[inline]
    pub fn mark_read(&mut self, place: Place, usage: &Usage) -> Entry<'_> {
        self.table.remark(place, |meta| {
            let meta = Meta::from_bits(meta);
            let meta = usage.rules.on_read(meta, usage.now, Usage::random);
            meta.map(Meta::to_bits)
        })
    }

    /// Marks an entry as written, and answers it.
    #[inline]
    pub fn mark_written(&mut self, place: Place, usage: &Usage) -> Entry<'_> {
        self.table.remark(place, |meta| {
            let meta = Meta::from_bits(meta);
            let meta = usage.rules.on_write(meta, usage.now, Usage::random);
            meta.map(Meta::to_bits)
        })
    }

    /// Adds a string under a key that is not there.
    #[inline]
    pub fn insert_string(
        &mut self,
        key: &[u8],
        hash: KeyHash,
        bytes: &[u8],
        deadline: Deadline,
        meta: Meta,
    ) {
        self.touch(key);
        let deadline = deadline.of_new();
        self.table
            .insert_string(key, hash, bytes, deadline, meta.to_bits());
    }

    /// Adds a value under a key that is not there.
    pub fn insert(
        &mut self,
        key: &[u8],
        hash: KeyHash,
        value: Value,
        deadline: Deadline,
        meta: Meta,
    ) {
        self.touch(key);
        let deadline = deadline.of_new();
        self.table
            .insert_value(key, hash, value, deadline, meta.to_bits());
    }

    /// Sets the string of the entry of `key`, which is at `place`.
    #[inline]
    pub fn set_string(&mut self, place: Place, key: &[u8], bytes: &[u8], deadline: Deadline) {
        self.keep(place);
        self.touch(key);
        if let Some(old) = self.table.set_string(place, bytes, deadline.expiry()) {
            discard_value(old);
        }
    }

    /// Sets the value of the entry of `key`, which is at `place`.
    pub fn set(&mut self, place: Place, key: &[u8], value: Value, deadline: Deadline) {
        self.keep(place);
        self.touch(key);
        if let Some(old) = self.table.set_value(place, value, deadline.expiry()) {
            discard_value(old);
        }
    }

    /// Changes the value of the entry of `key`, which is at `place`, in place. `change` answers also whether it did.
    pub fn update<R>(
        &mut self,
        place: Place,
        key: &[u8],
        change: impl FnOnce(&mut Value) -> (R, bool),
    ) -> R {
        self.keep(place);
        let (result, changed) = self.table.update(place, change);
        if changed {
            self.touch(key);
        }
        result
    }

    /// Sets or takes away the deadline of the entry of `key`, which is at `place`.
    pub fn set_deadline(&mut self, place: Place, key: &[u8], deadline: Option<Millis>) {
        self.keep(place);
        self.touch(key);
        self.table.set_expiry(place, deadline.map(due));
    }

    /// Takes the entry of `key`, which is at `place`, out; answers its value.
    pub fn take(&mut self, place: Place, key: &[u8]) -> Value {
        self.keep(place);
        self.touch(key);
        self.table.take(place)
    }

    /// Removes the entry of `key`, which is at `place`; a big value is freed in the background.
    pub fn delete(&mut self, place: Place, key: &[u8]) {
        self.keep(place);
        self.touch(key);
        if let Some(old) = self.table.delete(place) {
            discard_value(old);
        }
    }

    /// Removes the entry of `key`, which is at `place`, because it has expired.
    pub fn expire(&mut self, place: Place, key: &[u8]) {
        self.keep(place);
        if let Some(old) = self.table.delete(place) {
            discard_value(old);
        }
        if let Some(watches) = &mut self.watches {
            watches.expire(key);
        }
    }

    /// Looks into up to `limit` buckets for entries that have expired at `now`, removes them and tells `removed` their keys. True when
    /// there may be more.
    pub fn expire_due(
        &mut self,
        now: Millis,
        limit: usize,
        mut removed: impl FnMut(&[u8]),
    ) -> bool {
        for _ in 0..limit {
            let Some((segment, bucket)) = self.table.due_bucket(Tick::at(now).0) else {
                return false;
            };
            let mut expired: Vec<Box<[u8]>> = Vec::new();
            let mut next = u32::MAX;
            for place in self.table.volatile_of(segment, bucket) {
                let entry = self.table.entry(place);
                match entry.deadline() {
                    Some(deadline) if deadline <= now => expired.push(entry.key().into()),
                    Some(deadline) => next = next.min(due(deadline).1),
                    None => {}
                }
            }
            self.table.set_due(segment, bucket, next);
            for key in expired {
                if let Some(place) = self.find(&key, KeyHash::of(&key)) {
                    self.expire(place, &key);
                    removed(&key);
                }
            }
        }
        true
    }

    /// All entries in no order that lasts, expired ones that are still there included.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.table.iter()
    }

    /// Visits at least `count` entries from `from` on in an order that lasts; answers where to go on, `None` at the end.
    pub fn scan<'a>(
        &'a self,
        from: KeyHash,
        count: usize,
        visit: impl FnMut(Entry<'a>),
    ) -> Option<KeyHash> {
        self.table.scan(from, count, visit)
    }

    /// An entry chosen by `random`; `None` when there is none.
    pub fn pick(&self, mut random: impl FnMut() -> u64) -> Option<Entry<'_>> {
        // Buckets are rarely empty, and rarely twice in a row.
        for _ in 0..16 {
            let (chosen, lane) = (random(), random());
            let count = self.table.sample(chosen).count();
            if count > 0 {
                let lane = (lane % count as u64) as usize;
                let place = self.table.sample(chosen).nth(lane);
                return place.map(|(place, _)| self.entry(place));
            }
        }
        self.iter().next()
    }

    /// The places of the entries in a bucket chosen by `random`, and whether each has a deadline.
    pub fn sample(&self, random: u64) -> impl Iterator<Item = (Place, bool)> {
        self.table.sample(random)
    }

    /// Number of buckets of the table.
    pub fn buckets(&self) -> usize {
        self.table.buckets()
    }

    /// The places of the entries with a deadline in the bucket where one expires next.
    pub fn soonest(&self) -> impl Iterator<Item = Place> {
        self.table.soonest_bucket()
    }

    /// Keeps the marks of the eviction policy from wrapping round.
    pub fn sweep_marks(&mut self, usage: &Usage) {
        let places: Vec<Place> = self.table.places().collect();
        for place in places {
            if let Some(meta) = usage.rules.on_sweep(self.meta(place), usage.now) {
                self.set_meta(place, meta);
            }
        }
    }

    /// Empties the slot; answers how many entries there were.
    pub fn clear(&mut self) -> usize {
        let table = std::mem::replace(&mut self.table, Table::emptied());
        if let Some(watches) = &mut self.watches {
            table.iter().for_each(|entry| watches.touch(entry.key()));
        }
        let keys = table.len();
        match &self.keeper {
            Some(keeper) if table.is_walking() => keeper.keep_table(table),
            _ => discard_table(table),
        }
        keys
    }

    /// Puts the content of another slot in the place of this one's.
    pub(super) fn replace_by(&mut self, other: &mut Self) {
        if let Some(watches) = &mut self.watches {
            let tables = [&self.table, &other.table];
            for entry in tables.into_iter().flat_map(Table::iter) {
                watches.touch(entry.key());
            }
        }
        self.clear();
        let taken = std::mem::replace(&mut other.table, Table::emptied());
        self.table = taken.moved();
    }

    /// Has `touched` set when `key` changes from now on.
    pub fn watch(&mut self, key: &[u8], hash: KeyHash, touched: &Arc<Touched>, now: Millis) {
        let expired = self
            .get(key, hash)
            .is_some_and(|entry| entry.is_expired(now));
        self.watches
            .get_or_insert_default()
            .add(key, touched, expired);
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.table.bytes() + self.table.entry_bytes()
    }

    /// Begins a walk: `keeper` gets entries that it has not reached before they change.
    pub(super) fn begin_walk(&mut self, keeper: &Arc<Keeper>) {
        self.table.begin_walk();
        if self.keeper.is_none() {
            self.keeper = Some(Arc::clone(keeper));
        }
    }

    /// Whether there may be entries that the walk has not reached.
    pub(super) fn is_walking(&self) -> bool {
        self.table.is_walking()
    }

    /// See [`Table::walk`].
    pub(super) fn walk(
        &mut self,
        from: KeyHash,
        count: usize,
        visit: impl FnMut(Entry<'_>),
    ) -> Option<KeyHash> {
        self.table.walk(from, count, visit)
    }

    /// Ends the walk here, wherever it stood.
    pub(super) fn end_walk(&mut self) {
        if self.table.is_walking() {
            self.table.end_walk();
        }
    }

    /// The entry at a place is about to change.
    #[inline]
    fn keep(&mut self, place: Place) {
        if self.table.is_behind(place) {
            self.keep_behind(place);
        }
    }

    #[cold]
    fn keep_behind(&mut self, place: Place) {
        if let Some(keeper) = &self.keeper {
            keeper.keep(self.table.entry(place));
        }
        self.table.pass(place);
    }

    /// `key` changes: tells those who watch it.
    #[inline]
    fn touch(&mut self, key: &[u8]) {
        if self.watches.is_some() {
            self.touch_watched(key);
        }
    }

    #[cold]
    fn touch_watched(&mut self, key: &[u8]) {
        if let Some(watches) = &mut self.watches {
            watches.touch(key);
            if watches.is_empty() {
                self.watches = None;
            }
        }
    }

    /// What the counts outside the lock say and what they should say, if that differs; taken as done.
    #[inline]
    pub(super) fn changes(&mut self) -> Option<(Counts, Counts)> {
        if !self.table.take_changed() {
            return None;
        }
        let after = Counts {
            keys: self.len() as u32,
            volatile: self.volatile() as u32,
            bytes: self.bytes(),
            entry_bytes: self.table.entry_bytes(),
            probation_bytes: self.table.probation_bytes(),
            due: self.table.next_due(),
            layout: self.table.layout().to_bits(),
        };
        let before = std::mem::replace(&mut self.published, after);
        (before != after).then_some((before, after))
    }
}

#[cfg(test)]
mod tests;
