//! Parsing requests: RESP arrays of bulk strings, and inline commands.
//!
//! The parser remembers how far it got, so that a command which arrives in many pieces is looked at once. Arguments are not copied
//! (except those of inline commands, which may be quoted).

use super::args::{Args, Span};
use super::parse_integer;

/// Longest inline command, and longest `*` or `$` line, in bytes.
const MAX_LINE: usize = 64 * 1024;

/// What a connection may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most arguments of a command.
    pub arguments: usize,
    /// Longest argument in bytes (`proto-max-bulk-len`).
    pub bulk: usize,
    /// Whether the connection is yet to authenticate, which lowers both limits.
    pub unauthenticated: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            arguments: 1024 * 1024,
            bulk: 512 * 1024 * 1024,
            unauthenticated: false,
        }
    }
}

/// What broke the protocol. The connection gets the text and is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The `*` line does not end.
    #[error("too big mbulk count string")]
    LongCount,
    /// The `*` line is no number, or more than the limit.
    #[error("invalid multibulk length")]
    Count,
    /// The `$` line does not end.
    #[error("too big bulk count string")]
    LongLength,
    /// Something else where a `$` must be.
    #[error("expected '$', got '{}'", char::from(*.0))]
    NotBulk(u8),
    /// The `$` line is no number, or more than the limit.
    #[error("invalid bulk length")]
    Length,
    /// Too many arguments before authentication.
    #[error("unauthenticated multibulk length")]
    UnauthenticatedCount,
    /// Too long an argument before authentication.
    #[error("unauthenticated bulk length")]
    UnauthenticatedLength,
    /// An inline command that does not end.
    #[error("too big inline request")]
    LongInline,
    /// An inline command whose quotes do not match.
    #[error("unbalanced quotes in request")]
    Quotes,
}

/// How far [`Parser::parse`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The command goes on after the data; at least so many bytes are missing (0: not known).
    Incomplete {
        /// Bytes that are known to be missing.
        missing: usize,
    },
    /// A whole command of so many bytes; [`Parser::args`] has its arguments.
    Command {
        /// Bytes from the command's start to its end.
        length: usize,
    },
    /// So many bytes that say nothing (an empty line or array).
    Nothing {
        /// Bytes to skip.
        length: usize,
    },
}

/// A resumable request parser.
#[derive(Debug, Default)]
pub struct Parser {
    spans: Vec<Span>,
    position: usize,
    missing: Option<usize>,
    bulk: Option<usize>,
    inline: Option<Vec<u8>>,
    complete: bool,
}

impl Parser {
    /// Looks at `data`, which begins where the command begins. Called again with the same bytes and more behind them, it goes on where
    /// it stopped.
    pub fn parse(&mut self, data: &[u8], limits: &Limits) -> Result<Parsed, ProtocolError> {
        if self.complete {
            self.reset();
        }
        match data.first() {
            None => Ok(Parsed::Incomplete { missing: 0 }),
            Some(b'*') => self.parse_array(data, limits),
            Some(_) => self.parse_inline(data),
        }
    }

    /// The arguments of the command just parsed from `data`.
    pub fn args<'a>(&'a self, data: &'a [u8]) -> Args<'a> {
        Args::new(self.inline.as_deref().unwrap_or(data), &self.spans)
    }

    /// Whether a command has begun and not ended.
    pub fn is_midway(&self) -> bool {
        !self.complete && self.position > 0
    }

    /// Bytes that the unfinished command is known to need beyond the first `arrived`; 0: not known.
    pub fn missing(&self, arrived: usize) -> usize {
        self.bulk.map_or(0, |length| {
            (self.position + length + 2).saturating_sub(arrived)
        })
    }

    /// Bytes held between two calls, beside the data.
    pub fn size(&self) -> usize {
        self.spans.capacity() * size_of::<Span>()
    }

    /// Gives back memory that an unusual command needed.
    pub fn shrink(&mut self) {
        if self.spans.capacity() > 64 && !self.is_midway() {
            self.spans = Vec::new();
        }
        if self.complete {
            self.inline = None;
        }
    }

    fn reset(&mut self) {
        self.spans.clear();
        self.position = 0;
        self.missing = None;
        self.bulk = None;
        self.inline = None;
        self.complete = false;
    }

    fn parse_array(&mut self, data: &[u8], limits: &Limits) -> Result<Parsed, ProtocolError> {
        let mut missing = match self.missing {
            Some(missing) => missing,
            None => {
                let Some((count, next)) = number_line(data, 1, ProtocolError::LongCount)? else {
                    return Ok(Parsed::Incomplete { missing: 0 });
                };
                let count = count.ok_or(ProtocolError::Count)?;
                if count > limits.arguments as i64 {
                    return Err(ProtocolError::Count);
                }
                if limits.unauthenticated && count > 10 {
                    return Err(ProtocolError::UnauthenticatedCount);
                }
                if count <= 0 {
                    self.complete = true;
                    return Ok(Parsed::Nothing { length: next });
                }
                self.position = next;
                count as usize
            }
        };
        while missing > 0 {
            self.missing = Some(missing);
            let length = match self.bulk {
                Some(length) => length,
                None => match self.bulk_header(data, limits)? {
                    Some(length) => length,
                    None => return Ok(Parsed::Incomplete { missing: 0 }),
                },
            };
            let end = self.position + length;
            if data.len() < end + 2 {
                self.bulk = Some(length);
                return Ok(Parsed::Incomplete {
                    missing: end + 2 - data.len(),
                });
            }
            self.spans.push((self.position as u32, end as u32));
            self.position = end + 2;
            self.bulk = None;
            missing -= 1;
        }
        self.complete = true;
        Ok(Parsed::Command {
            length: self.position,
        })
    }

