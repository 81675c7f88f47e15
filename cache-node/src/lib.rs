//! The data plane of Evenkeel: a Redis-compatible, slot-sharded cache server.
//!
//! `docs/architecture.md` names the modules and what each owns.

pub mod bus;
pub mod cluster;
pub mod migration;
pub mod replication;
pub mod slot;
pub mod topology;
