//! An entry: key, deadline and value in one block of the arena.
//!
//! ```text
//! byte 0      kind of the value (low 4 bits), form of the deadline (2 bits), long key (1 bit), walk (1 bit)
//! key length  1 byte, or 255 and 4 bytes
//! key         its bytes; a key longer than [`LONG_KEY`] is a pointer to them
//! deadline    nothing; 5 bytes: milliseconds since September 2020; or 8 bytes: milliseconds since 1970
//! value       integer: 8 bytes. string: length (1 byte, or 255 and 4 bytes) and bytes. packed collection: number of items (4 bytes),
//!             length and bytes. anything bigger: a pointer
//! ```
//!
//! So a key of 16 bytes and a value of 64 take 83 bytes, and with a deadline 88. This module owns that layout and the memory behind the
//! pointers. It knows neither tables nor what a collection's bytes mean.

#![allow(unsafe_code)] // Reads and writes the bytes of a block.

use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::arena::{self, Handle, MAX_BLOCK};

/// A key longer than this lies in memory of its own.
const LONG_KEY: usize = 2048;

/// A string or packed collection of at most so many bytes fits into an entry, whatever its key and deadline.
pub const MAX_INLINE: usize = MAX_BLOCK - LONG_KEY - 32;

/// Where the short form of a deadline counts from, in milliseconds since 1970.
const DEADLINE_ORIGIN: u64 = 1_600_000_000_000;

const KIND: u8 = 0b1111;
const SHORT_DEADLINE: u8 = 1 << 4;
const FULL_DEADLINE: u8 = 1 << 5;
const HAS_LONG_KEY: u8 = 1 << 6;
/// In which of two walks the entry was passed last; see [`crate::table::Table::begin_walk`].
const ROUND: u8 = 1 << 7;

/// A length up to this takes one byte.
const SHORT_LENGTH: usize = 254;

/// What a value is, and how it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Integer,
    String,
    /// A string that was changed in place since it was set.
    EditedString,
    PackedHash,
    PackedList,
    PackedSet,
    PackedSortedSet,
    Text,
    Hash,
    List,
    Set,
    SortedSet,
}

impl Kind {
    const ALL: [Self; 12] = [
        Self::Integer,
        Self::String,
        Self::EditedString,
        Self::PackedHash,
        Self::PackedList,
        Self::PackedSet,
        Self::PackedSortedSet,
        Self::Text,
        Self::Hash,
        Self::List,
        Self::Set,
        Self::SortedSet,
    ];
}

/// A value as an entry holds it.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    Integer(i64),
    /// Bytes, and whether they were changed in place since they were set.
    String(&'a [u8], bool),
    /// One of the packed kinds: number of items, and their bytes.
    Packed(Kind, u32, &'a [u8]),
    /// One of the last five kinds, and what it points to.
    Pointer(Kind, NonNull<()>),
}

impl Payload<'_> {
    fn kind(&self) -> Kind {
        match self {
            Self::Integer(_) => Kind::Integer,
            Self::String(_, false) => Kind::String,
            Self::String(_, true) => Kind::EditedString,
            Self::Packed(kind, ..) | Self::Pointer(kind, _) => *kind,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Integer(_) | Self::Pointer(..) => 8,
            Self::String(bytes, _) => length_len(bytes.len()) + bytes.len(),
            Self::Packed(_, _, bytes) => 4 + length_len(bytes.len()) + bytes.len(),
        }
    }
}

/// Bytes that a length takes.
#[inline]
fn length_len(length: usize) -> usize {
    if length <= SHORT_LENGTH { 1 } else { 5 }
}

#[inline]
fn deadline_len(form: u8) -> usize {
    match form & (SHORT_DEADLINE | FULL_DEADLINE) {
        0 => 0,
        SHORT_DEADLINE => 5,
        _ => 8,
    }
}

/// The form in which a deadline is kept.
#[inline]
fn deadline_form(deadline: Option<u64>) -> u8 {
    match deadline {
        None => 0,
        Some(time) if (DEADLINE_ORIGIN..DEADLINE_ORIGIN + (1 << 40)).contains(&time) => {
            SHORT_DEADLINE
        }
        Some(_) => FULL_DEADLINE,
    }
}

