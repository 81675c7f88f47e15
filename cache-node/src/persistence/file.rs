//! Files that come into their place whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Bytes after which what was written is sent to the disk, so that not all of it is left for the end.
const SYNC_EVERY: u64 = 32 << 20;

/// A file under another name, which takes its own when it is complete. Dropped before, it is removed.
pub(super) struct NewFile {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    unsynced: u64,
    placed: bool,
}

impl NewFile {
    /// A file that will stand at `path`.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let temporary = temporary_name(path, std::process::id());
        Ok(Self {
            file: File::create(&temporary)?,
            temporary,
            path: path.to_owned(),
            unsynced: 0,
            placed: false,
        })
    }

    /// Appends bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= SYNC_EVERY {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    /// Takes its place, once everything is on the disk. After an error, what was there before still is.
    pub(super) fn place(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        self.placed = true;
        // The name is on the disk with its folder.
        let folder = self
            .path
            .parent()
            .filter(|path| !path.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.placed {
            // What cannot be removed is overwritten or removed by the next process.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// `temp-<process>-<name>` beside the file.
fn temporary_name(path: &Path, process: u32) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("temp-{process}-{name}"))
}

/// Removes what processes left that ended while they wrote the file at `path`. No other process uses its folder.
pub(super) fn remove_leftovers(path: &Path) -> io::Result<usize> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path.parent().filter(|path| !path.as_os_str().is_empty());
    let mut removed = 0;
    for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
        let entry = entry?;
        let found = entry.file_name();
        let found = found.to_string_lossy();
        let process = found
            .strip_prefix("temp-")
            .and_then(|rest| rest.strip_suffix(name.as_ref()))
            .and_then(|rest| rest.strip_suffix('-'));
        if process.is_some_and(|process| process.parse::<u32>().is_ok()) {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_takes_its_place_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dump.rdb");
        fs::write(&path, "old").unwrap();
        let mut file = NewFile::create(&path).unwrap();
        file.write(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let mut file = NewFile::create(&path).unwrap();
        file.write(b"new").unwrap();
        file.place().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_leftovers_of_this_file_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dump.rdb");
        for name in [
            "temp-12-dump.rdb",
            "temp-x-dump.rdb",
            "temp-12-other.rdb",
            "dump.rdb",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(remove_leftovers(&path).unwrap(), 1);
        assert!(!folder.path().join("temp-12-dump.rdb").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
