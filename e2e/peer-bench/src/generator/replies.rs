//! Counts complete replies in a stream of bytes, and notes errors and misses, as cheaply as can be. Owns what a reply that
//! is split across reads needs to be remembered; never copies a value.

use memchr::memchr;

/// Which protocol a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The Redis protocol.
    Resp,
    /// memcached's text protocol.
    Memcached,
}

/// What was found in the bytes that were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Complete replies.
    pub replies: u64,
    /// Values that were asked for and not there.
    pub misses: u64,
    /// Replies that were errors.
    pub errors: u64,
    /// The first error's text.
    pub first_error: Option<String>,
}

impl Tally {
    /// Adds what another tally holds.
    pub fn add(&mut self, other: Self) {
        self.replies += other.replies;
        self.misses += other.misses;
        self.errors += other.errors;
        if self.first_error.is_none() {
            self.first_error = other.first_error;
        }
    }
}

/// Longest line that is kept: error texts are cut here, and a header line is far shorter.
const LONGEST_LINE: usize = 512;

/// Counts the replies of one connection.
#[derive(Debug)]
pub struct ReplyCounter {
    protocol: Protocol,
    /// Elements that the reply at hand still lacks.
    missing: u64,
    /// Bytes of a value, and its line end, that are still to come.
    skip: usize,
    /// The start of a line whose end has not come yet.
    line: Vec<u8>,
    /// Whether the memcached reply at hand held a value.
    value_seen: bool,
}

impl ReplyCounter {
    /// A counter at the beginning of a reply.
    pub fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            missing: 1,
            skip: 0,
            line: Vec::new(),
            value_seen: false,
        }
    }

    /// Counts what is complete with these bytes; replies may end anywhere, also in later bytes.
    pub fn feed(&mut self, mut bytes: &[u8], tally: &mut Tally) {
        loop {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                if self.skip > 0 {
                    return;
                }
                self.value_ended(tally);
            }
            let Some(end) = memchr(b'\n', bytes) else {
                let room = LONGEST_LINE.saturating_sub(self.line.len());
                self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
                return;
            };
            let (line, rest) = bytes.split_at(end + 1);
            if self.line.is_empty() {
                self.take_line(trim(line), tally);
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.take_line(trim(&whole), tally);
            }
            bytes = rest;
        }
    }

    #[inline]
    fn take_line(&mut self, line: &[u8], tally: &mut Tally) {
        match self.protocol {
            Protocol::Resp => self.take_resp(line, tally),
            Protocol::Memcached => self.take_memcached(line, tally),
        }
    }

    #[inline]
    fn take_resp(&mut self, line: &[u8], tally: &mut Tally) {
        match line.first() {
            Some(b'$') => match number(&line[1..]) {
                // The element is complete when the value has been skipped.
                Some(length) => self.skip = length as usize + 2,
                None => {
                    tally.misses += 1;
                    self.element_ended(tally);
                }
            },
            Some(b'*' | b'~' | b'>') => {
                self.missing += number(&line[1..]).unwrap_or(0);
                self.element_ended(tally);
            }
            Some(b'%') => {
                self.missing += 2 * number(&line[1..]).unwrap_or(0);
                self.element_ended(tally);
            }
            Some(b'-') => {
                note_error(line, tally);
                self.element_ended(tally);
            }
            Some(b'_') => {
                tally.misses += 1;
                self.element_ended(tally);
            }
            _ => self.element_ended(tally),
        }
    }

    #[inline]
    fn element_ended(&mut self, tally: &mut Tally) {
        self.missing -= 1;
        if self.missing == 0 {
            self.missing = 1;
            tally.replies += 1;
        }
    }

    fn value_ended(&mut self, tally: &mut Tally) {
        match self.protocol {
            Protocol::Resp => self.element_ended(tally),
            Protocol::Memcached => self.value_seen = true,
        }
    }

    fn take_memcached(&mut self, line: &[u8], tally: &mut Tally) {
        if line.starts_with(b"VALUE ") {
            let length = line.rsplit(|byte| *byte == b' ').next().and_then(number);
            self.skip = length.unwrap_or(0) as usize + 2;
            return;
        }
        if line == b"END" && !self.value_seen || line == b"NOT_FOUND" {
            tally.misses += 1;
        }
        if line == b"ERROR"
            || line.starts_with(b"CLIENT_ERROR")
            || line.starts_with(b"SERVER_ERROR")
        {
            note_error(line, tally);
        }
        self.value_seen = false;
        tally.replies += 1;
    }
}

#[cold]
fn note_error(line: &[u8], tally: &mut Tally) {
    tally.errors += 1;
    if tally.first_error.is_none() {
        tally.first_error = Some(String::from_utf8_lossy(line).into_owned());
    }
}

/// A line without its end.
#[inline]
fn trim(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A decimal number; `None` if it is negative or none.
#[inline]
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut value = 0_u64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(protocol: Protocol, stream: &[u8], piece: usize) -> Tally {
        let mut counter = ReplyCounter::new(protocol);
        let mut tally = Tally::default();
        for bytes in stream.chunks(piece) {
            counter.feed(bytes, &mut tally);
        }
        tally
    }

    #[test]
    fn resp_replies_are_counted_however_reads_split_them() {
        let stream = b"+OK\r\n$5\r\nab\r\nc\r\n:42\r\n$-1\r\n*2\r\n$1\r\na\r\n$-1\r\n*0\r\n\
            *2\r\n*1\r\n:1\r\n+x\r\n-ERR no\r\n_\r\n%1\r\n+k\r\n$0\r\n\r\n";
        for piece in 1..=stream.len() {
            let tally = counted(Protocol::Resp, stream, piece);
            assert_eq!(tally.replies, 10, "pieces of {piece}");
            assert_eq!(tally.misses, 3, "pieces of {piece}");
            assert_eq!(tally.errors, 1);
            assert_eq!(tally.first_error.as_deref(), Some("-ERR no"));
        }
    }

    #[test]
    fn memcached_replies_are_counted_however_reads_split_them() {
        let stream = b"STORED\r\nVALUE key:000000000001 0 4\r\nE\r\nD\r\nEND\r\nEND\r\n17\r\nNOT_FOUND\r\nERROR\r\n\
            VALUE a 0 1\r\nx\r\nVALUE b 0 0\r\n\r\nEND\r\n";
        for piece in 1..=stream.len() {
            let tally = counted(Protocol::Memcached, stream, piece);
            assert_eq!(tally.replies, 7, "pieces of {piece}");
            assert_eq!(tally.misses, 2, "pieces of {piece}");
            assert_eq!(tally.errors, 1, "pieces of {piece}");
        }
    }

    #[test]
    fn an_endless_line_is_not_kept() {
        let mut counter = ReplyCounter::new(Protocol::Resp);
        let mut tally = Tally::default();
        for _ in 0..100 {
            counter.feed(&[b'-'; 1000], &mut tally);
        }
        counter.feed(b"\r\n", &mut tally);
        assert_eq!(tally.errors, 1);
        assert!(tally.first_error.unwrap().len() <= LONGEST_LINE + 2);
    }
}
