//! What is done regularly.

use std::sync::Arc;
use std::time::Duration;

use crate::net::Share;

/// Time between two rounds.
const ROUND: Duration = Duration::from_millis(100);

/// Looks after a worker's share of the slots until the task is ended.
pub(crate) async fn keep_slots(share: Arc<Share>) {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        share.node.store.memory().publish();
    }
}
