//! What commands wait for before they are run.

use crate::node::Node;
use crate::slot::SlotId;

/// What a command waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The lock of a slot, or the end of its pause.
    Slot(SlotId),
    /// The end of `CLIENT PAUSE`.
    Pause,
    /// Room to keep what a walk over the data set has not reached.
    Walk,
    /// The append-only file, which is far behind the log.
    Aof,
    /// The disk, which takes what a slow reader of the log has not read.
    Log,
    /// The first lease of a node that has just become a primary.
    Lease,
    /// The replicas that a node needs that has just become a primary.
    Replicas,
}

impl Wait {
    /// Resolves when that seems to be over.
    pub(crate) async fn over(self, node: &Node) {
        match self {
            Self::Slot(slot) => node.store.available(slot).await,
            Self::Pause => node.pause.over().await,
            Self::Walk => node.store.walk_has_room().await,
            Self::Aof => node.persistence.aof.has_room(node).await,
            Self::Log => node.log.has_room().await,
            Self::Lease => node.cluster.has_lease().await,
            Self::Replicas => node.has_replicas().await,
        }
    }
}
