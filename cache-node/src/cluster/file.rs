//! The nodes file: what the bus must find again after a restart.
//!
//! Two copies of the record (`pages`), overwritten in turn. When the record has outgrown them, a greater file is written, synced, and renamed
//! over the old one, so that a crash leaves either. A lock file keeps a second process out of the directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

use super::pages::{self, PAGE};
use super::{Ours, Record, Writing};
use crate::bus::{Persisted, PersistedError};

const NAME: &str = "nodes.state";
const TEMPORARY: &str = "nodes.state.new";
const LOCK: &str = "nodes.lock";
/// Begins the file, in a page of its own; the last byte is the version of what follows.
const MAGIC: &[u8; 8] = b"EVNODES\x04";
/// A file of a few nodes need never grow.
const LEAST_PAGES: usize = 32;

/// Why the nodes file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Reading or writing failed.
    #[error("cannot use the nodes file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another process runs in this directory.
    #[error("another process uses {0}: every node needs a --dir of its own")]
    Locked(PathBuf),
    /// The contents are not usable. Starting without them would make this another node.
    #[error(
        "the nodes file {path} cannot be read: {source}; move it away to start as a new, empty node"
    )]
    Contents {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: PersistedError,
    },
}

/// The nodes file of a directory, locked as long as this lives.
pub(super) struct NodesFile {
    dir: PathBuf,
    /// None before it is read, or written for the first time.
    copies: Option<Copies>,
    _lock: File,
}

/// The open file.
struct Copies {
    file: File,
    /// Of each copy.
    pages: usize,
    /// The number of the newest record in it.
    newest: u64,
}

impl NodesFile {
    /// Locks the directory, which is made if it is missing.
    pub(super) fn open(dir: &Path) -> Result<Self, FileError> {
        let path = dir.join(LOCK);
        let failed = |source| FileError::Io {
            path: path.clone(),
            source,
        };
        fs::create_dir_all(dir).map_err(failed)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                dir: dir.to_owned(),
                copies: None,
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(FileError::Locked(dir.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// What an earlier process has written; `None` when there was none.
    pub(super) fn read(&mut self) -> Result<Option<Persisted>, FileError> {
        let path = self.dir.join(NAME);
        let failed = |source| FileError::Io {
            path: path.clone(),
            source,
        };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(source)),
        };
        let (newest, persisted) = newest(&bytes).map_err(|source| self.damaged(source))?;
        let mut options = OpenOptions::new();
        let file = options.write(true).open(&path).map_err(failed)?;
        self.copies = Some(Copies {
            file,
            pages: (bytes.len() / PAGE - 1) / 2,
            newest,
        });
        Ok(Some(persisted))
    }

    /// The error for contents that are readable but make no sense.
    pub(super) fn damaged(&self, source: PersistedError) -> FileError {
        FileError::Contents {
            path: self.dir.join(NAME),
            source,
        }
    }

    /// Returns when `persisted` is on disk.
    fn write_all(&mut self, persisted: &Persisted) -> Result<(), FileError> {
        let record = persisted.encode();
        let written = match &mut self.copies {
            Some(copies) if pages::pages(record.len()) <= copies.pages => copies.write(&record),
            _ => self.replace(&record),
        };
        written.map_err(|source| FileError::Io {
            path: self.dir.join(NAME),
            source,
        })
    }

    /// A new file, with room for twice as much.
    fn replace(&mut self, record: &[u8]) -> io::Result<()> {
        let newest = self.copies.as_ref().map_or(0, |copies| copies.newest) + 1;
        let pages = LEAST_PAGES.max(2 * pages::pages(record.len()));
        let mut bytes = [MAGIC.as_slice(), &[0; PAGE - MAGIC.len()]].concat();
        bytes.extend(pages::unwritten(pages));
        bytes.extend(pages::unwritten(pages));
        let (start, new) = (place(newest, pages), pages::encode(newest, record));
        bytes[start..start + new.len()].copy_from_slice(&new);

        let temporary = self.dir.join(TEMPORARY);
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(temporary, self.dir.join(NAME))?;
        File::open(&self.dir)?.sync_all()?;
        self.copies = Some(Copies {
            file,
            pages,
            newest,
        });
        Ok(())
    }
}

impl Copies {
    /// Over the older copy.
    fn write(&mut self, record: &[u8]) -> io::Result<()> {
        let next = self.newest + 1;
        let start = place(next, self.pages) as u64;
        self.file
            .write_all_at(&pages::encode(next, record), start)?;
        self.file.sync_data()?;
        self.newest = next;
        Ok(())
    }
}

/// Where the copy begins that a record goes to.
fn place(sequence: u64, pages: usize) -> usize {
    PAGE * (1 + if sequence.is_multiple_of(2) { 0 } else { pages })
}

/// The newest record in a file, and its number.
fn newest(bytes: &[u8]) -> Result<(u64, Persisted), PersistedError> {
    if !bytes.starts_with(MAGIC) {
        return Err(PersistedError::Foreign);
    }
    let copies = bytes.get(PAGE..).unwrap_or_default();
    let (even, odd) = copies.split_at(copies.len() / 2);
    let damaged = |damaged: pages::Damaged| PersistedError::Contents(damaged.to_string());
    let even = pages::decode(even).map_err(damaged)?;
    let odd = pages::decode(odd).map_err(damaged)?;
    let newest = even.max(odd);
    let (sequence, record) = newest.ok_or_else(|| damaged(pages::Damaged))?;
    Ok((sequence, Persisted::decode(&record)?))
}

impl Record for NodesFile {
    fn write(mut self: Box<Self>, persisted: Box<Persisted>) -> Writing {
        let write = spawn_blocking(move || {
            self.write_all(&persisted)?;
            Ok(self as Box<dyn Record>)
        });
        Box::pin(async { write.await? })
    }

