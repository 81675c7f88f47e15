//! The planned hand-over at the primary: pausing, and finding out how it ended.
//!
//! While the primary is paused, exactly one of two entries takes effect: the replica's promotion or the primary's own confirmation
//! (both are conditional on the shard's epoch). So the primary goes on only when no promotion can follow.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::PausedSlots;
use super::link::is_certain;

use crate::bus::Request;
use crate::cluster::{ClusterError, View};
use crate::node::Node;
use crate::slot::SlotSet;
use crate::topology::TopologyCommand;

/// Pause between attempts to confirm this node as primary.
const RETRY: Duration = Duration::from_millis(200);

/// All slots are paused; they are resumed when this is dropped.
pub struct Paused {
    node: Arc<Node>,
    slots: Option<PausedSlots>,
    offset: u64,
}

impl Paused {
    /// Pauses all slots; `None` when that takes longer than `within`, or when a hand-over is under way already.
    pub async fn new(node: &Arc<Node>, within: Duration) -> Option<Self> {
        if !node.replication.begin_hand_over() {
            return None;
        }
        let mut paused = Self {
            node: node.clone(),
            slots: None,
            offset: 0,
        };
        paused.slots = Some(PausedSlots::new(node, &SlotSet::full(), within).await?);
        paused.offset = node.log.end();
        Some(paused)
    }

    /// The log's end at the pause.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Lets the parked commands go on: here, or where they are redirected to.
    pub fn resume(self) {}

    /// Stays paused until it is certain whether this node is still the primary, then resumes.
    pub async fn settle(self, node: Arc<Node>) {
        let mut views = node.cluster.changes();
        while let Some(command) = confirmation(&node.cluster.view()) {
            match node.cluster.propose(command).await {
                Ok(_) => {
                    tracing::info!("the hand-over is off; going on as primary");
                    break;
                }
                // Most often because the replica has taken over, which shows soon.
                Err(error) if is_certain(&error) => {
                    tracing::debug!("waiting for the end of a hand-over: {error}");
                }
                Err(error) => tracing::warn!("waiting for the end of a hand-over: {error}"),
            }
            let _ = tokio::time::timeout(RETRY, views.changed()).await;
        }
        self.resume();
    }
}

/// The entry after which no promotion from this hand-over can take effect; `None` when this node is not the primary any more.
fn confirmation(view: &View) -> Option<TopologyCommand> {
    let (_, shard) = view.topology.shard_of(view.myself)?;
    view.is_serving_primary()
        .then_some(TopologyCommand::HandOver {
            node: view.myself,
            incarnation: view.incarnation,
            epoch: shard.epoch,
        })
}

impl Drop for Paused {
    fn drop(&mut self) {
        let metrics = &self.node.replication.metrics;
        if let Some(slots) = self.slots.take() {
            metrics.pauses.observe(slots.seconds());
        }
        if self.node.cluster.peek().is_serving_primary() {
            metrics.abandoned.inc();
        }
        self.node.replication.end_hand_over();
    }
}

/// Has another node lead the voters, if this one does.
pub async fn resign(node: &Arc<Node>) {
    match node.cluster.request(Request::Resign).await {
        Ok(_) | Err(ClusterError::Disabled | ClusterError::Stopped) => {}
        Err(error) => tracing::warn!("nobody has taken over the leadership of the voters: {error}"),
    }
}

/// Hands this node's shard over to its most advanced replica, if it is a serving primary with one, within `shutdown-timeout`.
pub async fn drain(node: &Arc<Node>) {
    let mut views = node.cluster.changes();
    if !node.cluster.enabled() || !node.cluster.view().is_serving_primary() {
        return;
    }
    let Some(replica) = node.replication.replicas.most_advanced() else {
        tracing::info!("no replica is in sync; nothing is handed over");
        return;
    };
    // A little less than everybody who drains has together, so that this one ends by itself.
    let within = Duration::from_secs(node.config.get().shutdown_timeout) * 9 / 10;
    let deadline = Instant::now() + within;
    tracing::info!(replica = %replica.node, "handing over before shutdown");
    replica.order(super::replicas::Order::Offer(within.as_millis() as u64));
    loop {
        if !views.borrow_and_update().is_serving_primary() {
            tracing::info!(replica = %replica.node, "handed over");
            return;
        }
        let changed = async {
            tokio::select! {
                changed = views.changed() => changed.is_ok(),
                () = node.cluster.stopped() => false,
            }
        };
        if tokio::time::timeout_at(deadline, changed).await != Ok(true) {
            tracing::warn!("the hand-over did not succeed, or not in time");
            return;
        }
    }
}
