//! The data plane of Evenkeel: a Redis-compatible, slot-sharded cache server.
//!
//! `docs/architecture.md` names the modules and what each owns.

pub mod bus;
pub mod clients;
pub mod clock;
pub mod cluster;
pub mod command;
pub mod config;
mod eviction;
#[cfg(any(test, fuzzing))]
pub mod fuzzed;
mod housekeeping;
mod http;
mod info;
pub mod log;
mod metrics;
pub mod migration;
pub mod net;
pub mod node;
pub mod pause;
pub mod persistence;
mod process;
pub mod replication;
pub mod resp;
mod run;
pub mod shutdown;
pub mod slot;
pub mod slowlog;
pub mod stats;
pub mod store;
mod telemetry;
pub mod topology;

pub use run::run;
