//! Who is alive: what this node has heard of each other node, whom it suspects, and whom the voters have given up.
//!
//! Suspicion is one node's opinion (`PFAIL`): silence longer than the node timeout, or a connection refused or reset since the
//! last word. A node has failed (`FAIL`) when a majority of the voters suspects it. What the leader does
//! about a primary that has failed is in `failover`. Who does not hear everybody (`audience`) believes what the leader says (`verdict`).

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use super::message::{Heartbeat, Sender};
use super::request::LocalStatus;
use super::verdict::{Heard, Marks, Verdict};
use crate::topology::{Address, NodeId, Topology};

/// Nodes that are no members are forgotten after this long. In ms.
const FORGET_AFTER: u64 = 60_000;

/// What a process has sent before it ended has come by then. In ms.
const DELAYED: u64 = 1_000;

/// Who is said to be gone is suspected after so many times the interval at which it should be heard.
const QUIET: u64 = 3;

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
    /// When a connection to it was refused or reset, if it was not heard since.
    lost: Option<u64>,
    /// When its process was proved to have ended.
    gone: Option<u64>,
    suspects: BTreeSet<NodeId>,
    /// Whose processes it has proof of that they have ended.
    buried: Vec<(NodeId, u64)>,
    /// It is a primary that gets no lease.
    starved: bool,
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
            lost: None,
            gone: None,
            suspects: BTreeSet::new(),
            buried: Vec::new(),
            starved: false,
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
    /// A look costs a fifth of one into a tree, and in a big cluster there are hundreds of thousands in a second.
    peers: HashMap<NodeId, Peer>,
    /// Who names a leader, with the term.
    named: BTreeMap<NodeId, (u64, NodeId)>,
    /// Who has proof that processes have ended.
    informants: BTreeSet<NodeId>,
    /// Since when everybody should be heard; `None` while only the leader should.
    hears_all: Option<u64>,
    /// Who is heard has spoken within this time, unless messages are lost. In ms.
    interval: u64,
    verdict: Heard,
}

impl Peers {
    pub(crate) fn new(timeout: u64) -> Self {
        Self {
            timeout,
            peers: HashMap::new(),
            named: BTreeMap::new(),
            informants: BTreeSet::new(),
            hears_all: None,
            interval: timeout,
            verdict: Heard::default(),
        }
    }

    /// Whether everybody should be heard from now on, and how often, in ms. Who has not been heard when that begins has the node timeout
    /// to speak.
    pub(crate) fn hear_all(&mut self, all: bool, interval: u64, now: u64) {
        self.hears_all = all.then(|| self.hears_all.unwrap_or(now));
        self.interval = interval;
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
        if peer.address.as_ref() != Some(&sender.address) {
            peer.address = Some(sender.address.clone());
        }
        peer.heard = now;
        peer.spoke = true;
        peer.lost = None;
        true
    }

