//! What nodes say to each other on the bus.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::former::Times;
use super::history::Steps;
use super::machine::{Outcome, Proposal};
use super::request::LocalStatus;
use super::verdict::Verdict;
use crate::slot::SlotSet;
use crate::topology::{Address, Member, NodeId, Topology, Version};

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Whom it is meant for; nobody in particular when the sender knows only an address. Addresses are reused, ids are not.
    pub(crate) to: Option<NodeId>,
    pub(crate) sender: Sender,
    pub(crate) body: Body,
    /// Index of the newest topology that the sender knows. Beside what changes with every heartbeat, for `codec`.
    pub(crate) index: u64,
}

/// Who speaks, and whose truth it knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sender {
    pub(crate) node: NodeId,
    pub(crate) incarnation: u64,
    /// Where it wants to be reached.
    pub(crate) address: Address,
    pub(crate) cluster: u64,
    /// [`Topology::generation`] of the newest topology that it knows.
    pub(crate) generation: u64,
    /// [`Topology::founder`] of that.
    pub(crate) founder: NodeId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Body {
    Heartbeat(Heartbeat),
    /// "Send me your topology."
    WantTopology,
    Topology(#[serde(with = "super::shared")] Arc<Topology>),
    /// The topology's changes since one that the receiver knows, or should know.
    Steps(Steps),
    /// A message of the `raft` crate, as protobuf.
    Raft(Vec<u8>),
    /// A primary asks the leader for a lease.
    AskLease {
        /// When, by the clock of who asks.
        stamp: u64,
    },
    /// The lease that was asked for at `stamp`.
    Lease {
        /// The incarnation that asked.
        incarnation: u64,
        stamp: u64,
    },
    /// A proposal on its way to the leader.
    Forward {
        proposal: Proposal,
        hops: u8,
    },
    /// What became of the proposal with this sequence number of the receiver's incarnation.
    Answer {
        incarnation: u64,
        sequence: u64,
        outcome: Outcome,
    },
    /// A leader asks what the receiver has, at a moment after this question.
    AskStatus {
        /// Names the question.
        number: u64,
    },
    /// The answer to the question of this number of the receiver's incarnation.
    Status {
        incarnation: u64,
        number: u64,
        status: LocalStatus,
    },
    /// A leader asks when the receiver confirmed to the leader of an earlier term last.
    AskConfirmed {
        /// The term of who asks.
        term: u64,
    },
    /// The answer to that.
    Confirmed {
        term: u64,
        /// So long ago, in ms of the sender's clock.
        ago: Times,
    },
    /// "Let us be in one cluster."
    Meet {
        token: u64,
        /// The sender can join another cluster: it is alone in its own, or has been removed.
        joinable: bool,
    },
    MeetReply {
        token: u64,
        reply: MeetReply,
    },
    /// "Add me to your cluster."
    Join {
        token: u64,
        joiner: Joiner,
    },
    /// The cluster refuses the joiner.
    JoinRefused {
        token: u64,
        reason: String,
    },
}

/// Sent to everybody in turn. What changes with every heartbeat comes last, which makes it short on a connection (`codec`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Heartbeat {
    /// The leader that the sender knows from Raft itself, and its term.
    pub(crate) leader: Option<(u64, NodeId)>,
    /// Members that the sender does not hear; in a big cluster, only between voters.
    pub(crate) suspects: Vec<NodeId>,
    /// Members whose processes are proved to have ended, with their incarnations; in a big cluster, only between voters.
    pub(crate) gone: Vec<(NodeId, u64)>,
    /// The sender is a primary that has had no lease for a node timeout.
    pub(crate) starved: bool,
    /// In a big cluster, from its leader.
    pub(crate) verdict: Option<Box<Verdict>>,
    pub(crate) status: LocalStatus,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MeetReply {
    /// "I join you."
    WillJoin(Joiner),
    /// "You join me."
    JoinMe,
    /// "We are in one cluster already."
    Already,
    /// "Not now; ask again."
    Busy,
    /// "Never."
    Refused(String),
}

/// A node that joins, with what it brings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Joiner {
    pub(crate) member: Member,
    pub(crate) incarnation: u64,
    pub(crate) slots: SlotSet,
}

/// Number of kinds that [`Message::kind`] tells apart.
pub(crate) const KINDS: usize = 5;

/// Bytes that are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a message of this version of the cluster bus")]
pub struct MessageError;

impl Message {
    /// Whether it is meant for this node, or for whoever gets it.
    pub fn may_be_for(&self, node: NodeId) -> bool {
        self.to.is_none_or(|to| to == node)
    }

    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("plain data is always encoded")
    }

    /// The message in `bytes`.
    ///
    /// # Errors
    ///
    /// When they are something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        postcard::from_bytes(bytes).map_err(|_| MessageError)
    }

    /// Where who sent it wants to be reached.
    pub fn address(&self) -> &Address {
        &self.sender.address
    }

    /// How new the topology is that the sender knows.
    pub(crate) fn version(&self) -> Version {
        Version {
            generation: self.sender.generation,
            founder: self.sender.founder,
            index: self.index,
        }
    }

    /// What is said again and again, apart from each other and from all else. Below [`KINDS`].
    pub(crate) fn kind(&self) -> usize {
        match self.body {
            Body::Heartbeat(_) => 0,
            Body::AskLease { .. } => 1,
            Body::Lease { .. } => 2,
            Body::Raft(_) => 3,
            _ => 4,
        }
    }

    /// Who sent it.
    pub fn from(&self) -> NodeId {
        self.sender.node
    }
}
