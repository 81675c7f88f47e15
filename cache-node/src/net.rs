//! Sockets: one acceptor, and workers that each serve their connections on a thread of their own.
//!
//! Nothing here knows what a command means: bytes go in, [`crate::command::execute`] answers bytes.

mod acceptor;
mod batch;
mod connection;
mod scratch;
mod stall;
mod worker;

pub use acceptor::{bind, serve};
pub(crate) use worker::Share;
pub use worker::Workers;
