//! Data on its way between real processes: replication, hand-over, slot migration.

mod cluster;
mod collections;
mod failover;
mod hand_over;
mod migration;
#[path = "../common/ports.rs"]
mod ports;
mod processes;
mod replication;
mod restart;
mod resync;
mod sibling;
mod slow_link;
mod synchronous;
mod transactions;
mod writers;
