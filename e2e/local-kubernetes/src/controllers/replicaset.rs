//! The ReplicaSet controller: as many pods of a template as wanted. `plan` and `status` are pure; the rest is their edge.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use tokio_util::sync::CancellationToken;

use super::context::{self, Context, Error};
use super::pods;

/// What to do about the number of pods.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// Create this many pods (zero: nothing to do).
    Create(usize),
    /// Delete these pods (name, uid).
    Delete(Vec<(String, String)>),
}

/// Runs until shutdown.
pub(super) async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let client = context.client.clone();
    let controller = Controller::new(
        Api::<ReplicaSet>::all(client.clone()),
        watcher::Config::default(),
    )
    .owns(Api::<Pod>::all(client), watcher::Config::default())
    .graceful_shutdown_on(shutdown.cancelled_owned());
    context::drive(
        "replicaset",
        controller.run(reconcile, context::retry, context),
    )
    .await;
}

async fn reconcile(seen: Arc<ReplicaSet>, context: Arc<Context>) -> Result<Action, Error> {
    let namespace = seen.namespace().unwrap_or_default();
    let sets = Api::<ReplicaSet>::namespaced(context.client.clone(), &namespace);
    let Some(set) = sets.get_opt(&seen.name_any()).await? else {
        return Ok(Action::await_change());
    };
    let owned = owned_pods(&context, &set, &namespace).await?;
    let now = context.clock.now();
    if set.metadata.deletion_timestamp.is_none() {
        carry_out(&context, &set, plan(&set, &owned), &namespace).await?;
    }
    let owned = owned_pods(&context, &set, &namespace).await?;
    let status = status(&set, &owned, now);
    if set.status.as_ref() != Some(&status) {
        let mut set = set.clone();
        set.status = Some(status);
        sets.replace_status(&set.name_any(), &context::post(), &set)
            .await?;
    }
    Ok(context::until_available(
        &owned,
        set.spec
            .as_ref()
            .and_then(|spec| spec.min_ready_seconds)
            .unwrap_or(0),
        now,
    ))
}

async fn owned_pods(
    context: &Context,
    set: &ReplicaSet,
    namespace: &str,
) -> Result<Vec<Pod>, Error> {
    let selector = context::selector(set.spec.as_ref().map(|spec| &spec.selector))?;
    let uid = set.uid().unwrap_or_default();
    let pods = Api::<Pod>::namespaced(context.client.clone(), namespace)
        .list(&ListParams::default().labels_from(&selector))
        .await?;
    Ok(pods
        .items
        .into_iter()
        .filter(|pod| pods::is_controlled_by(&pod.metadata, &uid))
        .collect())
}

async fn carry_out(
    context: &Context,
    set: &ReplicaSet,
    plan: Plan,
    namespace: &str,
) -> Result<(), Error> {
    let pods = Api::<Pod>::namespaced(context.client.clone(), namespace);
    match plan {
        Plan::Create(count) => {
            for _ in 0..count {
                let created = pods.create(&context::post(), &build_pod(set)).await;
                match created {
                    Ok(pod) => {
                        context
                            .recorder
                            .normal(
                                set,
                                "SuccessfulCreate",
                                &format!("Created pod: {}", pod.name_any()),
                            )
                            .await;
                    }
                    Err(error) => {
                        context
                            .recorder
                            .warning(set, "FailedCreate", &format!("Error creating: {error}"))
                            .await;
                        return Err(error.into());
                    }
                }
            }
        }
        Plan::Delete(surplus) => {
            for (name, uid) in surplus {
                context::deleted(pods.delete(&name, &context::precondition_uid(&uid)).await)?;
                context
                    .recorder
                    .normal(set, "SuccessfulDelete", &format!("Deleted pod: {name}"))
                    .await;
            }
        }
    }
    Ok(())
}

