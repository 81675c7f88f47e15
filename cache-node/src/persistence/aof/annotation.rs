//! The checksum of what stands before it in an incremental file: a line that redis-server and redis-check-aof take for a remark.
//!
//! `#EVENKEEL-CRC:CRC:BYTES`, where CRC is the CRC-32 in eight hexadecimal digits of so many bytes, which are all those since the line
//! of this kind before, or since the beginning. It stands between commands, never within a transaction.

use crc32fast::Hasher;

/// What the line begins with.
pub(super) const NAME: &[u8] = b"#EVENKEEL-CRC:";

/// The bytes since the last line of this kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Sum {
    hasher: Hasher,
    bytes: u64,
}

impl Sum {
    /// Takes more bytes in.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// How many there are.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The line.
    pub(super) fn line(&self) -> String {
        let crc = self.hasher.clone().finalize();
        format!("#EVENKEEL-CRC:{crc:08x}:{}\r\n", self.bytes)
    }

    /// Whether a line that begins with [`NAME`] says what is so.
    pub(super) fn is_said_by(&self, line: &[u8]) -> bool {
        line == self.line().as_bytes()
    }

    /// Whether in `rest`, which follows these bytes, there is a line about everything since the last one, whatever checksum it says: so
    /// what comes before it was written to its end. That a value has a line with just this number is not to be expected.
    pub(super) fn is_followed_by_line(&self, rest: &[u8]) -> bool {
        memchr::memmem::find_iter(rest, NAME).any(|at| {
            let line = &rest[at + NAME.len()..];
            let end = format!(":{}\r\n", self.bytes + at as u64);
            line.get(8..)
                .is_some_and(|behind| behind.starts_with(end.as_bytes()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_was_added_since() {
        let mut sum = Sum::default();
        sum.add(b"1234");
        sum.add(b"56789");
        let line = "#EVENKEEL-CRC:cbf43926:9\r\n";
        assert_eq!(sum.line(), line);
        assert!(sum.is_said_by(line.as_bytes()));
        for wrong in [
            "#EVENKEEL-CRC:cbf43926:8\r\n",
            "#EVENKEEL-CRC:CBF43926:9\r\n",
            "#EVENKEEL-CRC:cbf43927:9\r\n",
            "#EVENKEEL-CRC:cbf43926:9\n",
        ] {
            assert!(!sum.is_said_by(wrong.as_bytes()), "{wrong}");
        }
        assert!(sum.is_followed_by_line(b"abc#EVENKEEL-CRC:00000000:12\r\nrest"));
        assert!(!sum.is_followed_by_line(b"abc#EVENKEEL-CRC:00000000:13\r\nrest"));
        assert!(!sum.is_followed_by_line(b"abc#EVENKEEL-CRC:0000"));
    }
}