    /// Reads the `$` line at the present position and steps behind it.
    fn bulk_header(
        &mut self,
        data: &[u8],
        limits: &Limits,
    ) -> Result<Option<usize>, ProtocolError> {
        match data.get(self.position) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(other) => return Err(ProtocolError::NotBulk(*other)),
        }
        let line = number_line(data, self.position + 1, ProtocolError::LongLength)?;
        let Some((length, next)) = line else {
            return Ok(None);
        };
        let length = length
            .and_then(|length| usize::try_from(length).ok())
            .filter(|length| *length <= limits.bulk)
            .ok_or(ProtocolError::Length)?;
        if limits.unauthenticated && length > 16 * 1024 {
            return Err(ProtocolError::UnauthenticatedLength);
        }
        self.position = next;
        Ok(Some(length))
    }

    fn parse_inline(&mut self, data: &[u8]) -> Result<Parsed, ProtocolError> {
        let Some(end) = memchr::memchr(b'\n', data) else {
            return if data.len() > MAX_LINE {
                Err(ProtocolError::LongInline)
            } else {
                Ok(Parsed::Incomplete { missing: 0 })
            };
        };
        let line = data[..end].strip_suffix(b"\r").unwrap_or(&data[..end]);
        let words = split_line(line).ok_or(ProtocolError::Quotes)?;
        self.complete = true;
        let length = end + 1;
        if words.is_empty() {
            return Ok(Parsed::Nothing { length });
        }
        let mut bytes = Vec::with_capacity(line.len());
        for word in words {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(&word);
            self.spans.push((start, bytes.len() as u32));
        }
        self.inline = Some(bytes);
        Ok(Parsed::Command { length })
    }
}

/// The number on the line that begins at `start`, and where the next line begins. `Ok(None)`: the line does not end yet.
fn number_line(
    data: &[u8],
    start: usize,
    too_long: ProtocolError,
) -> Result<Option<(Option<i64>, usize)>, ProtocolError> {
    let rest = &data[start..];
    // Nearly every length has one or two digits.
    match rest {
        [a @ b'0'..=b'9', b'\r', _, ..] => {
            return Ok(Some((Some(i64::from(a - b'0')), start + 3)));
        }
        [a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', _, ..] => {
            let number = i64::from(a - b'0') * 10 + i64::from(b - b'0');
            return Ok(Some((Some(number), start + 4)));
        }
        _ => {}
    }
    match memchr::memchr(b'\r', &rest[..rest.len().min(MAX_LINE)]) {
        Some(end) if end + 1 < rest.len() => {
            Ok(Some((parse_integer(&rest[..end]), start + end + 2)))
        }
        None if rest.len() >= MAX_LINE => Err(too_long),
        _ => Ok(None),
    }
}

/// Splits a line into words, with Redis's quoting: `"..."` with escapes `\n \r \t \b \a \xHH`, `'...'` with `\'`.
/// `None`: the quotes do not match.
pub(crate) fn split_line(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        match rest.first() {
            None | Some(0) => return Some(words),
            Some(_) => {
                let (word, behind) = take_word(rest)?;
                words.push(word);
                rest = behind;
            }
        }
    }
}

fn take_word(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    loop {
        match rest {
            [b'"', tail @ ..] => {
                rest = take_double_quoted(tail, &mut word)?;
                return ends_word(rest).then_some((word, rest));
            }
            [b'\'', tail @ ..] => {
                rest = take_single_quoted(tail, &mut word)?;
                return ends_word(rest).then_some((word, rest));
            }
            _ if ends_word(rest) => return Some((word, rest)),
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
            [] => return Some((word, rest)),
        }
    }
}

fn ends_word(rest: &[u8]) -> bool {
    rest.first()
        .is_none_or(|byte| byte.is_ascii_whitespace() || *byte == 0)
}

fn take_double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return None,
            [b'"', tail @ ..] => return Some(tail),
            [b'\\', b'x', high, low, tail @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex(*high) * 16 + hex(*low));
                rest = tail;
            }
            [b'\\', escaped, tail @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                rest = tail;
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

fn take_single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return None,
            [b'\'', tail @ ..] => return Some(tail),
            [b'\\', b'\'', tail @ ..] => {
                word.push(b'\'');
                rest = tail;
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

#[cfg(test)]
mod tests;
