//! The manifest: which files the append-only file consists of, in redis-server's format.
//!
//! Pure. One line a file: `file NAME seq NUMBER type LETTER`, where the letter is `b` for the base, `i` for an incremental file and `h`
//! for what is no longer of use.

use crate::resp::split_line;

/// Longest line.
const MOST_LINE: usize = 1024;

/// A file that the manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) number: u64,
}

/// The files of an append-only file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    /// The data set at one moment. There is none when redis-server began with an empty one.
    pub(super) base: Option<Part>,
    /// What came after that moment, in order.
    pub(super) increments: Vec<Part>,
}

/// What is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}: line {line}: {reason}")]
pub(super) struct BadManifest {
    pub(super) offset: usize,
    line: usize,
    reason: String,
}

impl Manifest {
    /// Reads a manifest.
    pub(super) fn parse(text: &[u8]) -> Result<Self, BadManifest> {
        let mut manifest = Self::default();
        let mut history = Vec::new();
        let mut offset = 0;
        let bad = |offset, line, reason: &str| BadManifest {
            offset,
            line,
            reason: reason.to_owned(),
        };
        for (index, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            manifest
                .read_line(line, &mut history)
                .map_err(|reason| bad(offset, index + 1, reason))?;
            offset += line.len();
        }
        if manifest.base.is_none() && manifest.increments.is_empty() {
            return Err(bad(offset, 1, "it names no file"));
        }
        if !history.iter().all(|part| manifest.is_past(part)) {
            let reason = "a file is said to be of no more use, and nothing has taken its place";
            return Err(bad(offset, 1, reason));
        }
        Ok(manifest)
    }

    /// Whether a file has a successor in force.
    fn is_past(&self, part: &Part) -> bool {
        let successor = if part.name.contains(".incr.") {
            self.increments.first()
        } else {
            self.base.as_ref()
        };
        successor.is_some_and(|successor| successor.number > part.number)
    }

    fn read_line(&mut self, line: &[u8], history: &mut Vec<Part>) -> Result<(), &'static str> {
        let Some(line) = line.strip_suffix(b"\n") else {
            return Err("it ends in the middle of a line");
        };
        if line.first() == Some(&b'#') {
            return Ok(());
        }
        if line.is_empty() || line.len() > MOST_LINE {
            return Err("it is empty or too long");
        }
        let words = split_line(line).ok_or("unbalanced quotes")?;
        let (mut name, mut number, mut kind) = (None, None, None);
        let (pairs, []) = words.as_chunks::<2>() else {
            return Err("there is a word without its value");
        };
        for [word, value] in pairs {
            let text = std::str::from_utf8(value).map_err(|_| "it is not text")?;
            match word.as_slice() {
                b"file" => name = Some(text),
                b"seq" => number = text.parse::<u64>().ok().filter(|number| *number > 0),
                b"type" => kind = Some(text),
                // What later versions say beside these.
                _ => {}
            }
        }
        let (Some(name), Some(number), Some(kind)) = (name, number, kind) else {
            return Err("it does not say 'file NAME seq NUMBER type LETTER'");
        };
        if name.is_empty() || name.contains('/') {
            return Err("the name of a file is no name in this folder");
        }
        let part = Part {
            name: name.to_owned(),
            number,
        };
        match kind {
            "b" if self.base.is_some() => return Err("there are two bases"),
            "b" => self.base = Some(part),
            "i" => {
                let last = self.increments.last().map_or(0, |last| last.number);
                if number <= last {
                    return Err("the incremental files are not in order");
                }
                self.increments.push(part);
            }
            "h" => history.push(part),
            _ => return Err("the type of a file is none of b, i and h"),
        }
        Ok(())
    }

    /// The text of the manifest.
    pub(super) fn text(&self) -> String {
        let base = self.base.iter().map(|part| (part, 'b'));
        let increments = self.increments.iter().map(|part| (part, 'i'));
        base.chain(increments)
            .map(|(part, kind)| {
                let name = quoted(&part.name);
                format!("file {name} seq {} type {kind}\n", part.number)
            })
            .collect()
    }

    /// All files.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.base.iter().chain(&self.increments)
    }

    /// Whether it names this file.
    pub(super) fn names(&self, name: &str) -> bool {
        self.parts().any(|part| part.name == name)
    }

    /// The number of the next base.
    pub(super) fn next_base(&self) -> u64 {
        self.base.as_ref().map_or(1, |base| base.number + 1)
    }

    /// The number of the next incremental file.
    pub(super) fn next_increment(&self) -> u64 {
        self.increments.last().map_or(1, |last| last.number + 1)
    }
}

/// The name as it stands in a manifest.
fn quoted(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
    if name.bytes().all(plain) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, number: u64) -> Part {
        Part {
            name: name.to_owned(),
            number,
        }
    }

    #[test]
    fn what_redis_writes_is_read() {
        let text = "file appendonly.aof.2.base.rdb seq 2 type b\n\
                    file appendonly.aof.1.incr.aof seq 1 type h\n\
                    file appendonly.aof.4.incr.aof seq 4 type i startoffset 77\n\
                    file \"with blank.5.incr.aof\" seq 5 type i\n";
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.base, Some(part("appendonly.aof.2.base.rdb", 2)));
        assert_eq!(
            manifest.increments,
            [
                part("appendonly.aof.4.incr.aof", 4),
                part("with blank.5.incr.aof", 5)
            ]
        );
        assert_eq!((manifest.next_base(), manifest.next_increment()), (3, 6));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let manifest = Manifest {
            base: Some(part("a\\ \"b.1.base.rdb", 1)),
            increments: vec![part("a.1.incr.aof", 1), part("a.3.incr.aof", 3)],
        };
        assert_eq!(Manifest::parse(manifest.text().as_bytes()), Ok(manifest));
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let first = "file a seq 1 type b\n";
        for (line, reason) in [
            ("file a seq 1 type b\n", "two bases"),
            ("file a seq 1 type x\n", "none of b, i and h"),
            ("file a/b seq 1 type i\n", "no name in this folder"),
            ("file a seq 0 type i\n", "does not say"),
            ("file a seq 1\n", "does not say"),
            ("file a seq\n", "without its value"),
            ("file \"a seq 1 type i\n", "unbalanced quotes"),
            ("file a seq 1 type i", "in the middle of a line"),
            ("\n", "empty or too long"),
        ] {
            let text = format!("{first}{line}");
            let refused = Manifest::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(refused.starts_with("byte 20: line 2: "), "{refused}");
            assert!(refused.contains(reason), "{refused}");
        }
        assert!(Manifest::parse(b"").is_err());
        let past = format!("{first}file a.1.incr.aof seq 1 type h\n");
        let refused = Manifest::parse(past.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains("nothing has taken its place"), "{refused}");
        let twice = "file a seq 2 type i\nfile b seq 2 type i\n";
        assert!(Manifest::parse(twice.as_bytes()).is_err());
    }
}
