//! The replicated state machine: the topology, and what each proposer's last proposals came to.
//!
//! Every voter applies the same entries in the same order, so nothing here may depend on anything else. The outcomes are
//! part of the state because a proposal may be in the log twice (its proposer retries when a leader is lost); the second
//! entry must change nothing and must be answered like the first.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::topology::{NodeId, Topology, TopologyCommand};

/// Names a proposal for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ProposalId {
    pub(crate) node: NodeId,
    /// The proposer's incarnation; they rise with every start of a node.
    pub(crate) incarnation: u64,
    /// Counts within the incarnation.
    pub(crate) sequence: u64,
}

/// The content of a log entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proposal {
    pub(crate) id: ProposalId,
    pub(crate) command: TopologyCommand,
}

/// The index at which a proposal was applied, or why it was refused.
pub(crate) type Outcome = Result<u64, String>;

/// Outcomes remembered for each proposer.
const REMEMBERED: usize = 128;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) topology: Topology,
    sessions: BTreeMap<NodeId, Session>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    incarnation: u64,
    /// Outcomes up to this sequence number are forgotten.
    floor: u64,
    outcomes: BTreeMap<u64, Outcome>,
}

impl Machine {
    pub(crate) fn new(topology: Topology) -> Self {
        Self {
            topology,
            sessions: BTreeMap::new(),
        }
    }

    /// What became of a proposal that was applied before, or why it can no longer be.
    pub(crate) fn recall(&self, id: ProposalId) -> Option<Outcome> {
        let session = self.sessions.get(&id.node)?;
        if id.incarnation < session.incarnation {
            return Some(Err("The proposer has restarted since".to_owned()));
        }
        if id.incarnation > session.incarnation {
            return None;
        }
        let outcome = session.outcomes.get(&id.sequence).cloned();
        if outcome.is_none() && id.sequence <= session.floor {
            return Some(Err("The proposal is too old".to_owned()));
        }
        outcome
    }

    /// Applies the entry at `index`, at most once for each proposal.
    pub(crate) fn apply(&mut self, index: u64, proposal: &Proposal) -> Outcome {
        let id = proposal.id;
        let recalled = self.recall(id);
        if let Some(outcome) = recalled {
            self.topology.index = index;
            return outcome;
        }
        if !self.topology.takes_part(id.node) {
            self.topology.index = index;
            return Err("The proposer is not a member of the cluster".to_owned());
        }
        let outcome = self
            .topology
            .apply(index, &proposal.command)
            .map(|()| index)
            .map_err(|refusal| refusal.to_string());
        self.keep_sessions(&proposal.command, &outcome);
        if self.topology.takes_part(id.node) {
            self.remember(id, outcome.clone());
        }
        outcome
    }

    /// A member that joins begins a session, so that what it proposed in an earlier life stays refused; one that leaves ends it.
    fn keep_sessions(&mut self, command: &TopologyCommand, outcome: &Outcome) {
        match command {
            TopologyCommand::AddMember {
                member,
                incarnation,
                ..
            } if outcome.is_ok() => {
                let session = Session {
                    incarnation: *incarnation,
                    ..Session::default()
                };
                self.sessions.insert(member.id, session);
            }
            TopologyCommand::RemoveMember { node } if outcome.is_ok() => {
                self.sessions.remove(node);
            }
            TopologyCommand::SetWitness { .. } | TopologyCommand::RemoveWitness => {
                let topology = &self.topology;
                self.sessions.retain(|node, _| topology.takes_part(*node));
            }
            _ => {}
        }
    }

    fn remember(&mut self, id: ProposalId, outcome: Outcome) {
        let session = self.sessions.entry(id.node).or_default();
        if session.incarnation != id.incarnation {
            *session = Session {
                incarnation: id.incarnation,
                ..Session::default()
            };
        }
        session.outcomes.insert(id.sequence, outcome);
        while session.outcomes.len() > REMEMBERED {
            if let Some((oldest, _)) = session.outcomes.pop_first() {
                session.floor = oldest;
            }
        }
    }
}
