//! The nodes file: what the bus must find again after a restart.
//!
//! Written as a whole to a temporary file, synced, and renamed over the old one, so that a crash leaves either. A lock file keeps
//! a second process out of the directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;

use super::{Record, RecordError};
use crate::bus::{Persisted, PersistedError};

const NAME: &str = "nodes.state";
const TEMPORARY: &str = "nodes.state.new";
const LOCK: &str = "nodes.lock";

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
    _lock: File,
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
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(FileError::Locked(dir.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// What an earlier process has written; `None` when there was none.
    pub(super) fn read(&self) -> Result<Option<Persisted>, FileError> {
        let path = self.dir.join(NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(FileError::Io { path, source }),
        };
        match Persisted::decode(&bytes) {
            Ok(persisted) => Ok(Some(persisted)),
            Err(source) => Err(self.damaged(source)),
        }
    }

    /// The error for contents that are readable but make no sense.
    pub(super) fn damaged(&self, source: PersistedError) -> FileError {
        FileError::Contents {
            path: self.dir.join(NAME),
            source,
        }
    }

    /// Returns when `persisted` is on disk.
    fn write_all(&self, persisted: &Persisted) -> Result<(), FileError> {
        let path = self.dir.join(TEMPORARY);
        self.replace(&path, &persisted.encode())
            .map_err(|source| FileError::Io { path, source })
    }

    fn replace(&self, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::create(temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(temporary, self.dir.join(NAME))?;
        File::open(&self.dir)?.sync_all()
    }
}

impl Record for NodesFile {
    fn write<'a>(&'a mut self, persisted: &'a Persisted) -> BoxFuture<'a, Result<(), RecordError>> {
        // A short wait for the disk, in a thread that has nothing else to do.
        let written = self.write_all(persisted).map_err(RecordError::from);
        Box::pin(std::future::ready(written))
    }

    /// The directory is locked.
    fn is_ours(&self) -> bool {
        true
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

    #[test]
    fn what_is_written_is_read_back_and_damage_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = NodesFile::open(dir.path()).unwrap();
        assert!(file.read().unwrap().is_none());
        let state = persisted();
        file.write_all(&state).unwrap();
        assert_eq!(file.read().unwrap(), Some(state));

        let path = dir.path().join(NAME);
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, bytes).unwrap();
        let error = file.read().unwrap_err().to_string();
        assert!(error.contains("checksum"), "{error}");
        assert!(error.contains("move it away"), "{error}");
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
