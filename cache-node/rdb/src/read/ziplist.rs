//! Ziplists: Redis's packed items before version 7.
//!
//! Total bytes (4), offset of the last item (4), number of items (2), items, and a byte of ones. An item is the length of the one before,
//! its form and length, and its bytes.

use crate::format::Item;

use super::Reason;
use super::items::{self, Split};
use super::listpack::signed;

const WHAT: &str = "a ziplist";

const DAMAGED: Reason = Reason::Damaged(WHAT);

/// Tells the items to `take`.
pub(super) fn read<'a>(
    bytes: &'a [u8],
    take: &mut dyn FnMut(Item<'a>) -> Result<(), Reason>,
) -> Result<(), Reason> {
    let (total, rest) = bytes.split_first_chunk::<4>().ok_or(DAMAGED)?;
    let (_last, rest) = rest.split_first_chunk::<4>().ok_or(DAMAGED)?;
    let (counted, rest) = rest.split_first_chunk::<2>().ok_or(DAMAGED)?;
    if u32::from_le_bytes(*total) as usize != bytes.len() {
        return Err(DAMAGED);
    }
    items::read(rest, u16::from_le_bytes(*counted), WHAT, item, take)
}

/// The first item, and what is behind it.
fn item(bytes: &[u8]) -> Split<'_> {
    // The length of the item before takes one byte, or a mark and four.
    let before = if bytes[0] == 0xfe { 5 } else { 1 };
    let bytes = bytes.get(before..).ok_or(DAMAGED)?;
    let first = *bytes.first().ok_or(DAMAGED)?;
    match first {
        0..0x40 => text(bytes, 1, usize::from(first)),
        0x40..0x80 => {
            let low = *bytes.get(1).ok_or(DAMAGED)?;
            text(bytes, 2, usize::from(first & 0x3f) << 8 | usize::from(low))
        }
        0x80 => {
            let length = bytes[1..].first_chunk::<4>().ok_or(DAMAGED)?;
            text(bytes, 5, u32::from_be_bytes(*length) as usize)
        }
        0xc0 => integer(bytes, 2),
        0xd0 => integer(bytes, 4),
        0xe0 => integer(bytes, 8),
        0xf0 => integer(bytes, 3),
        0xfe => integer(bytes, 1),
        0xf1..=0xfd => Ok((Item::Integer(i64::from(first & 0x0f) - 1), &bytes[1..])),
        _ => Err(DAMAGED),
    }
}

fn text(bytes: &[u8], at: usize, length: usize) -> Result<(Item<'_>, &[u8]), Reason> {
    let text = bytes.get(at..at + length).ok_or(DAMAGED)?;
    Ok((Item::Bytes(text), &bytes[at + length..]))
}

fn integer(bytes: &[u8], width: usize) -> Result<(Item<'_>, &[u8]), Reason> {
    let integer = bytes.get(1..=width).ok_or(DAMAGED)?;
    Ok((Item::Integer(signed(integer)), &bytes[1 + width..]))
}
