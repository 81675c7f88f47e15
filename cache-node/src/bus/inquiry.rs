//! What the members of a shard have when its primary can tell clients nothing more: the leader asks them, and looks at answers only.
//!
//! What nodes say of themselves in heartbeats may be from before the primary's last words. An answer to a question that was put after the
//! primary's end, or the end of its lease, names everything that clients were told this node has.

use std::collections::BTreeMap;

use super::message::Body;
use super::request::LocalStatus;
use super::restore::Candidate;
use super::{Bus, TICK_MS};
use crate::topology::{NodeId, Shard, ShardId};

/// How long members that seem to be alive are waited for, when those that have answered would do. In ms.
const PATIENCE: u64 = 2 * TICK_MS;

/// Answers that have led to nothing are worth nothing after this, and all are asked anew. In ms.
const WORTH: u64 = 10 * TICK_MS;

/// One question, to all members of a shard.
#[derive(Debug)]
pub(super) struct Inquiry {
    /// The shard's epoch, with which the question is over.
    epoch: u64,
    number: u64,
    began: u64,
    next_ask: u64,
    answers: BTreeMap<NodeId, Candidate>,
}

/// The questions of this node as a leader, and those that it has not answered yet.
#[derive(Debug, Default)]
pub(super) struct Inquiries {
    open: BTreeMap<ShardId, Inquiry>,
    /// Counts questions.
    last: u64,
    /// Who waits for this node's status: node, incarnation and number of the question.
    asked: Vec<(NodeId, u64, u64)>,
    /// This node's status is wanted at once.
    pub(super) wants_status: bool,
}

impl Inquiries {
    /// Ends the questions about all other shards than these.
    pub(super) fn retain(&mut self, failed: &[(ShardId, Shard)]) {
        let epoch = |id: &ShardId| failed.iter().find(|(it, _)| it == id);
        self.open
            .retain(|id, inquiry| epoch(id).is_some_and(|(_, it)| it.epoch == inquiry.epoch));
    }
}

impl Bus {
    /// What the members of a shard have answered, as soon as that is enough to decide by: everybody who seems to be alive has, or those who
    /// have were waited beside for long enough. Asks them, if that is due.
    pub(super) fn inquire(&mut self, id: ShardId, shard: &Shard) -> Option<Vec<Candidate>> {
        let members: Vec<NodeId> = self.topology.members_of(id).map(|it| it.id).collect();
        let now = self.now;
        let inquiries = &mut self.inquiries;
        let open = inquiries.open.get(&id);
        if open.is_none_or(|inquiry| now > inquiry.began + WORTH) {
            inquiries.last += 1;
            let inquiry = Inquiry {
                epoch: shard.epoch,
                number: inquiries.last,
                began: now,
                next_ask: now,
                answers: BTreeMap::new(),
            };
            inquiries.open.insert(id, inquiry);
        }
        let inquiry = inquiries.open.get_mut(&id)?;
        let silent = members.iter().copied();
        let silent: Vec<NodeId> = silent
            .filter(|node| !inquiry.answers.contains_key(node))
            .collect();
        let (number, began) = (inquiry.number, inquiry.began);
        if now >= inquiry.next_ask {
            inquiry.next_ask = now + TICK_MS;
            for node in &silent {
                self.ask_status(*node, number);
            }
        }
        let answers = self.inquiries.open.get(&id)?.answers.values().copied();
        let answers: Vec<Candidate> = answers.collect();
        let awaited = silent.iter().any(|node| self.is_heard(*node));
        let patient = awaited && now < began + PATIENCE;
        let lacks = self.lacks_answers(shard, &members, &answers);
        (!patient && !lacks).then_some(answers)
    }

    /// Whether a replica that has not answered, or has lost its data, may have been the only one with what clients were told: of `n` replicas `k`
    /// have it, so that any `n - k + 1` that are whole are enough. When all members have answered, there is nobody else to wait for.
    fn lacks_answers(&self, shard: &Shard, members: &[NodeId], answers: &[Candidate]) -> bool {
        // What a primary that is no more has told, or else what the others would do in its place.
        let known = members.iter().map(|node| self.told(*node));
        let known = known.chain(answers.iter().map(|answer| answer.status));
        let copies = known.map(|status| usize::from(status.synchronous));
        let Some(copies) = copies.filter(|copies| *copies > 0).min() else {
            return false;
        };
        let whole = answers.iter().filter(|answer| answer.is_whole(shard));
        answers.len() < members.len() && whole.count() + copies < members.len()
    }

    /// What a node said of itself last.
    fn told(&self, node: NodeId) -> LocalStatus {
        if node == self.me {
            return self.status;
        }
        let peer = self.peers.get(node);
        peer.map_or_else(LocalStatus::default, |peer| peer.status)
    }

    fn is_heard(&self, node: NodeId) -> bool {
        node == self.me || !self.peers.suspected(node, self.now)
    }

    fn ask_status(&mut self, node: NodeId, number: u64) {
        if node == self.me {
            self.receive_inquiry(self.me, self.incarnation, number);
        } else {
            self.send(node, Body::AskStatus { number });
        }
    }

    /// Somebody wants to know what this node has, from now on.
    pub(super) fn receive_inquiry(&mut self, from: NodeId, incarnation: u64, number: u64) {
        let asked = &mut self.inquiries.asked;
        if !asked.contains(&(from, incarnation, number)) {
            asked.retain(|(node, ..)| *node != from || *node == self.me);
            asked.push((from, incarnation, number));
        }
        self.inquiries.wants_status = true;
    }

    /// Answers with the status that has just come.
    pub(super) fn answer_inquiries(&mut self) {
        for (node, incarnation, number) in std::mem::take(&mut self.inquiries.asked) {
            let status = self.status;
            if node == self.me {
                self.receive_status(node, self.incarnation, number, status);
            } else {
                let body = Body::Status {
                    incarnation,
                    number,
                    status,
                };
                self.send(node, body);
            }
        }
    }

    /// A member answers.
    pub(super) fn receive_status(
        &mut self,
        node: NodeId,
        incarnation: u64,
        number: u64,
        status: LocalStatus,
    ) {
        let mut open = self.inquiries.open.values_mut();
        let Some(inquiry) = open.find(|inquiry| inquiry.number == number) else {
            return;
        };
        let answer = Candidate {
            node,
            incarnation,
            status,
        };
        inquiry.answers.insert(node, answer);
        self.fail_over();
    }
}
