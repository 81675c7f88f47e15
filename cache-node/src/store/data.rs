//! What a slot holds: its entries, its expiry calendar and the keys that are watched.
//!
//! Nothing here knows roles, routing or the log; time comes in as an argument.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::clock::{Millis, Tick};
use crate::slot::SlotId;

use super::Counts;
use super::calendar::Calendar;
use super::reaper::{discard_table, discard_value};
use super::table::{KeyHash, Keyed, Table};
use super::value::{Entry, Value};
use super::watch::{Touched, Watches};

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

/// The content of a slot.
#[derive(Default)]
pub struct SlotData {
    table: Table<Entry>,
    calendar: Calendar,
    /// Entries with a deadline.
    volatile: usize,
    /// Bytes allocated for entries.
    entry_bytes: usize,
    /// Bytes that the counts outside the lock know of.
    published: usize,
    changed: bool,
    watches: Option<Box<Watches>>,
}

impl SlotData {
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
        self.volatile
    }

    /// The entry of `key`, expired or not.
    pub fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.table.get(key, KeyHash::of(key))
    }

    /// The entry of `key`, expired or not, marked as accessed at `now`.
    pub fn access(&mut self, key: &[u8], now: Millis) -> Option<&Entry> {
        let entry = self.table.get_mut(key, KeyHash::of(key))?;
        entry.accessed = Tick::at(now);
        Some(entry)
    }

    /// Sets the value of `key`. True when the key is new.
    pub fn put(&mut self, key: &[u8], value: Value, deadline: Deadline, now: Millis) -> bool {
        self.touch(key);
        let hash = KeyHash::of(key);
        let added = value.size();
        let new = match self.table.get_mut(key, hash) {
            Some(entry) => {
                self.entry_bytes += added;
                self.entry_bytes -= entry.value.size();
                entry.accessed = Tick::at(now);
                discard_value(std::mem::replace(&mut entry.value, value));
                false
            }
            None => {
                let entry = Entry::new(key, value, now);
                self.entry_bytes += entry.size();
                self.table.insert(entry, hash);
                true
            }
        };
        match deadline {
            Deadline::Keep => {}
            Deadline::Never if new => {}
            Deadline::Never => self.set_deadline_of(key, hash, None),
            Deadline::At(time) => self.set_deadline_of(key, hash, Some(time)),
        }
        new
    }

    /// Changes the value of `key` in place; `None` when there is no such key.
    pub fn update<R>(&mut self, key: &[u8], change: impl FnOnce(&mut Value) -> R) -> Option<R> {
        let entry = self.table.get_mut(key, KeyHash::of(key))?;
        let before = entry.value.size();
        let result = change(&mut entry.value);
        self.entry_bytes = self.entry_bytes + entry.value.size() - before;
        self.touch(key);
        Some(result)
    }

    /// Sets or takes away the deadline of `key`; false when there is no such key.
    pub fn set_deadline(&mut self, key: &[u8], deadline: Option<Millis>) -> bool {
        let hash = KeyHash::of(key);
        if self.table.get(key, hash).is_none() {
            return false;
        }
        self.touch(key);
        self.set_deadline_of(key, hash, deadline);
        true
    }

    fn set_deadline_of(&mut self, key: &[u8], hash: KeyHash, deadline: Option<Millis>) {
        let Some(entry) = self.table.get_mut(key, hash) else {
            return;
        };
        self.volatile += usize::from(deadline.is_some());
        self.volatile -= usize::from(entry.deadline().is_some());
        entry.set_deadline(deadline);
        let Some(deadline) = deadline else {
            return;
        };
        let tick = Tick::after(deadline).max(Tick(1));
        if entry.armed == Tick(0) || tick < entry.armed {
            entry.armed = tick;
            self.calendar.file(tick, hash);
        }
        if self.calendar.len() > 2 * self.volatile + 64 {
            self.refile();
        }
    }

    /// Takes the entry of `key` out.
    pub fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        let entry = self.table.remove(key, KeyHash::of(key))?;
        self.forget(&entry);
        self.touch(key);
        Some(entry)
    }

    /// Removes `key`, freeing a big value in the background; false when there is no such key.
    pub fn delete(&mut self, key: &[u8]) -> bool {
        self.remove(key)
            .map(|entry| discard_value(entry.value))
            .is_some()
    }

    /// Removes `key` because it has expired at `now`; false when it has not.
    pub fn expire(&mut self, key: &[u8], now: Millis) -> bool {
        let hash = KeyHash::of(key);
        if !self
            .table
            .get(key, hash)
            .is_some_and(|entry| entry.is_expired(now))
        {
            return false;
        }
        let Some(entry) = self.table.remove(key, hash) else {
            return false;
        };
        self.forget(&entry);
        if let Some(watches) = &mut self.watches {
            watches.expire(key);
        }
        discard_value(entry.value);
        true
    }

    /// Removes up to `limit` entries that have expired at `now` and tells `removed` their keys. True when there may be more.
    pub fn expire_due(
        &mut self,
        now: Millis,
        limit: usize,
        mut removed: impl FnMut(&[u8]),
    ) -> bool {
        self.changed = true;
        for _ in 0..limit {
            let Some(handle) = self.calendar.take_due(Tick::at(now)) else {
                return false;
            };
            let armed: Vec<Box<[u8]>> = self
                .table
                .with_hash(handle.hash)
                .filter(|entry| entry.armed == handle.tick)
                .map(|entry| entry.key().into())
                .collect();
            for key in armed {
                if self.expire(&key, now) {
                    removed(&key);
                } else {
                    self.rearm(&key, handle.hash);
                }
            }
        }
        true
    }

    /// Files the handle of an entry again whose deadline was put off.
    fn rearm(&mut self, key: &[u8], hash: KeyHash) {
        if let Some(entry) = self.table.get_mut(key, hash) {
            match entry.deadline() {
                Some(deadline) => {
                    entry.armed = Tick::after(deadline).max(Tick(1));
                    self.calendar.file(entry.armed, hash);
                }
                None => entry.armed = Tick(0),
            }
        }
    }

    /// Throws stale handles out.
    fn refile(&mut self) {
        let live: Vec<(Tick, KeyHash)> = self
            .table
            .iter()
            .filter(|entry| entry.deadline().is_some())
            .map(|entry| (entry.armed, KeyHash::of(entry.key())))
            .collect();
        self.calendar.clear();
        for (tick, hash) in live {
            self.calendar.file(tick, hash);
        }
    }

    /// All entries in no order that lasts, expired ones that are still there included.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.table.iter()
    }

    /// Visits at least `count` entries from `from` on in an order that lasts; answers where to go on, `None` at the end.
    pub fn scan<'a>(
        &'a self,
        from: KeyHash,
        count: usize,
        visit: impl FnMut(&'a Entry),
    ) -> Option<KeyHash> {
        self.table.scan(from, count, visit)
    }

    /// An entry chosen by `random`, which answers a number below its argument.
    pub fn pick(&self, random: impl FnMut(usize) -> usize) -> Option<&Entry> {
        self.table.pick(random)
    }

    /// An entry with a deadline, chosen by `random`.
    pub fn pick_volatile(&self, mut random: impl FnMut(usize) -> usize) -> Option<&Entry> {
        let handles = self.calendar.iter().len();
        (0..4.min(handles)).find_map(|_| {
            let (_, hash) = self.calendar.iter().nth(random(handles))?;
            self.table
                .with_hash(hash)
                .find(|entry| entry.deadline().is_some())
        })
    }

    /// Empties the slot; answers how many entries there were.
    pub fn clear(&mut self) -> usize {
        let table = std::mem::take(&mut self.table);
        if let Some(watches) = &mut self.watches {
            table.iter().for_each(|entry| watches.touch(entry.key()));
        }
        self.calendar.clear();
        self.volatile = 0;
        self.entry_bytes = 0;
        self.changed = true;
        let keys = table.len();
        discard_table(table);
        keys
    }

    /// Has `touched` set when `key` changes from now on.
    pub fn watch(&mut self, key: &[u8], touched: &Arc<Touched>, now: Millis) {
        let expired = self.get(key).is_some_and(|entry| entry.is_expired(now));
        self.watches
            .get_or_insert_default()
            .add(key, touched, expired);
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.table.bytes() + self.entry_bytes + self.calendar.bytes()
    }

    fn forget(&mut self, entry: &Entry) {
        self.changed = true;
        self.entry_bytes -= entry.size();
        self.volatile -= usize::from(entry.deadline().is_some());
        if self.table.is_empty() {
            self.calendar.clear();
        }
    }

    /// `key` changes: tells those who watch it, and the counts.
    fn touch(&mut self, key: &[u8]) {
        self.changed = true;
        if let Some(watches) = &mut self.watches {
            watches.touch(key);
            if watches.is_empty() {
                self.watches = None;
            }
        }
    }

    /// Brings the counts outside the lock up to date.
    pub(super) fn publish(&mut self, slot: SlotId, counts: &Counts) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let bytes = self.bytes();
        counts.keys[slot.index()].store(self.len() as u32, Relaxed);
        counts.volatile[slot.index()].store(self.volatile as u32, Relaxed);
        counts.bytes[slot.index()].store(bytes, Relaxed);
        let due = self.calendar.next().map_or(u32::MAX, |tick| tick.0);
        counts.due[slot.index()].store(due, Relaxed);
        counts.memory.add(bytes as i64 - self.published as i64);
        self.published = bytes;
    }
}

#[cfg(test)]
mod tests;
