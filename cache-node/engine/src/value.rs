//! Values of every type, owned and as they lie in an entry.

#![allow(unsafe_code)] // Boxes that entries own.

use std::ptr::NonNull;

use crate::entry::{Entry, Kind, MAX_INLINE, Payload};
pub use crate::old_hash::{Hash, PackLimits};

/// A value on its own.
#[derive(Debug)]
pub enum Value {
    /// A string that is an integer in canonical form.
    Integer(i64),
    /// A string, and whether it was changed in place since it was set.
    String(Vec<u8>, bool),
    /// A hash.
    Hash(Box<Hash>),
}

/// A value where it lies.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    /// A string that is an integer in canonical form.
    Integer(i64),
    /// A string, and whether it was changed in place since it was set.
    String(&'a [u8], bool),
    /// A hash.
    Hash(&'a Hash),
}

impl Value {
    /// Bytes that the value takes outside of its entry.
    pub fn outer_bytes(&self) -> usize {
        match self {
            Self::Integer(_) => 0,
            Self::String(bytes, _) if bytes.len() <= MAX_INLINE => 0,
            Self::String(bytes, _) => bytes.capacity(),
            Self::Hash(hash) => hash.size(),
        }
    }

    /// The value as an entry holds it; `keep` when what is pointed to now belongs to the entry.
    pub(crate) fn into_payload<R>(self, put: impl FnOnce(Payload<'_>) -> R) -> R {
        match self {
            Self::Integer(value) => put(Payload::Integer(value)),
            Self::String(bytes, edited) if bytes.len() <= MAX_INLINE => {
                put(Payload::String(&bytes, edited))
            }
            Self::String(bytes, edited) => put(pointer(Kind::Text, Box::new((bytes, edited)))),
            Self::Hash(hash) => put(pointer(Kind::Hash, hash)),
        }
    }
}

fn pointer<T>(kind: Kind, value: Box<T>) -> Payload<'static> {
    Payload::Pointer(kind, NonNull::from(Box::leak(value)).cast())
}

impl<'a> Entry<'a> {
    /// The value.
    #[inline]
    pub fn value(self) -> ValueRef<'a> {
        match self.payload() {
            Payload::Integer(value) => ValueRef::Integer(value),
            Payload::String(bytes, edited) => ValueRef::String(bytes, edited),
            Payload::Pointer(Kind::Text, pointer) => {
                // SAFETY: `into_payload` put a box of this type there, which lives as long as the entry.
                let (bytes, edited) = unsafe { pointer.cast::<(Vec<u8>, bool)>().as_ref() };
                ValueRef::String(bytes, *edited)
            }
            Payload::Pointer(_, pointer) => {
                // SAFETY: as above.
                ValueRef::Hash(unsafe { pointer.cast::<Hash>().as_ref() })
            }
            Payload::Packed(..) => unreachable!(),
        }
    }

    /// Bytes of the entry and of all that its value takes.
    pub fn bytes(self) -> usize {
        self.own_bytes() + self.outer_bytes()
    }

    /// Bytes that the value takes outside of the entry.
    pub(crate) fn outer_bytes(self) -> usize {
        match self.payload() {
            Payload::Pointer(Kind::Text, pointer) => {
                // SAFETY: as in `value`.
                let (bytes, _) = unsafe { pointer.cast::<(Vec<u8>, bool)>().as_ref() };
                bytes.capacity()
            }
            Payload::Pointer(_, pointer) => {
                // SAFETY: as in `value`.
                unsafe { pointer.cast::<Hash>().as_ref() }.size()
            }
            _ => 0,
        }
    }

    /// The value, taken out of the entry. What is pointed to changes its owner.
    ///
    /// # Safety
    ///
    /// The entry is given another value, or destroyed, before anybody looks at its value again.
    pub(crate) unsafe fn take_value(self) -> Value {
        match self.payload() {
            Payload::Integer(value) => Value::Integer(value),
            Payload::String(bytes, edited) => Value::String(bytes.to_vec(), edited),
            Payload::Pointer(Kind::Text, pointer) => {
                // SAFETY: the box came from `into_payload`, and the entry's claim to it ends, as promised.
                let text = unsafe { Box::from_raw(pointer.cast::<(Vec<u8>, bool)>().as_ptr()) };
                Value::String(text.0, text.1)
            }
            Payload::Pointer(_, pointer) => {
                // SAFETY: as above.
                Value::Hash(unsafe { Box::from_raw(pointer.cast::<Hash>().as_ptr()) })
            }
            Payload::Packed(..) => unreachable!(),
        }
    }

    /// Whether the value is more than bytes in the entry.
    pub(crate) fn has_outer(self) -> bool {
        matches!(self.payload(), Payload::Pointer(..))
    }
}

/// Longest string whose encoding is called `embstr`.
const EMBEDDED: usize = 44;

impl ValueRef<'_> {
    /// The type's name, as `TYPE` answers.
    pub fn type_name(self) -> &'static str {
        match self {
            Self::Integer(_) | Self::String(..) => "string",
            Self::Hash(_) => "hash",
        }
    }

    /// The encoding's name, as `OBJECT ENCODING` answers.
    pub fn encoding(self) -> &'static str {
        match self {
            Self::Integer(_) => "int",
            Self::String(bytes, false) if bytes.len() <= EMBEDDED => "embstr",
            Self::String(..) => "raw",
            Self::Hash(hash) => hash.encoding(),
        }
    }

    /// A copy.
    pub fn to_value(self) -> Value {
        match self {
            Self::Integer(value) => Value::Integer(value),
            Self::String(bytes, _) => Value::String(bytes.to_vec(), false),
            Self::Hash(hash) => Value::Hash(Box::new(hash.duplicate())),
        }
    }
}
