//! A Deployment's status and conditions from its ReplicaSets: what `kubectl rollout status` reads. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::plan;

/// The status that these ReplicaSets amount to.
pub fn status(deployment: &Deployment, owned: &[ReplicaSet], now: Timestamp) -> DeploymentStatus {
    let old = deployment.status.clone().unwrap_or_default();
    let Some(spec) = deployment.spec.as_ref() else {
        return old;
    };
    let newest = plan::newest(deployment, owned);
    let sum = |of: &dyn Fn(&ReplicaSet) -> i32| owned.iter().map(of).sum::<i32>();
    let some = |number: i32| Some(number).filter(|number| *number != 0);
    let observed = |set: &ReplicaSet| set.status.as_ref().map_or(0, |status| status.replicas);
    let available = sum(&plan::available);
    let mut status = DeploymentStatus {
        replicas: some(sum(&observed)),
        updated_replicas: some(newest.map_or(0, observed)),
        ready_replicas: some(sum(&|set| {
            set.status
                .as_ref()
                .and_then(|status| status.ready_replicas)
                .unwrap_or(0)
        })),
        available_replicas: some(available),
        unavailable_replicas: some((sum(&plan::size) - available).max(0)),
        terminating_replicas: Some(sum(&|set| {
            set.status
                .as_ref()
                .and_then(|status| status.terminating_replicas)
                .unwrap_or(0)
        })),
        collision_count: old.collision_count,
        observed_generation: deployment.metadata.generation,
        conditions: None,
    };
    let wanted = spec.replicas.unwrap_or(1);
    let floor = if plan::recreates(spec) {
        wanted
    } else {
        wanted - plan::limits(spec).1
    };
    let enough = available >= floor;
    let conditions = old.conditions.clone().unwrap_or_default();
    let minimum = if enough {
        (
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.".to_string(),
        )
    } else {
        (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.".to_string(),
        )
    };
    let moved = (
        old.updated_replicas,
        old.ready_replicas,
        old.available_replicas,
        old.replicas,
    ) != (
        status.updated_replicas,
        status.ready_replicas,
        status.available_replicas,
        status.replicas,
    );
    let progress = progress(deployment, &status, newest, &conditions, moved, now);
    let available = condition("Available", minimum, &conditions, false, now);
    status.conditions = Some(vec![
        available,
        condition("Progressing", progress, &conditions, moved, now),
    ]);
    status
}

fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    [
        status.updated_replicas,
        status.replicas,
        status.available_replicas,
    ]
    .iter()
    .all(|number| number.unwrap_or(0) == wanted)
}

type Verdict = (&'static str, &'static str, String);

fn progress(
    deployment: &Deployment,
    status: &DeploymentStatus,
    newest: Option<&ReplicaSet>,
    old: &[DeploymentCondition],
    moved: bool,
    now: Timestamp,
) -> Verdict {
    let set = newest.map(ResourceExt::name_any).unwrap_or_default();
    let before = old
        .iter()
        .find(|condition| condition.type_ == "Progressing");
    if is_complete(deployment, status) {
        return (
            "True",
            "NewReplicaSetAvailable",
            format!("ReplicaSet \"{set}\" has successfully progressed."),
        );
    }
    if !moved && let Some(before) = before {
        let deadline = deadline_seconds(deployment);
        let since = before.last_update_time.as_ref().map_or(now, |time| time.0);
        let done = before.reason.as_deref() == Some("NewReplicaSetAvailable");
        if before.reason.as_deref() == Some("ProgressDeadlineExceeded")
            || (!done && now.duration_since(since) > deadline)
        {
            return (
                "False",
                "ProgressDeadlineExceeded",
                format!("ReplicaSet \"{set}\" has timed out progressing."),
            );
        }
        if done {
            return (
                "True",
                "NewReplicaSetAvailable",
                before.message.clone().unwrap_or_default(),
            );
        }
    }
    if before.is_none() {
        return (
            "True",
            "NewReplicaSetCreated",
            format!("Created new replica set \"{set}\""),
        );
    }
    (
        "True",
        "ReplicaSetUpdated",
        format!("ReplicaSet \"{set}\" is progressing."),
    )
}

