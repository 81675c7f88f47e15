//! Writing: one entry after the other, into memory.

use crate::crc::Checksum;
use crate::format::{Item, encoding, kind, opcode};
use crate::read::Kind;

/// The version that is written: Redis 5 and everything since reads it.
const VERSION: u16 = 9;

/// Bytes behind the value in what `DUMP` answers: the version and the checksum.
pub const DUMP_TRAILER: usize = 10;

/// Strings shorter than this are not worth compressing; the same as in Redis.
const LEAST_COMPRESSED: usize = 21;

/// Writes parts of a file behind each other. The checksum is the caller's, who may write parts at once.
#[derive(Debug, Default)]
pub struct Writer {
    /// What was written and not yet taken away.
    pub out: Vec<u8>,
    /// Whether long strings are compressed (`rdbcompression`).
    pub compresses: bool,
    scratch: Vec<u8>,
}

impl Writer {
    /// A writer without output.
    pub fn new(compresses: bool) -> Self {
        Self {
            compresses,
            ..Self::default()
        }
    }

    /// What every file begins with.
    pub fn magic(&mut self) {
        self.out.extend_from_slice(b"REDIS0009");
    }

    /// A fact about the file.
    pub fn aux(&mut self, name: &str, value: &str) {
        self.out.push(opcode::AUX);
        self.bytes(name.as_bytes());
        self.bytes(value.as_bytes());
    }

    /// The number of the database that the entries behind this belong to, and how many there are about: all, and those with a deadline.
    pub fn database(&mut self, number: u64, keys: u64, volatile: u64) {
        self.out.push(opcode::DATABASE);
        self.length(number);
        self.out.push(opcode::SIZES);
        self.length(keys);
        self.length(volatile);
    }

    /// What every file ends with, without the checksum, which is 8 bytes, little endian, of everything before it.
    pub fn end(&mut self) {
        self.out.push(opcode::END);
    }

    /// The beginning of an entry: the value follows. `deadline` is in milliseconds since 1970.
    pub fn entry(&mut self, kind: Kind, key: &[u8], deadline: Option<u64>) {
        if let Some(deadline) = deadline {
            self.out.push(opcode::DEADLINE_MS);
            self.out.extend_from_slice(&deadline.to_le_bytes());
        }
        self.kind(kind);
        self.bytes(key);
    }

    /// The kind of a value. A string follows as one [`Writer::item`], or as a [`Writer::length`] and so many bytes in
    /// [`Writer::piece`]s; anything else as a [`Writer::length`] and so many items, pairs of them in a hash, items with a [`Writer::score`] in a sorted set.
    pub fn kind(&mut self, kind: Kind) {
        self.out.push(match kind {
            Kind::String => kind::STRING,
            Kind::List => kind::LIST,
            Kind::Set => kind::SET,
            Kind::Hash => kind::HASH,
            Kind::SortedSet => kind::SORTED_SET,
        });
    }

    /// A number.
    pub fn length(&mut self, length: u64) {
        match length {
            0..0x40 => self.out.push(length as u8),
            0x40..0x4000 => self
                .out
                .extend_from_slice(&(length as u16 | 0x4000).to_be_bytes()),
            0x4000..=0xffff_ffff => {
                self.out.push(0x80);
                self.out.extend_from_slice(&(length as u32).to_be_bytes());
            }
            _ => {
                self.out.push(0x81);
                self.out.extend_from_slice(&length.to_be_bytes());
            }
        }
    }

    /// A string, element, field or member.
    pub fn item(&mut self, item: Item<'_>) {
        match item {
            Item::Integer(integer) => self.integer(integer),
            Item::Bytes(bytes) => self.string(bytes),
        }
    }

    /// The score behind a member of a sorted set.
    pub fn score(&mut self, score: f64) {
        self.out.extend_from_slice(&score.to_le_bytes());
    }

    /// The next bytes of a string, whose [`Writer::length`] was written before.
    pub fn piece(&mut self, piece: &[u8]) {
        self.out.extend_from_slice(piece);
    }

    fn integer(&mut self, integer: i64) {
        if let Ok(small) = i8::try_from(integer) {
            self.encoded(encoding::INT_8, &small.to_le_bytes());
        } else if let Ok(small) = i16::try_from(integer) {
            self.encoded(encoding::INT_16, &small.to_le_bytes());
        } else if let Ok(small) = i32::try_from(integer) {
            self.encoded(encoding::INT_32, &small.to_le_bytes());
        } else {
            self.bytes(itoa::Buffer::new().format(integer).as_bytes());
        }
    }

    fn encoded(&mut self, encoding: u8, bytes: &[u8]) {
        self.out.push(0xc0 | encoding);
        self.out.extend_from_slice(bytes);
    }

    fn string(&mut self, bytes: &[u8]) {
        if !self.compresses || bytes.len() < LEAST_COMPRESSED || !self.compressed(bytes) {
            self.bytes(bytes);
        }
    }

    /// False, and nothing written, when compressing saves nothing.
    fn compressed(&mut self, bytes: &[u8]) -> bool {
        self.scratch.resize(bytes.len() - 4, 0);
        let mut scratch = std::mem::take(&mut self.scratch);
        let length = lzf_rust::compress(bytes, &mut scratch).unwrap_or(0);
        if length > 0 {
            self.out.push(0xc0 | encoding::LZF);
            self.length(length as u64);
            self.length(bytes.len() as u64);
            self.out.extend_from_slice(&scratch[..length]);
        }
        self.scratch = scratch;
        length > 0
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }
}

/// Appends version and checksum to a value, so that it is what `DUMP` answers.
pub fn seal_dump(value: &mut Vec<u8>) {
    value.extend_from_slice(&VERSION.to_le_bytes());
    let checksum = Checksum::of(value);
    value.extend_from_slice(&checksum.to_le_bytes());
}

/// Whether `bytes` end as [`seal_dump`] makes them, in a version that is known. A checksum of 0 stands for none.
pub fn is_dump(bytes: &[u8]) -> bool {
    let Some((content, checksum)) = bytes.split_last_chunk::<8>() else {
        return false;
    };
    let Some((_, version)) = content.split_last_chunk::<2>() else {
        return false;
    };
    let checksum = u64::from_le_bytes(*checksum);
    let version = u32::from(u16::from_le_bytes(*version));
    crate::read::is_known_version(version) && (checksum == 0 || checksum == Checksum::of(content))
}
