//! The pure state machine on the cluster bus: heartbeats, suspicion, and Raft over topology commands.
//!
//! It has no socket, no clock and no randomness of its own, so that a simulator can drive it.

mod request;

pub use request::{LocalStatus, Request, RequestError};
