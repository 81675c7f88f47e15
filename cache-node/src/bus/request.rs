//! What the node asks of its bus, and what it tells it about itself.

use serde::{Deserialize, Serialize};

use crate::topology::{NodeId, TopologyCommand};

/// Something that takes the agreement of other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Commit a change of the topology.
    Propose(TopologyCommand),
    /// Bring the node at this bus address and this one into one cluster (`CLUSTER MEET`).
    Meet {
        /// IP address.
        ip: String,
        /// Bus port.
        bus_port: u16,
    },
    /// Leave the cluster and be a fresh single node (`CLUSTER RESET`).
    Reset {
        /// Under another node id.
        hard: bool,
    },
    /// Form a new consensus group with this node as its only voter and make it the primary of its shard (`CLUSTER FAILOVER TAKEOVER`).
    Takeover,
    /// Have another voter lead, if this node does: its process is about to end.
    Resign,
}

/// Why a request failed. The text is fit for a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A rule forbids it.
    #[error("{0}")]
    Refused(String),
    /// No answer in time. The change may still be made later.
    #[error("Not committed within {0} ms: no leader or no majority of the voters can be reached")]
    TimedOut(u64),
    /// The consensus group was re-formed meanwhile, or this node left it. The change may have been made before.
    #[error("The consensus group was re-formed meanwhile; look at the cluster and try again")]
    Reformed,
}

/// What this node tells the others about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalStatus {
    /// On a replica: the primary and its incarnation whose data it has had all of, and has followed since.
    pub copied: Option<(NodeId, u64)>,
    /// How many replicas have what clients of this node as a primary are told; 0: none need to.
    pub synchronous: u8,
    /// The history and the offset in it of the data that it has loaded from its disk, until it goes on with another history.
    pub loaded: Option<(NodeId, u64)>,
    /// Whether its data are what they should be: false while they are a mixture because a full sync has not ended.
    pub healthy: bool,
    /// Number of keys in slots that this node's shard does not own.
    pub stray_keys: u64,
    /// Number of keys.
    pub keys: u64,
    /// End of the data that this node has: the log's end on a primary, what was applied on a replica. In bytes.
    pub offset: u64,
}
