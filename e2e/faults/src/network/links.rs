//! What becomes of packets between two hosts.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::RwLock;

/// The way from one host to another.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Link {
    /// Everything arrives, at once.
    #[default]
    Open,
    /// Nothing arrives, and the sender is not told.
    Cut,
    /// Everything arrives, in order, so much later.
    Slow(Duration),
    /// Each packet is lost with this probability, from 0 to 1.
    Lossy(f64),
}

/// The links that are not open, by sender and receiver.
#[derive(Debug, Default)]
pub(super) struct Links(RwLock<HashMap<(usize, usize), Link>>);

impl Links {
    pub(super) fn set(&self, ends: (usize, usize), link: Link) {
        self.0.write().insert(ends, link);
    }

    pub(super) fn heal(&self) {
        self.0.write().clear();
    }

    pub(super) fn get(&self, ends: (usize, usize)) -> Link {
        self.0.read().get(&ends).copied().unwrap_or_default()
    }
}
