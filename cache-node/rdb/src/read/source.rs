//! The bytes that are read: with an offset, a checksum, and the numbers and strings that everything else is made of.

use std::io::{self, Read};

use crate::crc::Checksum;
use crate::format::{Item, encoding};

use super::Reason;

const BUFFER: usize = 128 * 1024;

/// The longest string; the same as in Redis, whose packed collections and elements stay below it.
const LONGEST: u64 = 512 * 1024 * 1024 + 1024;

/// At most so many bytes come from three compressed ones.
const MOST_FROM_THREE: u64 = 264;

/// What a length says.
pub(super) enum Length {
    /// So many.
    Count(u64),
    /// A string in this special form.
    Encoded(u8),
}

/// A string, which may lie in the buffer that was passed for it.
pub(super) enum Text {
    Integer(i64),
    InBuffer,
}

impl Text {
    pub(super) fn item<'a>(&self, buffer: &'a [u8]) -> Item<'a> {
        match self {
            Self::Integer(integer) => Item::Integer(*integer),
            Self::InBuffer => Item::Bytes(buffer),
        }
    }
}

/// Bytes that are read once.
pub(super) struct Source<R> {
    input: R,
    buffer: Vec<u8>,
    /// How far the buffer is filled.
    filled: usize,
    /// The next byte in the buffer.
    at: usize,
    /// How far the buffer is in the checksum.
    summed: usize,
    /// Offset of the buffer's first byte.
    start: u64,
    checksum: Checksum,
}

impl<R: Read> Source<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            filled: 0,
            at: 0,
            summed: 0,
            start: 0,
            checksum: Checksum::default(),
        }
    }

    /// Offset of the next byte.
    pub(super) fn offset(&self) -> u64 {
        self.start + self.at as u64
    }

    /// Checksum of everything read.
    pub(super) fn checksum(&mut self) -> u64 {
        self.sum_up();
        self.checksum.value()
    }

    fn sum_up(&mut self) {
        self.checksum.update(&self.buffer[self.summed..self.at]);
        self.summed = self.at;
    }

    /// Whether there is nothing more.
    pub(super) fn is_at_end(&mut self) -> Result<bool, Reason> {
        Ok(self.at == self.filled && !self.fill()?)
    }

    /// Reads more when all was taken; false at the end.
    fn fill(&mut self) -> Result<bool, Reason> {
        self.sum_up();
        self.start += self.at as u64;
        (self.at, self.summed, self.filled) = (0, 0, 0);
        self.buffer.resize(BUFFER, 0);
        loop {
            match self.input.read(&mut self.buffer) {
                Ok(count) => {
                    self.filled = count;
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Reason::Io(error)),
            }
        }
    }

    /// Up to `most` bytes, one at least.
    pub(super) fn piece(&mut self, most: u64) -> Result<&[u8], Reason> {
        if self.at == self.filled && !self.fill()? {
            return Err(Reason::Truncated);
        }
        let start = self.at;
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        self.at = self.filled.min(start.saturating_add(most));
        Ok(&self.buffer[start..self.at])
    }

    pub(super) fn byte(&mut self) -> Result<u8, Reason> {
        Ok(self.piece(1)?[0])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        let mut array = [0; N];
        let mut done = 0;
        while done < N {
            let piece = self.piece((N - done) as u64)?;
            array[done..done + piece.len()].copy_from_slice(piece);
            done += piece.len();
        }
        Ok(array)
    }

    /// So many bytes, in place of what `buffer` holds. It grows with what has arrived.
    fn bytes(&mut self, length: u64, buffer: &mut Vec<u8>) -> Result<(), Reason> {
        buffer.clear();
        if length > LONGEST {
            return Err(Reason::Damaged("a string of more than 512 MiB"));
        }
        let mut missing = length;
        while missing > 0 {
            let piece = self.piece(missing)?;
            buffer.extend_from_slice(piece);
            missing -= piece.len() as u64;
        }
        Ok(())
    }

    pub(super) fn length(&mut self) -> Result<Length, Reason> {
        let first = self.byte()?;
        Ok(match first >> 6 {
            0 => Length::Count(u64::from(first)),
            1 => Length::Count(u64::from(first & 0x3f) << 8 | u64::from(self.byte()?)),
            2 if first == 0x80 => Length::Count(u64::from(u32::from_be_bytes(self.array()?))),
            2 if first == 0x81 => Length::Count(u64::from_be_bytes(self.array()?)),
            2 => return Err(Reason::Damaged("a length")),
            _ => Length::Encoded(first & 0x3f),
        })
    }

    /// A length that is no special form of a string.
    pub(super) fn count(&mut self) -> Result<u64, Reason> {
        match self.length()? {
            Length::Count(count) => Ok(count),
            Length::Encoded(_) => Err(Reason::Damaged("a length")),
        }
    }

    /// A string, which comes to lie in `buffer` unless it is an integer.
    pub(super) fn string(&mut self, buffer: &mut Vec<u8>) -> Result<Text, Reason> {
        match self.length()? {
            Length::Count(length) => self.bytes(length, buffer).map(|()| Text::InBuffer),
            Length::Encoded(form) => self.encoded(form, buffer),
        }
    }

    /// A string in a special form.
    pub(super) fn encoded(&mut self, form: u8, buffer: &mut Vec<u8>) -> Result<Text, Reason> {
        match form {
            encoding::INT_8 => Ok(Text::Integer(i8::from_le_bytes(self.array()?).into())),
            encoding::INT_16 => Ok(Text::Integer(i16::from_le_bytes(self.array()?).into())),
            encoding::INT_32 => Ok(Text::Integer(i32::from_le_bytes(self.array()?).into())),
            encoding::LZF => self.compressed(buffer).map(|()| Text::InBuffer),
            _ => Err(Reason::Damaged("a string's form")),
        }
    }

    fn compressed(&mut self, buffer: &mut Vec<u8>) -> Result<(), Reason> {
        let (compressed, length) = (self.count()?, self.count()?);
        if length > LONGEST || length > compressed.saturating_mul(MOST_FROM_THREE) / 3 {
            return Err(Reason::Damaged("the length of a compressed string"));
        }
        let mut input = Vec::new();
        self.bytes(compressed, &mut input)?;
        buffer.clear();
        buffer.resize(length as usize, 0);
        match lzf_rust::decompress(&input, buffer) {
            Ok(count) if count == buffer.len() => Ok(()),
            _ => Err(Reason::Damaged("a compressed string")),
        }
    }

    /// A string as bytes, which come to lie in `buffer`.
    pub(super) fn text(&mut self, buffer: &mut Vec<u8>) -> Result<(), Reason> {
        if let Text::Integer(integer) = self.string(buffer)? {
            buffer.clear();
            buffer.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
        }
        Ok(())
    }
}
