//! Which ReplicaSets a Deployment creates, scales and deletes next. Pure.
//!
//! Invariants of a rolling update: never more than `replicas + maxSurge` pods wanted, never a scale-down that would leave
//! fewer than `replicas - maxUnavailable` available pods.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use crate::controllers::names::hash_of;
use crate::controllers::pods;

/// Annotation with the number of a rollout.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
const HASH_LABEL: &str = "pod-template-hash";

/// One write of the controller.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Create the ReplicaSet of the present template.
    Create(Box<ReplicaSet>),
    /// Change the size of a ReplicaSet.
    Scale {
        /// Its name.
        name: String,
        /// Its size now.
        from: i32,
        /// Its size to be.
        to: i32,
    },
    /// A rollback: an older ReplicaSet is the newest again.
    Renumber {
        /// Its name.
        name: String,
        /// Its new number.
        revision: i64,
    },
    /// Delete an old, empty ReplicaSet beyond the history limit.
    Delete {
        /// Its name.
        name: String,
        /// Its uid, as a precondition.
        uid: String,
    },
}

/// The number of a ReplicaSet's rollout.
pub fn revision_of(set: &ReplicaSet) -> i64 {
    set.annotations()
        .get(REVISION)
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// The size that a ReplicaSet is told to have.
pub fn size(set: &ReplicaSet) -> i32 {
    set.spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1)
}

/// The number of its pods that are available.
pub fn available(set: &ReplicaSet) -> i32 {
    set.status
        .as_ref()
        .and_then(|status| status.available_replicas)
        .unwrap_or(0)
}

fn observed(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

/// The ReplicaSet of the present template, if there is one.
pub fn newest<'a>(deployment: &Deployment, owned: &'a [ReplicaSet]) -> Option<&'a ReplicaSet> {
    let wanted = &deployment.spec.as_ref()?.template;
    owned
        .iter()
        .filter(|set| template_of(set).as_ref() == Some(wanted))
        .max_by_key(|set| revision_of(set))
}

/// A ReplicaSet's template without the label that tells ReplicaSets apart.
fn template_of(set: &ReplicaSet) -> Option<PodTemplateSpec> {
    let mut template = set.spec.as_ref()?.template.clone()?;
    if let Some(labels) = template
        .metadata
        .as_mut()
        .and_then(|metadata| metadata.labels.as_mut())
    {
        labels.remove(HASH_LABEL);
    }
    Some(template)
}

/// How far a rolling update may go beyond and below the wanted size: `(surge, unavailable)`.
pub fn limits(spec: &DeploymentSpec) -> (i32, i32) {
    let wanted = spec.replicas.unwrap_or(1);
    let rolling = spec
        .strategy
        .as_ref()
        .and_then(|strategy| strategy.rolling_update.as_ref());
    let quarter = IntOrString::String("25%".into());
    let part = |limit: Option<&IntOrString>, up: bool| match limit.unwrap_or(&quarter) {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i32 = text.trim_end_matches('%').parse().unwrap_or(0);
            (wanted * percent + if up { 99 } else { 0 }) / 100
        }
    };
    let surge = part(rolling.and_then(|rolling| rolling.max_surge.as_ref()), true);
    let unavailable = part(
        rolling.and_then(|rolling| rolling.max_unavailable.as_ref()),
        false,
    );
    if surge == 0 && unavailable == 0 {
        (0, 1)
    } else {
        (surge, unavailable.min(wanted))
    }
}

/// Whether all old pods go before the first new one comes.
pub fn recreates(spec: &DeploymentSpec) -> bool {
    spec.strategy
        .as_ref()
        .and_then(|strategy| strategy.type_.as_deref())
        == Some("Recreate")
}

