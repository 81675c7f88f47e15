//! Two nodes become members of one cluster (`CLUSTER MEET`).
//!
//! Whoever is alone joins the other; when both are, the one that was met joins the one that was asked to meet it. A node that
//! has agreed to join is *frozen*: nothing of its own lonely topology may change until it has become a member or some time has
//! passed, because the other cluster is deciding on what it brought.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::Rng;

use super::message::{Body, Joiner, MeetReply, Message};
use super::proposals::Origin;
use super::{Bus, Destination, REQUEST_MS, RETRY_MS, RequestError};
use crate::slot::SlotSet;
use crate::topology::{Address, Member, NodeId, ShardId, Topology, TopologyCommand};

/// How long a node stays frozen, in ms: until every proposal to add it has had its time.
const FROZEN_MS: u64 = 2 * REQUEST_MS;

/// Meetings under way, by the token of the request.
#[derive(Default)]
pub(super) struct Meetings {
    meetings: BTreeMap<u64, Meeting>,
    /// The cluster that this node has agreed to join, and until when it is frozen for it.
    invitation: Option<(u64, u64)>,
}

struct Meeting {
    to: Destination,
    deadline: u64,
    retry: u64,
    /// The other side is the one to be joined, and this is its cluster.
    joining: Option<u64>,
}

impl Bus {
    pub(super) fn is_frozen(&self) -> bool {
        let until = self.meetings.invitation.map(|(_, until)| until);
        until.is_some_and(|until| self.now < until)
    }

    /// Whether this node can join another cluster: it is alone in its own, or was removed from it.
    fn is_joinable(&self) -> bool {
        self.is_alone() || (!self.is_member() && !self.has_seat())
    }

    pub(super) fn begin_meeting(&mut self, token: u64, ip: String, bus_port: u16) {
        let meeting = Meeting {
            to: Destination {
                node: None,
                address: Address {
                    ip,
                    port: 0,
                    bus_port,
                    hostname: String::new(),
                },
            },
            deadline: self.now + REQUEST_MS,
            retry: self.now,
            joining: None,
        };
        self.meetings.meetings.insert(token, meeting);
        self.tick_meetings();
    }

    pub(super) fn tick_meetings(&mut self) {
        let tokens: Vec<u64> = self.meetings.meetings.keys().copied().collect();
        for token in tokens {
            let Some(meeting) = self.meetings.meetings.get_mut(&token) else {
                continue;
            };
            if meeting.deadline <= self.now {
                let Address { ip, bus_port, .. } = &meeting.to.address;
                let reason = format!("No agreement with the node at {ip}:{bus_port} in time");
                self.end_meeting(token, Err(RequestError::Refused(reason)));
            } else if meeting.retry <= self.now {
                meeting.retry = self.now + RETRY_MS;
                let (to, joining) = (meeting.to.clone(), meeting.joining.is_some());
                let body = if joining {
                    let joiner = self.joiner();
                    Body::Join { token, joiner }
                } else {
                    let joinable = self.is_joinable();
                    Body::Meet { token, joinable }
                };
                self.send_to(to, body);
            }
        }
    }

    /// Whoever is at this address and this node do not talk: whom a meeting is to be with there is not known yet.
    pub(super) fn end_meetings_at(&mut self, address: &Address, reason: &str) {
        let meetings = self.meetings.meetings.iter();
        let there = meetings
            .filter(|(_, meeting)| meeting.to.node.is_none() && meeting.to.address == *address);
        let tokens: Vec<u64> = there.map(|(token, _)| *token).collect();
        for token in tokens {
            let Address { ip, bus_port, .. } = address;
            let reason = format!("Cannot meet the node at {ip}:{bus_port}: {reason}");
            self.end_meeting(token, Err(RequestError::Refused(reason)));
        }
    }

    fn end_meeting(&mut self, token: u64, result: Result<u64, RequestError>) {
        if self.meetings.meetings.remove(&token).is_some() {
            self.reply(token, result);
        }
    }

    pub(super) fn receive_meeting(&mut self, message: Message) {
        let from = message.sender.node;
        if message.sender.cluster == self.topology.cluster && from != self.me {
            self.peers.heard(&message.sender, self.now);
        }
        let to = Destination {
            node: Some(from),
            address: message.sender.address.clone(),
        };
        match message.body {
            Body::Meet { token, joinable } => {
                let reply = self.consider(from, message.sender.cluster, joinable);
                self.send_to(to, Body::MeetReply { token, reply });
            }
            Body::MeetReply { token, reply } => {
                self.receive_meet_reply(token, message.sender.cluster, to, reply);
            }
            Body::Join { token, joiner } => self.receive_join(token, to, joiner),
            Body::JoinRefused { token, reason } => {
                self.meetings.invitation = None;
                self.end_meeting(token, Err(RequestError::Refused(reason)));
            }
            _ => {}
        }
    }

    /// What to say to a node that wants to meet.
    fn consider(&mut self, from: NodeId, cluster: u64, joinable: bool) -> MeetReply {
        if from == self.me {
            return MeetReply::Refused("A node cannot meet itself".to_owned());
        }
        if cluster == self.topology.cluster
            && self.is_member()
            && self.topology.members.contains_key(&from)
        {
            return MeetReply::Already;
        }
        if !self.is_joinable() {
            return if joinable {
                MeetReply::JoinMe
            } else {
                let reason = "Both nodes are members of clusters with other members";
                MeetReply::Refused(reason.to_owned())
            };
        }
        let promised = self
            .meetings
            .invitation
            .is_some_and(|(other, until)| other != cluster && self.now < until);
        // Two nodes that are asked to meet each other at the same time: the one with the lower id is joined.
        let asking = !self.meetings.meetings.is_empty() && self.me < from;
        if promised || asking || self.leaving.is_some() {
            return MeetReply::Busy;
        }
        match self.freeze(cluster) {
            Ok(()) => MeetReply::WillJoin(self.joiner()),
            Err(reason) => MeetReply::Refused(reason),
        }
    }

