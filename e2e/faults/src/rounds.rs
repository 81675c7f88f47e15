//! Many failovers, one after the other, and for how long each shard took no writes.

pub mod cli;
