//! Heartbeats, and how the newest topology reaches everybody.

use std::cmp::Ordering;
use std::sync::Arc;

use super::audience::Part;
use super::consensus::Consensus;
use super::former::Confirmations;
use super::history::Steps;
use super::message::{Body, Heartbeat, Message};
use super::{Bus, TICK_MS};
use crate::topology::{NodeId, Topology, Version};

/// Most members to which a leader sends a new topology itself; gossip does the rest.
const MOST_PUSHES: usize = 32;
/// In a big cluster, each node that learns something new tells it to so many others at once. All but one in e^4 of them hear of it so.
const PASSED_ON: usize = 4;

impl Bus {
    pub(super) fn send_heartbeats(&mut self) {
        let part = self.part();
        let interval = self.interval(part);
        self.peers.hear_all(part != Part::Other, interval, self.now);
        if !self.takes_part() && !self.has_seat() && self.leaving.is_none() {
            return;
        }
        let suspects = self.suspects(part);
        let to_voters = self.heartbeat(part, true, &suspects);
        let to_others = self.heartbeat(part, false, &suspects);
        for node in self.audience(part) {
            let votes = self.topology.voters.contains(&node);
            let body = if votes { &to_voters } else { &to_others };
            self.send(node, Body::Heartbeat(body.clone()));
        }
    }

    /// In a big cluster, primaries would hear too late of a new leader, and their leases end.
    pub(super) fn announce_leadership(&mut self) {
        let leads = self.consensus.as_ref().filter(|it| it.is_leader());
        let term = leads.map(Consensus::term);
        if term == self.announced {
            return;
        }
        self.announced = term;
        let part = self.part();
        if part != Part::Leader {
            return;
        }
        let body = self.heartbeat(part, false, &self.suspects(part));
        for node in self.listeners().collect::<Vec<_>>() {
            self.send(node, Body::Heartbeat(body.clone()));
        }
    }

    /// Whom this node does not hear, if anybody wants to know.
    fn suspects(&self, part: Part) -> Vec<NodeId> {
        match part {
            Part::Other => Vec::new(),
            _ => self.peers.suspects(&self.topology, self.me, self.now),
        }
    }

    fn heartbeat(&self, part: Part, to_voter: bool, suspects: &[NodeId]) -> Heartbeat {
        let consensus = self.consensus.as_ref();
        let mut heartbeat = Heartbeat {
            leader: consensus.and_then(|consensus| Some((consensus.term(), consensus.leader()?))),
            starved: self.is_starved(),
            status: self.status,
            ..Heartbeat::default()
        };
        // Only what voters suspect counts, and that only among them.
        if part == Part::Equal || (part != Part::Other && to_voter) {
            heartbeat.suspects = suspects.to_vec();
            heartbeat.gone = self.peers.all_gone(&self.topology);
        } else if part == Part::Leader {
            let verdict = self
                .peers
                .verdict(suspects, &self.topology, self.me, self.now);
            heartbeat.verdict = Some(Box::new(verdict));
        }
        heartbeat
    }

    /// Tells the leader, or all voters when that is not known, whom this node suspects.
    fn report_suspicion(&mut self) {
        let part = self.part();
        if part == Part::Other {
            return;
        }
        let leader = self
            .leader()
            .filter(|node| !self.peers.suspected(*node, self.now));
        let voters = self.topology.voters.iter().copied();
        let told: Vec<NodeId> = voters
            .filter(|node| *node != self.me && leader.is_none_or(|leader| leader == *node))
            .collect();
        let body = self.heartbeat(part, true, &self.suspects(part));
        for node in told {
            self.send(node, Body::Heartbeat(body.clone()));
        }
    }

    /// A connection to `node` was refused or reset.
    pub(super) fn lose(&mut self, node: NodeId) {
        if self.peers.lost(node, self.now) {
            self.report_suspicion();
            self.fail_over();
        }
    }

