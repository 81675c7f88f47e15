//! The slot of a key. Pure.

/// Slots of a cluster.
const SLOTS: u16 = 16_384;
/// The polynomial of CRC16/XMODEM.
const POLYNOMIAL: u16 = 0x1021;

/// The slot of a key without braces.
pub(super) fn of(key: &[u8]) -> u16 {
    let shift = |crc: u16, _| {
        if crc & 0x8000 == 0 {
            crc << 1
        } else {
            crc << 1 ^ POLYNOMIAL
        }
    };
    let crc = key.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, shift)
    });
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    #[test]
    fn keys_have_the_slots_that_the_specification_gives() {
        assert_eq!(super::of(b"123456789"), 0x31C3);
        assert_eq!(super::of(b"foo"), 12_182);
    }
}
