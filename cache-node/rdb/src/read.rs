//! Reading: from bytes to events.

mod entries;
mod intset;
mod items;
mod listpack;
mod source;
mod value;
mod ziplist;
mod zipmap;

use std::io::{self, Read};

use crate::format::Item;

use entries::Entries;
use source::Source;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    String,
    /// A list.
    List,
    /// A set.
    Set,
    /// A hash.
    Hash,
    /// A sorted set.
    SortedSet,
}

/// What stands before a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The key.
    pub key: &'a [u8],
    /// What the value is.
    pub kind: Kind,
    /// When it expires, in milliseconds since 1970.
    pub deadline: Option<u64>,
    /// Seconds for which it was not used.
    pub idle: Option<u64>,
    /// The counter of its uses, as the LFU policies keep it.
    pub frequency: Option<u8>,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    /// A fact about the file: its name and what it says.
    Aux(&'a [u8], &'a [u8]),
    /// What follows belongs to the database with this number.
    Database(u64),
    /// The database has about so many keys, and so many with a deadline.
    Sizes {
        /// All keys.
        keys: u64,
        /// Those with a deadline.
        volatile: u64,
    },
    /// A library of functions.
    Function(&'a [u8]),
    /// Something that only the module of this name understands, and that belongs to no key.
    ModuleAux([u8; 9]),
    /// An entry begins.
    Begin(Header<'a>),
    /// The next bytes of a string, which may be none.
    Piece(&'a [u8]),
    /// A string kept as an integer.
    Integer(i64),
    /// The next element of a list, or member of a set.
    Element(Item<'a>),
    /// A field of a hash, its value, and when it expires, in milliseconds since 1970.
    Field(Item<'a>, Item<'a>, Option<u64>),
    /// A member of a sorted set and its score, which is a number.
    Member(Item<'a>, f64),
    /// The entry ends.
    End,
}

/// Why it was not read to its end.
#[derive(Debug, thiserror::Error)]
#[error("byte {offset}: {reason}")]
pub struct Error {
    /// Where the reader stood, in bytes from the beginning.
    pub offset: u64,
    /// What was wrong there.
    pub reason: Reason,
}

/// What was wrong.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// There should be more.
    #[error("it ends in the middle")]
    Truncated,
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The beginning is not that of an RDB file.
    #[error("this is not an RDB file")]
    Magic,
    /// The version is newer than what is known.
    #[error("RDB version {0} is not known; 1 to 12 and Valkey's 80 are")]
    Version(u32),
    /// A kind of value, or of something else, that is not known.
    #[error("nothing of kind {0} is known")]
    Unknown(u8),
    /// A value that is not held here.
    #[error("{0} cannot be loaded")]
    Unsupported(&'static str),
    /// Bytes that make no sense.
    #[error("damaged: {0}")]
    Damaged(&'static str),
    /// The content is not what was written.
    #[error("damaged: the checksum is {found:016x}, but the content's is {computed:016x}")]
    Checksum {
        /// What stands in the file.
        found: u64,
        /// What its content comes to.
        computed: u64,
    },
    /// The one who was told of it does not take it.
    #[error("{0}")]
    Refused(String),
}

/// Takes what was read, or says why not, which ends the reading.
pub type Visit<'v> = dyn FnMut(Event<'_>) -> Result<(), String> + 'v;

/// Whether files of this version can be read.
pub(crate) fn is_known_version(version: u32) -> bool {
    (1..=12).contains(&version) || version == VALKEY_9
}

const VALKEY_9: u32 = 80;

/// The first version with a checksum at the end.
const CHECKSUMS: u32 = 5;

/// Reads a whole file; answers its length in bytes. What comes behind it is left alone, though some of it may have been read; where there
/// should be nothing, that is another sign of damage.
///
/// # Errors
///
/// Where it went wrong, and why. What was told before then is not whole.
pub fn read(input: impl Read, visit: &mut Visit<'_>) -> Result<u64, Error> {
    let mut source = Source::new(input);
    let result = read_file(&mut source, visit);
    let offset = source.offset();
    match result {
        Ok(()) => Ok(offset),
        Err(reason) => Err(Error { offset, reason }),
    }
}

/// Reads a value as `DUMP` answers it. Of [`Header`] nothing is known, so there is no [`Event::Begin`]: `begin` is told the kind instead.
///
/// # Errors
///
/// As [`read`]; and when the checksum does not fit.
pub fn read_value(
    dump: &[u8],
    begin: impl FnOnce(Kind) -> Result<(), String>,
    visit: &mut Visit<'_>,
) -> Result<(), Error> {
    if !crate::write::is_dump(dump) {
        let reason = Reason::Damaged("version or checksum of the dump");
        return Err(Error { offset: 0, reason });
    }
    let content = &dump[..dump.len() - crate::write::DUMP_TRAILER];
    let version = u16::from_le_bytes([dump[content.len()], dump[content.len() + 1]]);
    let mut source = Source::new(content);
    let result = read_dump(&mut source, u32::from(version), begin, visit);
    result.map_err(|reason| Error {
        offset: source.offset(),
        reason,
    })
}

fn read_dump(
    source: &mut Source<&[u8]>,
    version: u32,
    begin: impl FnOnce(Kind) -> Result<(), String>,
    visit: &mut Visit<'_>,
) -> Result<(), Reason> {
    let kind = source.byte()?;
    begin(value::kind_of(kind, version == VALKEY_9)?).map_err(Reason::Refused)?;
    value::Reader::default().read(source, kind, visit)?;
    if source.is_at_end()? {
        Ok(())
    } else {
        Err(Reason::Damaged("there is something behind the value"))
    }
}

fn read_file<R: Read>(source: &mut Source<R>, visit: &mut Visit<'_>) -> Result<(), Reason> {
    let version = read_magic(source)?;
    Entries::new(version == VALKEY_9).read(source, visit)?;
    if version < CHECKSUMS {
        return Ok(());
    }
    let computed = source.checksum();
    let found = u64::from_le_bytes(source.array()?);
    if found == 0 || found == computed {
        Ok(())
    } else {
        Err(Reason::Checksum { found, computed })
    }
}

fn read_magic<R: Read>(source: &mut Source<R>) -> Result<u32, Reason> {
    let magic: [u8; 9] = source.array()?;
    let digits = if magic.starts_with(b"REDIS") {
        &magic[5..]
    } else if magic.starts_with(b"VALKEY") {
        &magic[6..]
    } else {
        return Err(Reason::Magic);
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(Reason::Magic);
    }
    let version = digits
        .iter()
        .fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
    if is_known_version(version) {
        Ok(version)
    } else {
        Err(Reason::Version(version))
    }
}
