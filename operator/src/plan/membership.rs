//! Who is a member: new pods join, members that never come back and pods that are not wanted any more leave.

use super::picture::{Group, Liveness, Picture};
use super::{Step, shards};
use crate::names::PodPlace;
use crate::observe::{NodeId, NodeView};

/// Joins and leaves are committed one after the other; more of them wait for the next pass, so that a pass stays short.
const CHANGES_PER_PASS: usize = 8;

pub(super) fn steps(picture: &Picture<'_>, waiting: &mut Vec<String>) -> Vec<Step> {
    let mut steps = strangers(picture);
    let lone = !picture.view.has_company();
    if !lone && !picture.quorum {
        return steps;
    }
    let mut changes = leaves(picture, waiting);
    changes.extend(joins(picture, waiting));
    changes.truncate(CHANGES_PER_PASS);
    steps.extend(changes);
    steps
}

/// Pods that are wanted and answer, but are no members yet.
fn joins(picture: &Picture<'_>, waiting: &mut Vec<String>) -> Vec<Step> {
    if !picture.has_slots() {
        // While no established cluster is known, a pod that does not answer might be part of one.
        if let Some(place) = picture.observed.unknown().next() {
            waiting.push(format!("pod {place} does not answer yet"));
            return Vec::new();
        }
    }
    let joining = picture.observed.answering().filter(|(place, node)| {
        let member = picture.view.members.contains_key(&node.id);
        // A member that does not know yet that it is one is met once more.
        let unaware = member && node.id != picture.view.id && picture.view.has_company();
        let leftovers = picture.has_slots() && node.keys > 0 && node.slots_owned() == 0;
        (!member || unaware) && !node.has_company() && !leftovers && is_needed(picture, *place)
    });
    joining
        .filter(|(place, _)| *place != picture.speaker)
        .filter_map(|(node, _)| {
            let at = picture.executor(None)?;
            Some(Step::Meet { at, node })
        })
        .collect()
}

/// A pod is needed if it is wanted, or if its doomed shard still has slots and nobody else to serve them.
fn is_needed(picture: &Picture<'_>, place: PodPlace) -> bool {
    if !picture.is_doomed(place) {
        return true;
    }
    let shard_doomed = place.shard >= picture.desired.shards;
    shard_doomed
        && picture.main_group(place.shard).is_some_and(|group| {
            let members = group.replicas.iter().chain([&group.primary]);
            !group.slots.is_empty()
                && members
                    .clone()
                    .all(|id| matches!(picture.liveness(id), Liveness::Gone))
        })
}

/// Pods that are in a cluster of the past, or hold what is left of it: a majority of today's cluster does not know them.
fn strangers(picture: &Picture<'_>) -> Vec<Step> {
    if !picture.confirmed {
        return Vec::new();
    }
    picture
        .observed
        .answering()
        .filter(|(place, node)| {
            let leftovers = picture.has_slots() && node.keys > 0 && node.slots_owned() == 0;
            !picture.view.members.contains_key(&node.id)
                && !picture.is_doomed(*place)
                && (leftovers || (node.has_company() && is_older(node, picture.view)))
        })
        .map(|(place, node)| {
            if node.keys == 0 {
                Step::Reset { at: place }
            } else {
                Step::DeletePod { place }
            }
        })
        .collect()
}

fn is_older(node: &NodeView, established: &NodeView) -> bool {
    let without_slots = node.slots_owned() == 0 && established.slots_owned() > 0;
    without_slots || (node.generation, node.epoch) < (established.generation, established.epoch)
}

/// Members that leave: replicas before their primary, because a shard always has its primary.
fn leaves(picture: &Picture<'_>, waiting: &mut Vec<String>) -> Vec<Step> {
    let mut steps = Vec::new();
    for group in picture.groups.values() {
        let leaving: Vec<&NodeId> = group
            .replicas
            .iter()
            .filter(|id| replica_leaves(picture, group, id, waiting))
            .collect();
        let all_replicas_left = leaving.len() == group.replicas.len();
        steps.extend(leaving.into_iter().filter_map(|id| forget(picture, id)));
        if all_replicas_left && primary_leaves(picture, group, waiting) {
            steps.extend(forget(picture, &group.primary));
        }
    }
    steps
}

fn forget(picture: &Picture<'_>, node: &NodeId) -> Option<Step> {
    let at = picture.executor(Some(node))?;
    Some(Step::Forget {
        at,
        node: node.clone(),
    })
}

fn replica_leaves(
    picture: &Picture<'_>,
    group: &Group,
    id: &NodeId,
    waiting: &mut Vec<String>,
) -> bool {
    if is_lost_for_good(picture, id) {
        return true;
    }
    let Some(place) = picture.view.members.get(id).and_then(|member| member.place) else {
        return false;
    };
    if place.shard >= picture.desired.shards {
        return shards::is_drained(picture, group, place.shard, waiting);
    }
    // A replica that is one too many leaves once a primary that stays serves without it.
    let primary = picture.serving_primary(group);
    picture.is_doomed(place) && primary.is_some_and(|(place, _)| !picture.is_doomed(place))
}

fn primary_leaves(picture: &Picture<'_>, group: &Group, waiting: &mut Vec<String>) -> bool {
    if !group.slots.is_empty() {
        return false;
    }
    match group.place {
        Some(place) if place.shard >= picture.desired.shards => {
            shards::is_drained(picture, group, place.shard, waiting)
        }
        Some(place) if picture.is_doomed(place) => true,
        _ => is_lost_for_good(picture, &group.primary),
    }
}

/// Kubernetes says that the member never comes back, and so does the data path: another node answers in its place, or its peers miss it.
fn is_lost_for_good(picture: &Picture<'_>, id: &NodeId) -> bool {
    let Some(member) = picture.view.members.get(id) else {
        return false;
    };
    let replaced = member
        .place
        .and_then(|place| picture.observed.pods.get(&place))
        .is_some_and(|pod| pod.node.is_some());
    matches!(picture.liveness(id), Liveness::Gone) && (replaced || member.failed)
}
