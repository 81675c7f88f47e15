//! Writing items: the choice of encoding. Must never write a value in two ways.

use super::Item;

/// An item in its encoding, made once for a search or an insertion.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a> {
    head: [u8; 9],
    head_len: u8,
    /// A string's content; empty for an integer.
    body: &'a [u8],
}

impl<'a> Encoded<'a> {
    /// The encoding of a value as clients give it: an integer if it is one in canonical decimal form.
    ///
    /// Strings are shorter than [`super::MAX_STRING`]; requests are limited far below.
    pub fn new(value: &'a [u8]) -> Self {
        match canonical_integer(value) {
            Some(int) => Self::int(int),
            None => Self::text(value),
        }
    }

    /// The encoding of an item that was read.
    pub fn of(item: Item<'a>) -> Self {
        match item {
            Item::Int(int) => Self::int(int),
            Item::Str(text) => Self::new(text),
        }
    }

    /// The encoding of an integer.
    pub fn int(int: i64) -> Self {
        let mut head = [0; 9];
        let le = int.to_le_bytes();
        let head_len = match int {
            0..=127 => {
                head[0] = le[0];
                1
            }
            -4096..=4095 => {
                let bits = int & 0x1FFF;
                head[0] = 0xC0 | (bits >> 8) as u8;
                head[1] = bits as u8;
                2
            }
            _ => {
                let (lead, size) = match int {
                    -0x8000..=0x7FFF => (0xF1, 2),
                    -0x80_0000..=0x7F_FFFF => (0xF2, 3),
                    -0x8000_0000..=0x7FFF_FFFF => (0xF3, 4),
                    _ => (0xF4, 8),
                };
                head[0] = lead;
                head[1..=size].copy_from_slice(&le[..size]);
                size as u8 + 1
            }
        };
        Self {
            head,
            head_len,
            body: &[],
        }
    }

    /// The encoding of bytes that are known not to be an integer's text.
    pub(crate) fn text(body: &'a [u8]) -> Self {
        let mut head = [0; 9];
        let len = body.len();
        let head_len = if len < 64 {
            head[0] = 0x80 | len as u8;
            1
        } else if len < 4096 {
            head[0] = 0xE0 | (len >> 8) as u8;
            head[1] = len as u8;
            2
        } else {
            head[0] = 0xF0;
            head[1..5].copy_from_slice(&(len as u32).to_le_bytes());
            5
        };
        Self {
            head,
            head_len,
            body,
        }
    }

    /// Bytes of the whole item.
    pub fn size(&self) -> usize {
        let content = self.content();
        content + back_length_size(content)
    }

    /// Appends the whole item.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head[..usize::from(self.head_len)]);
        out.extend_from_slice(self.body);
        let (back, size) = back_length(self.content());
        out.extend_from_slice(&back[..size]);
    }

    /// Writes the whole item over `out`, which has exactly its size.
    pub(super) fn put(&self, out: &mut [u8]) {
        let (head, rest) = out.split_at_mut(usize::from(self.head_len));
        head.copy_from_slice(&self.head[..usize::from(self.head_len)]);
        let (body, rest) = rest.split_at_mut(self.body.len());
        body.copy_from_slice(self.body);
        let (back, size) = back_length(self.content());
        rest.copy_from_slice(&back[..size]);
    }

    /// Whether `bytes` start with this item.
    #[inline]
    pub fn starts(&self, bytes: &[u8]) -> bool {
        if bytes.first() != Some(&self.head[0]) {
            return false;
        }
        let head_len = usize::from(self.head_len);
        let Some(content) = bytes.get(..self.content()) else {
            return false;
        };
        // Names tend to share their beginning and differ at the end.
        content.last() == self.body.last().or(Some(&self.head[head_len - 1]))
            && content[head_len..] == *self.body
            && content[..head_len] == self.head[..head_len]
    }

    fn content(&self) -> usize {
        usize::from(self.head_len) + self.body.len()
    }
}

/// The integer that `text` is the canonical decimal form of.
#[inline]
pub fn canonical_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut value = 0_u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        // Nineteen digits fit.
        value = value * 10 + u64::from(digit - b'0');
    }
    if negative {
        0_i64.checked_sub_unsigned(value)
    } else {
        i64::try_from(value).ok()
    }
}

/// Bytes of the length behind an item whose header and content have `content` bytes. The limits are the specification's, which
/// wastes the last value of each size.
pub(super) fn back_length_size(content: usize) -> usize {
    match content {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

fn back_length(content: usize) -> ([u8; 5], usize) {
    let size = back_length_size(content);
    let mut bytes = [0; 5];
    for (at, byte) in bytes[..size].iter_mut().enumerate() {
        let more = if at == 0 { 0 } else { 0x80 };
        *byte = (content >> (7 * (size - 1 - at))) as u8 & 0x7F | more;
    }
    (bytes, size)
}

/// Reads the length that ends `bytes`: the length and its own size.
pub(super) fn read_back_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut content = 0;
    for (at, byte) in bytes.iter().rev().take(5).enumerate() {
        content |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((content, at + 1));
        }
    }
    None
}
