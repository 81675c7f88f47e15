//! Listpacks: Redis's packed items since version 7.
//!
//! Total bytes (4), number of items (2, or all ones for "many"), items, and a byte of ones. An item is its form and length, its bytes, and
//! the length of both for those who read backwards.

use crate::format::Item;

use super::Reason;
use super::items::{self, Split};

const WHAT: &str = "a listpack";

const DAMAGED: Reason = Reason::Damaged(WHAT);

/// Tells the items to `take`.
pub(super) fn read<'a>(
    bytes: &'a [u8],
    take: &mut dyn FnMut(Item<'a>) -> Result<(), Reason>,
) -> Result<(), Reason> {
    let (total, rest) = bytes.split_first_chunk::<4>().ok_or(DAMAGED)?;
    let (counted, rest) = rest.split_first_chunk::<2>().ok_or(DAMAGED)?;
    if u32::from_le_bytes(*total) as usize != bytes.len() {
        return Err(DAMAGED);
    }
    items::read(rest, u16::from_le_bytes(*counted), WHAT, item, take)
}

/// The first item, and what is behind it.
fn item(bytes: &[u8]) -> Split<'_> {
    let first = bytes[0];
    let second = || bytes.get(1).copied().ok_or(DAMAGED);
    let (item, size) = match first {
        0..0x80 => (Item::Integer(first.into()), 1),
        0x80..0xc0 => text(bytes, 1, usize::from(first & 0x3f))?,
        0xc0..0xe0 => {
            let raw = i16::from(first & 0x1f) << 8 | i16::from(second()?);
            // 13 bits with a sign.
            (Item::Integer(i64::from(raw << 3 >> 3)), 2)
        }
        0xe0..0xf0 => {
            let length = usize::from(first & 0x0f) << 8 | usize::from(second()?);
            text(bytes, 2, length)?
        }
        0xf0 => {
            let length = bytes.get(1..5).ok_or(DAMAGED)?;
            text(bytes, 5, unsigned(length))?
        }
        0xf1 => integer(bytes, 2)?,
        0xf2 => integer(bytes, 3)?,
        0xf3 => integer(bytes, 4)?,
        0xf4 => integer(bytes, 8)?,
        _ => return Err(DAMAGED),
    };
    let backwards = match size {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        0x20_0000..0x1000_0000 => 4,
        _ => 5,
    };
    Ok((item, bytes.get(size + backwards..).ok_or(DAMAGED)?))
}

fn text(bytes: &[u8], at: usize, length: usize) -> Result<(Item<'_>, usize), Reason> {
    let text = bytes.get(at..at + length).ok_or(DAMAGED)?;
    Ok((Item::Bytes(text), at + length))
}

fn integer(bytes: &[u8], width: usize) -> Result<(Item<'_>, usize), Reason> {
    let integer = bytes.get(1..=width).ok_or(DAMAGED)?;
    Ok((Item::Integer(signed(integer)), 1 + width))
}

/// A little-endian number of one to eight bytes.
pub(super) fn unsigned(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// A little-endian integer of one to eight bytes, in two's complement.
pub(super) fn signed(bytes: &[u8]) -> i64 {
    let unused = 64 - 8 * bytes.len() as u32;
    let raw = bytes
        .iter()
        .rev()
        .fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    (raw << unused) as i64 >> unused
}
