//! The witness: a vote for clusters of two nodes, in which there is no majority when one dies. It is no member and owns nothing.
//!
//! It does not meet anybody: the leader, to which it was named ([`TopologyCommand::SetWitness`](crate::topology::TopologyCommand::SetWitness)),
//! calls it, and it takes over the topology that names it. When it has a seat it votes, and may lead until a member can.

use std::sync::Arc;

use super::message::{Body, Message};
use super::{Bus, Destination};
use crate::topology::Topology;

impl Bus {
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
