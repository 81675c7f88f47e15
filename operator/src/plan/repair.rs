//! Repair, shard by shard: replicas follow their primary, a lost primary is replaced, a lost consensus group is formed anew.

use std::cmp::Reverse;

use super::picture::{Group, Liveness, Picture};
use super::{Promotion, Step};
use crate::names::PodPlace;
use crate::observe::{NodeState, NodeView, Vote};

pub(super) fn steps(picture: &Picture<'_>, waiting: &mut Vec<String>) -> Vec<Step> {
    if !picture.quorum {
        return match picture.view.has_company() {
            true => takeover(picture, waiting).into_iter().collect(),
            false => Vec::new(),
        };
    }
    let mut steps = followers(picture);
    for group in picture.groups.values() {
        let place = group.place.map(|place| place.shard);
        let main = place.and_then(|index| picture.main.get(&index)) == Some(&group.primary);
        // The members of an empty group that is no shard follow the shard's primary instead.
        if main || !group.slots.is_empty() {
            steps.extend(promotion(picture, group, waiting));
        }
    }
    steps
}

/// Every member of a shard that is not its primary follows its primary.
fn followers(picture: &Picture<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    for (id, member) in &picture.view.members {
        let Liveness::Answers(at, _, node) = picture.liveness(id) else {
            continue;
        };
        let Some(main) = picture.main_group(at.shard) else {
            continue;
        };
        let owns_slots = !member.slots.is_empty();
        let leads_others = picture
            .groups
            .get(id)
            .is_some_and(|group| !group.replicas.is_empty());
        let placed = *id == main.primary || member.primary.as_ref() == Some(&main.primary);
        let leaving =
            picture.is_doomed(at) && (at.shard < picture.desired.shards || main.slots.is_empty());
        // A node that does not know yet that it joined could not carry the command out.
        let aware = node.has_company();
        if !owns_slots && !leads_others && !placed && !leaving && aware {
            steps.push(Step::Replicate {
                at,
                primary: main.primary.clone(),
            });
        }
    }
    steps
}

/// Whether and how the primary of a group is replaced. By force only when it never comes back or has lost its data: then the nodes may find
/// nobody who has had all of that.
fn promotion(picture: &Picture<'_>, group: &Group, waiting: &mut Vec<String>) -> Option<Step> {
    let candidates = candidates(picture, group);
    let best = candidates.first().copied();
    let silent_replica = group
        .replicas
        .iter()
        .any(|id| matches!(picture.liveness(id), Liveness::Silent));
    let name = group
        .place
        .map_or_else(|| group.primary.clone(), |place| place.to_string());
    match picture.liveness(&group.primary) {
        Liveness::Answers(place, pod, node) if node.state != NodeState::Quarantined => {
            // One that Kubernetes ends hands over by itself.
            let one_too_many = place.shard < picture.desired.shards && picture.is_doomed(place);
            let leaving = one_too_many && !pod.terminating;
            // Handing over to another one that leaves too would never end.
            let successor = candidates
                .iter()
                .find(|(at, node)| node.link_up && !picture.is_doomed(*at));
            let (at, _) = successor.filter(|_| leaving && node.state == NodeState::Primary)?;
            Some(Step::Promote {
                at: *at,
                how: Promotion::Planned,
            })
        }
        Liveness::Ended => {
            // It may come back with its data, and the nodes know which replica has had all of it.
            if !group.slots.is_empty() {
                waiting.push(format!(
                    "the process of primary {name} has ended; the nodes decide who follows"
                ));
            }
            None
        }
        Liveness::Silent => {
            if !group.slots.is_empty() {
                waiting.push(format!(
                    "primary {name} does not answer, but its process has not ended"
                ));
            }
            None
        }
        lost => {
            match best {
                // A replica without data is only taken if no other one might have some.
                Some((at, node)) if node.offset > 0 || !silent_replica => Some(Step::Promote {
                    at,
                    how: Promotion::Force,
                }),
                _ if silent_replica => {
                    waiting.push(format!("primary {name} is lost, and a replica that may have its data does not answer"));
                    None
                }
                _ => match lost {
                    Liveness::Answers(at, ..) => Some(Step::Promote {
                        at,
                        how: Promotion::Force,
                    }),
                    _ => {
                        if !group.slots.is_empty() {
                            waiting.push(format!("primary {name} is lost, and no replica is left; waiting for its pod"));
                        }
                        None
                    }
                },
            }
        }
    }
}