/// A key with its value and deadline, seen where it lies. Whoever has one holds its slot's lock.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    block: NonNull<u8>,
    handle: Handle,
    life: PhantomData<&'a [u8]>,
}

impl std::fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("key", &String::from_utf8_lossy(self.key()))
            .field("deadline", &self.deadline())
            .finish_non_exhaustive()
    }
}

impl<'a> Entry<'a> {
    /// The entry in this block.
    ///
    /// # Safety
    ///
    /// The block holds an entry made by [`create`], which nobody frees or changes during `'a`.
    #[inline]
    pub(crate) unsafe fn at(handle: Handle) -> Self {
        Self {
            block: handle.pointer(),
            handle,
            life: PhantomData,
        }
    }

    /// The block.
    pub(crate) fn handle(self) -> Handle {
        self.handle
    }

    /// The byte at this place.
    #[inline]
    fn byte(self, at: usize) -> u8 {
        // SAFETY: callers ask for bytes of the layout, which lie inside of the block; see `at`.
        unsafe { self.block.add(at).read() }
    }

    /// `N` bytes from this place on.
    #[inline]
    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        // SAFETY: as above; an array of bytes needs no alignment.
        unsafe { self.block.add(at).cast::<[u8; N]>().read() }
    }

    #[inline]
    fn slice(self, at: usize, length: usize) -> &'a [u8] {
        // SAFETY: as above, and what `at` promises holds for `'a`.
        unsafe { std::slice::from_raw_parts(self.block.add(at).as_ptr(), length) }
    }

    /// A length, and the place behind it.
    #[inline]
    fn length(self, at: usize) -> (usize, usize) {
        match self.byte(at) {
            255 => (u32::from_ne_bytes(self.array(at + 1)) as usize, at + 5),
            length => (usize::from(length), at + 1),
        }
    }

    /// The key.
    #[inline]
    pub fn key(self) -> &'a [u8] {
        let (length, start) = self.length(1);
        if self.byte(0) & HAS_LONG_KEY == 0 {
            return self.slice(start, length);
        }
        let address = usize::from_ne_bytes(self.array(start));
        // SAFETY: `create` put the address of that many bytes there, which live as long as the entry.
        unsafe { std::slice::from_raw_parts(address as *const u8, length) }
    }

    /// Where the deadline begins.
    #[inline]
    fn behind_key(self) -> usize {
        let (length, start) = self.length(1);
        start
            + if self.byte(0) & HAS_LONG_KEY == 0 {
                length
            } else {
                8
            }
    }

    /// When the entry expires, in milliseconds since 1970.
    #[inline]
    pub fn deadline(self) -> Option<u64> {
        match self.byte(0) & (SHORT_DEADLINE | FULL_DEADLINE) {
            0 => None,
            SHORT_DEADLINE => {
                let [a, b, c, d, e] = self.array(self.behind_key());
                Some(DEADLINE_ORIGIN + u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]))
            }
            _ => Some(u64::from_le_bytes(self.array(self.behind_key()))),
        }
    }

    /// Whether the entry has expired at `now`, in milliseconds since 1970.
    #[inline]
    pub fn is_expired(self, now: u64) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }

    #[inline]
    pub(crate) fn kind(self) -> Kind {
        Kind::ALL[usize::from(self.byte(0) & KIND)]
    }

    /// The value as it is kept.
    #[inline]
    pub(crate) fn payload(self) -> Payload<'a> {
        let start = self.behind_key() + deadline_len(self.byte(0));
        match self.kind() {
            kind @ (Kind::String | Kind::EditedString) => {
                let (length, at) = self.length(start);
                Payload::String(self.slice(at, length), kind == Kind::EditedString)
            }
            Kind::Integer => Payload::Integer(i64::from_ne_bytes(self.array(start))),
            kind @ (Kind::PackedHash
            | Kind::PackedList
            | Kind::PackedSet
            | Kind::PackedSortedSet) => {
                let count = u32::from_ne_bytes(self.array(start));
                let (length, at) = self.length(start + 4);
                Payload::Packed(kind, count, self.slice(at, length))
            }
            kind => {
                let address = usize::from_ne_bytes(self.array(start));
                let pointer = NonNull::new(address as *mut ());
                Payload::Pointer(kind, pointer.expect("an entry's pointer is never null"))
            }
        }
    }

    /// The walk in which the entry was passed last.
    #[inline]
    pub(crate) fn round(self) -> bool {
        self.byte(0) & ROUND != 0
    }

    /// Whether the value is more than bytes in the entry.
    #[inline]
    pub(crate) fn has_outer(self) -> bool {
        self.byte(0) & KIND >= Kind::Text as u8
    }

    /// Bytes of the entry's block and of a long key; what a pointer leads to is not counted.
    #[inline]
    pub(crate) fn own_bytes(self) -> usize {
        let long = match self.byte(0) & HAS_LONG_KEY {
            0 => 0,
            _ => self.key().len(),
        };
        arena::size_of_block(self.handle) + long
    }
}