    /// The process of `node` has ended.
    pub(super) fn bury(&mut self, node: NodeId, at: u64) {
        if !self.peers.gone(node, at, self.now) {
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

    /// Tells members that do not learn it through Raft what has changed since the topology of `before`.
    pub(super) fn push_topology(&mut self, before: Version) {
        let body = self.topology_since(before);
        for node in self.some_members(MOST_PUSHES) {
            self.send(node, body.clone());
        }
    }

    /// What somebody needs who knows the topology with this version: the changes since then, if they are known, or the whole.
    fn topology_since(&self, known: Version) -> Body {
        let changes = self.history.since(known.index);
        match changes.filter(|_| known.same_group(&self.topology.version())) {
            Some(steps) => Body::Steps(steps),
            None => Body::Topology(self.topology.clone()),
        }
    }

    /// Asks somebody who knows more for the topology, unless somebody was asked just now.
    fn want_topology(&mut self, from: NodeId) {
        if self.now >= self.next_want {
            self.next_want = self.now + TICK_MS;
            self.send(from, Body::WantTopology);
        }
    }

    /// Helps somebody who knows an older topology.
    fn offer_topology(&mut self, to: NodeId, known: Version) {
        let part = self.part();
        match self.topology_since(known) {
            // Many see at the same time that it is behind: this tells it, and it asks one of them.
            Body::Topology(_) if part != Part::Equal => {
                let votes = self.topology.voters.contains(&to);
                let body = self.heartbeat(part, votes, &self.suspects(part));
                self.send(to, Body::Heartbeat(body));
            }
            body => self.send(to, body),
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
            | Body::JoinRefused { .. } => {
                if !self.observes {
                    self.receive_meeting(message);
                }
                return;
            }
            _ if from == self.me => return,
            // A node that is about to join asks before it is in our cluster.
            Body::WantTopology
                if message.sender.cluster != self.topology.cluster
                    && self.topology.takes_part(from) =>
            {
                return self.send_to(
                    super::Destination {
                        node: Some(from),
                        address: message.sender.address,
                    },
                    Body::Topology(self.topology.clone()),
                );
            }
            _ if message.sender.cluster != self.topology.cluster => {
                return match self.observes {
                    true => self.receive_call(message),
                    false => self.receive_foreign(message),
                };
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
        let (mine, theirs) = (self.topology.version(), message.version());
        if let Body::Topology(topology) = message.body {
            return self.adopt(topology);
        }
        if !mine.same_group(&theirs) || matches!(message.body, Body::Heartbeat(_)) {
            match mine.cmp(&theirs) {
                Ordering::Less => self.want_topology(from),
                Ordering::Greater => self.offer_topology(from, theirs),
                Ordering::Equal => {}
            }
        }
        match message.body {
            Body::Heartbeat(heartbeat) => {
                self.receive_heartbeat(from, theirs, heartbeat);
                self.heed_end_of_leader();
            }
            Body::WantTopology => self.send(from, self.topology_since(theirs)),
            // Votes and proposals count only within the group that they were meant for.
            _ if !mine.same_group(&theirs) => {}
            Body::Steps(steps) => self.follow_steps(from, steps),
            Body::Raft(bytes) => self.step(from, &bytes),
            Body::AskLease { stamp } => {
                self.receive_ask(from, message.sender.incarnation, stamp);
            }
            Body::Lease { incarnation, stamp } => self.receive_lease(incarnation, stamp),
            Body::AskStatus { number } => {
                self.receive_inquiry(from, message.sender.incarnation, number);
            }
            Body::Status {
                incarnation,
                number,
                status,
            } if incarnation == self.incarnation => {
                self.receive_status(from, message.sender.incarnation, number, status);
            }
            Body::AskConfirmed { term } => self.answer_confirmed(from, term),
            Body::Confirmed { term, ago } => self.receive_confirmed(from, term, &ago),
            Body::Forward { proposal, hops } => self.receive_forward(proposal, hops),
            Body::Answer {
                incarnation,
                sequence,
                outcome,
            } if incarnation == self.incarnation => self.receive_answer(sequence, outcome),
            _ => {}
        }
    }

    fn receive_heartbeat(&mut self, from: NodeId, theirs: Version, heartbeat: Heartbeat) {
        if let (Some(verdict), Some(leader)) = (&heartbeat.verdict, heartbeat.leader) {
            let same = theirs == self.topology.version();
            self.peers.judge(verdict, leader, &self.topology, same);
        }
        self.peers.heartbeat(from, heartbeat);
    }

    fn step(&mut self, from: NodeId, bytes: &[u8]) {
        let election = super::election_ticks(&self.config);
        let consensus = self
            .consensus
            .get_or_insert_with(|| Consensus::blank(self.me, election));
        if let Some(confirmation) = consensus.step(from, bytes, self.topology.index) {
            self.note_confirmed(&confirmation.shards);
        }
    }

    /// Takes over a committed topology of this cluster, if it is newer.
    fn adopt(&mut self, topology: Arc<Topology>) {
        if topology.cluster != self.topology.cluster
            || topology.version() <= self.topology.version()
        {
            return;
        }
        self.history.forget(topology.index);
        self.follow_topology(topology);
    }

    /// Takes over what has changed since the topology that this node knows, and passes it on.
    fn follow_steps(&mut self, from: NodeId, steps: Steps) {
        let (before, last) = (self.topology.version(), steps.last());
        match steps.apply(&self.topology) {
            Some((topology, changes)) => {
                for (index, change) in changes {
                    self.history.note(index, change);
                }
                self.follow_topology(Arc::new(topology));
                self.pass_on(before);
            }
            None if last > before.index => self.want_topology(from),
            None => {}
        }
    }

    fn pass_on(&mut self, before: Version) {
        if self.part() != Part::Other {
            return;
        }
        let body = self.topology_since(before);
        for node in self.some_members(PASSED_ON) {
            self.send(node, body.clone());
        }
    }

    fn follow_topology(&mut self, topology: Arc<Topology>) {
        let reformed = !topology.version().same_group(&self.topology.version());
        self.replace_topology(topology);
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
        self.confirmations = Confirmations::since(self.now);
        self.outbox.persist = true;
    }
}
