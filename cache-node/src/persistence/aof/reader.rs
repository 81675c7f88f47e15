//! Reading an append-only file: commands with their offsets, and where it ends or is damaged.
//!
//! Pure: it reads bytes and executes nothing. A file that ends in the middle of a command is torn, which is what a crash leaves; anything
//! else that is no command is damage.

use std::io::{self, Read};

use super::annotation::{NAME, Sum};
use crate::resp::{Args, Span};

/// Bytes that are read at once.
const READ: usize = 256 * 1024;

/// Longest annotation.
const MOST_LINE: usize = 1024;

/// Most arguments of a command, and most bytes of one, as clients may send them.
const MOST_ARGUMENTS: usize = 1 << 20;
const MOST_ARGUMENT: usize = 1 << 30;

/// Most bytes of a command; places in it are kept in 32 bits.
const MOST_COMMAND: usize = 3 << 30;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A command; [`Reader::args`] has it.
    Command,
    /// Nothing.
    End,
    /// The beginning of a command, or bytes that were never written: the disk had made room for them.
    Torn,
}

/// Why it cannot be read on.
#[derive(Debug, thiserror::Error)]
#[error("byte {offset}: {reason}")]
pub(super) struct Damage {
    pub(super) offset: u64,
    pub(super) reason: String,
}

/// Reads commands one after the other.
pub(super) struct Reader<R> {
    input: R,
    data: Vec<u8>,
    /// Where in `data` the present command begins.
    at: usize,
    /// Where it begins in the file.
    offset: u64,
    /// Its length; 0: there is none.
    length: usize,
    ended: bool,
    /// Its arguments.
    spans: Vec<Span>,
    /// What no checksum has confirmed yet.
    unconfirmed: Sum,
    /// The remark before what is there now, if no command and no other remark is between; else empty.
    remark: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// A reader of what begins at byte `offset` of its file.
    pub(super) fn new(input: R, offset: u64) -> Self {
        Self {
            input,
            data: Vec::new(),
            at: 0,
            offset,
            length: 0,
            ended: false,
            spans: Vec::new(),
            unconfirmed: Sum::default(),
            remark: Vec::new(),
        }
    }

