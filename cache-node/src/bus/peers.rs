//! Who is alive: what this node has heard of each other node, whom it suspects, and whom the voters have given up.
//!
//! Suspicion is one node's opinion (`PFAIL`): silence longer than the node timeout, or a connection refused or reset since the
//! last word. A node has failed (`FAIL`) when a majority of the voters suspects it. What the leader does
//! about a primary that has failed is in `failover`.

use std::collections::{BTreeMap, BTreeSet};

use super::message::{Heartbeat, Sender};
use super::request::LocalStatus;
use crate::topology::{Address, NodeId, Topology};

/// Nodes that are no members are forgotten after this long. In ms.
const FORGET_AFTER: u64 = 60_000;

/// What a process has sent before it ended has come by then. In ms.
const DELAYED: u64 = 1_000;

/// What this node knows of another one.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) incarnation: u64,
    /// When it was first heard in this incarnation.
    began: u64,
    /// Where its last message says that it is.
    pub(crate) address: Option<Address>,
    pub(crate) status: LocalStatus,
    /// When it was heard, or else when this node began to listen for it.
    heard: u64,
    /// It was heard since this process started.
    pub(crate) spoke: bool,
    /// It has told its status in this incarnation.
    pub(crate) told: bool,
    /// A connection to it was refused or reset since it was heard.
    lost: bool,
    /// When its process was proved to have ended.
    gone: Option<u64>,
    suspects: BTreeSet<NodeId>,
    /// Whose processes it has proof of that they have ended.
    buried: Vec<(NodeId, u64)>,
    /// It is a primary that gets no lease.
    starved: bool,
    leader: Option<(u64, NodeId)>,
}

impl Peer {
    fn new(now: u64) -> Self {
        Self {
            incarnation: 0,
            began: 0,
            address: None,
            status: LocalStatus::default(),
            heard: now,
            spoke: false,
            told: false,
            lost: false,
            gone: None,
            suspects: BTreeSet::new(),
            buried: Vec::new(),
            starved: false,
            leader: None,
        }
    }

    /// Its process was proved to have ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.gone.is_some()
    }
}

/// One node as the rest of the process may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerReport {
    /// This node suspects it (`PFAIL`).
    pub suspected: bool,
    /// A majority of the voters suspects it (`FAIL`).
    pub failed: bool,
    /// Milliseconds since its last heartbeat; `None` when there was none since this process started.
    pub silent_ms: Option<u64>,
    /// Its incarnation as of its last heartbeat.
    pub incarnation: u64,
    /// What it said of itself.
    pub status: LocalStatus,
    /// Number of voters that suspect it.
    pub reports: usize,
}

/// What this node knows of the others at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Liveness {
    /// All other members.
    pub peers: BTreeMap<NodeId, PeerReport>,
    /// The leader of the consensus group, as far as it is known here.
    pub leader: Option<NodeId>,
    /// Whether a leader with a majority behind it has been heard within the node timeout.
    pub quorum: bool,
    /// This node is a primary without a lease: it takes no writes.
    pub lacks_lease: bool,
}

/// See the module.
pub(crate) struct Peers {
    /// In ms.
    timeout: u64,
    peers: BTreeMap<NodeId, Peer>,
}

impl Peers {
    pub(crate) fn new(timeout: u64) -> Self {
        Self {
            timeout,
            peers: BTreeMap::new(),
        }
    }

    pub(crate) fn get(&self, node: NodeId) -> Option<&Peer> {
        self.peers.get(&node)
    }

    /// Notes that `sender` is alive. False when the message is from an earlier life of it.
    pub(crate) fn heard(&mut self, sender: &Sender, now: u64) -> bool {
        let peer = self.peers.entry(sender.node).or_insert(Peer::new(now));
        if sender.incarnation < peer.incarnation {
            return false;
        }
        if peer.incarnation < sender.incarnation {
            peer.began = now;
            peer.told = false;
        }
        let lives =
            peer.incarnation < sender.incarnation || peer.gone.is_some_and(|at| now > at + DELAYED);
        if lives {
            peer.gone = None;
        }
        // What was on its way when it ended is no sign of life.
        if peer.gone.is_some() {
            return true;
        }
        peer.incarnation = sender.incarnation;
        peer.address = Some(sender.address.clone());
        peer.heard = now;
        peer.spoke = true;
        peer.lost = false;
        true
    }

