//! This node's proposals on their way to the leader, and other nodes' on their way through this one.

use std::collections::BTreeMap;

use rand::seq::IteratorRandom;

use super::machine::{Outcome, Proposal, ProposalId};
use super::message::Body;
use super::{Bus, Destination, REQUEST_MS, RETRY_MS, RequestError};
use crate::topology::TopologyCommand;

/// A proposal is handed on at most this often: to a voter, and from there to the leader.
const MOST_HOPS: u8 = 2;

/// Who waits for the outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A request of this node.
    Request(u64),
    /// This node's own wish to leave.
    Leaving,
    /// A node that wants to join.
    Joiner { to: Destination, token: u64 },
    /// Nobody: a duty of the leader.
    Duty,
}

/// Proposals that have no outcome yet, by sequence number.
#[derive(Default)]
pub(super) struct Proposals {
    last: u64,
    pending: BTreeMap<u64, Pending>,
}

struct Pending {
    command: TopologyCommand,
    origin: Origin,
    deadline: u64,
    retry: u64,
    /// It is committed at this index, which this node may not have seen yet.
    committed: Option<u64>,
}

impl Proposals {
    /// Whether the same change is on its way already.
    pub(super) fn contains(&self, command: &TopologyCommand) -> bool {
        self.pending
            .values()
            .any(|pending| pending.command == *command)
    }
}

impl Bus {
    pub(super) fn propose(&mut self, command: TopologyCommand, origin: Origin) {
        self.proposals.last += 1;
        let sequence = self.proposals.last;
        let pending = Pending {
            command,
            origin,
            deadline: self.now + REQUEST_MS,
            retry: self.now,
            committed: None,
        };
        self.proposals.pending.insert(sequence, pending);
        self.try_proposal(sequence);
    }

    /// Sends a proposal to the leader, or to some voter when the leader is not known.
    fn try_proposal(&mut self, sequence: u64) {
        let Some(pending) = self.proposals.pending.get_mut(&sequence) else {
            return;
        };
        pending.retry = self.now + RETRY_MS;
        let is_duty = pending.origin == Origin::Duty;
        let proposal = Proposal {
            id: ProposalId {
                node: self.me,
                incarnation: self.incarnation,
                sequence,
            },
            command: pending.command.clone(),
        };
        if self.leads() {
            self.accept(&proposal);
            self.ask_for_lease_with(&proposal.command);
            return;
        }
        if is_duty {
            // It is the next leader's: what this one knew of leases and failures, that one does not.
            self.proposals.pending.remove(&sequence);
            return;
        }
        let leader = self.leader().filter(|node| *node != self.me);
        let others = self.topology.voters.iter().copied();
        let target =
            leader.or_else(|| others.filter(|node| *node != self.me).choose(&mut self.rng));
        if let Some(node) = target {
            let command = proposal.command.clone();
            self.send(node, Body::Forward { proposal, hops: 1 });
            self.ask_for_lease_with(&command);
        }
    }

    fn leads(&self) -> bool {
        self.consensus
            .as_ref()
            .is_some_and(super::Consensus::is_leader)
    }

    fn accept(&mut self, proposal: &Proposal) {
        if self.must_wait_for_lease(&proposal.command) {
            // It is proposed again.
            return;
        }
        let consensus = self.consensus.as_mut();
        if let Some(outcome) = consensus.and_then(|consensus| consensus.propose(proposal)) {
            self.conclude(proposal.id, outcome);
        }
    }

    pub(super) fn receive_forward(&mut self, proposal: Proposal, hops: u8) {
        if self.leads() {
            self.accept(&proposal);
        } else if hops < MOST_HOPS
            && let Some(leader) = self.leader().filter(|node| *node != self.me)
        {
            let hops = hops + 1;
            self.send(leader, Body::Forward { proposal, hops });
        }
    }

    /// A proposal was applied here.
    pub(super) fn conclude(&mut self, id: ProposalId, outcome: Outcome) {
        if id.node == self.me && id.incarnation == self.incarnation {
            self.receive_answer(id.sequence, outcome);
        } else if self.leads() {
            let answer = Body::Answer {
                incarnation: id.incarnation,
                sequence: id.sequence,
                outcome,
            };
            self.send(id.node, answer);
        }
    }

    pub(super) fn receive_answer(&mut self, sequence: u64, outcome: Outcome) {
        match outcome {
            Ok(index) => {
                if let Some(pending) = self.proposals.pending.get_mut(&sequence) {
                    pending.committed = Some(index);
                }
            }
            Err(reason) => {
                if let Some(pending) = self.proposals.pending.remove(&sequence) {
                    self.answer(pending.origin, Err(RequestError::Refused(reason)));
                }
            }
        }
    }

    pub(super) fn retry_proposals(&mut self) {
        let due: Vec<u64> = self
            .proposals
            .pending
            .iter()
            .filter(|(_, pending)| pending.committed.is_none() && pending.retry <= self.now)
            .map(|(sequence, _)| *sequence)
            .collect();
        for sequence in due {
            self.try_proposal(sequence);
        }
    }

    /// Answers what is committed and visible here, and what has taken too long.
    pub(super) fn finish_proposals(&mut self) {
        let done: Vec<u64> = self
            .proposals
            .pending
            .iter()
            .filter(|(_, pending)| pending.deadline <= self.now || self.is_visible(pending))
            .map(|(sequence, _)| *sequence)
            .collect();
        for sequence in done {
            if let Some(pending) = self.proposals.pending.remove(&sequence) {
                let result = pending.committed.ok_or(RequestError::TimedOut(REQUEST_MS));
                self.answer(pending.origin, result);
            }
        }
    }

    fn is_visible(&self, pending: &Pending) -> bool {
        if pending.committed.is_none_or(|at| at > self.topology.index) {
            return false;
        }
        match &pending.command {
            // Who is told that a node is gone may stop it at once: its vote must not be needed any more.
            TopologyCommand::RemoveMember { node } if pending.origin != Origin::Leaving => {
                !self.topology.voters.contains(node) && !self.topology.learners.contains(node)
            }
            _ => true,
        }
    }

    fn answer(&mut self, origin: Origin, result: Result<u64, RequestError>) {
        match (origin, result) {
            (Origin::Request(token), result) => self.reply(token, result),
            (Origin::Leaving, Err(error)) => self.delay_leaving(error),
            (Origin::Leaving, Ok(_)) => self.tick_leaving(),
            (Origin::Joiner { to, token }, Err(error)) => {
                let reason = error.to_string();
                self.send_to(to, Body::JoinRefused { token, reason });
            }
            (Origin::Joiner { to, .. }, Ok(_)) => {
                self.send_to(to, Body::Topology(self.topology.clone()));
            }
            (Origin::Duty, _) => {}
        }
    }

    /// The consensus group in which they were proposed is no more.
    pub(super) fn fail_proposals(&mut self) {
        for (_, pending) in std::mem::take(&mut self.proposals.pending) {
            self.answer(pending.origin, Err(RequestError::Reformed));
        }
    }
}
