//! An incremental file that is being written: what of it is whole, what is on the disk, and how it is put right after an error.

use std::io;
use std::path::Path;

use super::disk::{Disk, DiskFile};

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
        Ok(Self::at(file, HEADER.len() as u64))
    }

    /// A file that was read to byte `length`, where it ends. Whatever it holds was trusted when it was loaded.
    pub(super) fn open(disk: &dyn Disk, path: &Path, length: u64) -> io::Result<Self> {
        let mut file = disk.append(path)?;
        file.truncate(length)?;
        file.sync()?;
        Ok(Self::at(file, length))
    }

    fn at(file: Box<dyn DiskFile>, length: u64) -> Self {
        Self {
            file,
            length,
            synced: length,
            unsynced: Vec::new(),
            kept: true,
            doubt: Doubt::None,
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

    /// Whether what did not come to the disk is not known any more, so that this file is of no more use.
    pub(super) fn is_lost(&self) -> bool {
        self.doubt == Doubt::Unsynced && !self.kept
    }

    /// Appends records, all of them, which are taken then, or none. With `keep`, they can be written again after an fsync that fails.
    pub(super) fn write(&mut self, records: &mut Vec<u8>, keep: bool) -> io::Result<()> {
        self.put_right()?;
        if let Err(error) = self.file.write(records) {
            self.doubt = Doubt::Tail;
            return Err(error);
        }
        self.length += records.len() as u64;
        if keep && self.kept {
            self.unsynced.push(std::mem::take(records));
        } else {
            self.kept = false;
            self.unsynced = Vec::new();
        }
        Ok(())
    }

    /// Returns when everything is on the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.put_right()?;
        if let Err(error) = self.file.sync() {
            self.doubt = Doubt::Unsynced;
            return Err(error);
        }
        self.synced = self.length;
        self.unsynced = Vec::new();
        self.kept = true;
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
