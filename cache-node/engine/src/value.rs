//! Values of every type, owned and as they lie in an entry.
//!
//! Integers, strings and packed collections lie in the entry itself; what is bigger is a box that the entry owns and points to. This
//! module owns that choice and the ownership of the boxes.

#![allow(unsafe_code)] // Boxes that entries own.

use std::ptr::NonNull;

use crate::collections::PackedBuf;
use crate::entry::{Entry, Kind, MAX_INLINE, Payload};
use crate::hash::{BigHash, Hash, HashRef};
use crate::list::{BigList, List, ListRef};
use crate::packed;
use crate::set::{BigSet, Set, SetRef};
use crate::sorted_set::{BigSortedSet, SortedSet, SortedSetRef};
use crate::text::Text;

/// Longest string whose encoding is called `embstr`.
const EMBEDDED: usize = 44;

/// Most members of a set whose encoding is called `intset`.
const INTEGERS: u32 = 512;

/// A value on its own.
#[derive(Debug)]
pub enum Value {
    /// A string that is an integer in canonical form.
    Integer(i64),
    /// A string of at most [`MAX_INLINE`] bytes, and whether it was changed in place since it was set.
    String(Vec<u8>, bool),
    /// A longer string.
    Text(Box<Text>),
    /// A hash; packed, it has at most [`MAX_INLINE`] bytes, and so have the others.
    Hash(Hash),
    /// A list.
    List(List),
    /// A set.
    Set(Set),
    /// A sorted set.
    SortedSet(SortedSet),
}