fn deadline_seconds(deployment: &Deployment) -> SignedDuration {
    SignedDuration::from_secs(
        deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.progress_deadline_seconds)
            .unwrap_or(600)
            .into(),
    )
}

/// How long until the rollout counts as stuck; `None` when there is nothing to wait for.
pub fn deadline(
    deployment: &Deployment,
    status: &DeploymentStatus,
    now: Timestamp,
) -> Option<Duration> {
    if is_complete(deployment, status) {
        return None;
    }
    let progress = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "Progressing" && condition.status == "True")?;
    let limit = progress
        .last_update_time
        .as_ref()?
        .0
        .checked_add(deadline_seconds(deployment))
        .ok()?;
    Some(Duration::try_from(limit.duration_since(now)).unwrap_or_default() + Duration::from_secs(1))
}

fn condition(
    type_: &str,
    (status, reason, message): Verdict,
    old: &[DeploymentCondition],
    refresh: bool,
    now: Timestamp,
) -> DeploymentCondition {
    let now = Time(crate::moment::whole_second(now));
    let before = old.iter().find(|condition| condition.type_ == type_);
    let same = before.filter(|before| before.status == status);
    let unchanged = same.filter(|before| !refresh && before.reason.as_deref() == Some(reason));
    DeploymentCondition {
        type_: type_.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_transition_time: same
            .and_then(|before| before.last_transition_time.clone())
            .or_else(|| Some(now.clone())),
        last_update_time: unchanged
            .and_then(|before| before.last_update_time.clone())
            .or(Some(now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::ReplicaSetStatus;
    use serde_json::json;

    fn deployment() -> Deployment {
        serde_json::from_value(json!({"metadata": {"name": "web", "uid": "u", "generation": 2},
            "spec": {"replicas": 2, "progressDeadlineSeconds": 60, "selector": {}, "template": {"metadata": {"labels": {"app": "web"}}}}}))
        .expect("a Deployment")
    }

    fn set(deployment: &Deployment, available: i32) -> ReplicaSet {
        let plan::Step::Create(mut set) = plan::plan(deployment, &[]).remove(0) else {
            panic!("a creation")
        };
        set.status = Some(ReplicaSetStatus {
            replicas: 2,
            ready_replicas: Some(available),
            available_replicas: Some(available),
            ..ReplicaSetStatus::default()
        });
        *set
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn reasons(status: &DeploymentStatus) -> Vec<&str> {
        status
            .conditions
            .iter()
            .flatten()
            .filter_map(|condition| condition.reason.as_deref())
            .collect()
    }

    #[test]
    fn a_rollout_progresses_completes_and_then_stays_unwritten() {
        let mut deployment = deployment();
        let sets = [set(&deployment, 0)];
        deployment.status = Some(status(&deployment, &sets, at(0)));
        assert_eq!(
            reasons(deployment.status.as_ref().expect("a status")),
            ["MinimumReplicasUnavailable", "NewReplicaSetCreated"]
        );
        let sets = [set(&deployment, 2)];
        deployment.status = Some(status(&deployment, &sets, at(5)));
        assert_eq!(
            reasons(deployment.status.as_ref().expect("a status")),
            ["MinimumReplicasAvailable", "NewReplicaSetAvailable"]
        );
        assert_eq!(Some(status(&deployment, &sets, at(500))), deployment.status);
    }

    #[test]
    fn a_stuck_rollout_exceeds_its_deadline() {
        let mut deployment = deployment();
        let sets = [set(&deployment, 0)];
        for second in [0, 1, 30, 70] {
            deployment.status = Some(status(&deployment, &sets, at(second)));
        }
        assert_eq!(
            reasons(deployment.status.as_ref().expect("a status"))[1],
            "ProgressDeadlineExceeded"
        );
    }
}
