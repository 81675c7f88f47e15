//! Heartbeats, and how the newest topology reaches everybody.

use std::cmp::Ordering;
use std::sync::Arc;

use rand::seq::SliceRandom;

use super::consensus::Consensus;
use super::message::{Body, Heartbeat, Message};
use super::{Bus, HEARTBEAT_MS};
use crate::topology::{NodeId, Topology};

/// Least number of peers that get a heartbeat in each round.
const LEAST_PEERS: usize = 8;
/// Most members to which a leader sends a new topology itself; gossip does the rest.
const MOST_PUSHES: usize = 32;

impl Bus {
    /// Everybody gets a heartbeat at least four times within the node timeout; in small clusters, in every round.
    pub(super) fn send_heartbeats(&mut self) {
        if !self.is_member() && !self.has_seat() && self.leaving.is_none() {
            return;
        }
        let others = self.listeners().count();
        let rounds = (self.config.node_timeout / 4 / HEARTBEAT_MS).max(1) as usize;
        let wanted = LEAST_PEERS.max(others.div_ceil(rounds)).min(others);
        let body = self.heartbeat();
        for _ in 0..wanted {
            if let Some(node) = self.next_peer() {
                self.send(node, Body::Heartbeat(body.clone()));
            }
        }
    }

    fn heartbeat(&self) -> Heartbeat {
        let consensus = self.consensus.as_ref();
        Heartbeat {
            status: self.status,
            leader: consensus.and_then(|consensus| Some((consensus.term(), consensus.leader()?))),
            suspects: self.peers.suspects(&self.topology, self.me, self.now),
            gone: self.peers.all_gone(&self.topology),
            starved: self.is_starved(),
        }
    }

    /// Tells the leader, or all voters when that is not known, whom this node suspects.
    fn report_suspicion(&mut self) {
        let leader = self
            .leader()
            .filter(|node| !self.peers.suspected(*node, self.now));
        let voters = self.topology.voters.iter().copied();
        let told: Vec<NodeId> = voters
            .filter(|node| *node != self.me && leader.is_none_or(|leader| leader == *node))
            .collect();
        let body = self.heartbeat();
        for node in told {
            self.send(node, Body::Heartbeat(body.clone()));
        }
    }

    /// A connection to `node` was refused or reset.
    pub(super) fn lose(&mut self, node: NodeId) {
        if self.peers.lost(node) {
            self.report_suspicion();
            self.fail_over();
        }
    }

    /// The process of `node` has ended.
    pub(super) fn bury(&mut self, node: NodeId, at: u64) {
        if !self.peers.gone(node, at) {
            return;
        }
        if let Some(consensus) = &mut self.consensus {
            consensus.leader_gone(node);
        }
        self.report_suspicion();
        self.fail_over();
    }

    /// When somebody has proof that the leader's process has ended, this voter does not wait for it either: its own connection may have been
    /// reset, which proves nothing.
    fn heed_end_of_leader(&mut self) {
        let Some(consensus) = &mut self.consensus else {
            return;
        };
        let Some(leader) = consensus.leader().filter(|leader| *leader != self.me) else {
            return;
        };
        let life = self.peers.get(leader).map_or(0, |peer| peer.incarnation);
        if self.peers.suspected(leader, self.now)
            && self.peers.is_gone(leader, life, &self.topology, self.now)
        {
            consensus.leader_gone(leader);
        }
    }

    /// The other members, and who has left but not yet given back its seat: it may be the leader.
    fn listeners(&self) -> impl Iterator<Item = NodeId> {
        let topology = &self.topology;
        let seats = topology.voters.iter().chain(&topology.learners);
        let left = seats.filter(|node| !topology.members.contains_key(node));
        let all = topology.members.keys().chain(left).copied();
        all.filter(|node| *node != self.me)
    }

    /// All listeners in a random order, each before anybody's second turn.
    fn next_peer(&mut self) -> Option<NodeId> {
        if self.round.is_empty() {
            self.round = self.listeners().collect();
            self.round.shuffle(&mut self.rng);
        }
        self.round.pop()
    }

