//! Where slots go: the first assignment, and moves to the final balanced layout.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::Step;
use super::layout::targets;
use super::picture::{Group, Picture};
use crate::names::PodPlace;
use crate::observe::{Migration, MigrationState, NodeId};
use crate::slots::SlotSet;

/// Slots that one move takes at most: the pause at its end and the work lost by a failure stay small.
const SLOTS_PER_MOVE: u32 = 1024;
/// Moves at once in a cluster, at most one a source and one a target.
const MOVES_AT_ONCE: usize = 8;

/// What there is to move, and the next steps.
#[derive(Default)]
pub(super) struct Rebalance {
    /// The next steps.
    pub steps: Vec<Step>,
    /// Slots that are not yet where they belong.
    pub remaining: u32,
    /// Moves under way.
    pub active: Vec<Migration>,
    /// Moves that failed since the last one that succeeded.
    pub failed: u32,
    /// What the newest failed move said.
    pub last_error: String,
}

pub(super) fn rebalance(picture: &Picture<'_>, waiting: &mut Vec<String>) -> Rebalance {
    let mut rebalance = Rebalance {
        active: active(picture),
        ..Rebalance::default()
    };
    (rebalance.failed, rebalance.last_error) = failures(picture);
    let flows = Flows::new(picture, &rebalance.active);
    rebalance.remaining = flows.remaining(picture);
    if !picture.quorum {
        return rebalance;
    }
    let unowned = picture.unowned();
    if unowned.is_empty() {
        rebalance.steps = cancellations(picture, &rebalance.active);
        if rebalance.steps.is_empty() {
            rebalance.steps = flows.moves(picture, waiting);
        }
    } else if let Some(obstacle) = obstacle_to_forming(picture) {
        waiting.push(obstacle);
    } else {
        rebalance.steps = assignments(picture, &flows, unowned);
    }
    rebalance
}

/// The moves under way, each once, whichever end reports it.
pub(super) fn active(picture: &Picture<'_>) -> Vec<Migration> {
    let mut active: BTreeMap<&str, &Migration> = BTreeMap::new();
    for (_, node) in picture.observed.answering() {
        if !picture.view.members.contains_key(&node.id) {
            continue;
        }
        for migration in &node.migrations {
            if migration.state == MigrationState::Active {
                active.entry(&migration.name).or_insert(migration);
            }
        }
    }
    active.into_values().cloned().collect()
}

/// Failed moves since the last success at each source, and the newest one's reason.
fn failures(picture: &Picture<'_>) -> (u32, String) {
    let (mut count, mut reason) = (0, String::new());
    for (_, node) in picture.observed.answering() {
        let own = node
            .migrations
            .iter()
            .filter(|migration| migration.source == node.id);
        let failed = own.take_while(|migration| migration.state != MigrationState::Succeeded);
        for migration in failed {
            if let MigrationState::Failed(message) = &migration.state {
                if reason.is_empty() {
                    reason.clone_from(message);
                }
                count += 1;
            }
        }
    }
    (count, reason)
}

/// Why slots cannot be assigned yet. Once slots are owned, those that are not are the rest of a first assignment that was interrupted.
fn obstacle_to_forming(picture: &Picture<'_>) -> Option<String> {
    if picture.has_slots() {
        return (!picture.confirmed).then(|| {
            "slots without owner; waiting until a majority of the members agrees".to_owned()
        });
    }
    if let Some(place) = picture.observed.unknown().next() {
        return Some(format!("forming: pod {place} does not answer yet"));
    }
    let mut shards = 0..picture.desired.shards;
    shards.find_map(|index| {
        let Some(group) = picture.main_group(index) else {
            return Some(format!("forming: shard {index} has no member yet"));
        };
        if picture.serving_primary(group).is_none() {
            return Some(format!(
                "forming: the primary of shard {index} is not ready"
            ));
        }
        (!picture.replicas_in_sync(index, group))
            .then(|| format!("forming: the replicas of shard {index} are not in sync yet"))
    })
}

fn assignments(picture: &Picture<'_>, flows: &Flows<'_>, mut unowned: SlotSet) -> Vec<Step> {
    let mut steps = Vec::new();
    for index in 0..picture.desired.shards {
        let Some((at, _)) = picture
            .main_group(index)
            .and_then(|group| picture.serving_primary(group))
        else {
            continue;
        };
        let slots = unowned.first(flows.deficit(index));
        unowned.subtract(&slots);
        if !slots.is_empty() {
            steps.push(Step::AddSlots { at, slots });
        }
    }
    steps
}

/// Moves to a shard that is not wanted any more are cancelled.
fn cancellations(picture: &Picture<'_>, active: &[Migration]) -> Vec<Step> {
    let useless = active.iter().filter(|migration| {
        let place = picture
            .groups
            .get(&migration.target)
            .and_then(|group| group.place);
        place.is_some_and(|place| place.shard >= picture.desired.shards)
    });
    let sources: BTreeSet<PodPlace> = useless
        .filter_map(|migration| Some(picture.observed.pod_of(&migration.source)?.0))
        .collect();
    sources
        .into_iter()
        .map(|at| Step::CancelMigrations { at })
        .collect()
}

