//! The status of a cluster, and the events that its changes are worth. Pure: what was found and what was said before go in.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use crate::api::{CacheCluster, CacheClusterStatus, Health, Phase, RebalanceStatus, ShardStatus};
use crate::names;
use crate::plan::{Desired, Findings, Plan};
use crate::slots::SLOT_COUNT;

/// Conditions and events carry at most this many bytes of text.
const TEXT: usize = 900;

/// Why nothing is known of a cluster.
const NOT_REACHED: &str =
    "no node answers the operator, although Kubernetes says that they run: nothing is changed";

/// What the cluster's spec wants of its topology.
pub fn desired(cluster: &CacheCluster) -> Desired {
    Desired {
        shards: u32::try_from(cluster.spec.shards).unwrap_or(1).max(1),
        replicas: u32::try_from(cluster.spec.replicas_per_shard).unwrap_or(0),
    }
}

/// The status after a pass. Times of conditions change only with their status.
pub fn status(cluster: &CacheCluster, plan: &Plan, now: Timestamp) -> CacheClusterStatus {
    let previous = cluster.status.clone().unwrap_or_default();
    let (findings, desired) = (&plan.findings, desired(cluster));
    let blind = findings.blind && formed(&previous);
    let name = cluster.name_any();
    let phase = phase(cluster, plan, &desired, blind);
    let shards: Vec<ShardStatus> = findings
        .shards
        .iter()
        .map(|shard| ShardStatus {
            index: to_i32(shard.index),
            primary: shard
                .primary
                .map_or_else(String::new, |place| names::pod(&name, place)),
            replicas: shard
                .replicas
                .iter()
                .map(|place| names::pod(&name, *place))
                .collect(),
            slots: shard.slots.to_string(),
            slot_count: to_i32(shard.slots.len()),
            health: if blind { Health::Down } else { shard.health },
            message: shard.message.clone(),
        })
        .collect();
    CacheClusterStatus {
        observed_generation: cluster.metadata.generation,
        phase,
        selector: names::selector_text(&name),
        shards: to_i32(plan.pods.len() as u32),
        ready_shards: to_i32(findings.ready_shards() as u32),
        slots_covered: to_i32(findings.slots_served),
        endpoint: names::endpoint(&name, &cluster.namespace().unwrap_or_default()),
        conditions: conditions(cluster, plan, &previous.conditions, blind, now),
        shard_status: shards,
        rebalance: match blind {
            true => previous.rebalance,
            false => rebalance(previous.rebalance.as_ref(), findings),
        },
    }
}

/// Whether there is nothing left to do.
pub fn is_settled(cluster: &CacheCluster, plan: &Plan) -> bool {
    plan.steps.is_empty() && plan.findings.is_settled(&desired(cluster))
}

/// `blind`: nothing is seen of a cluster that was formed.
fn phase(cluster: &CacheCluster, plan: &Plan, desired: &Desired, blind: bool) -> Phase {
    let findings = &plan.findings;
    let wanted = || {
        findings
            .shards
            .iter()
            .filter(|shard| shard.index < desired.shards)
    };
    if cluster.spec.paused {
        Phase::Paused
    } else if blind {
        Phase::Degraded
    } else if !findings.formed {
        let somebody = findings.shards.iter().any(|shard| shard.primary.is_some());
        if somebody {
            Phase::Forming
        } else {
            Phase::Pending
        }
    } else if findings.slots_served < SLOT_COUNT
        || !findings.quorum
        || wanted().any(|shard| matches!(shard.health, Health::Degraded | Health::Down))
    {
        Phase::Degraded
    } else if findings.slots_to_move > 0 {
        Phase::Rebalancing
    } else if is_settled(cluster, plan) {
        Phase::Ready
    } else {
        Phase::Progressing
    }
}

