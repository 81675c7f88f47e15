//! The picture that a plan is made from: which topology is the established one, its shards, and how each member is.

use std::collections::{BTreeMap, BTreeSet};

use super::Desired;
use crate::names::PodPlace;
use crate::observe::{Member, NodeId, NodeState, NodeView, Observed, Pod};
use crate::slots::SlotSet;

/// How a member is, from what Kubernetes and the data path say together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Liveness<'a> {
    /// Its node answers.
    Answers(PodPlace, &'a Pod, &'a NodeView),
    /// Its process may run, but does not answer: it may come back with its data at any moment.
    Silent,
    /// Its process has ended, so its data is lost; the node itself may come back under the same id.
    Ended,
    /// Its pod is gone, or another node lives there: it never comes back.
    Gone,
}

/// A primary and its replicas in the established topology.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// The primary.
    pub(super) primary: NodeId,
    /// Its pod, as it announces it.
    pub(super) place: Option<PodPlace>,
    /// The slots of the shard.
    pub(super) slots: SlotSet,
    /// The replicas.
    pub(super) replicas: Vec<NodeId>,
}

/// Observed state, made sense of.
pub(super) struct Picture<'a> {
    /// What is wanted.
    pub(super) desired: &'a Desired,
    /// What was seen.
    pub(super) observed: &'a Observed,
    /// The node whose view is the established topology.
    pub(super) speaker: PodPlace,
    /// The established topology.
    pub(super) view: &'a NodeView,
    /// A majority of its members was asked and sees the very same topology.
    pub(super) confirmed: bool,
    /// Some member sees a quorum of voters, so that the topology can be changed.
    pub(super) quorum: bool,
    /// The groups of the established topology, by their primary.
    pub(super) groups: BTreeMap<NodeId, Group>,
    /// For each shard index the group that is this shard.
    pub(super) main: BTreeMap<u32, NodeId>,
}

impl<'a> Picture<'a> {
    /// The picture, or `None` while no node that is wanted answers.
    pub(super) fn new(desired: &'a Desired, observed: &'a Observed) -> Option<Self> {
        let (speaker, view) = established(desired, observed)?;
        let members = || {
            observed
                .answering()
                .filter(|(_, other)| view.members.contains_key(&other.id))
        };
        let same = members()
            .filter(|(_, other)| (other.generation, other.epoch) == (view.generation, view.epoch))
            .count();
        let quorum =
            members().any(|(_, other)| other.generation == view.generation && other.quorum);
        let groups = groups(view);
        let mut picture = Self {
            desired,
            observed,
            speaker,
            view,
            confirmed: 2 * same > view.members.len(),
            quorum,
            groups,
            main: BTreeMap::new(),
        };
        picture.main = picture.main_groups();
        Some(picture)
    }

    /// Whether slots are assigned at all in the established topology.
    pub(super) fn has_slots(&self) -> bool {
        self.groups.values().any(|group| !group.slots.is_empty())
    }

    /// The slots without owner.
    pub(super) fn unowned(&self) -> SlotSet {
        let mut slots = SlotSet::full();
        for group in self.groups.values() {
            slots.subtract(&group.slots);
        }
        slots
    }

