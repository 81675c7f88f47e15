//! Where the files lie, and what they are called.

use std::path::{Path, PathBuf};

use crate::config::Settings;

/// What begins the name of a file that is not in force.
const TEMPORARY: &str = "temp-";

/// The names of an append-only file's parts.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// `appenddirname` in `dir`.
    pub(super) folder: PathBuf,
    /// `appendfilename`.
    name: String,
    /// Where versions before 7 of redis-server had the file.
    pub(super) old: PathBuf,
}

impl Layout {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            folder: settings.dir.join(&settings.appenddirname),
            name: settings.appendfilename.clone(),
            old: settings.dir.join(&settings.appendfilename),
        }
    }

    /// A file in the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Its name before it is in force.
    pub(super) fn temporary(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{TEMPORARY}{name}"))
    }

    pub(super) fn manifest(&self) -> String {
        format!("{}.manifest", self.name)
    }

    pub(super) fn base(&self, number: u64) -> String {
        format!("{}.{number}.base.rdb", self.name)
    }

    /// A base that is being written.
    pub(super) fn new_base(&self) -> PathBuf {
        self.temporary(&format!("{}.base.rdb", self.name))
    }

    pub(super) fn increment(&self, number: u64) -> String {
        format!("{}.{number}.incr.aof", self.name)
    }

    /// The number of an incremental file of this name that was put in force.
    pub(super) fn increment_number(&self, file: &str) -> Option<u64> {
        file.strip_prefix(self.name.as_str())
            .and_then(|rest| rest.strip_prefix('.'))
            .and_then(|rest| rest.strip_suffix(".incr.aof"))
            .and_then(|number| number.parse().ok())
    }

    /// Whether a file in the folder is a base or an incremental file of this name, in force or not.
    pub(super) fn is_part(&self, file: &str) -> bool {
        let name = file.strip_prefix(TEMPORARY).unwrap_or(file);
        let rest = name
            .strip_prefix(self.name.as_str())
            .and_then(|rest| rest.strip_prefix('.'));
        let Some((number, kind)) = rest.and_then(|rest| rest.split_once('.')) else {
            return false;
        };
        number.parse::<u64>().is_ok() && matches!(kind, "base.rdb" | "base.aof" | "incr.aof")
    }

    /// Whether it was written to be put in force, and is not.
    pub(super) fn is_temporary(&self, file: &str) -> bool {
        file.strip_prefix(TEMPORARY).is_some_and(|name| {
            self.is_part(name) || name == self.manifest() || self.path(file) == self.new_base()
        })
    }
}

/// A path as it is shown.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parts_of_this_name_are_known() {
        let layout = Layout::new(&Settings::default());
        for name in [
            "appendonly.aof.1.base.rdb",
            "appendonly.aof.2.base.aof",
            "temp-appendonly.aof.12.incr.aof",
        ] {
            assert!(layout.is_part(name), "{name}");
        }
        for name in [
            "appendonly.aof",
            "appendonly.aof.manifest",
            "appendonly.aof.x.base.rdb",
            "other.aof.1.base.rdb",
            "appendonly.aof.1.base",
        ] {
            assert!(!layout.is_part(name), "{name}");
        }
        assert!(layout.is_temporary("temp-appendonly.aof.manifest"));
        assert!(layout.is_temporary("temp-appendonly.aof.base.rdb"));
        assert!(!layout.is_temporary("temp-dump.rdb"));
    }
}
