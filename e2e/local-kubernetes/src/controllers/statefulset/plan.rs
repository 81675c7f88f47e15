//! What a StatefulSet's controller does next, and what status it reports: pure functions of the set, its pods and its revisions.
//!
//! Invariants: an ordinal never has two pods; under `OrderedReady` at most one step is planned and a step waits for
//! every lower ordinal to be ready; `OnDelete` never deletes a healthy pod whose ordinal is wanted.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::identity::{REVISION_LABEL, ordinal_of};
use crate::controllers::pods;

/// Which template a new pod gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// The one that is being replaced.
    Current,
    /// The one in the spec.
    Update,
}

/// One write of the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Create the pod with this ordinal (and its claims first).
    Create {
        /// The pod's ordinal.
        ordinal: i32,
        /// The template it is made of.
        template: Template,
    },
    /// Delete this very pod.
    Delete {
        /// The pod's name.
        name: String,
        /// Its uid, as a precondition.
        uid: String,
    },
}

/// Names of the two revisions that matter.
#[derive(Clone, Copy, Debug)]
pub struct Revisions<'a> {
    /// The revision that is being replaced (the same as `update` when nothing is).
    pub current: &'a str,
    /// The revision of the spec's template.
    pub update: &'a str,
}

/// The steps to take now, in order.
pub fn plan(
    set: &StatefulSet,
    owned: &[Pod],
    revisions: Revisions<'_>,
    now: Timestamp,
) -> Vec<Step> {
    let Some(spec) = set
        .spec
        .as_ref()
        .filter(|_| set.metadata.deletion_timestamp.is_none())
    else {
        return Vec::new();
    };
    let ordered = spec.pod_management_policy.as_deref() != Some("Parallel");
    let wanted = wanted_ordinals(spec);
    let (present, condemned) = split(set, owned, &wanted);
    let healthy = |pod: &Pod| {
        pods::is_running_and_ready(pod)
            && !pods::is_terminating(pod)
            && pods::is_available(pod, spec.min_ready_seconds.unwrap_or(0), now)
    };
    let mut steps = Vec::new();
    let mut settled = true;
    for ordinal in wanted.clone() {
        match present.get(&ordinal) {
            None => {
                steps.push(Step::Create {
                    ordinal,
                    template: template_for(set, spec, ordinal, revisions),
                });
                settled = false;
            }
            Some(pod) if pods::is_finished(pod) && !pods::is_terminating(pod) => {
                steps.push(delete(pod));
                settled = false;
            }
            Some(pod) => settled = settled && healthy(pod),
        }
        if ordered && !settled {
            return steps;
        }
    }
    for pod in condemned.values().rev() {
        if !pods::is_terminating(pod) {
            steps.push(delete(pod));
        }
        if ordered {
            return steps;
        }
    }
    if is_rolling(spec) && steps.is_empty() {
        steps.extend(roll(spec, &present, revisions, healthy));
    }
    steps
}

/// Replaces pods of other revisions from the highest ordinal down to the partition, `maxUnavailable` at a time.
fn roll(
    spec: &StatefulSetSpec,
    present: &BTreeMap<i32, &Pod>,
    revisions: Revisions<'_>,
    healthy: impl Fn(&Pod) -> bool,
) -> Vec<Step> {
    let from = wanted_ordinals(spec).start + partition(spec);
    let mut budget = max_unavailable(spec, present.len());
    let mut steps = Vec::new();
    for (_, pod) in present.range(from..).rev() {
        let outdated = revision_of(pod) != revisions.update;
        if outdated && !pods::is_terminating(pod) {
            steps.push(delete(pod));
        }
        if outdated || !healthy(pod) {
            budget -= 1;
        }
        if budget == 0 {
            break;
        }
    }
    steps
}

fn max_unavailable(spec: &StatefulSetSpec, pods: usize) -> usize {
    let limit = spec
        .update_strategy
        .as_ref()
        .and_then(|strategy| strategy.rolling_update.as_ref())
        .and_then(|rolling| rolling.max_unavailable.as_ref());
    match limit {
        Some(IntOrString::Int(number)) => usize::try_from(*number).unwrap_or(1).max(1),
        Some(IntOrString::String(text)) => {
            let percent: usize = text.trim_end_matches('%').parse().unwrap_or(0);
            (pods * percent / 100).max(1)
        }
        None => 1,
    }
}

