//! What a plan found, for the status: facts without times.

use std::collections::BTreeSet;

use super::Desired;
use super::moves::Rebalance;
use super::picture::{Group, Liveness, Picture};
use crate::api::Health;
use crate::names::PodPlace;
use crate::observe::{NodeState, Observed};
use crate::slots::{SLOT_COUNT, SlotSet};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// Slots were assigned, so the cluster was formed.
    pub formed: bool,
    /// No node answers, although Kubernetes says that their processes run: what is true of the topology is not known.
    pub blind: bool,
    /// A quorum of voters is seen.
    pub quorum: bool,
    /// Slots with an owner.
    pub slots_owned: u32,
    /// Slots whose owner serves.
    pub slots_served: u32,
    /// Every shard that is wanted or still there.
    pub shards: Vec<ShardFinding>,
    /// Slots that are not yet where they belong.
    pub slots_to_move: u32,
    /// Moves under way, in words.
    pub active_moves: Vec<String>,
    /// Moves that failed since the last one that succeeded.
    pub failed_moves: u32,
    /// What the newest failed move said.
    pub last_error: String,
    /// What the operator waits for, in words.
    pub waiting: Vec<String>,
}

/// A shard as it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardFinding {
    /// Its index.
    pub index: u32,
    /// The primary's pod.
    pub primary: Option<PodPlace>,
    /// The pods of replicas in sync.
    pub replicas: Vec<PodPlace>,
    /// Its slots.
    pub slots: SlotSet,
    /// How it is.
    pub health: Health,
    /// Why.
    pub message: String,
}

impl Findings {
    /// Number of wanted shards that own slots, serve and have all their replicas.
    pub fn ready_shards(&self) -> usize {
        self.shards
            .iter()
            .filter(|shard| shard.health == Health::Healthy)
            .count()
    }

    /// Whether everything is as it should be.
    pub fn is_settled(&self, desired: &Desired) -> bool {
        self.quorum
            && self.slots_served == SLOT_COUNT
            && self.slots_to_move == 0
            && self.shards.len() == desired.shards as usize
            && self.ready_shards() == self.shards.len()
    }
}

/// What is found while no node answers.
pub(super) fn without_topology(desired: &Desired, observed: &Observed) -> Findings {
    let shards = indexes(desired, observed)
        .into_iter()
        .map(|index| ShardFinding {
            index,
            primary: None,
            replicas: Vec::new(),
            slots: SlotSet::new(),
            health: starting_or_draining(desired, index),
            message: "no node answers".to_owned(),
        })
        .collect();
    Findings {
        blind: observed.pods.values().any(|pod| pod.running),
        shards,
        waiting: vec!["no node answers yet".to_owned()],
        ..Findings::default()
    }
}

pub(super) fn findings(
    picture: &Picture<'_>,
    rebalance: &Rebalance,
    mut waiting: Vec<String>,
) -> Findings {
    waiting.sort();
    waiting.dedup();
    let served = picture
        .groups
        .values()
        .filter(|group| picture.serving_primary(group).is_some())
        .map(|group| group.slots.len())
        .sum();
    Findings {
        formed: picture.has_slots(),
        blind: false,
        quorum: picture.quorum,
        slots_owned: SLOT_COUNT - picture.unowned().len(),
        slots_served: served,
        shards: indexes(picture.desired, picture.observed)
            .into_iter()
            .map(|index| shard(picture, index))
            .collect(),
        slots_to_move: rebalance.remaining,
        active_moves: rebalance
            .active
            .iter()
            .map(|migration| {
                let name = |id: &str| {
                    let place = picture.view.members.get(id).and_then(|member| member.place);
                    place.map_or_else(|| id.to_owned(), |place| format!("s{}", place.shard))
                };
                format!(
                    "{} -> {}: {} slots",
                    name(&migration.source),
                    name(&migration.target),
                    migration.slots.len()
                )
            })
            .collect(),
        failed_moves: rebalance.failed,
        last_error: rebalance.last_error.clone(),
        waiting,
    }
}

fn indexes(desired: &Desired, observed: &Observed) -> BTreeSet<u32> {
    (0..desired.shards)
        .chain(observed.shards.keys().copied())
        .collect()
}

fn starting_or_draining(desired: &Desired, index: u32) -> Health {
    if index < desired.shards {
        Health::Starting
    } else {
        Health::Draining
    }
}

fn shard(picture: &Picture<'_>, index: u32) -> ShardFinding {
    let Some(group) = picture.main_group(index) else {
        return ShardFinding {
            index,
            primary: None,
            replicas: Vec::new(),
            slots: SlotSet::new(),
            health: starting_or_draining(picture.desired, index),
            message: "no member of the cluster yet".to_owned(),
        };
    };
    let replicas: BTreeSet<PodPlace> = group
        .replicas
        .iter()
        .filter_map(|id| match picture.liveness(id) {
            Liveness::Answers(place, _, node) if node.link_up => Some(place),
            _ => None,
        })
        .collect();
    let (health, message) = health(picture, index, group, &replicas);
    ShardFinding {
        index,
        primary: group.place,
        replicas: replicas.into_iter().collect(),
        slots: group.slots.clone(),
        health,
        message,
    }
}

fn health(
    picture: &Picture<'_>,
    index: u32,
    group: &Group,
    in_sync: &BTreeSet<PodPlace>,
) -> (Health, String) {
    let trouble = match picture.liveness(&group.primary) {
        Liveness::Answers(_, _, node) if node.state == NodeState::Primary => None,
        Liveness::Answers(_, _, node) if node.state == NodeState::Quarantined => {
            Some("the primary restarted without its data")
        }
        Liveness::Answers(..) => Some("the primary has not taken up its role yet"),
        Liveness::Silent => Some("the primary does not answer, but its process has not ended"),
        Liveness::Ended => Some("the primary's process has ended"),
        Liveness::Gone => Some("the primary's pod is gone"),
    };
    if index >= picture.desired.shards {
        let rest = format!("{} slots to move", group.slots.len());
        return (
            Health::Draining,
            trouble.map_or(rest.clone(), |trouble| format!("{rest}; {trouble}")),
        );
    }
    if let Some(trouble) = trouble {
        let health = if group.slots.is_empty() {
            Health::Starting
        } else {
            Health::Down
        };
        return (health, trouble.to_owned());
    }
    if group.slots.is_empty() {
        return (Health::Starting, "owns no slot yet".to_owned());
    }
    let missing: Vec<String> = (0..=picture.desired.replicas)
        .map(|ordinal| PodPlace {
            shard: index,
            ordinal,
        })
        .filter(|place| group.place != Some(*place) && !in_sync.contains(place))
        .map(|place| place.to_string())
        .collect();
    if missing.is_empty() {
        (Health::Healthy, String::new())
    } else {
        (
            Health::Degraded,
            format!("not in sync: {}", missing.join(", ")),
        )
    }
}
