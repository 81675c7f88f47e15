//! The Deployment controller's edge: ReplicaSets per template, rolled by the plan; status with conditions.

pub mod plan;
pub mod status;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::plan::Step;
use super::context::{self, Context, Error};
use super::pods;

/// Runs until shutdown.
pub(super) async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let client = context.client.clone();
    let controller = Controller::new(
        Api::<Deployment>::all(client.clone()),
        watcher::Config::default(),
    )
    .owns(Api::<ReplicaSet>::all(client), watcher::Config::default())
    .graceful_shutdown_on(shutdown.cancelled_owned());
    context::drive(
        "deployment",
        controller.run(reconcile, context::retry, context),
    )
    .await;
}

async fn reconcile(seen: Arc<Deployment>, context: Arc<Context>) -> Result<Action, Error> {
    let namespace = seen.namespace().unwrap_or_default();
    let deployments = Api::<Deployment>::namespaced(context.client.clone(), &namespace);
    let Some(deployment) = deployments.get_opt(&seen.name_any()).await? else {
        return Ok(Action::await_change());
    };
    let sets = Api::<ReplicaSet>::namespaced(context.client.clone(), &namespace);
    let mut owned = owned_sets(&sets, &deployment).await?;
    if deployment.metadata.deletion_timestamp.is_none() {
        let steps = plan::plan(&deployment, &owned);
        if !steps.is_empty() {
            for step in steps {
                carry_out(&context, &deployments, &deployment, &sets, step).await?;
            }
            owned = owned_sets(&sets, &deployment).await?;
        }
    }
    let Some(deployment) = deployments.get_opt(&seen.name_any()).await? else {
        return Ok(Action::await_change());
    };
    let now = context.clock.now();
    let status = status::status(&deployment, &owned, now);
    let deadline = status::deadline(&deployment, &status, now);
    if deployment.status.as_ref() != Some(&status) {
        let mut deployment = deployment;
        deployment.status = Some(status);
        deployments
            .replace_status(&deployment.name_any(), &context::post(), &deployment)
            .await?;
    }
    Ok(deadline.map_or_else(Action::await_change, Action::requeue))
}

async fn owned_sets(
    sets: &Api<ReplicaSet>,
    deployment: &Deployment,
) -> Result<Vec<ReplicaSet>, Error> {
    let selector = context::selector(deployment.spec.as_ref().map(|spec| &spec.selector))?;
    let uid = deployment.uid().unwrap_or_default();
    let all = sets
        .list(&ListParams::default().labels_from(&selector))
        .await?;
    Ok(all
        .items
        .into_iter()
        .filter(|set| pods::is_controlled_by(&set.metadata, &uid))
        .collect())
}

async fn carry_out(
    context: &Context,
    deployments: &Api<Deployment>,
    deployment: &Deployment,
    sets: &Api<ReplicaSet>,
    step: Step,
) -> Result<(), Error> {
    let name = deployment.name_any();
    match step {
        Step::Create(set) => {
            let replicas = set
                .spec
                .as_ref()
                .and_then(|spec| spec.replicas)
                .unwrap_or(0);
            match sets.create(&context::post(), &set).await {
                Err(error) if !context::is_already_exists(&error) => return Err(error.into()),
                Err(_) => {}
                Ok(created) => {
                    let message = format!(
                        "Scaled up replica set {} from 0 to {replicas}",
                        created.name_any()
                    );
                    context
                        .recorder
                        .normal(deployment, "ScalingReplicaSet", &message)
                        .await;
                }
            }
            annotate(deployments, &name, plan::revision_of(&set)).await?;
        }
        Step::Scale {
            name: set,
            from,
            to,
        } => {
            let patch = json!({"spec": {"replicas": to}});
            sets.patch(&set, &manager(), &Patch::Merge(&patch)).await?;
            if from != to {
                let direction = if to > from { "up" } else { "down" };
                let message = format!("Scaled {direction} replica set {set} from {from} to {to}");
                context
                    .recorder
                    .normal(deployment, "ScalingReplicaSet", &message)
                    .await;
            }
        }
        Step::Renumber {
            name: set,
            revision,
        } => {
            let patch =
                json!({"metadata": {"annotations": {plan::REVISION: revision.to_string()}}});
            sets.patch(&set, &manager(), &Patch::Merge(&patch)).await?;
            annotate(deployments, &name, revision).await?;
        }
        Step::Delete { name: set, uid } => {
            context::deleted(sets.delete(&set, &context::precondition_uid(&uid)).await)?;
        }
    }
    Ok(())
}

async fn annotate(deployments: &Api<Deployment>, name: &str, revision: i64) -> Result<(), Error> {
    let patch = json!({"metadata": {"annotations": {plan::REVISION: revision.to_string()}}});
    deployments
        .patch(name, &manager(), &Patch::Merge(&patch))
        .await?;
    Ok(())
}

fn manager() -> PatchParams {
    PatchParams {
        field_manager: Some(context::MANAGER.into()),
        ..PatchParams::default()
    }
}