fn delete(pod: &Pod) -> Step {
    Step::Delete {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
    }
}

fn wanted_ordinals(spec: &StatefulSetSpec) -> std::ops::Range<i32> {
    let start = spec
        .ordinals
        .as_ref()
        .and_then(|ordinals| ordinals.start)
        .unwrap_or(0);
    start..start.saturating_add(spec.replicas.unwrap_or(1).max(0))
}

/// Splits the set's pods into those of wanted ordinals and those beyond.
fn split<'a>(
    set: &StatefulSet,
    owned: &'a [Pod],
    wanted: &std::ops::Range<i32>,
) -> (BTreeMap<i32, &'a Pod>, BTreeMap<i32, &'a Pod>) {
    owned
        .iter()
        .filter_map(|pod| ordinal_of(set, pod).map(|ordinal| (ordinal, pod)))
        .partition(|(ordinal, _)| wanted.contains(ordinal))
}

fn is_rolling(spec: &StatefulSetSpec) -> bool {
    spec.update_strategy
        .as_ref()
        .and_then(|strategy| strategy.type_.as_deref())
        .unwrap_or("RollingUpdate")
        == "RollingUpdate"
}

fn partition(spec: &StatefulSetSpec) -> i32 {
    spec.update_strategy
        .as_ref()
        .and_then(|strategy| strategy.rolling_update.as_ref())
        .and_then(|rolling| rolling.partition)
        .unwrap_or(0)
}

/// In a rolling update, ordinals below the partition keep the current template; all others get the new one.
fn template_for(
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    ordinal: i32,
    revisions: Revisions<'_>,
) -> Template {
    if !is_rolling(spec) || revisions.current == revisions.update {
        return Template::Update;
    }
    let start = wanted_ordinals(spec).start;
    let partitioned = spec
        .update_strategy
        .as_ref()
        .is_some_and(|strategy| strategy.rolling_update.is_some());
    let kept = if partitioned {
        partition(spec)
    } else {
        set.status
            .as_ref()
            .and_then(|status| status.current_replicas)
            .unwrap_or(0)
    };
    if ordinal < start.saturating_add(kept) {
        Template::Current
    } else {
        Template::Update
    }
}

fn revision_of(pod: &Pod) -> &str {
    pod.metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(REVISION_LABEL))
        .map_or("", String::as_str)
}

/// The status that these pods amount to. `collisions` is carried over.
pub fn status(
    set: &StatefulSet,
    owned: &[Pod],
    revisions: Revisions<'_>,
    now: Timestamp,
) -> StatefulSetStatus {
    let old = set.status.clone().unwrap_or_default();
    let Some(spec) = set.spec.as_ref() else {
        return old;
    };
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let count = |wanted: &dyn Fn(&Pod) -> bool| {
        i32::try_from(owned.iter().filter(|pod| wanted(pod)).count()).unwrap_or(i32::MAX)
    };
    let some = |number: i32| Some(number).filter(|number| *number != 0);
    let ready = count(&pods::is_running_and_ready);
    let updated = count(&|pod| !pods::is_terminating(pod) && revision_of(pod) == revisions.update);
    let mut current =
        count(&|pod| !pods::is_terminating(pod) && revision_of(pod) == revisions.current);
    let mut current_revision = revisions.current;
    let replicas = spec.replicas.unwrap_or(1);
    if is_rolling(spec)
        && updated == replicas
        && ready == replicas
        && owned.len() == usize::try_from(replicas).unwrap_or(0)
    {
        (current_revision, current) = (revisions.update, updated);
    }
    StatefulSetStatus {
        replicas: count(&|_| true),
        ready_replicas: some(ready),
        available_replicas: Some(count(&|pod| {
            pods::is_running_and_ready(pod) && pods::is_available(pod, min_ready, now)
        })),
        current_replicas: some(current),
        updated_replicas: some(updated),
        current_revision: Some(current_revision.into()),
        update_revision: Some(revisions.update.into()),
        collision_count: Some(old.collision_count.unwrap_or(0)),
        observed_generation: set.metadata.generation,
        conditions: old.conditions,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
