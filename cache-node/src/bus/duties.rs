//! What a leader does unasked: seats voters, follows changed addresses, and reinstates a primary whose data nobody else has.

use super::consensus::Consensus;
use super::proposals::Origin;
use super::{Bus, seats};
use crate::topology::{Address, Member, NodeId, TopologyCommand, Witness};

impl Bus {
    /// Changes a seat of the consensus group, if one is to be changed.
    pub(super) fn seat_voters(&mut self) {
        if self.is_frozen() {
            return;
        }
        let Some(consensus) = self.consensus.as_mut() else {
            return;
        };
        if !consensus.is_settled_leader() {
            return;
        }
        self.vacated.look(&self.topology, self.now);
        let alive = |node| {
            node == self.me
                || self.peers.get(node).is_some_and(|peer| peer.spoke)
                    && !self.peers.suspected(node, self.now)
                    && !self.vacated.contains(node)
        };
        // Duties follow what this seat has applied; gossip cannot be newer at a leader.
        let change = seats::next(&self.topology, self.me, alive, |node| {
            consensus.has_caught_up(node)
        });
        if let Some(change) = change {
            consensus.change_seat(change);
        }
    }

    /// Proposes what members are known to need. Once a tick, so that what is refused is not repeated at once.
    pub(super) fn serve_members(&mut self) {
        let leads = self
            .consensus
            .as_ref()
            .is_some_and(Consensus::is_settled_leader);
        if !leads || !self.takes_part() || self.is_frozen() {
            return;
        }
        let members = self.topology.members.values();
        let wanted: Vec<TopologyCommand> = members
            .flat_map(|member| self.wanted_for(member))
            .chain(self.wanted_for_witness())
            .collect();
        for command in wanted {
            if !self.proposals.contains(&command) {
                self.propose(command, Origin::Duty);
            }
        }
    }

    /// What `member` is known to need.
    fn wanted_for(&self, member: &Member) -> Vec<TopologyCommand> {
        let node = member.id;
        let Some((address, incarnation)) = self.announced(node) else {
            return Vec::new();
        };
        let mut wanted = Vec::new();
        if member.address != *address {
            wanted.push(TopologyCommand::SetAddress {
                node,
                address: address.clone(),
            });
        }
        let shard = self.topology.shards.get(&member.shard);
        let orphaned = shard.is_some_and(|shard| {
            shard.primary == node
                && shard.primary_incarnation < incarnation
                && self.topology.members_of(member.shard).count() == 1
        });
        if orphaned {
            wanted.push(TopologyCommand::Promote { node, incarnation });
        }
        wanted
    }

    /// The witness at the address that it says it has.
    fn wanted_for_witness(&self) -> Option<TopologyCommand> {
        let witness = self.topology.witness.as_ref()?;
        let (address, _) = self.announced(witness.id)?;
        (witness.address != *address).then(|| TopologyCommand::SetWitness {
            witness: Witness {
                id: witness.id,
                address: address.clone(),
            },
        })
    }

    /// What `node` says of itself, as far as it has spoken since this process started.
    fn announced(&self, node: NodeId) -> Option<(&Address, u64)> {
        if node == self.me {
            return Some((&self.config.address, self.incarnation));
        }
        let peer = self.peers.get(node).filter(|peer| peer.spoke)?;
        Some((peer.address.as_ref()?, peer.incarnation))
    }
}
