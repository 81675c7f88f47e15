//! Zipmaps: small hashes before Redis 2.6.
//!
//! The number of fields (1 byte, or 254 and more for "many"); for each, the field's length and bytes, the value's length, a byte that
//! says how many unused bytes follow the value, and the value; and a byte of ones.

use super::Reason;

const DAMAGED: Reason = Reason::Damaged("a zipmap");

/// Tells fields and values to `take`.
pub(super) fn read<'a>(
    bytes: &'a [u8],
    take: &mut dyn FnMut(&'a [u8], &'a [u8]) -> Result<(), Reason>,
) -> Result<(), Reason> {
    let mut rest = bytes.get(1..).ok_or(DAMAGED)?;
    while *rest.first().ok_or(DAMAGED)? != 0xff {
        let (length, behind) = length(rest)?;
        let (field, behind) = behind.split_at_checked(length).ok_or(DAMAGED)?;
        let (length, behind) = self::length(behind)?;
        let (unused, behind) = behind.split_first().ok_or(DAMAGED)?;
        let (value, behind) = behind.split_at_checked(length).ok_or(DAMAGED)?;
        rest = behind.get(usize::from(*unused)..).ok_or(DAMAGED)?;
        take(field, value)?;
    }
    if rest.len() == 1 {
        Ok(())
    } else {
        Err(DAMAGED)
    }
}

/// A length, and what is behind it.
fn length(bytes: &[u8]) -> Result<(usize, &[u8]), Reason> {
    match bytes.split_first().ok_or(DAMAGED)? {
        (length @ 0..254, rest) => Ok((usize::from(*length), rest)),
        (254, rest) => {
            let (length, rest) = rest.split_first_chunk::<4>().ok_or(DAMAGED)?;
            Ok((u32::from_le_bytes(*length) as usize, rest))
        }
        _ => Err(DAMAGED),
    }
}
