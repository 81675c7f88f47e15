//! The disruption controller: keeps every PodDisruptionBudget's status. `status` is pure; the rest is its edge.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use tokio_util::sync::CancellationToken;

use super::context::{self, Context, Error};
use super::pods;

/// How long an evicted pod that is still there counts as disrupted.
const EVICTION_TIMEOUT: jiff::SignedDuration = jiff::SignedDuration::from_mins(2);

/// Runs until shutdown.
pub(super) async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let client = context.client.clone();
    let controller = Controller::new(
        Api::<PodDisruptionBudget>::all(client.clone()),
        watcher::Config::default(),
    );
    let budgets = controller.store();
    let of_pod = move |pod: Pod| {
        let namespace = pod.namespace();
        budgets
            .state_filter(move |budget| budget.namespace() == namespace)
            .into_iter()
            .map(|budget| ObjectRef::from_obj(budget.as_ref()))
    };
    let controller = controller
        .watches(Api::<Pod>::all(client), watcher::Config::default(), of_pod)
        .graceful_shutdown_on(shutdown.cancelled_owned());
    context::drive(
        "disruption",
        controller.run(reconcile, context::retry, context),
    )
    .await;
}

async fn reconcile(seen: Arc<PodDisruptionBudget>, context: Arc<Context>) -> Result<Action, Error> {
    let namespace = seen.namespace().unwrap_or_default();
    let budgets = Api::<PodDisruptionBudget>::namespaced(context.client.clone(), &namespace);
    let Some(budget) = budgets.get_opt(&seen.name_any()).await? else {
        return Ok(Action::await_change());
    };
    let selector = context::selector(budget.spec.as_ref().and_then(|spec| spec.selector.as_ref()))?;
    let all = Api::<Pod>::namespaced(context.client.clone(), &namespace);
    let pods = all
        .list(&ListParams::default().labels_from(&selector))
        .await?
        .items;
    let expected = expected_pods(&context, &pods, &namespace).await?;
    let now = context.clock.now();
    let status = status(&budget, &pods, expected, now);
    let waits = status.disrupted_pods.is_some();
    if budget.status.as_ref() != Some(&status) {
        let mut budget = budget;
        budget.status = Some(status);
        budgets
            .replace_status(&budget.name_any(), &context::post(), &budget)
            .await?;
    }
    Ok(if waits {
        Action::requeue(EVICTION_TIMEOUT.unsigned_abs())
    } else {
        Action::await_change()
    })
}

/// The sum of the scales of the pods' controllers; a pod without one counts for itself.
async fn expected_pods(context: &Context, pods: &[Pod], namespace: &str) -> Result<i32, Error> {
    let mut scales: BTreeMap<String, i32> = BTreeMap::new();
    let mut single = 0;
    for pod in pods {
        let Some(owner) = pods::controller_of(&pod.metadata) else {
            single += 1;
            continue;
        };
        if scales.contains_key(&owner.uid) {
            continue;
        }
        let scale = match owner.kind.as_str() {
            "StatefulSet" => {
                replicas::<StatefulSet>(context, namespace, &owner.name, |set| set.spec?.replicas)
                    .await?
            }
            "ReplicaSet" => replica_set_scale(context, namespace, &owner.name).await?,
            _ => None,
        };
        scales.insert(owner.uid.clone(), scale.unwrap_or(1));
    }
    Ok(single + scales.values().sum::<i32>())
}

async fn replica_set_scale(
    context: &Context,
    namespace: &str,
    name: &str,
) -> Result<Option<i32>, Error> {
    let sets = Api::<ReplicaSet>::namespaced(context.client.clone(), namespace);
    let Some(set) = sets.get_opt(name).await? else {
        return Ok(None);
    };
    match pods::controller_of(&set.metadata).filter(|owner| owner.kind == "Deployment") {
        Some(owner) => {
            replicas::<Deployment>(context, namespace, &owner.name, |deployment| {
                deployment.spec?.replicas
            })
            .await
        }
        None => Ok(set.spec.and_then(|spec| spec.replicas)),
    }
}

async fn replicas<K>(
    context: &Context,
    namespace: &str,
    name: &str,
    get: impl Fn(K) -> Option<i32>,
) -> Result<Option<i32>, Error>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    Ok(Api::<K>::namespaced(context.client.clone(), namespace)
        .get_opt(name)
        .await?
        .and_then(get))
}

/// The status of a budget over its pods, `expected` of which there should be.
pub fn status(
    budget: &PodDisruptionBudget,
    pods: &[Pod],
    expected: i32,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    let old = budget.status.clone().unwrap_or_default();
    let disrupted = still_disrupted(&old, pods, now);
    let spec = budget.spec.as_ref();
    let count = i32::try_from(pods.len()).unwrap_or(i32::MAX);
    let min_available = spec.and_then(|spec| spec.min_available.as_ref());
    let max_unavailable = spec.and_then(|spec| spec.max_unavailable.as_ref());
    let (expected, desired) = match (min_available, max_unavailable) {
        (Some(IntOrString::Int(number)), _) => (count, *number),
        (Some(limit), _) => (expected, scaled_up(limit, expected)),
        (None, Some(limit)) => (expected, (expected - scaled_up(limit, expected)).max(0)),
        (None, None) => (count, 0),
    };
    let is_disrupted =
        |pod: &Pod| disrupted.contains_key(pod.metadata.name.as_deref().unwrap_or_default());
    let healthy = pods
        .iter()
        .filter(|pod| pods::is_active(pod) && pods::is_ready(pod) && !is_disrupted(pod))
        .count();
    let healthy = i32::try_from(healthy).unwrap_or(i32::MAX);
    let allowed = if expected > 0 {
        (healthy - desired).max(0)
    } else {
        0
    };
    let generation = budget.metadata.generation;
    PodDisruptionBudgetStatus {
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(expected),
        disrupted_pods: Some(disrupted).filter(|pods| !pods.is_empty()),
        observed_generation: generation,
        conditions: Some(conditions(
            old.conditions.unwrap_or_default(),
            allowed > 0,
            generation,
            now,
        )),
    }
}