    pub(crate) fn heartbeat(&mut self, node: NodeId, heartbeat: Heartbeat) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        match heartbeat.leader {
            Some(leader) => self.named.insert(node, leader),
            None => self.named.remove(&node),
        };
        match heartbeat.gone.is_empty() {
            true => self.informants.remove(&node),
            false => self.informants.insert(node),
        };
        peer.status = heartbeat.status;
        peer.suspects = heartbeat.suspects.into_iter().collect();
        peer.buried = heartbeat.gone;
        peer.starved = heartbeat.starved;
    }

    /// Takes in the verdict of `leader`, which knows the topology with the version of this one if `same`.
    pub(crate) fn judge(
        &mut self,
        verdict: &Verdict,
        leader: (u64, NodeId),
        topology: &Topology,
        same: bool,
    ) {
        self.verdict.take(verdict, leader, topology, same);
    }

    /// Notes that a connection to `node` was refused or reset. False when that was known.
    pub(crate) fn lost(&mut self, node: NodeId, now: u64) -> bool {
        let peer = self.peers.get_mut(&node);
        peer.is_some_and(|peer| peer.lost.replace(now).is_none())
    }

    /// Notes that `node` is committed to be at another address than before: what it said earlier does not count any more.
    pub(crate) fn moved(&mut self, node: NodeId, now: u64) {
        if !self.speaks(node, now)
            && let Some(peer) = self.peers.get_mut(&node)
        {
            peer.address = None;
        }
    }

    /// Notes that the process of `node` had ended at this moment. False when another one has begun since, or this was known.
    pub(crate) fn gone(&mut self, node: NodeId, at: u64, now: u64) -> bool {
        let Some(peer) = self.peers.get_mut(&node).filter(|peer| peer.began <= at) else {
            return false;
        };
        peer.lost = Some(now);
        peer.gone.replace(at).is_none()
    }

    /// Whether `node`, which is heard, is a primary that gets no lease.
    pub(crate) fn is_starved(&self, node: NodeId, now: u64) -> bool {
        !self.suspected(node, now) && self.peers.get(&node).is_some_and(|peer| peer.starved)
    }

    /// Members, and the witness, whose processes this node has proof of that they have ended, with their incarnations.
    pub(crate) fn all_gone(&self, topology: &Topology) -> Vec<(NodeId, u64)> {
        let nodes = topology.participants();
        let known = nodes.filter_map(|(node, _)| Some((node, self.peers.get(&node)?)));
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
        own || self.informants.iter().any(|informant| {
            topology.takes_part(*informant)
                && !self.suspected(*informant, now)
                && self
                    .peers
                    .get(informant)
                    .is_some_and(|peer| peer.buried.iter().any(proved))
        })
    }

    /// Whether somebody who is heard says that the process of `node`, `peer`, has ended.
    fn is_said_gone(&self, node: NodeId, peer: &Peer, now: u64) -> bool {
        let gone = |(buried, life): &(NodeId, u64)| *buried == node && *life >= peer.incarnation;
        self.informants.iter().any(|informant| {
            self.speaks(*informant, now)
                && self
                    .peers
                    .get(informant)
                    .is_some_and(|it| it.buried.iter().any(gone))
        })
    }

    /// Begins to listen for the members of a new topology.
    pub(crate) fn follow(&mut self, topology: &Topology, now: u64) {
        for (node, _) in topology.participants() {
            self.peers.entry(node).or_insert_with(|| Peer::new(now));
        }
    }

    /// Forgets who left long ago. All members of `topology` are listened for.
    pub(crate) fn forget_strangers(&mut self, topology: &Topology, now: u64) {
        // There are none, mostly.
        if self.peers.len() <= topology.members.len() {
            return;
        }
        self.peers.retain(|node, peer| {
            topology.takes_part(*node) || now.saturating_sub(peer.heard) < FORGET_AFTER
        });
        self.named.retain(|node, _| self.peers.contains_key(node));
        self.informants.retain(|node| self.peers.contains_key(node));
    }

    /// Forgets all opinions and addresses: this node has changed its cluster.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            hears_all: self.hears_all,
            interval: self.interval,
            ..Self::new(self.timeout)
        };
    }

    /// Whether this node suspects `node`. When somebody has proof that its process has ended, silence for much less than the node timeout is enough:
    /// the connections of this node may have been in the making when that happened.
    pub(crate) fn suspected(&self, node: NodeId, now: u64) -> bool {
        let Some(peer) = self.peers.get(&node) else {
            return true;
        };
        let past = |since: u64| now.saturating_sub(since) > self.timeout;
        match self.hears_all {
            Some(since) => {
                let silent = now.saturating_sub(peer.heard.max(since));
                peer.lost.is_some()
                    || silent > self.timeout
                    || silent > QUIET * self.interval && self.is_said_gone(node, peer, now)
            }
            None if self.verdict.is_from(node) => peer.lost.is_some() || past(peer.heard),
            // It may be back, and speak to this one much later.
            None => peer.lost.is_some_and(|at| !past(at)) || self.verdict.suspected.contains(&node),
        }
    }

    /// Whether `node` was heard within the node timeout, and no connection to it was lost since.
    fn speaks(&self, node: NodeId, now: u64) -> bool {
        let peer = self.peers.get(&node);
        peer.is_some_and(|peer| {
            peer.lost.is_none() && now.saturating_sub(peer.heard) <= self.timeout
        })
    }

    pub(crate) fn suspects(&self, topology: &Topology, me: NodeId, now: u64) -> Vec<NodeId> {
        let members = topology.members.keys().copied();
        members
            .filter(|node| *node != me && self.suspected(*node, now))
            .collect()
    }

    /// The verdict of this node, if it leads and suspects these.
    pub(crate) fn verdict(
        &self,
        suspects: &[NodeId],
        topology: &Topology,
        me: NodeId,
        now: u64,
    ) -> Verdict {
        let tally = self.tally(suspects, topology, me, now);
        let failed = tally.iter().filter(|(_, it)| is_majority(**it, topology));
        let failed: Vec<NodeId> = failed.map(|(node, _)| *node).collect();
        Verdict {
            suspected: Marks::of(topology, suspects),
            failed: Marks::of(topology, &failed),
        }
    }

    /// The leader that the freshest term among the members' heartbeats names.
    pub(crate) fn leader(&self, topology: &Topology, now: u64) -> Option<(u64, NodeId)> {
        let counts = |node: &NodeId| topology.takes_part(*node) || topology.voters.contains(node);
        self.named
            .iter()
            .filter(|(node, _)| counts(node) && self.speaks(**node, now))
            .map(|(_, leader)| *leader)
            .max()
    }

    /// Whether `node` says of itself that it leads.
    pub(crate) fn leads(&self, node: NodeId, now: u64) -> bool {
        let leader = self.named.get(&node);
        leader.is_some_and(|(_, leader)| *leader == node) && self.speaks(node, now)
    }

    /// How many voters suspect each node that at least one of them suspects, as far as this one, which suspects `suspects`, hears them.
    fn tally(
        &self,
        suspects: &[NodeId],
        topology: &Topology,
        me: NodeId,
        now: u64,
    ) -> BTreeMap<NodeId, usize> {
        let mut tally = BTreeMap::new();
        let mut count = |node: &NodeId| *tally.entry(*node).or_insert(0) += 1;
        for voter in &topology.voters {
            if *voter == me {
                suspects.iter().for_each(&mut count);
            } else if let Some(peer) = self.peers.get(voter)
                && !self.suspected(*voter, now)
            {
                let others = peer.suspects.iter().filter(|node| *node != voter);
                others.for_each(&mut count);
            }
        }
        tally
    }

    /// What is known of all other members.
    pub(crate) fn reports(
        &self,
        topology: &Topology,
        me: NodeId,
        now: u64,
    ) -> BTreeMap<NodeId, PeerReport> {
        let suspects = self.suspects(topology, me, now);
        let tally = self.tally(&suspects, topology, me, now);
        let others = topology.members.keys().filter(|node| **node != me);
        let report = |node: &NodeId| {
            let reports = tally.get(node).copied().unwrap_or(0);
            (*node, self.report_of(*node, reports, topology, now))
        };
        others.map(report).collect()
    }

    /// What is known of one.
    pub(crate) fn report(
        &self,
        node: NodeId,
        topology: &Topology,
        me: NodeId,
        now: u64,
    ) -> PeerReport {
        let suspect = |voter: NodeId| {
            if voter == me {
                return self.suspected(node, now);
            }
            let peer = self.peers.get(&voter);
            peer.is_some_and(|peer| peer.suspects.contains(&node)) && !self.suspected(voter, now)
        };
        let others = topology.voters.iter().filter(|voter| **voter != node);
        let reports = others.filter(|voter| suspect(**voter)).count();
        self.report_of(node, reports, topology, now)
    }

    fn report_of(&self, node: NodeId, reports: usize, topology: &Topology, now: u64) -> PeerReport {
        let told = self.hears_all.is_none() && self.verdict.failed.contains(&node);
        let peer = self.peers.get(&node);
        PeerReport {
            suspected: self.suspected(node, now),
            failed: told || is_majority(reports, topology),
            silent_ms: peer
                .filter(|peer| peer.spoke)
                .map(|peer| now.saturating_sub(peer.heard)),
            incarnation: peer.map_or(0, |peer| peer.incarnation),
            status: peer.map_or_else(LocalStatus::default, |peer| peer.status),
            // The leader does not say how many they are.
            reports: reports.max(if told {
                topology.voters.len() / 2 + 1
            } else {
                0
            }),
        }
    }
}

fn is_majority(voters: usize, topology: &Topology) -> bool {
    voters > topology.voters.len() / 2
}
