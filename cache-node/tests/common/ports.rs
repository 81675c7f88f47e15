//! Ports for servers under test.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;

/// Ports for clients; those of the bus are as many higher. The system gives higher ones to connections, which could take a port between
/// the moment when it was found to be free and the one when a server listens on it.
const PORTS: std::ops::Range<u16> = 12_000..22_000;

/// What was handed out to other tests of this process.
static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port that is free together with the bus port beside it, and never handed out again.
pub(crate) fn free_port() -> u16 {
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let count = PORTS.end - PORTS.start;
    loop {
        let random = RandomState::new().hash_one(0) % u64::from(count);
        let port = PORTS.start + u16::try_from(random).expect("less than there are");
        let is_new = TAKEN.lock().expect("no panic").insert(port);
        if is_new && is_free(port) && is_free(port + count) {
            return port;
        }
    }
}
