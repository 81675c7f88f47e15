//! Big values whose chunks are shared with their entries, so that they can be written after the slot's lock was given up.

use crate::clock::Millis;

use super::encode::{Named, encode_part};
use super::rdb::is_big;
use super::{Entry, Value};

/// A key with a big value as it was at one moment; its chunks are shared with the entry until one of both changes.
pub struct Shared {
    pub(super) key: Box<[u8]>,
    pub(super) deadline: Option<Millis>,
    pub(super) value: Value,
}

impl Shared {
    /// Takes an entry as it is; `None` when its value is small, so that it is better written at once.
    pub fn of(entry: Entry<'_>) -> Option<Self> {
        is_big(entry.value()).then(|| Self {
            key: entry.key().into(),
            deadline: entry.deadline(),
            value: entry.value().to_value(),
        })
    }

    /// Appends some of the effects that make the entry where there is no such key, from the place `from` on (0 at first); answers where it
    /// goes on.
    pub fn encode_part(&self, from: u64, out: &mut Vec<u8>) -> Option<u64> {
        let entry = Named {
            key: &self.key,
            deadline: self.deadline,
        };
        encode_part(entry, self.value.as_ref(), from, out)
    }
}
