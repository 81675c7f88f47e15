//! Slots that are paused for a hand-over.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::node::Node;
use crate::slot::SlotSet;

/// Slots that are paused until this is dropped. Commands that were parked are then routed anew.
pub(crate) struct PausedSlots {
    node: Arc<Node>,
    slots: SlotSet,
    since: Instant,
}

impl PausedSlots {
    /// Pauses `slots`; `None`, and nothing paused, when that takes longer than `within` because commands hold some of them.
    pub(crate) async fn new(node: &Arc<Node>, slots: &SlotSet, within: Duration) -> Option<Self> {
        let mut paused = Self {
            node: node.clone(),
            slots: SlotSet::new(),
            since: Instant::now(),
        };
        let all = async {
            for slot in slots.iter() {
                node.store.pause_slot(slot).await;
                paused.slots.insert(slot);
            }
        };
        let done = timeout(within, all).await;
        done.is_ok().then_some(paused)
    }

    /// Seconds since the pause began.
    pub(crate) fn seconds(&self) -> f64 {
        self.since.elapsed().as_secs_f64()
    }

    /// Milliseconds since the pause began.
    pub(crate) fn milliseconds(&self) -> u64 {
        self.since.elapsed().as_millis() as u64
    }
}

impl Drop for PausedSlots {
    fn drop(&mut self) {
        self.node.store.resume(&self.slots);
    }
}
