//! An incremental file that is being written: what of it is whole, what is on the disk, and how it is put right after an error.

use std::io::{self, Read};
use std::path::Path;

use super::annotation::Sum;
use super::disk::{Disk, DiskFile};
use super::load::Whole;

/// Bytes after which a checksum is written, even if there is no fsync.
const MOST_UNCONFIRMED: u64 = 4096;

/// What an incremental file begins with, as redis-server's do.
pub(super) const HEADER: &[u8] = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n";

/// A file that records are appended to.
pub(super) struct Segment {
    file: Box<dyn DiskFile>,
    /// Bytes of whole records.
    length: u64,
    /// Bytes that are on the disk.
    synced: u64,
    /// What was written since, to be written again if it does not come to the disk; nothing is kept of what was written without `keep`.
    unsynced: Vec<Vec<u8>>,
    /// Whether `unsynced` is all there is behind `synced`.
    kept: bool,
    /// What must be done before the file can be trusted again.
    doubt: Doubt,
    /// What was written behind the last checksum.
    unconfirmed: Sum,
    /// Whether a transaction has begun and not ended, within which there must be no checksum.
    within: bool,
}

/// How records are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    /// They can be written again after an fsync that fails.
    pub(super) keep: bool,
    /// A checksum follows at once, since the fsync does.
    pub(super) confirm: bool,
    /// They end within a transaction.
    pub(super) within: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    None,
    /// There may be a part of a record behind `length`.
    Tail,
    /// What is behind `synced` may not come to the disk, whatever the next fsync says.
    Unsynced,
}

impl Segment {
    /// A new file with its header, on the disk.
    pub(super) fn create(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        let mut file = disk.create(path)?;
        file.write(HEADER)?;
        file.sync()?;
        let mut unconfirmed = Sum::default();
        unconfirmed.add(HEADER);
        Ok(Self::at(file, HEADER.len() as u64, unconfirmed))
    }

    /// A file that was read as far as it is whole. Whatever it holds was trusted when it was loaded.
    pub(super) fn open(disk: &dyn Disk, path: &Path, whole: Whole) -> io::Result<Self> {
        let mut file = disk.append(path)?;
        file.truncate(whole.length)?;
        file.sync()?;
        let unconfirmed = sum(disk.read(path, whole.confirmed)?)?;
        Ok(Self::at(file, whole.length, unconfirmed))
    }

    fn at(file: Box<dyn DiskFile>, length: u64, unconfirmed: Sum) -> Self {
        Self {
            file,
            length,
            synced: length,
            unsynced: Vec::new(),
            kept: true,
            doubt: Doubt::None,
            unconfirmed,
            within: false,
        }
    }

    /// Bytes of whole records.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Bytes that are written and may not be on the disk.
    pub(super) fn unsynced(&self) -> u64 {
        self.length - self.synced
    }

    /// Whether a transaction has begun and not ended.
    pub(super) fn is_within(&self) -> bool {
        self.within
    }

    /// Whether what did not come to the disk is not known any more, so that this file is of no more use.
    pub(super) fn is_lost(&self) -> bool {
        self.doubt == Doubt::Unsynced && !self.kept
    }

    /// Appends records, all of them, which are taken then, or none.
    pub(super) fn write(&mut self, records: &mut Vec<u8>, how: How) -> io::Result<()> {
        let mut sum = self.unconfirmed.clone();
        sum.add(records);
        let end = records.len();
        if !how.within && (how.confirm || sum.bytes() >= MOST_UNCONFIRMED) {
            records.extend_from_slice(sum.line().as_bytes());
            sum = Sum::default();
        }
        if let Err(error) = self.append(records) {
            records.truncate(end);
            return Err(error);
        }
        (self.unconfirmed, self.within) = (sum, how.within);
        if how.keep && self.kept {
            self.unsynced.push(std::mem::take(records));
        } else {
            self.kept = false;
            self.unsynced = Vec::new();
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.put_right()?;
        if let Err(error) = self.file.write(bytes) {
            self.doubt = Doubt::Tail;
            return Err(error);
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Returns when everything is on the disk, with its checksum.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.put_right()?;
        self.confirm()?;
        if let Err(error) = self.file.sync() {
            self.doubt = Doubt::Unsynced;
            return Err(error);
        }
        self.synced = self.length;
        self.unsynced = Vec::new();
        self.kept = true;
        Ok(())
    }

    /// Writes the checksum of what has none, unless it must not stand here.
    fn confirm(&mut self) -> io::Result<()> {
        if self.within || self.unconfirmed.bytes() == 0 {
            return Ok(());
        }
        let line = self.unconfirmed.line().into_bytes();
        self.append(&line)?;
        self.unconfirmed = Sum::default();
        if self.kept {
            self.unsynced.push(line);
        }
        Ok(())
    }

    /// Removes what an error left, and writes again what cannot be trusted: after an fsync that failed, the system takes the pages for
    /// written, and the next fsync would say nothing.
    fn put_right(&mut self) -> io::Result<()> {
        match self.doubt {
            Doubt::None => return Ok(()),
            Doubt::Tail => self.file.truncate(self.length)?,
            Doubt::Unsynced if !self.kept => {
                return Err(io::Error::other(
                    "what an fsync did not bring to the disk is not known any more",
                ));
            }
            Doubt::Unsynced => {
                self.file.truncate(self.synced)?;
                for records in &self.unsynced {
                    self.file.write(records)?;
                }
            }
        }
        self.doubt = Doubt::None;
        Ok(())
    }
}

/// The sum of what is left to read.
fn sum(mut file: impl Read) -> io::Result<Sum> {
    let mut sum = Sum::default();
    let mut block = vec![0; 64 << 10];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(sum),
            count => sum.add(&block[..count]),
        }
    }
}
