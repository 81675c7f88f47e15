//! How many pods each shard has, and when a shard that is not wanted any more is deleted.

use std::collections::BTreeMap;

use super::picture::{Group, Liveness, Picture};
use super::{Desired, Step};
use crate::names::PodPlace;
use crate::observe::Observed;

/// The number of pods of each shard. Pods only go once their nodes have left the cluster.
pub(super) fn pods(
    desired: &Desired,
    observed: &Observed,
    picture: Option<&Picture<'_>>,
) -> BTreeMap<u32, i32> {
    let wanted = i32::try_from(desired.replicas).unwrap_or(0) + 1;
    let mut pods: BTreeMap<u32, i32> = (0..desired.shards).map(|index| (index, wanted)).collect();
    for (index, present) in &observed.shards {
        match pods.get_mut(index) {
            None => {
                pods.insert(*index, *present);
            }
            Some(count) if *present > *count && keeps_pods(*index, *count, picture) => {
                *count = *present;
            }
            Some(_) => {}
        }
    }
    // A doomed shard with slots whose StatefulSet is missing needs pods to be drained from.
    for (index, id) in picture.into_iter().flat_map(|picture| &picture.main) {
        let owns = picture
            .and_then(|picture| picture.groups.get(id))
            .is_some_and(|group| !group.slots.is_empty());
        if owns {
            pods.entry(*index).or_insert(wanted);
        }
    }
    pods
}

/// Whether a pod of shard `index` beyond `count` is still a member, or might be one of a cluster that nobody else knows of.
fn keeps_pods(index: u32, count: i32, picture: Option<&Picture<'_>>) -> bool {
    let Some(picture) = picture else { return true };
    if !picture.quorum || (!picture.has_slots() && picture.observed.unknown().next().is_some()) {
        return true;
    }
    let mut places = picture
        .view
        .members
        .values()
        .filter_map(|member| member.place);
    places.any(|place| place.shard == index && i64::from(place.ordinal) >= i64::from(count))
}

/// Positive evidence that the shard may leave: a majority of the other members that may come back sees, in the newest topology, that it owns nothing and
/// nothing moves to it, and its primary holds no key or is gone.
pub(super) fn is_drained(
    picture: &Picture<'_>,
    group: &Group,
    index: u32,
    waiting: &mut Vec<String>,
) -> bool {
    if !group.slots.is_empty() || receives(picture, group) {
        return false;
    }
    if !majority_sees_no_slots(picture, index) {
        waiting.push(format!(
            "shard {index} is drained; waiting until a majority of the other members sees it"
        ));
        return false;
    }
    match picture.liveness(&group.primary) {
        Liveness::Answers(place, _, node) if node.keys > 0 => {
            waiting.push(format!(
                "shard {index} owns no slot, but {place} still holds {} keys",
                node.keys
            ));
            false
        }
        Liveness::Silent => {
            waiting.push(format!("shard {index} is drained, but its primary does not answer to confirm that it holds no key"));
            false
        }
        _ => true,
    }
}

fn receives(picture: &Picture<'_>, group: &Group) -> bool {
    super::moves::active(picture)
        .iter()
        .any(|migration| migration.target == group.primary || migration.source == group.primary)
}

fn majority_sees_no_slots(picture: &Picture<'_>, index: u32) -> bool {
    let in_shard = |place: Option<PodPlace>| place.is_some_and(|place| place.shard == index);
    // Who never comes back sees nothing, and contradicts nobody.
    let others = picture
        .view
        .members
        .iter()
        .filter(|(_, member)| !in_shard(member.place))
        .filter(|(id, _)| !matches!(picture.liveness(id), Liveness::Gone))
        .count();
    let agreeing = picture
        .observed
        .answering()
        .filter(|(_, node)| picture.view.members.contains_key(&node.id))
        .filter(|(place, _)| place.shard != index)
        .filter(|(_, node)| {
            (node.generation, node.epoch) == (picture.view.generation, picture.view.epoch)
                && node
                    .members
                    .values()
                    .filter(|member| in_shard(member.place))
                    .all(|member| member.slots.is_empty())
        })
        .count();
    2 * agreeing > others
}

/// Doomed shards without members any more.
pub(super) fn deletions(picture: &Picture<'_>, waiting: &mut Vec<String>) -> Vec<Step> {
    if !picture.has_slots() {
        return Vec::new();
    }
    let mut steps = Vec::new();
    for index in picture.observed.shards.keys().rev() {
        let has_member = picture
            .view
            .members
            .values()
            .any(|member| member.place.is_some_and(|place| place.shard == *index));
        if *index < picture.desired.shards || has_member {
            continue;
        }
        if !picture.quorum || !majority_sees_no_slots(picture, *index) {
            waiting.push(format!(
                "shard {index} has left; waiting until a majority of the members sees it"
            ));
        } else if let Some(place) = serving_alone(picture.observed, *index) {
            waiting.push(format!(
                "shard {index} has left, but {place} holds keys in slots of its own"
            ));
        } else {
            steps.push(Step::DeleteShard { index: *index });
        }
    }
    steps
}

/// A pod of the shard that believes to be a lone primary with slots and holds keys: whatever it is, it is not deleted.
fn serving_alone(observed: &Observed, index: u32) -> Option<PodPlace> {
    observed
        .answering()
        .find(|(place, node)| {
            place.shard == index && !node.has_company() && node.slots_owned() > 0 && node.keys > 0
        })
        .map(|(place, _)| place)
}

/// Doomed shards of a cluster that never got a slot: they go as soon as their nodes, which have not started or answer, own and hold nothing.
pub(super) fn delete_unformed(
    desired: &Desired,
    observed: &Observed,
    picture: Option<&Picture<'_>>,
) -> Vec<Step> {
    if observed.unknown().next().is_some() || picture.is_some_and(Picture::has_slots) {
        return Vec::new();
    }
    let member = |id: &str| {
        picture.is_some_and(|picture| {
            picture.view.has_company() && picture.view.members.contains_key(id)
        })
    };
    observed
        .shards
        .keys()
        .rev()
        .filter(|index| **index >= desired.shards)
        .filter(|index| {
            let mut pods = observed
                .pods
                .iter()
                .filter(|(place, _)| place.shard == **index);
            pods.all(|(_, pod)| match &pod.node {
                Some(node) => node.slots_owned() == 0 && node.keys == 0 && !member(&node.id),
                None => true,
            })
        })
        .map(|index| Step::DeleteShard { index: *index })
        .collect()
}