/// A value where it lies.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    /// A string that is an integer in canonical form.
    Integer(i64),
    /// A string of at most [`MAX_INLINE`] bytes, and whether it was changed in place since it was set.
    String(&'a [u8], bool),
    /// A longer string.
    Text(&'a Text),
    /// A hash.
    Hash(HashRef<'a>),
    /// A list.
    List(ListRef<'a>),
    /// A set.
    Set(SetRef<'a>),
    /// A sorted set.
    SortedSet(SortedSetRef<'a>),
}

impl Value {
    /// The string `bytes`, which is no integer.
    pub fn string(bytes: Vec<u8>, edited: bool) -> Self {
        if bytes.len() <= MAX_INLINE {
            Self::String(bytes, edited)
        } else {
            Self::Text(Box::new(Text::from(bytes.as_slice())))
        }
    }

    /// Whether this is a collection without anything in it, which no key holds.
    pub fn is_empty_collection(&self) -> bool {
        match self {
            Self::Integer(_) | Self::String(..) | Self::Text(_) => false,
            Self::Hash(hash) => hash.as_ref().is_empty(),
            Self::List(list) => list.as_ref().is_empty(),
            Self::Set(set) => set.as_ref().is_empty(),
            Self::SortedSet(set) => set.as_ref().is_empty(),
        }
    }

    /// The value, seen.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Integer(integer) => ValueRef::Integer(*integer),
            Self::String(bytes, edited) => ValueRef::String(bytes, *edited),
            Self::Text(text) => ValueRef::Text(text),
            Self::Hash(hash) => ValueRef::Hash(hash.as_ref()),
            Self::List(list) => ValueRef::List(list.as_ref()),
            Self::Set(set) => ValueRef::Set(set.as_ref()),
            Self::SortedSet(set) => ValueRef::SortedSet(set.as_ref()),
        }
    }

    /// Bytes that the value takes outside of its entry.
    pub fn outer_bytes(&self) -> usize {
        match self {
            Self::Integer(_) | Self::String(..) => 0,
            Self::Text(text) => size_of::<Text>() + text.bytes(),
            Self::Hash(Hash::Big(big)) => size_of::<BigHash>() + big.bytes(),
            Self::List(List::Big(big)) => size_of::<BigList>() + big.bytes(),
            Self::Set(Set::Big(big)) => size_of::<BigSet>() + big.bytes(),
            Self::SortedSet(SortedSet::Big(big)) => size_of::<BigSortedSet>() + big.bytes(),
            Self::Hash(_) | Self::List(_) | Self::Set(_) | Self::SortedSet(_) => 0,
        }
    }

    /// Hands the value over as an entry holds it. What is pointed to belongs to the entry from then on.
    pub(crate) fn into_payload<R>(self, put: impl FnOnce(Payload<'_>) -> R) -> R {
        let (kind, buffer) = match self {
            Self::Integer(value) => return put(Payload::Integer(value)),
            Self::String(bytes, edited) => return put(Payload::String(&bytes, edited)),
            Self::Text(text) => return put(pointer(Kind::Text, text)),
            Self::Hash(Hash::Big(big)) => return put(pointer(Kind::Hash, big)),
            Self::List(List::Big(big)) => return put(pointer(Kind::List, big)),
            Self::Set(Set::Big(big)) => return put(pointer(Kind::Set, big)),
            Self::SortedSet(SortedSet::Big(big)) => return put(pointer(Kind::SortedSet, big)),
            Self::Hash(Hash::Packed(buffer)) => (Kind::PackedHash, buffer),
            Self::List(List::Packed(buffer)) => (Kind::PackedList, buffer),
            Self::Set(Set::Packed(buffer)) => (Kind::PackedSet, buffer),
            Self::SortedSet(SortedSet::Packed(buffer)) => (Kind::PackedSortedSet, buffer),
        };
        put(Payload::Packed(kind, buffer.count, &buffer.items))
    }
}

fn pointer<T>(kind: Kind, value: Box<T>) -> Payload<'static> {
    Payload::Pointer(kind, NonNull::from(Box::leak(value)).cast())
}

/// What an entry of this kind points to.
///
/// # Safety
///
/// `pointer` came from [`Value::into_payload`] for a value of type `T`, whose entry keeps it during `'a`.
unsafe fn pointee<'a, T>(pointer: NonNull<()>) -> &'a T {
    // SAFETY: as promised.
    unsafe { pointer.cast::<T>().as_ref() }
}

/// Takes back what an entry pointed to.
///
/// # Safety
///
/// As [`pointee`], and the entry never uses its pointer again.
unsafe fn owned<T>(pointer: NonNull<()>) -> Box<T> {
    // SAFETY: as promised, so the box is leaked memory that nobody else frees.
    unsafe { Box::from_raw(pointer.cast::<T>().as_ptr()) }
}

impl<'a> Entry<'a> {
    /// The value.
    #[inline]
    pub fn value(self) -> ValueRef<'a> {
        match self.payload() {
            Payload::Integer(value) => ValueRef::Integer(value),
            Payload::String(bytes, edited) => ValueRef::String(bytes, edited),
            Payload::Packed(kind, count, items) => packed_ref(kind, count, items),
            // SAFETY: `into_payload` pairs each kind with its type, and the entry owns the value as long as it lives.
            Payload::Pointer(kind, pointer) => unsafe {
                match kind {
                    Kind::Text => ValueRef::Text(pointee(pointer)),
                    Kind::Hash => ValueRef::Hash(HashRef::Big(pointee(pointer))),
                    Kind::List => ValueRef::List(ListRef::Big(pointee(pointer))),
                    Kind::Set => ValueRef::Set(SetRef::Big(pointee(pointer))),
                    _ => ValueRef::SortedSet(SortedSetRef::Big(pointee(pointer))),
                }
            },
        }
    }

    /// Bytes of the entry and of all that its value takes.
    #[inline]
    pub fn bytes(self) -> usize {
        self.own_bytes()
            + if self.has_outer() {
                self.value().outer_bytes()
            } else {
                0
            }
    }

    /// The value, taken out of the entry. What is pointed to changes its owner.
    ///
    /// # Safety
    ///
    /// The entry is given another value, or destroyed, before anybody looks at its value again.
    pub(crate) unsafe fn take_value(self) -> Value {
        let (kind, pointer) = match self.payload() {
            Payload::Integer(value) => return Value::Integer(value),
            Payload::String(bytes, edited) => return Value::String(bytes.to_vec(), edited),
            Payload::Packed(kind, count, items) => return packed_value(kind, count, items),
            Payload::Pointer(kind, pointer) => (kind, pointer),
        };
        // SAFETY: `into_payload` pairs each kind with its type, and the entry's claim ends, as promised.
        unsafe {
            match kind {
                Kind::Text => Value::Text(owned(pointer)),
                Kind::Hash => Value::Hash(Hash::Big(owned(pointer))),
                Kind::List => Value::List(List::Big(owned(pointer))),
                Kind::Set => Value::Set(Set::Big(owned(pointer))),
                _ => Value::SortedSet(SortedSet::Big(owned(pointer))),
            }
        }
    }
}

fn packed_ref(kind: Kind, count: u32, items: &[u8]) -> ValueRef<'_> {
    match kind {
        Kind::PackedHash => ValueRef::Hash(HashRef::Packed(items, count)),
        Kind::PackedList => ValueRef::List(ListRef::Packed(items, count)),
        Kind::PackedSet => ValueRef::Set(SetRef::Packed(items, count)),
        _ => ValueRef::SortedSet(SortedSetRef::Packed(items, count)),
    }
}

fn packed_value(kind: Kind, count: u32, items: &[u8]) -> Value {
    let buffer = PackedBuf {
        items: items.to_vec(),
        count,
    };
    match kind {
        Kind::PackedHash => Value::Hash(Hash::Packed(buffer)),
        Kind::PackedList => Value::List(List::Packed(buffer)),
        Kind::PackedSet => Value::Set(Set::Packed(buffer)),
        _ => Value::SortedSet(SortedSet::Packed(buffer)),
    }
}

impl ValueRef<'_> {
    fn outer_bytes(self) -> usize {
        match self {
            Self::Text(text) => size_of::<Text>() + text.bytes(),
            Self::Hash(HashRef::Big(big)) => size_of::<BigHash>() + big.bytes(),
            Self::List(ListRef::Big(big)) => size_of::<BigList>() + big.bytes(),
            Self::Set(SetRef::Big(big)) => size_of::<BigSet>() + big.bytes(),
            Self::SortedSet(SortedSetRef::Big(big)) => size_of::<BigSortedSet>() + big.bytes(),
            _ => 0,
        }
    }

    /// The type's name, as `TYPE` answers.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::Integer(_) | Self::String(..) | Self::Text(_) => "string",
            Self::Hash(_) => "hash",
            Self::List(_) => "list",
            Self::Set(_) => "set",
            Self::SortedSet(_) => "zset",
        }
    }

    /// The name of the encoding that Redis has nearest to this, as `OBJECT ENCODING` answers.
    pub fn encoding(self) -> &'static str {
        match self {
            Self::Integer(_) => "int",
            Self::String(bytes, false) if bytes.len() <= EMBEDDED => "embstr",
            Self::String(..) | Self::Text(_) => "raw",
            Self::Set(SetRef::Packed(items, count)) if is_intset(items, count) => "intset",
            Self::Hash(HashRef::Packed(..))
            | Self::List(ListRef::Packed(..))
            | Self::Set(SetRef::Packed(..))
            | Self::SortedSet(SortedSetRef::Packed(..)) => "listpack",
            Self::Hash(HashRef::Big(_)) | Self::Set(SetRef::Big(_)) => "hashtable",
            Self::List(ListRef::Big(_)) => "quicklist",
            Self::SortedSet(SortedSetRef::Big(_)) => "skiplist",
        }
    }

    /// A copy. Of big values it shares the chunks until they are changed.
    pub fn to_value(self) -> Value {
        match self {
            Self::Integer(value) => Value::Integer(value),
            Self::String(bytes, _) => Value::String(bytes.to_vec(), false),
            Self::Text(text) => Value::Text(Box::new(text.clone())),
            Self::Hash(HashRef::Big(big)) => Value::Hash(Hash::Big(Box::new(big.clone()))),
            Self::List(ListRef::Big(big)) => Value::List(List::Big(Box::new(big.clone()))),
            Self::Set(SetRef::Big(big)) => Value::Set(Set::Big(Box::new(big.clone()))),
            Self::SortedSet(SortedSetRef::Big(big)) => {
                Value::SortedSet(SortedSet::Big(Box::new(big.clone())))
            }
            Self::Hash(HashRef::Packed(items, count)) => {
                packed_value(Kind::PackedHash, count, items)
            }
            Self::List(ListRef::Packed(items, count)) => {
                packed_value(Kind::PackedList, count, items)
            }
            Self::Set(SetRef::Packed(items, count)) => packed_value(Kind::PackedSet, count, items),
            Self::SortedSet(SortedSetRef::Packed(items, count)) => {
                packed_value(Kind::PackedSortedSet, count, items)
            }
        }
    }
}

fn is_intset(items: &[u8], count: u32) -> bool {
    count <= INTEGERS && packed::items(items).all(|item| item.integer().is_some())
}

#[cfg(test)]
mod tests;
