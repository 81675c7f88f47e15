//! Values, and the entries that hold them.

use crate::clock::{Millis, Tick};
use crate::resp::parse_integer;

use super::hash::Hash;
use super::memory::allocation;
use super::table::Keyed;

/// Longest string whose encoding is called `embstr`.
const EMBEDDED: usize = 44;

/// A value. Lists, sets and sorted sets join here.
#[derive(Debug)]
pub enum Value {
    /// A string that is an integer in canonical form.
    Integer(i64),
    /// A string as it was set.
    String(Box<[u8]>),
    /// A string that was changed in place, with room to grow.
    Buffer(Vec<u8>),
    /// A hash; boxed, because it is bigger than the others.
    Hash(Box<Hash>),
}

impl Value {
    /// The string `bytes`, as an integer if it is one.
    pub fn string(bytes: &[u8]) -> Self {
        match parse_integer(bytes) {
            Some(number) if bytes.len() <= 20 => Self::Integer(number),
            _ => Self::String(bytes.into()),
        }
    }

    /// The type's name, as `TYPE` answers.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Integer(_) | Self::String(_) | Self::Buffer(_) => "string",
            Self::Hash(_) => "hash",
        }
    }

    /// The encoding's name, as `OBJECT ENCODING` answers.
    pub fn encoding(&self) -> &'static str {
        match self {
            Self::Integer(_) => "int",
            Self::String(bytes) if bytes.len() <= EMBEDDED => "embstr",
            Self::String(_) | Self::Buffer(_) => "raw",
            Self::Hash(hash) => hash.encoding(),
        }
    }

    /// Bytes allocated beside the entry itself.
    pub fn size(&self) -> usize {
        match self {
            Self::Integer(_) => 0,
            Self::String(bytes) => allocation(bytes.len()),
            Self::Buffer(bytes) => allocation(bytes.capacity()),
            Self::Hash(hash) => allocation(size_of::<Hash>()) + hash.size(),
        }
    }

    /// A copy for `COPY`.
    pub fn duplicate(&self) -> Self {
        match self {
            Self::Integer(number) => Self::Integer(*number),
            Self::String(bytes) => Self::String(bytes.clone()),
            Self::Buffer(bytes) => Self::String(bytes.as_slice().into()),
            Self::Hash(hash) => Self::Hash(Box::new(hash.duplicate())),
        }
    }
}

/// A key with its value.
#[derive(Debug)]
pub struct Entry {
    key: Box<[u8]>,
    /// The value.
    pub value: Value,
    /// When it expires; 0: never.
    deadline: Millis,
    /// Last access.
    pub(super) accessed: Tick,
    /// Where the entry's handle stands in the slot's expiry calendar; 0: nowhere.
    pub(super) armed: Tick,
}

impl Entry {
    pub(super) fn new(key: &[u8], value: Value, now: Millis) -> Self {
        Self {
            key: key.into(),
            value,
            deadline: 0,
            accessed: Tick::at(now),
            armed: Tick::default(),
        }
    }

    /// When the entry expires, in milliseconds since the epoch.
    pub fn deadline(&self) -> Option<Millis> {
        (self.deadline != 0).then_some(self.deadline)
    }

    pub(super) fn set_deadline(&mut self, deadline: Option<Millis>) {
        self.deadline = deadline.map_or(0, |deadline| deadline.max(1));
    }

    /// Whether the entry has expired at `now`.
    pub fn is_expired(&self, now: Millis) -> bool {
        self.deadline != 0 && self.deadline <= now
    }

    /// Milliseconds since the last access, in steps of a [`Tick`].
    pub fn idle(&self, now: Millis) -> u64 {
        Tick::at(now).millis_since(self.accessed)
    }

    /// Bytes allocated for the entry, its place in the table aside.
    pub fn size(&self) -> usize {
        allocation(self.key.len()) + self.value.size()
    }
}

impl Keyed for Entry {
    fn key(&self) -> &[u8] {
        &self.key
    }
}