    /// The directory is locked.
    fn ours(&self) -> Ours {
        Box::new(|| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Action, Bus, Config, Event};
    use crate::topology::Address;

    fn persisted() -> Persisted {
        let config = Config {
            address: Address {
                ip: "127.0.0.1".to_owned(),
                port: 1,
                bus_port: 2,
                hostname: String::new(),
            },
            node_timeout: 2_000,
        };
        let mut bus = Bus::new(config, None, 0, 1).unwrap();
        let actions = bus.handle(Event::Tick, 0);
        let mut disks = actions.into_iter().filter_map(|action| match action {
            Action::Persist(disk) => Some(*disk),
            _ => None,
        });
        disks.next().expect("a new node persists itself first")
    }

    fn open(dir: &Path) -> NodesFile {
        NodesFile::open(dir).unwrap()
    }

    #[test]
    fn what_is_written_last_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = open(dir.path());
        assert!(file.read().unwrap().is_none());
        let mut state = persisted();
        for incarnation in 1..6 {
            state.incarnation = incarnation;
            file.write_all(&state).unwrap();
            drop(file);
            file = open(dir.path());
            assert_eq!(file.read().unwrap(), Some(state.clone()));
        }
    }

    #[test]
    fn a_record_outgrows_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = open(dir.path());
        let mut state = persisted();
        file.write_all(&state).unwrap();
        let small = fs::metadata(dir.path().join(NAME)).unwrap().len();
        state.consensus.as_mut().unwrap().entries = vec![vec![7; 100_000]];
        file.write_all(&state).unwrap();
        let great = fs::metadata(dir.path().join(NAME)).unwrap().len();
        assert!(great > small + 200_000, "{small} {great}");
        file.write_all(&state).unwrap();
        drop(file);
        assert_eq!(open(dir.path()).read().unwrap(), Some(state));
    }

    #[test]
    fn a_write_that_was_cut_short_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        let mut file = open(dir.path());
        let old = Persisted {
            incarnation: 1,
            ..persisted()
        };
        let mut new = old.clone();
        new.incarnation = 2;
        new.consensus.as_mut().unwrap().entries = vec![vec![7; 2_000]];
        file.write_all(&new).unwrap();
        file.write_all(&old).unwrap();
        let before = fs::read(&path).unwrap();
        file.write_all(&new).unwrap();
        let after = fs::read(&path).unwrap();
        drop(file);
        let changed: Vec<usize> = (0..before.len())
            .step_by(PAGE)
            .filter(|at| before[*at..at + PAGE] != after[*at..at + PAGE])
            .collect();
        assert!(changed.len() > 3, "{changed:?}");
        for skipped in &changed {
            let mut bytes = after.clone();
            bytes[*skipped..skipped + PAGE].copy_from_slice(&before[*skipped..skipped + PAGE]);
            fs::write(&path, bytes).unwrap();
            assert_eq!(open(dir.path()).read().unwrap(), Some(old.clone()));
        }
    }

    #[test]
    fn damage_and_the_files_of_other_versions_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        open(dir.path()).write_all(&persisted()).unwrap();
        let whole = fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        damaged[place(1, LEAST_PAGES) + 100] ^= 1;
        let shorter = whole[..whole.len() - 1].to_vec();
        for (bytes, told) in [
            (damaged, "damaged"),
            (shorter, "damaged"),
            (persisted().encode(), "not written by this version"),
        ] {
            fs::write(&path, bytes).unwrap();
            let error = open(dir.path()).read().unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
            assert!(error.contains("move it away"), "{error}");
        }
    }

    #[test]
    fn two_processes_cannot_share_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = NodesFile::open(dir.path()).unwrap();
        assert!(matches!(
            NodesFile::open(dir.path()),
            Err(FileError::Locked(_))
        ));
        drop(first);
        NodesFile::open(dir.path()).unwrap();
    }
}
