//! Leaving the cluster (`CLUSTER RESET`), and forming a new consensus group by force (`CLUSTER FAILOVER TAKEOVER`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::Rng;

use super::consensus::Consensus;
use super::former::Confirmations;
use super::proposals::Origin;
use super::{Bus, REQUEST_MS, RequestError};
use crate::topology::{NodeId, TopologyCommand};

/// A reset under way.
pub(super) struct Leaving {
    token: u64,
    hard: bool,
    deadline: u64,
    /// Why the last step was refused.
    refused: Option<RequestError>,
}

/// How long a refused step is tried again, in ms: this node may not have seen yet what the refusal is about.
const REFUSED_MS: u64 = 1_000;

impl Bus {
    pub(super) fn begin_leaving(&mut self, token: u64, hard: bool) {
        let busy = self.leaving.is_some() || self.is_frozen();
        let reason = if busy {
            Some("This node is joining or leaving a cluster already")
        } else if self.status.keys > 0 && self.topology.is_primary(self.me) {
            Some("CLUSTER RESET can't be called with master nodes containing keys")
        } else {
            None
        };
        if let Some(reason) = reason {
            self.reply(token, Err(RequestError::Refused(reason.to_owned())));
            return;
        }
        self.leaving = Some(Leaving {
            token,
            hard,
            deadline: self.now + REQUEST_MS,
            refused: None,
        });
        self.tick_leaving();
    }

    /// Goes one step on: gives up the slots, then the membership, then the seat in the consensus group.
    pub(super) fn tick_leaving(&mut self) {
        let Some(leaving) = &self.leaving else {
            return;
        };
        if self.is_alone() || (!self.is_member() && !self.has_seat()) {
            let (token, hard) = (leaving.token, leaving.hard);
            self.leaving = None;
            self.begin_anew(hard);
            self.reply(token, Ok(self.topology.index));
            return;
        }
        if leaving.deadline <= self.now {
            let error = leaving.refused.clone();
            self.fail_leaving(error.unwrap_or(RequestError::TimedOut(REQUEST_MS)));
            return;
        }
        let Some((_, shard)) = self.topology.shard_of(self.me) else {
            return;
        };
        let step = if shard.primary == self.me && !shard.slots.is_empty() {
            TopologyCommand::RemoveSlots {
                slots: shard.slots.clone(),
            }
        } else {
            TopologyCommand::RemoveMember { node: self.me }
        };
        if !self.proposals.contains(&step) {
            self.propose(step, Origin::Leaving);
        }
    }

    /// A step was refused or not committed in time.
    pub(super) fn delay_leaving(&mut self, error: RequestError) {
        if let Some(leaving) = &mut self.leaving
            && leaving.refused.is_none()
        {
            leaving.refused = Some(error);
            leaving.deadline = leaving.deadline.min(self.now + REFUSED_MS);
        }
    }

    fn fail_leaving(&mut self, error: RequestError) {
        // What tells that this node is no member any more is no failure: the next tick sees it.
        if self.is_member()
            && let Some(leaving) = self.leaving.take()
        {
            self.reply(leaving.token, Err(error));
        }
    }

    /// Becomes the only member of a new cluster, in a new life.
    fn begin_anew(&mut self, hard: bool) {
        if hard {
            self.me = NodeId::new(self.rng.random());
        }
        self.incarnation += 1;
        let topology =
            super::fresh_topology(&self.config, self.me, self.incarnation, &mut self.rng);
        self.peers.clear();
        self.regroup(topology);
        self.forget_lease();
    }

    /// Begins the next generation with this node as its only voter.
    pub(super) fn take_over(&mut self, token: u64) {
        if !self.is_member() || self.is_frozen() {
            let reason = "This node is not a member of a cluster".to_owned();
            self.reply(token, Err(RequestError::Refused(reason)));
            return;
        }
        let mut topology = (*self.topology).clone();
        topology.generation += 1;
        topology.founder = self.me;
        topology.index += 1;
        topology.voters = BTreeSet::from([self.me]);
        topology.learners = BTreeSet::new();
        // The moves' other ends may be gone with the old group; whoever still wants them begins them again.
        topology.migrations = BTreeMap::new();
        self.regroup(topology);
        let promote = TopologyCommand::Promote {
            node: self.me,
            incarnation: self.incarnation,
        };
        self.propose(promote, Origin::Request(token));
    }

    fn regroup(&mut self, topology: crate::topology::Topology) {
        self.fail_proposals();
        let election = super::election_ticks(&self.config);
        self.consensus = Some(Consensus::found(self.me, topology.clone(), election));
        self.confirmations = Confirmations::since(self.now);
        self.history.forget(topology.index);
        self.replace_topology(Arc::new(topology));
        self.turns.clear();
        self.outbox.persist = true;
    }
}