/// Length of the part before the value.
#[inline]
fn head_len(key: &[u8], form: u8) -> usize {
    let key_len = if key.len() > LONG_KEY { 8 } else { key.len() };
    1 + length_len(key.len()) + key_len + deadline_len(form)
}

/// Makes an entry that belongs to this round of walks.
///
/// # Panics
///
/// When a string or packed collection is longer than [`MAX_INLINE`], which the caller rules out.
pub(crate) fn create(
    key: &[u8],
    round: bool,
    deadline: Option<u64>,
    payload: Payload<'_>,
) -> Handle {
    let form = deadline_form(deadline);
    let handle = arena::allocate(head_len(key, form) + payload.len());
    let mut writer = Writer {
        block: handle.pointer(),
        at: 0,
    };
    let long = key.len() > LONG_KEY;
    let long_bit = if long { HAS_LONG_KEY } else { 0 };
    writer.byte(payload.kind() as u8 | form | long_bit | if round { ROUND } else { 0 });
    writer.length(key.len());
    if long {
        let bytes: Box<[u8]> = key.into();
        writer.bytes(&(Box::into_raw(bytes).cast::<u8>() as usize).to_ne_bytes());
    } else {
        writer.bytes(key);
    }
    writer.deadline(form, deadline);
    writer.payload(payload);
    handle
}

/// Gives the entry another deadline and value: in place if its block fits, else in a new block, and the old one is freed. What the old
/// value's pointer leads to is the caller's.
///
/// # Safety
///
/// The block holds an entry, nobody else uses it, and `payload` does not lie in it.
pub(crate) unsafe fn replace(
    handle: Handle,
    deadline: Option<u64>,
    payload: Payload<'_>,
) -> Handle {
    // SAFETY: as promised; this view is not used after the block is changed, but for its key, which stays where it is.
    let entry = unsafe { Entry::at(handle) };
    let form = deadline_form(deadline);
    let behind_key = entry.behind_key();
    let needed = behind_key + deadline_len(form) + payload.len();
    let first = payload.kind() as u8 | form | entry.byte(0) & (HAS_LONG_KEY | ROUND);
    let target = if arena::rounded(needed) == arena::size_of_block(handle) {
        handle
    } else {
        let target = arena::allocate(needed);
        // SAFETY: both blocks are at least so long, and they are different ones.
        unsafe {
            handle
                .pointer()
                .copy_to_nonoverlapping(target.pointer(), behind_key);
        }
        target
    };
    let mut writer = Writer {
        block: target.pointer(),
        at: 0,
    };
    writer.byte(first);
    writer.at = behind_key;
    writer.deadline(form, deadline);
    writer.payload(payload);
    if target != handle {
        // SAFETY: nobody uses the old block any more; a long key went over with its pointer.
        unsafe { arena::free(handle) };
    }
    target
}

