//! What listpacks and ziplists have in common: items behind a header that counts them, and a byte of ones.

use crate::format::Item;

use super::Reason;

/// So many items or more are not counted in the header.
const UNCOUNTED: u16 = u16::MAX;

/// An item, and what is behind it.
pub(super) type Split<'a> = Result<(Item<'a>, &'a [u8]), Reason>;

/// Tells the items at the front of `bytes` to `take`. There is one byte at least when `item` is asked for the first.
pub(super) fn read<'a>(
    mut bytes: &'a [u8],
    counted: u16,
    what: &'static str,
    item: fn(&'a [u8]) -> Split<'a>,
    take: &mut dyn FnMut(Item<'a>) -> Result<(), Reason>,
) -> Result<(), Reason> {
    let mut count = 0u64;
    while *bytes.first().ok_or(Reason::Damaged(what))? != 0xff {
        let (item, behind) = item(bytes)?;
        take(item)?;
        bytes = behind;
        count += 1;
    }
    if bytes.len() == 1 && (counted == UNCOUNTED || u64::from(counted) == count) {
        Ok(())
    } else {
        Err(Reason::Damaged(what))
    }
}