    pub(crate) fn heartbeat(&mut self, node: NodeId, heartbeat: Heartbeat) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.status = heartbeat.status;
            peer.told = true;
            peer.suspects = heartbeat.suspects.into_iter().collect();
            peer.buried = heartbeat.gone;
            peer.starved = heartbeat.starved;
            peer.leader = heartbeat.leader;
        }
    }

    /// Notes that a connection to `node` was refused or reset. False when that was known.
    pub(crate) fn lost(&mut self, node: NodeId) -> bool {
        let peer = self.peers.get_mut(&node);
        peer.is_some_and(|peer| !std::mem::replace(&mut peer.lost, true))
    }

    /// Notes that the process of `node` had ended at this moment. False when another one has begun since, or this was known.
    pub(crate) fn gone(&mut self, node: NodeId, at: u64) -> bool {
        let Some(peer) = self.peers.get_mut(&node).filter(|peer| peer.began <= at) else {
            return false;
        };
        peer.lost = true;
        peer.gone.replace(at).is_none()
    }

    /// Whether `node`, which is heard, is a primary that gets no lease.
    pub(crate) fn is_starved(&self, node: NodeId, now: u64) -> bool {
        !self.suspected(node, now) && self.peers.get(&node).is_some_and(|peer| peer.starved)
    }

    /// Members whose processes this node has proof of that they have ended, with their incarnations.
    pub(crate) fn all_gone(&self, topology: &Topology) -> Vec<(NodeId, u64)> {
        let members = topology.members.keys();
        let known = members.filter_map(|node| Some((*node, self.peers.get(node)?)));
        known
            .filter(|(_, peer)| peer.gone.is_some())
            .map(|(node, peer)| (node, peer.incarnation))
            .collect()
    }

    /// Whether this node or a member that it hears has proof that the process of `node` with this incarnation has ended.
    pub(crate) fn is_gone(
        &self,
        node: NodeId,
        incarnation: u64,
        topology: &Topology,
        now: u64,
    ) -> bool {
        let proved = |(buried, life): &(NodeId, u64)| *buried == node && *life >= incarnation;
        let own = self
            .peers
            .get(&node)
            .filter(|peer| peer.gone.is_some())
            .is_some_and(|peer| proved(&(node, peer.incarnation)));
        own || topology.members.keys().any(|member| {
            !self.suspected(*member, now)
                && self
                    .peers
                    .get(member)
                    .is_some_and(|peer| peer.buried.iter().any(proved))
        })
    }

    /// Begins to listen for members, and forgets who left long ago.
    pub(crate) fn follow(&mut self, topology: &Topology, now: u64) {
        for node in topology.members.keys() {
            self.peers.entry(*node).or_insert(Peer::new(now));
        }
        self.peers.retain(|node, peer| {
            topology.members.contains_key(node) || now.saturating_sub(peer.heard) < FORGET_AFTER
        });
    }

    /// Forgets all opinions and addresses: this node has changed its cluster.
    pub(crate) fn clear(&mut self) {
        self.peers.clear();
    }

    /// Whether this node suspects `node`.
    pub(crate) fn suspected(&self, node: NodeId, now: u64) -> bool {
        self.peers
            .get(&node)
            .is_none_or(|peer| peer.lost || now.saturating_sub(peer.heard) > self.timeout)
    }

    pub(crate) fn suspects(&self, topology: &Topology, me: NodeId, now: u64) -> Vec<NodeId> {
        let members = topology.members.keys().copied();
        members
            .filter(|node| *node != me && self.suspected(*node, now))
            .collect()
    }

    /// The leader that the freshest term among the members' heartbeats names.
    pub(crate) fn leader(&self, topology: &Topology, now: u64) -> Option<(u64, NodeId)> {
        let members = topology.members.keys();
        members
            .chain(&topology.voters)
            .filter(|node| !self.suspected(**node, now))
            .filter_map(|node| self.peers.get(node)?.leader)
            .max()
    }

    /// Whether `node` says of itself that it leads.
    pub(crate) fn leads(&self, node: NodeId, now: u64) -> bool {
        let leader = self.peers.get(&node).and_then(|peer| peer.leader);
        leader.is_some_and(|(_, leader)| leader == node) && !self.suspected(node, now)
    }

    pub(crate) fn report(
        &self,
        node: NodeId,
        topology: &Topology,
        me: NodeId,
        now: u64,
    ) -> PeerReport {
        let suspected = self.suspected(node, now);
        let reports = topology
            .voters
            .iter()
            .filter(|voter| **voter != node)
            .filter(|voter| match self.peers.get(voter) {
                _ if **voter == me => suspected,
                Some(peer) => !self.suspected(**voter, now) && peer.suspects.contains(&node),
                None => false,
            })
            .count();
        let peer = self.peers.get(&node);
        PeerReport {
            suspected,
            failed: reports > topology.voters.len() / 2,
            silent_ms: peer
                .filter(|peer| peer.spoke)
                .map(|peer| now.saturating_sub(peer.heard)),
            incarnation: peer.map_or(0, |peer| peer.incarnation),
            status: peer.map_or_else(LocalStatus::default, |peer| peer.status),
            reports,
        }
    }
}