fn conditions(
    cluster: &CacheCluster,
    plan: &Plan,
    previous: &[Condition],
    blind: bool,
    now: Timestamp,
) -> Vec<Condition> {
    let findings = &plan.findings;
    let settled = is_settled(cluster, plan);
    let waiting = shorten(&findings.waiting.join("; "));
    let served = format!("{} of {SLOT_COUNT} slots are served", findings.slots_served);
    let owned = format!(
        "{} of {SLOT_COUNT} slots have an owner",
        findings.slots_owned
    );
    let available = findings.slots_served == SLOT_COUNT;
    let covered = findings.slots_owned == SLOT_COUNT;
    let rebalanced = covered && findings.slots_to_move == 0;
    let ready_reason = if settled {
        "AsDesired"
    } else if available {
        "Changing"
    } else {
        "NotServing"
    };
    let progress = match (cluster.spec.paused, settled, waiting.is_empty()) {
        (true, ..) => (
            false,
            "Paused",
            "spec.paused is set: nothing is changed".to_owned(),
        ),
        (_, true, _) => (false, "AsDesired", "nothing is left to do".to_owned()),
        (_, _, true) => (true, "Working", "changes are under way".to_owned()),
        (_, _, false) => (true, "Waiting", waiting.clone()),
    };
    let unfinished = match (waiting.is_empty(), rebalanced) {
        (false, _) => format!("; {waiting}"),
        (true, false) => format!("; {} slots are on the move", findings.slots_to_move),
        (true, true) => String::new(),
    };
    let ready_message = format!(
        "{} of {} shards are ready; {served}{unfinished}",
        findings.ready_shards(),
        cluster.spec.shards
    );
    let moves = if rebalanced {
        (true, "Even", "every slot is where it belongs".to_owned())
    } else if findings.last_error.is_empty() {
        (
            false,
            "MovingSlots",
            format!(
                "{} slots are not yet where they belong",
                findings.slots_to_move
            ),
        )
    } else {
        (
            false,
            "MovesFail",
            shorten(&format!(
                "the newest of {} failed moves said: {}",
                findings.failed_moves, findings.last_error
            )),
        )
    };
    let quorum = if findings.quorum {
        (
            true,
            "Quorum",
            "a majority of the voters is reached".to_owned(),
        )
    } else {
        (
            false,
            "NoQuorum",
            "no majority of the voters is reached".to_owned(),
        )
    };
    let available_message = if cluster.spec.replicas_per_shard == 0 {
        format!("{served}; without replicas, a lost pod loses the keys of its shard")
    } else {
        served
    };
    [
        ("Ready", (settled, ready_reason, ready_message)),
        (
            "Available",
            (
                available,
                if available {
                    "AllServed"
                } else {
                    "SlotsNotServed"
                },
                available_message,
            ),
        ),
        ("Progressing", progress),
        (
            "SlotsCovered",
            (
                covered,
                if covered { "AllOwned" } else { "SlotsUnowned" },
                owned,
            ),
        ),
        ("Rebalanced", moves),
        ("QuorumHealthy", quorum),
    ]
    .into_iter()
    .map(|(type_, (status, reason, message))| {
        // What the operator itself is about is known.
        let (status, reason, message) = match (status, blind && type_ != "Progressing") {
            (_, true) => ("Unknown", "NodesNotReached", NOT_REACHED.to_owned()),
            (true, _) => ("True", reason, message),
            (false, _) => ("False", reason, message),
        };
        let before = previous
            .iter()
            .find(|condition| condition.type_ == type_ && condition.status == status);
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: before
                .map_or(Time(now), |before| before.last_transition_time.clone()),
            observed_generation: cluster.metadata.generation,
        }
    })
    .collect()
}

