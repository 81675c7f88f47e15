//! Who hears whom. In a small cluster everybody hears everybody. In a big one that would be thousands of messages a second at each node, so there
//! only the voters hear everybody, since it is they who decide who has failed; everybody hears the leader, which tells what they have decided, and
//! a few others at random, from whom it learns the rest sooner or later.

use rand::seq::{IteratorRandom, SliceRandom};

use super::consensus::Consensus;
use super::{Bus, HEARTBEAT_MS};
use crate::topology::NodeId;

/// Least number of peers that get a heartbeat in each round.
const LEAST_PEERS: usize = 8;
/// Everybody hears everybody in clusters up to this size, however short the node timeout.
const SMALL: usize = 16;

/// What a node does for the others to know who is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// In a small cluster: hears everybody, and is heard by everybody.
    Equal,
    /// In a big one: hears everybody, and is heard by everybody.
    Leader,
    /// Hears everybody.
    Voter,
    /// Hears the leader, and is heard by the voters.
    Other,
}

/// Nodes that get heartbeats one after another.
#[derive(Default)]
pub(super) struct Turns {
    /// All of them in a random order, each before anybody's second turn.
    everybody: Vec<NodeId>,
    voters: Vec<NodeId>,
}

impl Turns {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Bus {
    pub(super) fn part(&self) -> Part {
        let members = self.topology.members.len();
        if members <= SMALL.max(LEAST_PEERS * self.rounds() + 1) {
            return Part::Equal;
        }
        let leads = self.consensus.as_ref().is_some_and(Consensus::is_leader);
        match self.topology.voters.contains(&self.me) {
            true if leads => Part::Leader,
            true => Part::Voter,
            false => Part::Other,
        }
    }

    /// Rounds of heartbeats in a quarter of the node timeout: so soon is everybody heard again who has to be.
    fn rounds(&self) -> usize {
        (self.config.node_timeout / 4 / HEARTBEAT_MS).max(1) as usize
    }

    /// Time between two heartbeats of the same node, as this one hears them, in ms.
    pub(super) fn interval(&self, part: Part) -> u64 {
        let rounds = match part {
            Part::Equal => self.listeners().count().div_ceil(LEAST_PEERS).max(1),
            _ => usize::MAX,
        };
        HEARTBEAT_MS * rounds.min(self.rounds()) as u64
    }

    /// Who gets a heartbeat in this round.
    pub(super) fn audience(&mut self, part: Part) -> Vec<NodeId> {
        let rounds = self.rounds();
        let others = self.listeners().count();
        let (everybody, voters) = match part {
            Part::Equal => (LEAST_PEERS.max(others.div_ceil(rounds)), 0),
            Part::Leader => (others.div_ceil(rounds), usize::MAX),
            Part::Voter => (LEAST_PEERS, usize::MAX),
            Part::Other => (LEAST_PEERS, self.topology.voters.len().div_ceil(rounds)),
        };
        let mut audience: Vec<NodeId> = (0..everybody.min(others))
            .filter_map(|_| self.next_peer())
            .collect();
        for _ in 0..voters.min(self.topology.voters.len()) {
            let voter = self.next_voter();
            audience.extend(voter.filter(|voter| !audience.contains(voter)));
        }
        audience
    }

    /// The other members, the witness, and who has left but not yet given back its seat: it may be the leader.
    pub(super) fn listeners(&self) -> impl Iterator<Item = NodeId> {
        let topology = &self.topology;
        let seats = topology.voters.iter().chain(&topology.learners).copied();
        let left = seats.filter(|node| !topology.takes_part(*node));
        let all = topology.participants().map(|(node, _)| node).chain(left);
        all.filter(|node| *node != self.me)
    }

    fn next_peer(&mut self) -> Option<NodeId> {
        if self.turns.everybody.is_empty() {
            self.turns.everybody = self.listeners().collect();
            self.turns.everybody.shuffle(&mut self.rng);
        }
        self.turns.everybody.pop()
    }

    fn next_voter(&mut self) -> Option<NodeId> {
        if self.turns.voters.is_empty() {
            let voters = self.topology.voters.iter().copied();
            self.turns.voters = voters.filter(|node| *node != self.me).collect();
        }
        self.turns.voters.pop()
    }

    /// At most so many members at random that do not vote.
    pub(super) fn some_members(&mut self, most: usize) -> Vec<NodeId> {
        let members = self.topology.members.keys().copied();
        let (me, voters) = (self.me, &self.topology.voters);
        let others = members.filter(|node| *node != me && !voters.contains(node));
        others.choose_multiple(&mut self.rng, most)
    }
}