/// Evicted pods that have neither gone nor been waited for long enough.
fn still_disrupted(
    old: &PodDisruptionBudgetStatus,
    pods: &[Pod],
    now: Timestamp,
) -> BTreeMap<String, Time> {
    let mut disrupted = old.disrupted_pods.clone().unwrap_or_default();
    disrupted.retain(|name, since| {
        let present = pods
            .iter()
            .find(|pod| pod.metadata.name.as_ref() == Some(name));
        present.is_some_and(|pod| !pods::is_terminating(pod))
            && now.duration_since(since.0) < EVICTION_TIMEOUT
    });
    disrupted
}

/// A number, or a percentage rounded up.
fn scaled_up(limit: &IntOrString, total: i32) -> i32 {
    match limit {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            i32::try_from((i64::from(total) * percent + 99) / 100).unwrap_or(i32::MAX)
        }
    }
}

fn conditions(
    mut old: Vec<Condition>,
    allowed: bool,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let (status, reason) = if allowed {
        ("True", "SufficientPods")
    } else {
        ("False", "InsufficientPods")
    };
    let since = old
        .iter()
        .find(|condition| condition.type_ == "DisruptionAllowed" && condition.status == status)
        .map(|condition| condition.last_transition_time.clone());
    old.retain(|condition| condition.type_ != "DisruptionAllowed");
    old.push(Condition {
        type_: "DisruptionAllowed".into(),
        status: status.into(),
        reason: reason.into(),
        message: String::new(),
        observed_generation: generation,
        last_transition_time: since.unwrap_or(Time(crate::moment::whole_second(now))),
    });
    old
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::pods::fixtures::{pod, terminating};
    use serde_json::json;

    #[expect(
        clippy::needless_pass_by_value,
        reason = "literals read better by value"
    )]
    fn budget(spec: serde_json::Value) -> PodDisruptionBudget {
        serde_json::from_value(json!({"metadata": {"name": "db", "generation": 1}, "spec": spec}))
            .expect("a budget")
    }

    fn allowed(spec: serde_json::Value, pods: &[Pod]) -> [i32; 4] {
        let expected = i32::try_from(pods.len()).expect("few pods");
        let status = status(&budget(spec), pods, expected, Timestamp::UNIX_EPOCH);
        [
            status.current_healthy,
            status.desired_healthy,
            status.disruptions_allowed,
            status.expected_pods,
        ]
        .map(|number| number.expect("always set"))
    }

    #[test]
    fn numbers_follow_the_recorded_ones() {
        let pods = [pod("a", "Running", true), pod("b", "Running", true)];
        assert_eq!(allowed(json!({"maxUnavailable": 1}), &pods), [2, 1, 1, 2]);
        assert_eq!(allowed(json!({"minAvailable": 2}), &pods), [2, 2, 0, 2]);
        assert_eq!(allowed(json!({"minAvailable": "50%"}), &pods), [2, 1, 1, 2]);
        assert_eq!(
            allowed(json!({"maxUnavailable": "30%"}), &pods),
            [2, 1, 1, 2]
        );
        assert_eq!(allowed(json!({"maxUnavailable": 1}), &[]), [0, 0, 0, 0]);
    }

    #[test]
    fn unready_terminating_and_just_evicted_pods_are_not_healthy() {
        let pods = [
            pod("a", "Running", true),
            pod("b", "Running", false),
            terminating(pod("c", "Running", true)),
            pod("d", "Running", true),
        ];
        let mut budget = budget(json!({"maxUnavailable": 1}));
        let now = Timestamp::UNIX_EPOCH;
        let disrupted = [
            ("d".to_string(), Time(now)),
            ("gone".to_string(), Time(now)),
        ]
        .into();
        budget.status = Some(PodDisruptionBudgetStatus {
            disrupted_pods: Some(disrupted),
            ..PodDisruptionBudgetStatus::default()
        });
        let after = status(&budget, &pods, 4, now);
        assert_eq!(
            (after.current_healthy, after.disruptions_allowed),
            (Some(1), Some(0))
        );
        assert_eq!(
            after
                .disrupted_pods
                .expect("one")
                .keys()
                .collect::<Vec<_>>(),
            ["d"]
        );
        let later = status(&budget, &pods, 4, now + EVICTION_TIMEOUT);
        assert_eq!(
            (later.current_healthy, later.disrupted_pods),
            (Some(2), None)
        );
    }

    #[test]
    fn a_condition_keeps_its_time_until_it_flips() {
        let pods = [pod("a", "Running", true), pod("b", "Running", true)];
        let mut budget = budget(json!({"maxUnavailable": 1}));
        let second = |n| Timestamp::from_second(n).expect("in range");
        budget.status = Some(status(&budget, &pods, 2, second(1)));
        assert_eq!(
            Some(status(&budget, &pods, 2, second(9))),
            budget.status,
            "nothing to write when nothing changed"
        );
        let flipped = status(&budget, &pods[..1], 2, second(9))
            .conditions
            .expect("conditions");
        assert_eq!(
            (
                flipped[0].reason.as_str(),
                flipped[0].last_transition_time.0
            ),
            ("InsufficientPods", second(9))
        );
    }
}
