//! Log lines: for the person on call, on standard output.

use std::sync::OnceLock;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use crate::config::{LogLevel, Settings};

static LEVEL: OnceLock<Handle<LevelFilter, Registry>> = OnceLock::new();

/// Starts writing log lines. Later calls (a process may run several nodes) change nothing.
pub(crate) fn init(settings: &Settings) {
    let filter = LevelFilter::from_level(settings.loglevel.filter());
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer().with_target(false);
    let lines = if settings.logformat_json {
        lines.json().boxed()
    } else {
        lines.with_ansi(false).boxed()
    };
    let registry = tracing_subscriber::registry().with(filter).with(lines);
    if registry.try_init().is_ok() {
        // It is empty, since only one initialisation succeeds.
        let _ = LEVEL.set(handle);
    }
}

/// Changes how much is written.
pub(crate) fn set_level(level: LogLevel) {
    if let Some(handle) = LEVEL.get() {
        // It fails only when the subscriber is gone, at the end of the process.
        let _ = handle.modify(|filter| *filter = LevelFilter::from_level(level.filter()));
    }
}