    /// Where in the file the present command begins, or what there is instead.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Where in the file the present command ends.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.length as u64
    }

    /// Where in the file those bytes begin that no checksum has confirmed.
    pub(super) fn confirmed(&self) -> u64 {
        self.offset - self.unconfirmed.bytes()
    }

    /// The remark before what is there now, with the end of its line, if nothing but its checksum is between; else empty.
    pub(super) fn confirmed_remark(&self) -> &[u8] {
        if self.unconfirmed.bytes() == 0 {
            &self.remark
        } else {
            &[]
        }
    }

    /// The present command.
    pub(super) fn args(&self) -> Args<'_> {
        Args::new(&self.data, &self.spans)
    }

    /// Goes on to the next command.
    pub(super) fn next(&mut self) -> Result<Next, Damage> {
        self.skip(self.length);
        self.length = 0;
        self.remark.clear();
        loop {
            match self.data.get(self.at) {
                None if self.ended => return Ok(Next::End),
                None => self.read_more()?,
                Some(b'*') => {
                    if let Some(next) = self.command()? {
                        return Ok(next);
                    }
                }
                Some(b'#') => {
                    if let Some(next) = self.annotation()? {
                        return Ok(next);
                    }
                }
                Some(other) => {
                    let found = char::from(*other).escape_default();
                    return self.damaged_or_torn(format!("expected '*', got '{found}'"));
                }
            }
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.unconfirmed.add(&self.data[self.at..self.at + bytes]);
        self.at += bytes;
        self.offset += bytes as u64;
    }

    /// `None`: look again, there is more now.
    fn command(&mut self) -> Result<Option<Next>, Damage> {
        self.spans.clear();
        match arguments(&self.data, self.at, &mut self.spans) {
            Ok(Some(end)) => {
                self.length = end - self.at;
                Ok(Some(Next::Command))
            }
            Ok(None) if self.ended => {
                if self.unconfirmed.is_followed_by_line(&self.data[self.at..]) {
                    return Err(self.damage("a length is greater than what was written"));
                }
                Ok(Some(Next::Torn))
            }
            Ok(None) => {
                if self.data.len() - self.at > MOST_COMMAND {
                    return Err(self.damage("a command is too long"));
                }
                self.read_more()?;
                Ok(None)
            }
            Err(reason) => self.damaged_or_torn(reason).map(Some),
        }
    }

    /// A line that begins with `#`: a checksum of what comes before it, or, such as `#TS:1700000000`, nothing about the data.
    fn annotation(&mut self) -> Result<Option<Next>, Damage> {
        let rest = &self.data[self.at..];
        let line = &rest[..rest.len().min(MOST_LINE)];
        match memchr::memchr(b'\n', line) {
            Some(end) if line.starts_with(NAME) => self.confirm(end + 1)?,
            Some(end) => {
                self.remark.clear();
                self.remark.extend_from_slice(&line[..=end]);
                self.skip(end + 1);
            }
            None if line.len() == MOST_LINE => {
                return self
                    .damaged_or_torn("an annotation does not end".to_owned())
                    .map(Some);
            }
            None if self.ended => return Ok(Some(Next::Torn)),
            None => self.read_more()?,
        }
        Ok(None)
    }

    /// Compares what was read with the checksum that stands here, in a line of so many bytes.
    fn confirm(&mut self, length: usize) -> Result<(), Damage> {
        let line = &self.data[self.at..self.at + length];
        if !self.unconfirmed.is_said_by(line) {
            let begin = self.confirmed();
            return Err(self.damage(format!(
                "what is written from byte {begin} on does not have the checksum that stands here"
            )));
        }
        self.skip(length);
        self.unconfirmed = Sum::default();
        Ok(())
    }

    fn damage(&self, reason: impl Into<String>) -> Damage {
        Damage {
            offset: self.offset,
            reason: reason.into(),
        }
    }

    /// What is no command or annotation is damage, unless it is the beginning of one and then zeros up to the file's end.
    fn damaged_or_torn(&mut self, reason: String) -> Result<Next, Damage> {
        let damage = self.damage(reason);
        let written = self.data[self.at..]
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        if self.data.len() == self.at + written && !self.ended {
            self.read_more()?;
            return self.damaged_or_torn(damage.reason);
        }
        let zeros = self.data.len() > self.at + written && self.only_zeros_follow()?;
        let begun = &self.data[self.at..self.at + written];
        let begins = match begun.first() {
            None => true,
            Some(b'#') => !begun.contains(&b'\n'),
            Some(b'*') => matches!(arguments(begun, 0, &mut Vec::new()), Ok(None)),
            Some(_) => false,
        };
        if zeros && begins {
            Ok(Next::Torn)
        } else {
            Err(damage)
        }
    }

    /// Whether there is nothing but zeros in the rest of the file.
    fn only_zeros_follow(&mut self) -> Result<bool, Damage> {
        let mut block = vec![0; READ];
        while !self.ended {
            let count = self.read(&mut block)?;
            self.ended = count == 0;
            if block[..count].iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn read_more(&mut self) -> Result<(), Damage> {
        self.data.drain(..self.at);
        self.at = 0;
        let filled = self.data.len();
        let more = READ.max(filled / 2);
        self.data.resize(filled + more, 0);
        let mut data = std::mem::take(&mut self.data);
        let read = self.read(&mut data[filled..]);
        self.data = data;
        let count = read?;
        self.data.truncate(filled + count);
        self.ended = count == 0;
        Ok(())
    }

    fn read(&mut self, block: &mut [u8]) -> Result<usize, Damage> {
        loop {
            match self.input.read(block) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.damage(error.to_string())),
                Ok(count) => return Ok(count),
            }
        }
    }
}