    /// How a member of the established topology is.
    pub(super) fn liveness(&self, id: &str) -> Liveness<'a> {
        if let Some((place, pod, view)) = self.observed.pod_of(id) {
            return Liveness::Answers(place, pod, view);
        }
        match self.view.members.get(id) {
            Some(member) => self.silence(member),
            None => Liveness::Gone,
        }
    }

    /// Why a member does not answer.
    fn silence(&self, member: &Member) -> Liveness<'a> {
        let Some(place) = member.place else {
            return if member.failed {
                Liveness::Gone
            } else {
                Liveness::Silent
            };
        };
        let Some(pod) = self.observed.pods.get(&place) else {
            return Liveness::Gone;
        };
        let moved = pod.ip.as_ref() != Some(&member.ip);
        if pod.node.is_some() || pod.ip.is_none() {
            // Another node lives in the pod, or the pod is a new one that has not started yet.
            Liveness::Gone
        } else if moved || !pod.running || (pod.terminating && member.failed) {
            Liveness::Ended
        } else {
            Liveness::Silent
        }
    }

    /// The group that is shard `index`.
    pub(super) fn main_group(&self, index: u32) -> Option<&Group> {
        self.groups.get(self.main.get(&index)?)
    }

    /// Whether the pod at `place` is not wanted any more.
    pub(super) fn is_doomed(&self, place: PodPlace) -> bool {
        place.shard >= self.desired.shards || place.ordinal > self.desired.replicas
    }

    /// The primary of `group`, if it answers and serves.
    pub(super) fn serving_primary(&self, group: &Group) -> Option<(PodPlace, &'a NodeView)> {
        match self.liveness(&group.primary) {
            Liveness::Answers(place, _, view)
                if matches!(view.state, NodeState::Primary | NodeState::Fresh) =>
            {
                Some((place, view))
            }
            _ => None,
        }
    }

    /// Whether every replica that is wanted of shard `index` follows `group` in sync. A pod that finds no place is not waited for.
    pub(super) fn replicas_in_sync(&self, index: u32, group: &Group) -> bool {
        let in_sync: BTreeSet<PodPlace> = group
            .replicas
            .iter()
            .filter_map(|id| match self.liveness(id) {
                Liveness::Answers(place, _, view) if view.link_up => Some(place),
                _ => None,
            })
            .collect();
        (0..=self.desired.replicas)
            .map(|ordinal| PodPlace {
                shard: index,
                ordinal,
            })
            .filter(|place| group.place != Some(*place))
            .all(|place| {
                let pod = self.observed.pods.get(&place);
                in_sync.contains(&place) || pod.is_some_and(|pod| pod.unschedulable)
            })
    }

    /// A member that can carry out a change of the topology, other than `except`.
    pub(super) fn executor(&self, except: Option<&str>) -> Option<PodPlace> {
        self.observed
            .answering()
            .filter(|(_, node)| self.view.members.contains_key(&node.id))
            .filter(|(_, node)| node.generation == self.view.generation)
            .filter(|(_, node)| Some(node.id.as_str()) != except)
            .max_by_key(|(place, node)| {
                (
                    node.quorum,
                    node.epoch,
                    !self.is_doomed(*place),
                    std::cmp::Reverse(*place),
                )
            })
            .map(|(place, _)| place)
    }

    /// For each index the group whose primary lives there; of several the one with slots, that is alive, with most replicas, lowest ordinal.
    fn main_groups(&self) -> BTreeMap<u32, NodeId> {
        let mut best: BTreeMap<u32, (&Group, _)> = BTreeMap::new();
        for group in self.groups.values() {
            let Some(place) = group.place else { continue };
            let alive = matches!(self.liveness(&group.primary), Liveness::Answers(..));
            let rank = (
                group.slots.len(),
                alive,
                group.replicas.len(),
                std::cmp::Reverse(place.ordinal),
            );
            match best.get(&place.shard) {
                Some((_, other)) if *other >= rank => {}
                _ => {
                    best.insert(place.shard, (group, rank));
                }
            }
        }
        best.into_iter()
            .map(|(index, (group, _))| (index, group.primary.clone()))
            .collect()
    }
}

/// The node with the established topology: one that has slots, then the newest (a forgotten node's is older), then most members; a
/// lone node without slots speaks only while it is wanted.
fn established<'a>(desired: &Desired, observed: &'a Observed) -> Option<(PodPlace, &'a NodeView)> {
    observed
        .answering()
        .filter(|(place, view)| {
            let wanted = place.shard < desired.shards && place.ordinal <= desired.replicas;
            let member = view.members.contains_key(&view.id);
            member && (wanted || view.has_company() || view.slots_owned() > 0)
        })
        .max_by_key(|(place, view)| {
            let owns = view.slots_owned() > 0;
            let age = (view.generation, view.epoch);
            (owns, age, view.members.len(), std::cmp::Reverse(*place))
        })
}

fn groups(view: &NodeView) -> BTreeMap<NodeId, Group> {
    let mut groups: BTreeMap<NodeId, Group> = view
        .members
        .iter()
        .filter(|(_, member)| member.primary.is_none())
        .map(|(id, member)| {
            let group = Group {
                primary: id.clone(),
                place: member.place,
                slots: member.slots.clone(),
                replicas: Vec::new(),
            };
            (id.clone(), group)
        })
        .collect();
    for (id, member) in &view.members {
        if let Some(group) = member
            .primary
            .as_ref()
            .and_then(|primary| groups.get_mut(primary))
        {
            group.replicas.push(id.clone());
        }
    }
    groups
}