fn build_pod(set: &ReplicaSet) -> Pod {
    let template = set
        .spec
        .as_ref()
        .and_then(|spec| spec.template.clone())
        .unwrap_or_default();
    let mut pod = pods::from_template(&template);
    pod.metadata.generate_name = Some(format!("{}-", set.name_any()));
    pod.metadata.namespace = set.namespace();
    pod.metadata.owner_references = pods::controller_reference(set);
    pod
}

/// How many pods to create, or which to delete: those that would be missed least first.
pub fn plan(set: &ReplicaSet, owned: &[Pod]) -> Plan {
    let wanted = usize::try_from(
        set.spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1),
    )
    .unwrap_or(0);
    let mut active: Vec<_> = owned.iter().filter(|pod| pods::is_active(pod)).collect();
    if active.len() <= wanted {
        return Plan::Create(wanted - active.len());
    }
    let worth = |pod: &Pod| {
        let assigned = pod
            .spec
            .as_ref()
            .is_some_and(|spec| spec.node_name.is_some());
        let age = pod
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| std::cmp::Reverse(time.0));
        (
            assigned,
            pods::phase(pod) == "Running",
            pods::is_ready(pod),
            age,
        )
    };
    active.sort_by_key(|pod| (worth(pod), pod.name_any()));
    active.truncate(active.len() - wanted);
    Plan::Delete(
        active
            .into_iter()
            .map(|pod| (pod.name_any(), pod.uid().unwrap_or_default()))
            .collect(),
    )
}

/// The status that these pods amount to.
pub fn status(set: &ReplicaSet, owned: &[Pod], now: Timestamp) -> ReplicaSetStatus {
    let min_ready = set
        .spec
        .as_ref()
        .and_then(|spec| spec.min_ready_seconds)
        .unwrap_or(0);
    let active: Vec<_> = owned.iter().filter(|pod| pods::is_active(pod)).collect();
    let count = |wanted: &dyn Fn(&Pod) -> bool| {
        i32::try_from(active.iter().filter(|pod| wanted(pod)).count()).unwrap_or(i32::MAX)
    };
    let some = |number: i32| Some(number).filter(|number| *number != 0);
    let terminating = i32::try_from(owned.iter().filter(|pod| pods::is_terminating(pod)).count())
        .unwrap_or(i32::MAX);
    ReplicaSetStatus {
        replicas: count(&|_| true),
        fully_labeled_replicas: some(count(&|_| true)),
        ready_replicas: some(count(&pods::is_ready)),
        available_replicas: some(count(&|pod| pods::is_available(pod, min_ready, now))),
        terminating_replicas: Some(terminating),
        observed_generation: set.metadata.generation,
        conditions: set
            .status
            .as_ref()
            .and_then(|status| status.conditions.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::pods::fixtures::{pod, terminating};
    use serde_json::json;

    fn set(replicas: i32) -> ReplicaSet {
        serde_json::from_value(
            json!({"metadata": {"name": "rs"}, "spec": {"replicas": replicas, "selector": {}}}),
        )
        .expect("a ReplicaSet")
    }

    #[test]
    fn only_active_pods_count() {
        let pods = [
            pod("a", "Running", true),
            pod("b", "Failed", false),
            terminating(pod("c", "Running", true)),
        ];
        assert_eq!(plan(&set(2), &pods), Plan::Create(1));
        let status = status(&set(2), &pods, Timestamp::UNIX_EPOCH);
        assert_eq!(
            (
                status.replicas,
                status.ready_replicas,
                status.terminating_replicas
            ),
            (1, Some(1), Some(1))
        );
    }

    #[test]
    fn the_least_useful_pods_go_first() {
        let pods = [
            pod("a", "Running", true),
            pod("b", "Pending", false),
            pod("c", "Running", false),
        ];
        assert_eq!(
            plan(&set(1), &pods),
            Plan::Delete(vec![
                ("b".into(), "uid-b".into()),
                ("c".into(), "uid-c".into())
            ])
        );
    }
}