/// The steps to take now.
pub fn plan(deployment: &Deployment, owned: &[ReplicaSet]) -> Vec<Step> {
    let Some(spec) = deployment.spec.as_ref() else {
        return Vec::new();
    };
    let wanted = spec.replicas.unwrap_or(1);
    let newest = newest(deployment, owned);
    let mut old: Vec<_> = owned
        .iter()
        .filter(|set| newest.is_none_or(|newest| newest.uid() != set.uid()))
        .collect();
    old.sort_by_key(|set| revision_of(set));
    let last = owned.iter().map(revision_of).max().unwrap_or(0);
    if spec.paused == Some(true) {
        return newest.map_or_else(Vec::new, |newest| {
            scale(newest, wanted).into_iter().collect()
        });
    }
    let mut steps = Vec::new();
    if let Some(set) = newest
        && revision_of(set) < last
    {
        steps.push(Step::Renumber {
            name: set.name_any(),
            revision: last + 1,
        });
    }
    if recreates(spec) {
        steps.extend(old.iter().filter_map(|set| scale(set, 0)));
        if old
            .iter()
            .all(|set| observed(set) == 0 && size(set) == 0 && terminating(set) == 0)
        {
            steps.extend(grow(deployment, spec, newest, wanted, last + 1));
        }
    } else {
        let total: i32 = owned.iter().map(size).sum();
        let now = newest.map_or(0, size);
        let room = (wanted + limits(spec).0 - total).max(0);
        let target = if now < wanted {
            wanted.min(now + room)
        } else {
            wanted
        };
        let growth = grow(deployment, spec, newest, target, last + 1);
        if growth.is_none() {
            steps.extend(shrink(spec, newest, &old, wanted));
        }
        steps.extend(growth);
    }
    if let Some(newest) = newest
        && available(newest) >= wanted
    {
        let limit = usize::try_from(spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
        let empty: Vec<_> = old
            .iter()
            .filter(|set| size(set) == 0 && observed(set) == 0)
            .collect();
        let surplus = empty.len().saturating_sub(limit);
        steps.extend(empty[..surplus].iter().map(|set| Step::Delete {
            name: set.name_any(),
            uid: set.uid().unwrap_or_default(),
        }));
    }
    steps
}

fn terminating(set: &ReplicaSet) -> i32 {
    set.status
        .as_ref()
        .and_then(|status| status.terminating_replicas)
        .unwrap_or(0)
}

fn scale(set: &ReplicaSet, to: i32) -> Option<Step> {
    let from = size(set);
    (from != to).then(|| Step::Scale {
        name: set.name_any(),
        from,
        to,
    })
}

fn grow(
    deployment: &Deployment,
    spec: &DeploymentSpec,
    newest: Option<&ReplicaSet>,
    target: i32,
    revision: i64,
) -> Option<Step> {
    match newest {
        Some(set) => scale(set, target),
        None => Some(Step::Create(Box::new(build(
            deployment, spec, target, revision,
        )))),
    }
}

/// Scales old ReplicaSets down as far as availability allows: pods that are not available first.
fn shrink(
    spec: &DeploymentSpec,
    newest: Option<&ReplicaSet>,
    old: &[&ReplicaSet],
    wanted: i32,
) -> Vec<Step> {
    let floor = wanted - limits(spec).1;
    let total: i32 = newest.map_or(0, size) + old.iter().map(|set| size(set)).sum::<i32>();
    let not_yet = newest.map_or(0, |set| size(set) - available(set));
    let mut budget = (total - floor - not_yet).max(0);
    let mut sizes: Vec<_> = old.iter().map(|set| size(set)).collect();
    for (set, size) in old.iter().zip(&mut sizes) {
        let sick = (*size - available(set)).clamp(0, budget);
        *size -= sick;
        budget -= sick;
    }
    let serving: i32 =
        newest.map_or(0, available) + old.iter().map(|set| available(set)).sum::<i32>();
    let mut budget = budget.min(serving - floor).max(0);
    for size in &mut sizes {
        let surplus = (*size).min(budget);
        *size -= surplus;
        budget -= surplus;
    }
    old.iter()
        .zip(sizes)
        .filter_map(|(set, size)| scale(set, size))
        .collect()
}

fn build(
    deployment: &Deployment,
    spec: &DeploymentSpec,
    replicas: i32,
    revision: i64,
) -> ReplicaSet {
    let collisions = deployment
        .status
        .as_ref()
        .and_then(|status| status.collision_count)
        .unwrap_or(0);
    let hash = hash_of(&spec.template, collisions);
    let mut template = spec.template.clone();
    let mut selector = spec.selector.clone();
    let labels = template
        .metadata
        .get_or_insert_default()
        .labels
        .get_or_insert_default();
    labels.insert(HASH_LABEL.into(), hash.clone());
    selector
        .match_labels
        .get_or_insert_default()
        .insert(HASH_LABEL.into(), hash.clone());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.name_any())),
            namespace: deployment.namespace(),
            labels: Some(labels.clone()),
            annotations: Some([(REVISION.to_string(), revision.to_string())].into()),
            owner_references: pods::controller_reference(deployment),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(replicas),
            selector,
            template: Some(template),
            min_ready_seconds: spec.min_ready_seconds,
        }),
        status: None,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