/// The replicas that may be promoted, the best first: most data, link up, not about to leave.
fn candidates<'a>(picture: &Picture<'a>, group: &Group) -> Vec<(PodPlace, &'a NodeView)> {
    let mut candidates: Vec<_> = group
        .replicas
        .iter()
        .filter_map(|id| match picture.liveness(id) {
            Liveness::Answers(place, pod, node)
                if node.state == NodeState::Replica && !pod.terminating =>
            {
                Some((place, node))
            }
            _ => None,
        })
        .collect();
    candidates.sort_by_key(|(place, node)| {
        (
            Reverse(node.offset),
            Reverse(node.link_up),
            picture.is_doomed(*place),
            *place,
        )
    });
    candidates
}

/// The consensus group is formed anew only if so many voters never come back that it cannot recover, and nobody sees a quorum.
fn takeover(picture: &Picture<'_>, waiting: &mut Vec<String>) -> Option<Step> {
    let voters = &picture.view.voters;
    let (mut gone, mut silent) = (0, 0);
    for id in voters {
        let witness = picture.view.witness.as_ref().map(|witness| &witness.id);
        if witness == Some(id) {
            match &picture.observed.vote {
                Vote::Ready(own) if own.id == *id => {}
                Vote::Starting => silent += 1,
                // Another one has taken its place, or nobody votes.
                Vote::Ready(_) | Vote::Off => gone += 1,
            }
            continue;
        }
        match picture.liveness(id) {
            Liveness::Gone => gone += 1,
            Liveness::Silent | Liveness::Ended => silent += 1,
            Liveness::Answers(..) => {}
        }
    }
    if voters.is_empty() || voters.len() - gone > voters.len() / 2 {
        waiting.push(format!(
            "no quorum: of {} voters {gone} are gone and {silent} do not answer",
            voters.len()
        ));
        return None;
    }
    let survivor = picture
        .observed
        .answering()
        .filter(|(_, node)| picture.view.members.contains_key(&node.id))
        .filter_map(|(place, node)| Some((takeover_rank(picture, node)?, place)))
        .max_by_key(|(rank, place)| (*rank, Reverse(*place)));
    if survivor.is_none() {
        waiting.push(
            "no quorum, and no survivor may take over beside a primary that may serve".to_owned(),
        );
    }
    survivor.map(|(_, at)| Step::Promote {
        at,
        how: Promotion::Takeover,
    })
}

/// How well a survivor is suited: the newest topology first. Taking over makes it primary of its shard, so one that does not serve
/// qualifies only when its primary is lost and no sibling might have more data.
fn takeover_rank(picture: &Picture<'_>, node: &NodeView) -> Option<(u64, u64, bool, u64, bool)> {
    let member = picture.view.members.get(&node.id)?;
    let group = picture
        .groups
        .get(member.primary.as_ref().unwrap_or(&node.id))?;
    let siblings = || {
        group
            .replicas
            .iter()
            .filter(|id| **id != node.id)
            .map(|id| picture.liveness(id))
    };
    let silent_sibling = siblings().any(|sibling| matches!(sibling, Liveness::Silent));
    let primary_lost = match picture.liveness(&group.primary) {
        Liveness::Gone | Liveness::Ended => true,
        Liveness::Answers(_, _, primary) => primary.state == NodeState::Quarantined,
        Liveness::Silent => false,
    };
    let suited = match node.state {
        NodeState::Primary => true,
        NodeState::Replica => primary_lost && (node.offset > 0 || !silent_sibling),
        NodeState::Quarantined => {
            !silent_sibling && !siblings().any(|sibling| matches!(sibling, Liveness::Answers(..)))
        }
        NodeState::Fresh => false,
    };
    let voter = picture.view.voters.contains(&node.id);
    suited.then_some((
        node.generation,
        node.epoch,
        primary_lost,
        node.offset,
        voter,
    ))
}
