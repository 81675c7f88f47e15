//! How long what a former leader has granted may last.
//!
//! A leader grants a lease when a majority of the voters has confirmed, after the question came, that it leads (`lease`). A voter confirms
//! nothing to a former leader once it is in a later term. So when a majority of the voters has told a new leader, in its term, when each of
//! them answered a former leader last, then at least one of them has confirmed each lease that there may be, and none counts from a later
//! moment than the last of these answers. That is earlier than the election by the time that it took to miss the former leader.
//!
//! Moments are told as times ago, since clocks are not compared, and a part of that is taken away because clocks do not run equally fast.

use std::collections::{BTreeMap, BTreeSet};

use super::Bus;
use super::consensus::Consensus;
use super::lease::DRIFT;
use super::message::Body;
use crate::topology::NodeId;

/// When this node's seat heard the leaders of its last terms, in ms of its clock. It has led when it was the leader itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Followed {
    /// The newest term in which it heard a leader, and when that was last.
    newest: (u64, u64),
    /// When it heard a leader of an earlier term last.
    earlier: u64,
}

impl Followed {
    /// Of a process that started at `now`: an earlier one may have heard a leader until then.
    pub(super) fn since(now: u64) -> Self {
        Self {
            newest: (0, now),
            earlier: now,
        }
    }

    fn note(&mut self, term: u64, now: u64) {
        let (newest, at) = &mut self.newest;
        if term > *newest {
            self.earlier = *at;
            *newest = term;
        }
        *at = now;
    }

    /// When a leader of a term before `term` was heard last.
    fn before(&self, term: u64) -> u64 {
        let (newest, at) = self.newest;
        if newest < term { at } else { self.earlier }
    }
}

/// What a leader knows of the leases of its predecessors.
#[derive(Default)]
pub(super) struct Former {
    /// The voters when it was elected.
    voters: BTreeSet<NodeId>,
    /// When each of them answered a former leader last, at most, in ms of this node's clock.
    answered: BTreeMap<NodeId, u64>,
}

impl Former {
    pub(super) fn of(voters: &BTreeSet<NodeId>) -> Self {
        Self {
            voters: voters.clone(),
            answered: BTreeMap::new(),
        }
    }

    /// The latest moment at which a former leader's lease can have begun, if a majority has answered. It must be of the voters of both
    /// leaders: of `voters` now, too, since then no seat has changed hands in between.
    fn latest(&self, voters: &BTreeSet<NodeId>) -> Option<u64> {
        let mut answered: Vec<u64> = self.answered.values().copied().collect();
        answered.sort_unstable();
        let majority = self.voters.len() / 2;
        answered
            .get(majority)
            .copied()
            .filter(|_| self.voters == *voters)
    }
}

impl Bus {
    /// Takes note of the leader that the seat follows, or that it is one, as far as `from` shows that now.
    pub(super) fn note_leader(&mut self, from: NodeId) {
        let Some(consensus) = &self.consensus else {
            return;
        };
        if consensus.leader() == Some(from) {
            self.followed.note(consensus.term(), self.now);
        }
    }

    /// Asks the voters when they answered a former leader last, as long as that matters.
    pub(super) fn ask_for_former(&mut self) {
        let Some((term, since)) = self.grants.leads else {
            return;
        };
        if self.now > since + self.config.node_timeout {
            return;
        }
        let mine = self.followed.before(term);
        self.grants.former.answered.insert(self.me, mine);
        let former = &self.grants.former;
        let open = former.voters.iter().copied();
        let open = open.filter(|node| !former.answered.contains_key(node));
        for node in open.collect::<Vec<_>>() {
            self.send(node, Body::AskFollowed { term });
        }
    }

    /// The leader of this term asks.
    pub(super) fn answer_followed(&mut self, from: NodeId, term: u64) {
        if self.consensus.as_ref().map(Consensus::term) != Some(term) {
            // Not yet, or not any more: it asks again.
            return;
        }
        let ago = self.now - self.followed.before(term).min(self.now);
        self.send(from, Body::Followed { term, ago });
    }

    /// A voter has answered.
    pub(super) fn receive_followed(&mut self, from: NodeId, term: u64, ago: u64) {
        if self.grants.leads.map(|(term, _)| term) != Some(term) {
            return;
        }
        let former = &mut self.grants.former;
        if former.voters.contains(&from) {
            let at = self.now.saturating_sub(ago - ago / DRIFT);
            // The first answer says the most, and none says anything wrong.
            former.answered.entry(from).or_insert(at);
        }
    }

    /// The latest moment at which a lease can have begun that a former leader granted, in ms of this leader's clock.
    pub(super) fn former_leases(&self) -> u64 {
        let elected = self.grants.leads.map_or(self.now, |(_, since)| since);
        let latest = self.grants.former.latest(&self.topology.voters);
        latest.map_or(elected, |latest| latest.min(elected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_leader_of_an_earlier_term_counts() {
        let mut followed = Followed::since(5);
        assert_eq!(followed.before(9), 5);
        followed.note(3, 10);
        followed.note(3, 20);
        assert_eq!((followed.before(3), followed.before(4)), (5, 20));
        followed.note(4, 30);
        assert_eq!((followed.before(4), followed.before(5)), (20, 30));
    }

    #[test]
    fn a_majority_of_the_same_voters_is_needed() {
        let ids: BTreeSet<NodeId> = (1..=5).map(|id| NodeId::new([id; 20])).collect();
        let mut former = Former::of(&ids);
        for (node, at) in ids.iter().zip([40, 10, 30]) {
            assert_eq!(former.latest(&ids), None);
            former.answered.insert(*node, at);
        }
        assert_eq!(former.latest(&ids), Some(40));
        former.answered.insert(NodeId::new([4; 20]), 20);
        // Any three will do.
        assert_eq!(former.latest(&ids), Some(30));
        let fewer: BTreeSet<NodeId> = ids.iter().copied().skip(1).collect();
        assert_eq!(former.latest(&fewer), None);
    }
}
