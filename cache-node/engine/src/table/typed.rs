//! Values in and out of a table, with exact counts of what they take.

#![allow(unsafe_code)] // Values change their owner.

use crate::entry::{Entry, MAX_INLINE, Payload};
use crate::key_hash::KeyHash;
use crate::value::Value;

use super::{IS_MAIN, Place, Table};

/// A deadline: milliseconds since 1970, and the tick of the caller's clock at which to look at it.
pub type Due = (u64, u32);

/// What becomes of a key's deadline when its value is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It stays as it is.
    Keep,
    /// It is taken away.
    Never,
    /// It becomes this one.
    At(Due),
}

impl Expiry {
    fn change(self) -> Option<Option<Due>> {
        match self {
            Self::Keep => None,
            Self::Never => Some(None),
            Self::At(due) => Some(Some(due)),
        }
    }
}

impl Table {
    /// Bytes of all entries, and of all that their values take.
    pub fn entry_bytes(&self) -> usize {
        self.entry_bytes
    }

    /// Bytes of the entries whose highest policy bit is 0, and of all that their values take.
    pub fn probation_bytes(&self) -> usize {
        self.probation_bytes
    }

    /// The entry at a place took `before` bytes and takes `after` now.
    #[inline]
    fn count(&mut self, meta: u16, before: usize, after: usize) {
        if before == after {
            return;
        }
        self.changed = true;
        self.entry_bytes = self.entry_bytes + after - before;
        if meta & IS_MAIN == 0 {
            self.probation_bytes = self.probation_bytes + after - before;
        }
    }

    /// Adds a string under a key that is not there. It is at most [`MAX_INLINE`] bytes long.
    pub fn insert_string(
        &mut self,
        key: &[u8],
        hash: KeyHash,
        bytes: &[u8],
        deadline: Option<Due>,
        meta: u16,
    ) -> Place {
        debug_assert!(bytes.len() <= MAX_INLINE);
        let payload = Payload::String(bytes, false);
        self.insert_counted(key, hash, deadline, payload, meta)
    }

    /// Adds a value under a key that is not there.
    pub fn insert_value(
        &mut self,
        key: &[u8],
        hash: KeyHash,
        value: Value,
        deadline: Option<Due>,
        meta: u16,
    ) -> Place {
        value.into_payload(|payload| self.insert_counted(key, hash, deadline, payload, meta))
    }

    fn insert_counted(
        &mut self,
        key: &[u8],
        hash: KeyHash,
        deadline: Option<Due>,
        payload: Payload<'_>,
        meta: u16,
    ) -> Place {
        let place = self.insert(key, hash, deadline, payload, meta);
        self.count(meta, 0, self.entry(place).bytes());
        place
    }

    /// Sets the string of an entry, at most [`MAX_INLINE`] bytes. The old value comes back if freeing it may take long.
    #[inline]
    pub fn set_string(&mut self, place: Place, bytes: &[u8], expiry: Expiry) -> Option<Value> {
        debug_assert!(bytes.len() <= MAX_INLINE);
        self.set_payload(place, Payload::String(bytes, false), expiry)
    }

    /// Sets the integer of an entry. The old value comes back if freeing it may take long.
    pub fn set_integer(&mut self, place: Place, value: i64, expiry: Expiry) -> Option<Value> {
        self.set_payload(place, Payload::Integer(value), expiry)
    }

    /// Sets the value of an entry. The old value comes back if freeing it may take long.
    pub fn set_value(&mut self, place: Place, value: Value, expiry: Expiry) -> Option<Value> {
        value.into_payload(|payload| self.set_payload(place, payload, expiry))
    }

    #[inline]
    fn set_payload(&mut self, place: Place, payload: Payload<'_>, expiry: Expiry) -> Option<Value> {
        let word = self.word(place);
        // SAFETY: the table owns the entry, and is borrowed.
        let entry = unsafe { Entry::at(word.handle) };
        let before = entry.bytes();
        // SAFETY: the entry gets another value right away.
        let old = entry.has_outer().then(|| unsafe { entry.take_value() });
        let after = self
            .replace_word(place, word, expiry.change(), payload)
            .bytes();
        self.count(word.meta, before, after);
        old
    }

    /// Changes the value of an entry.
    pub fn update<R>(&mut self, place: Place, change: impl FnOnce(&mut Value) -> R) -> R {
        let before = self.entry(place).bytes();
        let mut taken = Taken {
            // SAFETY: the entry gets the value back, or another, when `taken` goes.
            value: Some(unsafe { self.entry(place).take_value() }),
            table: self,
            place,
            before,
        };
        taken
            .value
            .as_mut()
            .map(change)
            .expect("the value was just put there")
    }

    /// Sets or takes away the deadline of an entry.
    pub fn set_expiry(&mut self, place: Place, deadline: Option<Due>) {
        let before = self.entry(place).own_bytes();
        self.set_deadline(place, deadline);
        self.count(self.meta(place), before, self.entry(place).own_bytes());
    }

    /// Removes an entry. Its value comes back if freeing it may take long.
    pub fn delete(&mut self, place: Place) -> Option<Value> {
        let entry = self.entry(place);
        let before = entry.bytes();
        // SAFETY: the entry is removed right away.
        let old = entry.has_outer().then(|| unsafe { entry.take_value() });
        self.count(self.meta(place), before, 0);
        self.remove(place);
        old
    }

    /// Removes an entry and answers its value.
    pub fn take(&mut self, place: Place) -> Value {
        self.count(self.meta(place), self.entry(place).bytes(), 0);
        // SAFETY: the entry is removed right away.
        let value = unsafe { self.entry(place).take_value() };
        self.remove(place);
        value
    }
}

/// A value that is out of its entry for a change, and goes back whatever happens.
struct Taken<'t> {
    table: &'t mut Table,
    place: Place,
    before: usize,
    value: Option<Value>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            let (table, place) = (&mut *self.table, self.place);
            value.into_payload(|payload| table.replace(place, None, payload));
            table.count(table.meta(place), self.before, table.entry(place).bytes());
        }
    }
}

/// Drops what a value takes outside of an entry that is about to be destroyed.
pub(super) fn drop_outer(entry: Entry<'_>) {
    if entry.has_outer() {
        // SAFETY: the entry is destroyed by the caller.
        drop(unsafe { entry.take_value() });
    }
}