    /// Sends the topology to members that do not learn it through Raft.
    pub(super) fn push_topology(&mut self) {
        let mut others: Vec<NodeId> = self.topology.members.keys().copied().collect();
        others.retain(|node| *node != self.me && !self.topology.voters.contains(node));
        if others.len() > MOST_PUSHES {
            others.shuffle(&mut self.rng);
            others.truncate(MOST_PUSHES);
        }
        for node in others {
            self.send(node, Body::Topology(self.topology.clone()));
        }
    }

    pub(super) fn receive(&mut self, message: Message) {
        if !message.may_be_for(self.me) {
            return;
        }
        let from = message.sender.node;
        match message.body {
            Body::Meet { .. }
            | Body::MeetReply { .. }
            | Body::Join { .. }
            | Body::JoinRefused { .. } => return self.receive_meeting(message),
            _ if from == self.me => return,
            // A node that is about to join asks before it is in our cluster.
            Body::WantTopology if self.topology.members.contains_key(&from) => {
                return self.send_to(
                    super::Destination {
                        node: Some(from),
                        address: message.sender.address,
                    },
                    Body::Topology(self.topology.clone()),
                );
            }
            _ if message.sender.cluster != self.topology.cluster => {
                return self.receive_foreign(message);
            }
            _ => {}
        }
        if self.peers.heard(&message.sender, self.now) {
            self.receive_known(message);
        }
    }

    /// A message of this cluster.
    fn receive_known(&mut self, message: Message) {
        let from = message.sender.node;
        let (mine, theirs) = (self.topology.version(), message.sender.version);
        if let Body::Topology(topology) = message.body {
            return self.adopt(topology);
        }
        if !mine.same_group(&theirs) || matches!(message.body, Body::Heartbeat(_)) {
            match mine.cmp(&theirs) {
                Ordering::Less => self.send(from, Body::WantTopology),
                Ordering::Greater => self.send(from, Body::Topology(self.topology.clone())),
                Ordering::Equal => {}
            }
        }
        match message.body {
            Body::Heartbeat(heartbeat) => {
                self.peers.heartbeat(from, heartbeat);
                self.heed_end_of_leader();
            }
            Body::WantTopology => self.send(from, Body::Topology(self.topology.clone())),
            // Votes and proposals count only within the group that they were meant for.
            _ if !mine.same_group(&theirs) => {}
            Body::Raft(bytes) => self.step(from, &bytes),
            Body::AskLease { stamp } => {
                self.receive_ask(from, message.sender.incarnation, stamp);
            }
            Body::Lease { incarnation, stamp } => self.receive_lease(incarnation, stamp),
            Body::Forward { proposal, hops } => self.receive_forward(proposal, hops),
            Body::Answer {
                incarnation,
                sequence,
                outcome,
            } if incarnation == self.incarnation => self.receive_answer(sequence, outcome),
            _ => {}
        }
    }

    fn step(&mut self, from: NodeId, bytes: &[u8]) {
        let election = super::election_ticks(&self.config);
        let consensus = self
            .consensus
            .get_or_insert_with(|| Consensus::blank(self.me, election));
        consensus.step(from, bytes, self.topology.index);
    }

    /// Takes over a committed topology of this cluster, if it is newer.
    fn adopt(&mut self, topology: Arc<Topology>) {
        if topology.cluster != self.topology.cluster
            || topology.version() <= self.topology.version()
        {
            return;
        }
        let reformed = !topology.version().same_group(&self.topology.version());
        self.topology = topology;
        self.outbox.publish = true;
        self.outbox.unsaved = true;
        if reformed {
            self.forget_lease();
            self.drop_seat();
            self.fail_proposals();
        } else if self.has_lost_seat() {
            self.drop_seat();
        }
        self.joined();
    }

    /// Whether the committed truth gives this node no seat, and nothing that it holds can be newer than that truth.
    fn has_lost_seat(&self) -> bool {
        let held = self.consensus.as_ref().map(Consensus::last_index);
        !self.has_seat() && held.is_some_and(|last| last <= self.topology.index)
    }

    pub(super) fn drop_seat(&mut self) {
        self.consensus = None;
        self.outbox.persist = true;
    }
}
