//! Failover: what the leader does about a primary that has failed.
//!
//! A primary has failed when a majority of the voters suspects it. Another one follows when the failed one can take no writes any more:
//! its process is proved dead, or its lease is over. Then its replicas are asked what they have (`inquiry`), and the one with the most data
//! becomes primary, if it has ever had all of its primary's.
//! When nobody has, because all have restarted, what they have brought from their disks decides (`restore`).

use super::Bus;
use super::consensus::Consensus;
use super::proposals::Origin;
use super::restore::{self, Candidate};
use crate::topology::{NodeId, Shard, ShardId, TopologyCommand};

impl Bus {
    /// Proposes new primaries where the present ones have failed.
    pub(super) fn fail_over(&mut self) {
        let leads = self
            .consensus
            .as_ref()
            .is_some_and(Consensus::is_settled_leader);
        if !leads || self.is_frozen() || !self.may_judge() {
            return;
        }
        self.watch_starving();
        let failed: Vec<(ShardId, Shard)> = self
            .topology
            .shards
            .iter()
            .filter(|(_, shard)| self.has_failed(shard))
            .map(|(id, shard)| (*id, shard.clone()))
            .collect();
        self.inquiries.retain(&failed);
        for (id, shard) in failed {
            let Some(answers) = self.inquire(id, &shard) else {
                continue;
            };
            let successor = successor(&shard, &answers);
            let Some((node, incarnation)) =
                successor.or_else(|| self.restorer(id, &shard, &answers))
            else {
                continue;
            };
            let command = TopologyCommand::HandOver {
                node,
                incarnation,
                epoch: shard.epoch,
            };
            if !self.proposals.contains(&command) {
                self.propose(command, Origin::Duty);
            }
        }
    }

    /// A group that was re-formed by force may be one of two, and the other one may have most of the primaries: this one judges only with
    /// most of the members in sight, and of the witness, if that votes here, and so no more in the other.
    fn may_judge(&self) -> bool {
        if self.topology.generation == 1 {
            return true;
        }
        let topology = &self.topology;
        let witness = topology.witness.iter().map(|it| it.id);
        let witness = witness.filter(|node| topology.voters.contains(node));
        let all: Vec<NodeId> = topology.members.keys().copied().chain(witness).collect();
        let seen = all
            .iter()
            .filter(|node| **node == self.me || !self.peers.suspected(**node, self.now))
            .count();
        seen > all.len() / 2
    }

    /// The shard's primary is given up, and takes no writes any more.
    fn has_failed(&self, shard: &Shard) -> bool {
        let primary = shard.primary;
        if self.has_restarted(shard) {
            return true;
        }
        if self.is_given_up(primary) && !self.may_hold_lease(primary) {
            return true;
        }
        let suspected = primary != self.me && self.peers.suspected(primary, self.now);
        suspected
            && self
                .peers
                .report(primary, &self.topology, self.me, self.now)
                .failed
            && (self.is_gone(shard) || !self.may_hold_lease(primary))
    }

    /// Whether the process that was the shard's primary is proved to have ended.
    pub(super) fn is_dead(&self, shard: &Shard) -> bool {
        self.has_restarted(shard) || self.is_gone(shard)
    }

    fn is_gone(&self, shard: &Shard) -> bool {
        let incarnation = shard.primary_incarnation;
        self.peers
            .is_gone(shard.primary, incarnation, &self.topology, self.now)
    }

    /// The shard's primary speaks in a later incarnation than the one that may serve.
    fn has_restarted(&self, shard: &Shard) -> bool {
        if shard.primary == self.me {
            return shard.primary_incarnation != self.incarnation;
        }
        self.peers
            .get(shard.primary)
            .is_some_and(|peer| peer.spoke && peer.incarnation > shard.primary_incarnation)
    }

    /// Who goes on when the primary has restarted and nobody has all that it had: see [`restore::choose`].
    fn restorer(&self, id: ShardId, shard: &Shard, answers: &[Candidate]) -> Option<(NodeId, u64)> {
        let all = self.topology.members_of(id).count() == answers.len();
        if !all || !self.has_restarted(shard) {
            return None;
        }
        let chosen = restore::choose(shard.primary, answers)?;
        Some((chosen.node, chosen.incarnation))
    }
}

/// The replica with the most data among those that have had all of their primary's: itself and its incarnation.
fn successor(shard: &Shard, answers: &[Candidate]) -> Option<(NodeId, u64)> {
    let best = answers
        .iter()
        .filter(|member| member.is_whole(shard))
        .max_by_key(|member| (member.status.offset, member.node))?;
    Some((best.node, best.incarnation))
}