    fn freeze(&mut self, cluster: u64) -> Result<(), String> {
        if self.status.stray_keys > 0 {
            return Err(format!(
                "Node {} holds keys in slots that it does not own; flush it first",
                self.me
            ));
        }
        self.meetings.invitation = Some((cluster, self.now + FROZEN_MS));
        Ok(())
    }

    /// What this node brings to another cluster.
    fn joiner(&mut self) -> Joiner {
        let home = self.topology.shard_of(self.me);
        let (shard, slots) = match home {
            Some((id, shard)) => (id, shard.slots.clone()),
            None => (ShardId::new(self.rng.random()), SlotSet::new()),
        };
        Joiner {
            member: Member {
                id: self.me,
                address: self.config.address.clone(),
                shard,
            },
            incarnation: self.incarnation,
            slots,
        }
    }

    fn receive_meet_reply(
        &mut self,
        token: u64,
        cluster: u64,
        from: Destination,
        reply: MeetReply,
    ) {
        let (frozen, joinable) = (self.is_frozen(), self.is_joinable());
        let Some(meeting) = self.meetings.meetings.get_mut(&token) else {
            return;
        };
        if meeting.joining.is_some() {
            return;
        }
        match reply {
            MeetReply::Busy => {}
            MeetReply::Refused(reason) => {
                self.end_meeting(token, Err(RequestError::Refused(reason)));
            }
            MeetReply::Already => self.end_meeting(token, Ok(self.topology.index)),
            // It answers later if this node is about to join somebody itself.
            MeetReply::WillJoin(_) if frozen => {}
            MeetReply::WillJoin(joiner) => {
                self.meetings.meetings.remove(&token);
                self.add_joiner(joiner, from, Origin::Request(token));
            }
            MeetReply::JoinMe if !joinable => {}
            MeetReply::JoinMe => {
                meeting.to = from;
                meeting.retry = self.now;
                meeting.joining = Some(cluster);
                match self.freeze(cluster) {
                    Ok(()) => self.tick_meetings(),
                    Err(reason) => self.end_meeting(token, Err(RequestError::Refused(reason))),
                }
            }
        }
    }

    fn receive_join(&mut self, token: u64, to: Destination, joiner: Joiner) {
        if !self.is_frozen() {
            self.add_joiner(joiner, to.clone(), Origin::Joiner { to, token });
        }
    }

    fn add_joiner(&mut self, joiner: Joiner, to: Destination, origin: Origin) {
        let command = TopologyCommand::AddMember {
            member: joiner.member,
            incarnation: joiner.incarnation,
            slots: joiner.slots,
        };
        let member = to
            .node
            .is_some_and(|node| self.topology.members.contains_key(&node));
        if member {
            self.send_to(to, Body::Topology(self.topology.clone()));
            if let Origin::Request(token) = origin {
                self.reply(token, Ok(self.topology.index));
            }
        } else if matches!(origin, Origin::Request(_)) || !self.proposals.contains(&command) {
            self.propose(command, origin);
        }
    }

    /// A message of another cluster: of interest only if this node has agreed to join that one.
    pub(super) fn receive_foreign(&mut self, message: Message) {
        let invited = self.meetings.invitation.map(|(cluster, _)| cluster);
        if invited != Some(message.sender.cluster) || !self.is_joinable() {
            return;
        }
        let to = Destination {
            node: Some(message.sender.node),
            address: message.sender.address,
        };
        match message.body {
            Body::Topology(topology) => self.join(topology),
            _ => self.send_to(to, Body::WantTopology),
        }
    }

    /// Becomes a member of the cluster that has added this node.
    fn join(&mut self, topology: Arc<Topology>) {
        let invited = self.meetings.invitation.map(|(cluster, _)| cluster);
        let Some((_, home)) = topology.shard_of(self.me) else {
            return;
        };
        // Nobody gets a vote before it has joined: this is from an earlier life, told by somebody who has missed what came after.
        if topology.voters.contains(&self.me) {
            return;
        }
        // Long after the invitation this node may have been given other slots; those are not thrown away.
        let brought = self
            .topology
            .shard_of(self.me)
            .is_none_or(|(_, shard)| home.slots.is_superset(&shard.slots));
        if invited != Some(topology.cluster) || !(self.is_frozen() || brought) {
            return;
        }
        self.drop_seat();
        self.peers.clear();
        self.history.forget(topology.index);
        self.replace_topology(topology);
        self.turns.clear();
        self.fail_proposals();
        self.joined();
    }

    /// Ends the meetings whose purpose is reached.
    pub(super) fn joined(&mut self) {
        if !self.is_member() || self.is_alone() {
            return;
        }
        self.meetings.invitation = None;
        let cluster = self.topology.cluster;
        let reached: Vec<u64> = self
            .meetings
            .meetings
            .iter()
            .filter(|(_, meeting)| meeting.joining == Some(cluster))
            .map(|(token, _)| *token)
            .collect();
        for token in reached {
            self.end_meeting(token, Ok(self.topology.index));
        }
    }
}
