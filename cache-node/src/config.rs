//! Configuration: redis-server's names as flags, environment variables and directives of a file.
//!
//! Later ones win: defaults, file, environment (`CACHE_NODE_<NAME>`), flags. An unknown name or a bad value is refused by name, with
//! what is allowed.

mod help;
mod options;
mod rows;
mod settings;
mod sources;
mod table;
mod value;

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;

pub use help::help;
pub use options::{Setting, find};
pub use settings::{AppendFsync, ClientsMemory, LogLevel, OutputLimits, SavePoint, Settings};
pub use sources::{Invocation, read};
pub use table::OPTIONS;
pub use value::SECRET_BYTES;

/// Why a configuration was refused. The text names the option, the value and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is no such option.
    #[error("unknown option '{name}'{}", suggestion(.near))]
    Unknown {
        /// The name as given.
        name: String,
        /// The nearest name that exists.
        near: Option<&'static str>,
    },
    /// The value is not allowed.
    #[error("invalid value '{value}' for '{name}': {allowed}")]
    Value {
        /// The option.
        name: &'static str,
        /// The value as given.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// The option cannot change while the process runs.
    #[error("'{0}' can't be changed at runtime; restart with another value")]
    Fixed(&'static str),
    /// The file cannot be read or written.
    #[error("configuration file '{path}': {reason}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        reason: String,
    },
    /// An argument has no place.
    #[error("{0}")]
    Usage(String),
}

fn suggestion(near: &Option<&'static str>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean '{near}'?"))
}

/// The settings in force.
pub struct Config {
    settings: ArcSwap<Settings>,
    file: Option<PathBuf>,
    changing: Mutex<()>,
}

impl Config {
    /// These settings, read from this file (if there was one).
    pub fn new(settings: Settings, file: Option<PathBuf>) -> Self {
        Self {
            settings: ArcSwap::from_pointee(settings),
            file,
            changing: Mutex::new(()),
        }
    }

    /// The settings in force, for one command.
    pub fn get(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// The settings in force, to keep.
    pub fn snapshot(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Changes several settings, or none of them if one is refused.
    pub fn set(&self, changes: &[(&str, &str)]) -> Result<(), ConfigError> {
        let _changing = self.changing.lock();
        let mut settings = Settings::clone(&self.settings.load());
        for (name, value) in changes {
            let option = find(name)?;
            if !option.live {
                return Err(ConfigError::Fixed(option.name));
            }
            option.apply(&mut settings, value)?;
        }
        self.settings.store(Arc::new(settings));
        Ok(())
    }

    /// Writes the settings that differ from the defaults back to the file, keeping its comments.
    pub fn rewrite(&self) -> Result<(), ConfigError> {
        let Some(path) = &self.file else {
            return Err(ConfigError::Usage(
                "The server is running without a config file".to_owned(),
            ));
        };
        let fail = |error: std::io::Error| ConfigError::File {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        let _changing = self.changing.lock();
        let old = std::fs::read_to_string(path).map_err(fail)?;
        let text = sources::rewritten(&old, &self.settings.load());
        let beside = path.with_extension("rewriting");
        std::fs::write(&beside, text).map_err(fail)?;
        std::fs::rename(&beside, path).map_err(fail)
    }
}