/// Gives the entry another deadline and keeps its value.
///
/// # Safety
///
/// As [`replace`].
pub(crate) unsafe fn set_deadline(handle: Handle, deadline: Option<u64>) -> Handle {
    // SAFETY: as promised.
    let entry = unsafe { Entry::at(handle) };
    let form = deadline_form(deadline);
    if form == entry.byte(0) & (SHORT_DEADLINE | FULL_DEADLINE) {
        let mut writer = Writer {
            block: handle.pointer(),
            at: entry.behind_key(),
        };
        writer.deadline(form, deadline);
        return handle;
    }
    // The value moves by some bytes; it is copied out, since it may move inside of the block.
    let mut copy = [0; MAX_BLOCK];
    let payload = match entry.payload() {
        Payload::String(bytes, edited) => Payload::String(keep(&mut copy, bytes), edited),
        Payload::Packed(kind, count, bytes) => Payload::Packed(kind, count, keep(&mut copy, bytes)),
        other => other,
    };
    // SAFETY: as promised, and the payload does not lie in the block any more.
    unsafe { replace(handle, deadline, payload) }
}

fn keep<'c>(copy: &'c mut [u8], bytes: &[u8]) -> &'c [u8] {
    let copy = &mut copy[..bytes.len()];
    copy.copy_from_slice(bytes);
    copy
}

/// Frees an entry. What its value's pointer leads to is the caller's.
///
/// # Safety
///
/// The block holds an entry that nobody uses any more.
pub(crate) unsafe fn destroy(handle: Handle) {
    // SAFETY: as promised.
    let entry = unsafe { Entry::at(handle) };
    if entry.byte(0) & HAS_LONG_KEY != 0 {
        let key: *const [u8] = entry.key();
        // SAFETY: `create` made this box and gave it to the entry, which ends here.
        drop(unsafe { Box::from_raw(key.cast_mut()) });
    }
    // SAFETY: as promised.
    unsafe { arena::free(handle) };
}

/// Says that the entry was passed in this round of walks.
///
/// # Safety
///
/// The block holds an entry, and nobody else uses it.
pub(crate) unsafe fn set_round(handle: Handle, round: bool) {
    // SAFETY: as promised.
    let first = unsafe { Entry::at(handle) }.byte(0);
    let mut writer = Writer {
        block: handle.pointer(),
        at: 0,
    };
    writer.byte(first & !ROUND | if round { ROUND } else { 0 });
}

/// Writes the parts of an entry one behind the other.
struct Writer {
    block: NonNull<u8>,
    at: usize,
}

impl Writer {
    #[inline]
    fn byte(&mut self, byte: u8) {
        self.bytes(&[byte]);
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        // SAFETY: the block was chosen for the length of all parts, and belongs to this writer alone.
        unsafe {
            self.block
                .add(self.at)
                .as_ptr()
                .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        self.at += bytes.len();
    }

    #[inline]
    fn length(&mut self, length: usize) {
        if length <= SHORT_LENGTH {
            self.byte(length as u8);
        } else {
            self.byte(255);
            self.bytes(&(length as u32).to_ne_bytes());
        }
    }

    #[inline]
    fn deadline(&mut self, form: u8, deadline: Option<u64>) {
        let time = deadline.unwrap_or(0);
        match form {
            0 => {}
            SHORT_DEADLINE => self.bytes(&(time - DEADLINE_ORIGIN).to_le_bytes()[..5]),
            _ => self.bytes(&time.to_le_bytes()),
        }
    }

    #[inline]
    fn payload(&mut self, payload: Payload<'_>) {
        match payload {
            Payload::Integer(value) => self.bytes(&value.to_ne_bytes()),
            Payload::String(bytes, _) => {
                self.length(bytes.len());
                self.bytes(bytes);
            }
            Payload::Packed(_, count, bytes) => {
                self.bytes(&count.to_ne_bytes());
                self.length(bytes.len());
                self.bytes(bytes);
            }
            Payload::Pointer(_, pointer) => {
                self.bytes(&(pointer.as_ptr() as usize).to_ne_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests;
