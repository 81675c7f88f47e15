//! The witness: a vote for clusters of two nodes, in which there is no majority when one dies. It is no member and owns nothing.
//!
//! It does not meet anybody: the leader, to which it was named ([`TopologyCommand::SetWitness`](crate::topology::TopologyCommand::SetWitness)),
//! calls it, and it takes over the topology that names it. When it has a seat it votes, and may lead until a member can.

use std::sync::Arc;

use super::message::{Body, Message};
use super::{Bus, Destination};
use crate::topology::{NodeId, Topology};

/// Since when the witness has a vote, as far as this node knows.
#[derive(Default)]
pub(super) struct Seated(Option<(NodeId, u64)>);

impl Seated {
    /// Takes note of the topology that this node knows from `now` on.
    pub(super) fn look(&mut self, topology: &Topology, now: u64) {
        let witness = topology.witness.as_ref().map(|it| it.id);
        let voter = witness.filter(|node| topology.voters.contains(node));
        let known = self.0.filter(|(node, _)| Some(*node) == voter);
        self.0 = known.or(voter.map(|node| (node, now)));
    }
}

impl Bus {
    /// The witness, if it has had its vote for longer than a lease lasts: what it granted in another group is over then.
    pub(super) fn long_voting_witness(&self) -> Option<NodeId> {
        let voter = self.witness_votes.0;
        let long = voter.filter(|(_, since)| self.now > since + self.config.node_timeout);
        long.map(|(node, _)| node)
    }

    /// A message of a cluster that this witness does not know.
    pub(super) fn receive_call(&mut self, message: Message) {
        let to = Destination {
            node: Some(message.sender.node),
            address: message.sender.address,
        };
        match message.body {
            Body::Topology(topology) => self.observe(topology),
            _ => self.send_to(to, Body::WantTopology),
        }
    }

    /// Becomes the witness of the cluster that names this one. The former cluster will not hear from it any more.
    fn observe(&mut self, topology: Arc<Topology>) {
        // It may have voted there in an earlier life, which it has forgotten.
        let voted = topology.voters.contains(&self.me);
        if voted || !topology.is_witness(self.me) {
            return;
        }
        self.drop_seat();
        self.peers.clear();
        self.history.forget(topology.index);
        self.replace_topology(topology);
        self.turns.clear();
        self.fail_proposals();
    }
}
