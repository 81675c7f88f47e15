//! Copies of a data set on other nodes: full sync, stream, offsets, `WAIT` and the planned hand-over.
//!
//! Who is primary is decided by the topology alone; this module must never decide it.

pub mod frame;
pub mod receive;
pub mod walk;