/// Appends the places of the arguments of the command that begins at `start`; answers where it ends, or `None` when it goes on behind
/// the data. Unlike what a client sends, every byte must be as it was written: what is wrong here is damage.
fn arguments(data: &[u8], start: usize, spans: &mut Vec<Span>) -> Result<Option<usize>, String> {
    let Some((count, mut at)) = line(data, start, b'*', MOST_ARGUMENTS)? else {
        return Ok(None);
    };
    if count == 0 {
        return Err("a command without a name".to_owned());
    }
    for _ in 0..count {
        let Some((length, begin)) = line(data, at, b'$', MOST_ARGUMENT)? else {
            return Ok(None);
        };
        let end = begin + length;
        match (data.get(end), data.get(end + 1)) {
            (Some(b'\r'), Some(b'\n')) => {}
            (None, _) | (Some(b'\r'), None) => return Ok(None),
            _ => return Err("an argument does not end where it should".to_owned()),
        }
        spans.push((begin as u32, end as u32));
        at = end + 2;
    }
    Ok(Some(at))
}

/// The number up to `most` on a line that begins with `kind`, and where the next line begins.
#[inline]
fn line(
    data: &[u8],
    start: usize,
    kind: u8,
    most: usize,
) -> Result<Option<(usize, usize)>, String> {
    match data.get(start) {
        None => return Ok(None),
        Some(first) if *first == kind => {}
        Some(other) => {
            let (kind, other) = (char::from(kind), char::from(*other).escape_default());
            return Err(format!("expected '{kind}', got '{other}'"));
        }
    }
    let wrong = || "a length that cannot be".to_owned();
    let mut number = 0;
    let mut at = start + 1;
    loop {
        match data.get(at) {
            None => return Ok(None),
            Some(digit @ b'0'..=b'9') if number <= most => {
                number = number * 10 + usize::from(digit - b'0');
            }
            Some(b'\r') if at > start + 1 && number <= most => break,
            Some(_) => return Err(wrong()),
        }
        at += 1;
    }
    match data.get(at + 1) {
        None => Ok(None),
        Some(b'\n') => Ok(Some((number, at + 2))),
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::resp::encode_request;

    /// Gives few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(self.1).min(self.0.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    type Read1 = (Vec<Vec<Vec<u8>>>, Result<(Next, u64), u64>);

    fn read_all(bytes: &[u8], step: usize) -> Read1 {
        let mut reader = Reader::new(Slow(bytes, step), 0);
        let mut commands = Vec::new();
        loop {
            match reader.next() {
                Ok(Next::Command) => {
                    commands.push(reader.args().iter().map(<[u8]>::to_vec).collect());
                }
                Ok(next) => return (commands, Ok((next, reader.offset()))),
                Err(damage) => return (commands, Err(damage.offset)),
            }
        }
    }

    fn encoded(commands: &[Vec<Vec<u8>>]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), vec![0]);
        for command in commands {
            encode_request(&mut bytes, command.iter().map(Vec::as_slice));
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    proptest! {
        #[test]
        fn a_file_is_read_up_to_where_it_was_cut(
            commands in prop::collection::vec(
                prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..5), 1..8),
            cut in any::<prop::sample::Index>(),
            step in 1_usize..50,
            zeros in 0_usize..400,
        ) {
            let (bytes, ends) = encoded(&commands);
            let (read, end) = read_all(&bytes, step);
            prop_assert_eq!(&read, &commands);
            prop_assert_eq!(end, Ok((Next::End, bytes.len() as u64)));
            let cut = cut.index(bytes.len());
            let whole = ends.iter().rposition(|end| *end <= cut).unwrap();
            let mut torn = bytes[..cut].to_vec();
            torn.resize(cut + zeros, 0);
            let (read, end) = read_all(&torn, step);
            let next = if torn.len() == ends[whole] { Next::End } else { Next::Torn };
            prop_assert_eq!(read.len(), whole);
            prop_assert_eq!(end, Ok((next, ends[whole] as u64)));
        }

        #[test]
        fn any_bytes_end_in_commands_or_damage(bytes in prop::collection::vec(any::<u8>(), 0..300), step in 1_usize..50) {
            let (_, end) = read_all(&bytes, step);
            prop_assert!(end.map_or_else(|at| at, |(_, at)| at) <= bytes.len() as u64);
        }
    }

    #[test]
    fn annotations_are_passed_over_and_anything_else_is_damage() {
        let ping = "*1\r\n$4\r\nPING\r\n";
        let (read, end) = read_all(format!("#TS:123\r\n{ping}#\n").as_bytes(), 7);
        assert_eq!(read.len(), 1);
        assert_eq!(end, Ok((Next::End, 25)));
        for wrong in [
            "PING\r\n",
            "*0\r\n",
            "\r\n",
            "*1\r\n:4\r\n",
            "*x\r\n",
            "\0\0x",
        ] {
            let (read, end) = read_all(format!("{ping}{wrong}").as_bytes(), 3);
            assert_eq!((read.len(), end), (1, Err(14)), "{wrong}");
        }
    }

    #[test]
    fn a_checksum_is_compared_with_what_comes_before_it() {
        let ping = b"*1\r\n$0004\r\nPING\r\n";
        let mut sum = Sum::default();
        sum.add(b"#TS:1\r\n");
        sum.add(ping);
        let group = [b"#TS:1\r\n", ping.as_slice(), sum.line().as_bytes()].concat();
        let file = [&group[..], &group, ping].concat();
        for step in [1, 7, 1000] {
            let (read, end) = read_all(&file, step);
            assert_eq!((read.len(), end), (3, Ok((Next::End, file.len() as u64))));
        }
        let second = group.len() + 24;
        for (at, bit, place) in [
            (group.len() + 3, 2, second),
            (group.len() + 19, 1, second),
            // The command would be longer than the file.
            (group.len() + 12, 1, group.len() + 7),
        ] {
            let mut damaged = file.clone();
            damaged[at] ^= bit;
            let (_, end) = read_all(&damaged, 10);
            assert_eq!(end, Err(place as u64), "byte {at}");
        }
    }

    #[test]
    fn a_remark_is_confirmed_by_the_checksum_right_behind_it() {
        let ping = "*1\r\n$4\r\nPING\r\n";
        let confirmed = |text: &str| {
            let mut sum = Sum::default();
            sum.add(text.as_bytes());
            format!("{text}{}", sum.line())
        };
        let whole = confirmed(&format!("{ping}#a\r\n"));
        for (file, remark) in [
            (whole.clone(), "#a\r\n"),
            (confirmed(&format!("{ping}#a\r\n#b\r\n")), "#b\r\n"),
            (format!("{whole}#b\r\n"), ""),
            (format!("{whole}{ping}"), ""),
            (format!("{ping}#a\r\n"), ""),
            (confirmed(ping), ""),
            (format!("{}#a\r\n", confirmed(ping)), ""),
        ] {
            for step in [1, 7, 1000] {
                let mut reader = Reader::new(Slow(file.as_bytes(), step), 0);
                let mut next = reader.next().expect("no damage");
                while next == Next::Command {
                    next = reader.next().expect("no damage");
                }
                assert_eq!(next, Next::End, "{file}");
                assert_eq!(reader.confirmed_remark(), remark.as_bytes(), "{file}");
            }
        }
    }

    #[test]
    fn a_checksum_that_a_power_loss_has_cut_is_a_torn_end() {
        let ping = b"*1\r\n$0004\r\nPING\r\n";
        for (line, zeros) in [(1, 0), (1, 5000), (14, 1), (20, 5000)] {
            let line = &b"#EVENKEEL-CRC:01234567:24\r\n"[..line];
            let file = [ping.as_slice(), line, &vec![0; zeros]].concat();
            for step in [1, 7, 1000] {
                let (_, end) = read_all(&file, step);
                assert_eq!(end, Ok((Next::Torn, ping.len() as u64)), "{line:?} {zeros}");
            }
        }
    }
}
