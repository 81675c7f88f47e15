//! Faults, for real: clusters of cache-node processes on hosts of their own, clients that record every attempt, and what
//! is done to the processes, their disks and the network between them.
//!
//! What clients saw is judged by the crate `history`. [`rounds`] measures for how long a shard takes no writes.

pub mod client;
pub mod cluster;
pub mod nemesis;
pub mod network;
pub mod node;
pub mod promise;
pub mod reigns;
pub mod rounds;
pub mod trial;
pub mod wait;
pub mod workload;