/// Progress is told against what was planned when the rebalance began; a change of mind extends the plan.
fn rebalance(previous: Option<&RebalanceStatus>, findings: &Findings) -> Option<RebalanceStatus> {
    let remaining = to_i32(findings.slots_to_move);
    let before = previous.cloned().unwrap_or_default();
    let before_remaining = before.planned_slots - before.moved_slots;
    let (planned_slots, moved_slots) = if remaining == 0 {
        previous?;
        (before.planned_slots, before.planned_slots)
    } else if before_remaining == 0 {
        (remaining, 0)
    } else if remaining > before_remaining {
        (before.moved_slots + remaining, before.moved_slots)
    } else {
        (before.planned_slots, before.planned_slots - remaining)
    };
    Some(RebalanceStatus {
        planned_slots,
        moved_slots,
        active_moves: findings.active_moves.clone(),
        failed_attempts: to_i32(findings.failed_moves),
        last_error: shorten(&findings.last_error),
    })
}

fn to_i32(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn shorten(text: &str) -> String {
    if text.len() <= TEXT {
        return text.to_owned();
    }
    let end = (0..=TEXT)
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    format!("{}...", &text[..end])
}

/// Something worth an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether it is a warning.
    pub warning: bool,
    /// One word.
    pub reason: &'static str,
    /// One sentence.
    pub note: String,
}

/// What changed between two statuses that people want to read. The same status twice is worth nothing.
pub fn notices(before: &CacheClusterStatus, after: &CacheClusterStatus) -> Vec<Notice> {
    let mut notices = Vec::new();
    let mut say = |warning, reason, note: String| {
        notices.push(Notice {
            warning,
            reason,
            note,
        });
    };
    let (old, new) = (before.phase, after.phase);
    if new == Phase::Forming && old == Phase::Pending {
        say(
            false,
            "Forming",
            "nodes answer; the cluster is being formed".to_owned(),
        );
    }
    if new == Phase::Ready && old != Phase::Ready {
        let from = if old == Phase::Degraded {
            "Repaired"
        } else {
            "Ready"
        };
        say(
            false,
            from,
            format!(
                "all {} shards serve with their replicas in sync",
                after.ready_shards
            ),
        );
    }
    if new == Phase::Degraded && old != Phase::Degraded {
        say(true, "Degraded", unhealthy(after));
    }
    let planned = |status: &CacheClusterStatus| {
        status.rebalance.as_ref().map_or(0, |rebalance| {
            rebalance.planned_slots - rebalance.moved_slots
        })
    };
    if formed(before) && after.shards > before.shards && before.shards > 0 {
        say(
            false,
            "ScalingOut",
            format!("from {} to {} shards", before.shards, after.shards),
        );
    }
    let draining = |status: &CacheClusterStatus| {
        status
            .shard_status
            .iter()
            .filter(|shard| shard.health == Health::Draining)
            .count()
    };
    if draining(after) > 0 && draining(before) == 0 {
        let (leaving, slots) = (draining(after), planned(after));
        say(
            false,
            "ScalingIn",
            format!("{leaving} shards are drained of {slots} slots"),
        );
    }
    if planned(before) > 0 && planned(after) == 0 {
        let moved = after
            .rebalance
            .as_ref()
            .map_or(0, |rebalance| rebalance.moved_slots);
        say(
            false,
            "SlotsMoved",
            format!("{moved} slots moved; every slot is where it belongs"),
        );
    }
    let waits = |status: &CacheClusterStatus| {
        status
            .conditions
            .iter()
            .find(|condition| condition.type_ == "Progressing" && condition.reason == "Waiting")
            .map(|condition| condition.message.clone())
    };
    if formed(after)
        && new == Phase::Degraded
        && waits(after).is_some()
        && waits(after) != waits(before)
    {
        say(true, "Waiting", waits(after).unwrap_or_default());
    }
    notices
}

fn formed(status: &CacheClusterStatus) -> bool {
    !matches!(status.phase, Phase::Pending | Phase::Forming)
}

fn unhealthy(status: &CacheClusterStatus) -> String {
    let sick: Vec<String> = status
        .shard_status
        .iter()
        .filter(|shard| matches!(shard.health, Health::Degraded | Health::Down))
        .map(|shard| format!("shard {}: {}", shard.index, shard.message))
        .collect();
    shorten(&sick.join("; "))
}

#[cfg(test)]
mod tests;
