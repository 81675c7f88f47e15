//! Moving slots between shards while they are written, over the same walk and stream as replication.
//!
//! A slot changes owner by a committed topology entry only; this module must never change ownership by itself.

pub mod job;
