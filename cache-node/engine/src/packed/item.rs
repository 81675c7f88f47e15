//! Reading items.

use std::cmp::Ordering;

use super::encoded::{back_length_size, read_back_length};
use super::{Encoded, Flaw};

/// One item, read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Item<'a> {
    /// An integer; its text is the canonical decimal form.
    Int(i64),
    /// Any other bytes.
    Str(&'a [u8]),
}

impl<'a> Item<'a> {
    /// The item that `value` is.
    pub fn new(value: &'a [u8]) -> Self {
        match super::canonical_integer(value) {
            Some(int) => Self::Int(int),
            None => Self::Str(value),
        }
    }

    /// The item's text. An integer's is written into `buffer`.
    pub fn text<'b>(&'b self, buffer: &'b mut itoa::Buffer) -> &'b [u8] {
        match self {
            Self::Int(int) => buffer.format(*int).as_bytes(),
            Self::Str(text) => text,
        }
    }

    /// Appends the item's text.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text(&mut itoa::Buffer::new()));
    }

    /// The item's text, copied.
    pub fn to_vec(&self) -> Vec<u8> {
        self.text(&mut itoa::Buffer::new()).to_vec()
    }

    /// Bytes of the item's text.
    pub fn text_len(&self) -> usize {
        match self {
            Self::Int(int) => {
                let digits = int.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
                digits + usize::from(*int < 0)
            }
            Self::Str(text) => text.len(),
        }
    }

    /// Whether the item's text is `value`.
    pub fn is(&self, value: &[u8]) -> bool {
        match self {
            Self::Int(int) => super::canonical_integer(value) == Some(*int),
            Self::Str(text) => *text == value,
        }
    }

    /// How the item's text compares with `value`, byte by byte.
    pub fn cmp_text(&self, value: &[u8]) -> Ordering {
        self.text(&mut itoa::Buffer::new()).cmp(value)
    }

    /// The integer that the item is.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Int(int) => Some(*int),
            Self::Str(_) => None,
        }
    }
}

/// The items of a run of bytes, readable from both ends. Stops at bytes that are no item.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    bytes: &'a [u8],
}

impl<'a> Items<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The bytes not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        let read = decode(self.bytes);
        // What follows a malformed item cannot be found.
        self.bytes = read.map_or(&[][..], |(_, size)| {
            self.bytes.get(size..).unwrap_or_default()
        });
        read.map(|(item, _)| item)
    }
}

impl DoubleEndedIterator for Items<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        let read = last(self.bytes);
        self.bytes = read.map_or(&[][..], |(_, start)| &self.bytes[..start]);
        read.map(|(item, _)| item)
    }
}

/// The last item and its offset.
fn last(bytes: &[u8]) -> Option<(Item<'_>, usize)> {
    let (content, back) = read_back_length(bytes)?;
    let start = bytes.len().checked_sub(content + back)?;
    let (item, size) = decode(&bytes[start..])?;
    (size == content + back).then_some((item, start))
}

/// The first item and its size.
#[inline]
pub(super) fn decode(bytes: &[u8]) -> Option<(Item<'_>, usize)> {
    let lead = *bytes.first()?;
    match lead {
        0..0x80 => Some((Item::Int(i64::from(lead)), 2)),
        0x80..0xC0 => {
            let len = usize::from(lead & 0x3F);
            Some((Item::Str(bytes.get(1..1 + len)?), len + 2))
        }
        0xC0..0xE0 => {
            let bits = i64::from(lead & 0x1F) << 8 | i64::from(*bytes.get(1)?);
            Some((Item::Int(bits << 51 >> 51), 3))
        }
        0xF1 => wide_integer(bytes, 2),
        0xF2 => wide_integer(bytes, 3),
        0xF3 => wide_integer(bytes, 4),
        0xF4 => wide_integer(bytes, 8),
        _ => {
            let (head, len) = long_string(bytes)?;
            let end = head.checked_add(len)?;
            Some((
                Item::Str(bytes.get(head..end)?),
                end + back_length_size(end),
            ))
        }
    }
}

/// Header and content bytes of a string that states its length in more than six bits.
fn long_string(bytes: &[u8]) -> Option<(usize, usize)> {
    match bytes {
        [lead @ 0xE0..0xF0, low, ..] => {
            Some((2, usize::from(lead & 0x0F) << 8 | usize::from(*low)))
        }
        [0xF0, a, b, c, d, ..] => Some((5, u32::from_le_bytes([*a, *b, *c, *d]) as usize)),
        _ => None,
    }
}

fn wide_integer(bytes: &[u8], size: usize) -> Option<(Item<'_>, usize)> {
    let content = bytes.get(1..=size)?;
    // Sign extension: as if the missing low bytes were there.
    let mut wide = [0; 8];
    wide[8 - size..].copy_from_slice(content);
    let int = i64::from_le_bytes(wide) >> (64 - 8 * size);
    Some((Item::Int(int), size + 2))
}

/// Size of the first item, without looking at its content.
pub(super) fn size(bytes: &[u8]) -> Option<usize> {
    match *bytes.first()? {
        0..0x80 => Some(2),
        lead @ 0x80..0xC0 => Some(usize::from(lead & 0x3F) + 2),
        0xC0..0xE0 => Some(3),
        0xF1 => Some(4),
        0xF2 => Some(5),
        0xF3 => Some(6),
        0xF4 => Some(10),
        _ => {
            let (head, len) = long_string(bytes)?;
            let content = head.checked_add(len)?;
            Some(content + back_length_size(content))
        }
    }
}

/// The item at `offset` with its back length checked, and the offset behind it.
pub(super) fn checked(bytes: &[u8], offset: usize) -> Result<(Item<'_>, usize), Flaw> {
    let rest = bytes.get(offset..).ok_or(Flaw::Truncated)?;
    let (item, size) = decode(rest).ok_or(Flaw::Truncated)?;
    let whole = rest.get(..size).ok_or(Flaw::Truncated)?;
    match read_back_length(whole) {
        Some((content, back)) if content + back == size && back == back_length_size(content) => {
            Ok((item, offset + size))
        }
        _ => Err(Flaw::BackLength),
    }
}

impl<'a> From<Item<'a>> for Encoded<'a> {
    fn from(item: Item<'a>) -> Self {
        Self::of(item)
    }
}
