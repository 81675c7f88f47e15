//! The StatefulSet controller's edge: reads the set, its pods and revisions, carries out the plan, writes the status.

pub mod identity;
pub mod plan;
pub mod revision;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use tokio_util::sync::CancellationToken;

use self::plan::{Revisions, Step, Template};
use super::context::{self, Context, Error};
use super::pods;

/// Runs until shutdown.
pub(super) async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let client = context.client.clone();
    let controller = Controller::new(
        Api::<StatefulSet>::all(client.clone()),
        watcher::Config::default(),
    )
    .owns(Api::<Pod>::all(client), watcher::Config::default())
    .graceful_shutdown_on(shutdown.cancelled_owned());
    context::drive(
        "statefulset",
        controller.run(reconcile, context::retry, context),
    )
    .await;
}

async fn reconcile(seen: Arc<StatefulSet>, context: Arc<Context>) -> Result<Action, Error> {
    let namespace = seen.namespace().unwrap_or_default();
    let sets = Api::<StatefulSet>::namespaced(context.client.clone(), &namespace);
    let Some(set) = sets.get_opt(&seen.name_any()).await? else {
        return Ok(Action::await_change());
    };
    let owned = owned_pods(&context, &set, &namespace).await?;
    let history = Api::<ControllerRevision>::namespaced(context.client.clone(), &namespace);
    let known = owned_revisions(&history, &set).await?;
    if set.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let collisions = set
        .status
        .as_ref()
        .and_then(|status| status.collision_count)
        .unwrap_or(0);
    let update = match revision::update(&set, &known, collisions) {
        revision::Update::Known(revision) => revision,
        revision::Update::Renumber(revision) => {
            history
                .replace(&revision.name_any(), &context::post(), &revision)
                .await?
        }
        revision::Update::Create(revision) => {
            match history.create(&context::post(), &revision).await {
                Err(error) if context::is_already_exists(&error) => {
                    let present = history.get_opt(&revision.name_any()).await?;
                    return match present.filter(|present| present.data != revision.data) {
                        Some(_) => collided(&sets, set, collisions).await,
                        // One that an earlier set of this name left behind goes with it.
                        None => Ok(Action::requeue(context::SOON)),
                    };
                }
                other => other?,
            }
        }
    };
    let current = set
        .status
        .as_ref()
        .and_then(|status| status.current_revision.as_deref());
    let current = current
        .and_then(|name| known.iter().find(|revision| revision.name_any() == name))
        .unwrap_or(&update);
    let names = (current.name_any(), update.name_any());
    let revisions = Revisions {
        current: &names.0,
        update: &names.1,
    };
    let now = context.clock.now();
    let steps = plan::plan(&set, &owned, revisions, now);
    let acted = !steps.is_empty();
    for step in steps {
        carry_out(&context, &set, step, current, &update).await?;
    }
    let owned = if acted {
        owned_pods(&context, &set, &namespace).await?
    } else {
        owned
    };
    write_status(&sets, &set, plan::status(&set, &owned, revisions, now)).await?;
    let mut in_use = vec![names.0.as_str(), names.1.as_str()];
    in_use.extend(
        owned
            .iter()
            .filter_map(|pod| pod.labels().get(identity::REVISION_LABEL))
            .map(String::as_str),
    );
    let limit = set
        .spec
        .as_ref()
        .and_then(|spec| spec.revision_history_limit)
        .unwrap_or(10);
    for old in revision::expired(&known, &in_use, usize::try_from(limit).unwrap_or(0)) {
        context::deleted(
            history
                .delete(&old.name_any(), &context::precondition(&old.metadata))
                .await,
        )?;
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

/// Two templates with one hash: the count in the status makes the next hash differ.
async fn collided(
    sets: &Api<StatefulSet>,
    mut set: StatefulSet,
    collisions: i32,
) -> Result<Action, Error> {
    let mut status = set.status.take().unwrap_or_default();
    status.collision_count = Some(collisions + 1);
    write_status(sets, &set, status).await?;
    Ok(Action::requeue(context::SOON))
}

async fn owned_pods(
    context: &Context,
    set: &StatefulSet,
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

async fn owned_revisions(
    history: &Api<ControllerRevision>,
    set: &StatefulSet,
) -> Result<Vec<ControllerRevision>, Error> {
    let uid = set.uid().unwrap_or_default();
    let all = history.list(&ListParams::default()).await?;
    Ok(all
        .items
        .into_iter()
        .filter(|revision| pods::is_controlled_by(&revision.metadata, &uid))
        .collect())
}

async fn carry_out(
    context: &Context,
    set: &StatefulSet,
    step: Step,
    current: &ControllerRevision,
    update: &ControllerRevision,
) -> Result<(), Error> {
    let namespace = set.namespace().unwrap_or_default();
    let pods = Api::<Pod>::namespaced(context.client.clone(), &namespace);
    match step {
        Step::Create { ordinal, template } => {
            ensure_claims(context, set, ordinal, &namespace).await?;
            let revision = if template == Template::Current {
                current
            } else {
                update
            };
            let spec_template = || {
                set.spec
                    .as_ref()
                    .map(|spec| spec.template.clone())
                    .unwrap_or_default()
            };
            let template: PodTemplateSpec =
                revision::template(revision).unwrap_or_else(spec_template);
            let pod = identity::build_pod(set, &template, &revision.name_any(), ordinal);
            let outcome = pods.create(&context::post(), &pod).await.map(|_| ());
            report(context, set, "Create", &pod.name_any(), &outcome).await;
            if let Err(error) = outcome
                && !context::is_already_exists(&error)
            {
                return Err(error.into());
            }
        }
        Step::Delete { name, uid } => {
            let outcome =
                context::deleted(pods.delete(&name, &context::precondition_uid(&uid)).await);
            report(context, set, "Delete", &name, &outcome).await;
            outcome?;
        }
    }
    Ok(())
}

async fn ensure_claims(
    context: &Context,
    set: &StatefulSet,
    ordinal: i32,
    namespace: &str,
) -> Result<(), Error> {
    let claims = Api::<PersistentVolumeClaim>::namespaced(context.client.clone(), namespace);
    for claim in identity::claims(set, ordinal) {
        match claims.create(&context::post(), &claim).await {
            Err(error) if !context::is_already_exists(&error) => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Kubernetes's events of a set: `create Pod db-0 in StatefulSet db successful`.
async fn report<E: std::fmt::Display>(
    context: &Context,
    set: &StatefulSet,
    verb: &str,
    pod: &str,
    outcome: &Result<(), E>,
) {
    let action = verb.to_lowercase();
    let set_name = set.name_any();
    match outcome {
        Ok(()) => {
            let message = format!("{action} Pod {pod} in StatefulSet {set_name} successful");
            context
                .recorder
                .normal(set, &format!("Successful{verb}"), &message)
                .await;
        }
        Err(error) => {
            let message =
                format!("{action} Pod {pod} in StatefulSet {set_name} failed error: {error}");
            context
                .recorder
                .warning(set, &format!("Failed{verb}"), &message)
                .await;
        }
    }
}

async fn write_status(
    sets: &Api<StatefulSet>,
    set: &StatefulSet,
    status: StatefulSetStatus,
) -> Result<(), Error> {
    if set.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let mut set = set.clone();
    set.status = Some(status);
    sets.replace_status(&set.name_any(), &context::post(), &set)
        .await?;
    Ok(())
}
