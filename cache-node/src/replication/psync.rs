//! Redis's replication protocol (`PSYNC`), so that redis-server and valkey-server can copy this node.
//!
//! The stream is the log as it is; its offsets are the protocol's. Between nodes of this kind another protocol is spoken, which has more
//! to say: see [`super::frame`].

mod follow;
mod input;
mod serve;
mod snapshot;
mod spool;

#[cfg(any(test, fuzzing))]
pub(crate) use follow::{ACK, Following};
pub use follow::{StreamPlace, connect, follow};
pub use serve::{Hello, ping, serve};