/// Who has too many slots and who has too few, when the moves under way are taken as done.
struct Flows<'a> {
    active: &'a [Migration],
    /// Slots that each wanted shard should own.
    targets: BTreeMap<u32, u32>,
    /// Slots that each wanted shard will own.
    expected: BTreeMap<u32, u32>,
}

impl<'a> Flows<'a> {
    fn new(picture: &Picture<'_>, active: &'a [Migration]) -> Self {
        let wanted: Vec<u32> = (0..picture.desired.shards).collect();
        let expected: BTreeMap<u32, u32> = wanted
            .iter()
            .map(|index| {
                let group = picture.main_group(*index);
                (
                    *index,
                    group.map_or(0, |group| expected_slots(group, active)),
                )
            })
            .collect();
        Self {
            active,
            targets: targets(&wanted, &expected),
            expected,
        }
    }

    fn target(&self, picture: &Picture<'_>, group: &Group) -> u32 {
        let main = group
            .place
            .filter(|place| picture.main.get(&place.shard) == Some(&group.primary));
        main.and_then(|place| self.targets.get(&place.shard).copied())
            .unwrap_or(0)
    }

    fn deficit(&self, index: u32) -> u32 {
        let target = self.targets.get(&index).copied().unwrap_or(0);
        target.saturating_sub(self.expected.get(&index).copied().unwrap_or(0))
    }

    /// Slots that are not yet where they belong, those on their way included.
    fn remaining(&self, picture: &Picture<'_>) -> u32 {
        picture
            .groups
            .values()
            .map(|group| {
                group
                    .slots
                    .len()
                    .saturating_sub(self.target(picture, group))
            })
            .sum()
    }

    /// The next moves: doomed shards first, highest index first; then whoever has most to give, to whoever lacks most.
    fn moves(&self, picture: &Picture<'_>, waiting: &mut Vec<String>) -> Vec<Step> {
        let busy: BTreeSet<&NodeId> = self
            .active
            .iter()
            .flat_map(|migration| [&migration.source, &migration.target])
            .collect();
        let mut sources: Vec<(&Group, u32)> = picture
            .groups
            .values()
            .map(|group| {
                (
                    group,
                    expected_slots(group, self.active).saturating_sub(self.target(picture, group)),
                )
            })
            .filter(|(group, surplus)| *surplus > 0 && !busy.contains(&group.primary))
            .collect();
        sources.sort_by_key(|(group, surplus)| {
            (
                Reverse(doomed_index(picture, group)),
                Reverse(*surplus),
                group.place,
            )
        });
        let mut receivers: Vec<(u32, &Group, u32)> = (0..picture.desired.shards)
            .filter_map(|index| Some((index, picture.main_group(index)?, self.deficit(index))))
            .filter(|(_, group, deficit)| *deficit > 0 && !busy.contains(&group.primary))
            .filter(|(index, group, _)| may_receive(picture, *index, group, waiting))
            .collect();
        receivers.sort_by_key(|(index, _, deficit)| (Reverse(*deficit), *index));
        let mut receivers = receivers.into_iter();
        let mut steps = Vec::new();
        for (source, surplus) in sources {
            if steps.len() + self.active.len() >= MOVES_AT_ONCE {
                break;
            }
            let Some((at, _)) = picture.serving_primary(source) else {
                let name = source
                    .place
                    .map_or_else(|| source.primary.clone(), |place| place.to_string());
                waiting.push(format!(
                    "{surplus} slots wait on {name}, which does not serve"
                ));
                continue;
            };
            let Some((_, receiver, deficit)) = receivers.next() else {
                break;
            };
            let count = surplus.min(deficit).min(SLOTS_PER_MOVE);
            steps.push(Step::Migrate {
                at,
                target: receiver.primary.clone(),
                slots: self.movable(source).last(count),
            });
        }
        steps
    }

    /// The slots of a group that are not on their way already.
    fn movable(&self, group: &Group) -> SlotSet {
        let mut slots = group.slots.clone();
        for migration in self.active {
            slots.subtract(&migration.slots);
        }
        slots
    }
}

fn expected_slots(group: &Group, active: &[Migration]) -> u32 {
    let mut slots = group.slots.clone();
    for migration in active {
        if migration.source == group.primary {
            slots.subtract(&migration.slots);
        }
        if migration.target == group.primary {
            slots.add(&migration.slots);
        }
    }
    slots.len()
}

fn doomed_index(picture: &Picture<'_>, group: &Group) -> Option<u32> {
    let place = group.place?;
    (place.shard >= picture.desired.shards).then_some(place.shard)
}

/// A shard gets its first slots only when its replicas are in sync; one that has slots already only needs to serve.
fn may_receive(
    picture: &Picture<'_>,
    index: u32,
    group: &Group,
    waiting: &mut Vec<String>,
) -> bool {
    if picture.serving_primary(group).is_none() {
        waiting.push(format!(
            "shard {index} does not serve yet and gets no slots"
        ));
        return false;
    }
    let ready = !group.slots.is_empty() || picture.replicas_in_sync(index, group);
    if !ready {
        waiting.push(format!(
            "shard {index} gets its first slots when its replicas are in sync"
        ));
    }
    ready
}
