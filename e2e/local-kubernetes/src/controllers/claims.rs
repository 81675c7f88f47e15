//! Binds every PersistentVolumeClaim at once: storage is a directory that the node agent makes when a pod needs it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimStatus};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::context::{self, Context, Error};

/// Runs until shutdown.
pub(super) async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let controller = Controller::new(
        Api::<PersistentVolumeClaim>::all(context.client.clone()),
        watcher::Config::default(),
    )
    .graceful_shutdown_on(shutdown.cancelled_owned());
    context::drive("claims", controller.run(reconcile, context::retry, context)).await;
}

/// The status of a bound claim: as much as was asked for, in the ways that were asked for.
fn bound(claim: &PersistentVolumeClaim) -> PersistentVolumeClaimStatus {
    let spec = claim.spec.clone().unwrap_or_default();
    PersistentVolumeClaimStatus {
        phase: Some("Bound".into()),
        access_modes: spec.access_modes,
        capacity: spec.resources.and_then(|resources| resources.requests),
        ..claim.status.clone().unwrap_or_default()
    }
}

async fn reconcile(
    seen: Arc<PersistentVolumeClaim>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let api = Api::<PersistentVolumeClaim>::namespaced(
        context.client.clone(),
        &seen.namespace().unwrap_or_default(),
    );
    let Some(mut claim) = api.get_opt(&seen.name_any()).await? else {
        return Ok(Action::await_change());
    };
    if claim
        .spec
        .as_ref()
        .is_some_and(|spec| spec.volume_name.is_none())
    {
        let manager = PatchParams {
            field_manager: Some(context::MANAGER.into()),
            ..PatchParams::default()
        };
        let patch =
            json!({"spec": {"volumeName": format!("pvc-{}", claim.uid().unwrap_or_default())}});
        claim = api
            .patch(&claim.name_any(), &manager, &Patch::Merge(&patch))
            .await?;
    }
    let status = bound(&claim);
    if claim.status.as_ref() != Some(&status) {
        claim.status = Some(status);
        api.replace_status(&claim.name_any(), &context::post(), &claim)
            .await?;
    }
    Ok(Action::await_change())
}
