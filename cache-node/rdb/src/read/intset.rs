//! Sets of integers: width of each, their number (4 bytes each, little endian), and the integers.

use super::Reason;

pub(super) fn read(
    bytes: &[u8],
    take: &mut dyn FnMut(i64) -> Result<(), Reason>,
) -> Result<(), Reason> {
    const DAMAGED: Reason = Reason::Damaged("a set of integers");
    let (width, rest) = bytes.split_first_chunk::<4>().ok_or(DAMAGED)?;
    let (count, rest) = rest.split_first_chunk::<4>().ok_or(DAMAGED)?;
    let (width, count) = (u32::from_le_bytes(*width), u32::from_le_bytes(*count));
    if !matches!(width, 2 | 4 | 8) || rest.len() as u64 != u64::from(width) * u64::from(count) {
        return Err(DAMAGED);
    }
    for integer in rest.chunks_exact(width as usize) {
        take(super::listpack::signed(integer))?;
    }
    Ok(())
}
