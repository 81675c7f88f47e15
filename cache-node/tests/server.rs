//! The real binary, driven by a stock client in RESP2 and RESP3 and by bare sockets.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

#[path = "common/ports.rs"]
mod ports;
#[path = "server/process.rs"]
mod process;

#[path = "server/append_only.rs"]
mod append_only;
#[path = "server/clients.rs"]
mod clients;
#[path = "server/collections.rs"]
mod collections;
#[path = "server/content.rs"]
mod content;
#[path = "server/data.rs"]
mod data;
#[path = "server/eviction.rs"]
mod eviction;
#[path = "server/lifecycle.rs"]
mod lifecycle;
#[path = "server/limits.rs"]
mod limits;
#[path = "server/long_replies.rs"]
mod long_replies;
#[path = "server/memory.rs"]
mod memory;
#[path = "server/persistence.rs"]
mod persistence;
#[path = "server/protocol.rs"]
mod protocol;
#[path = "server/psync.rs"]
mod psync;
#[path = "server/redis_server.rs"]
mod redis_server;
#[path = "server/secret.rs"]
mod secret;
#[path = "server/sorted_sets.rs"]
mod sorted_sets;
#[path = "server/stalls.rs"]
mod stalls;
#[path = "server/transactions.rs"]
mod transactions;
