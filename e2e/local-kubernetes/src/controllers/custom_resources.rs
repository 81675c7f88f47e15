//! Deletes the instances of a CustomResourceDefinition that is being deleted, then takes its cleanup finalizer away.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::context::{self, Context, Error};

const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
/// How often instances that wait for their own finalizers are looked at again.
const PAUSE: Duration = Duration::from_millis(250);

/// Runs until shutdown.
pub(super) async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let controller = Controller::new(
        Api::<CustomResourceDefinition>::all(context.client.clone()),
        watcher::Config::default(),
    )
    .graceful_shutdown_on(shutdown.cancelled_owned());
    context::drive(
        "custom resources",
        controller.run(reconcile, context::retry, context),
    )
    .await;
}

async fn reconcile(
    seen: Arc<CustomResourceDefinition>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let definitions = Api::<CustomResourceDefinition>::all(context.client.clone());
    let held = |definition: &CustomResourceDefinition| {
        definition.metadata.deletion_timestamp.is_some()
            && definition.finalizers().iter().any(|name| name == FINALIZER)
    };
    if !held(&seen) {
        return Ok(Action::await_change());
    }
    let Some(definition) = definitions.get_opt(&seen.name_any()).await?.filter(held) else {
        return Ok(Action::await_change());
    };
    if let Some(resource) = resource(&definition) {
        let api = Api::<DynamicObject>::all_with(context.client.clone(), &resource);
        let left = match api.list_metadata(&ListParams::default()).await {
            Ok(list) => list.items,
            Err(error) if context::is_not_found(&error) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        for object in left
            .iter()
            .filter(|object| object.metadata.deletion_timestamp.is_none())
        {
            let namespace = object.namespace().unwrap_or_default();
            let one = if namespace.is_empty() {
                api.clone()
            } else {
                Api::namespaced_with(context.client.clone(), &namespace, &resource)
            };
            context::deleted(
                one.delete(&object.name_any(), &context::precondition(&object.metadata))
                    .await,
            )?;
        }
        if !left.is_empty() {
            return Ok(Action::requeue(PAUSE));
        }
    }
    let rest: Vec<_> = definition
        .finalizers()
        .iter()
        .filter(|name| *name != FINALIZER)
        .collect();
    let rest = if rest.is_empty() {
        json!(null)
    } else {
        json!(rest)
    };
    let patch = json!({"metadata": {"resourceVersion": definition.metadata.resource_version, "finalizers": rest}});
    let manager = PatchParams {
        field_manager: Some(context::MANAGER.into()),
        ..PatchParams::default()
    };
    match definitions
        .patch(&definition.name_any(), &manager, &Patch::Merge(&patch))
        .await
    {
        Err(error) if !context::is_not_found(&error) => Err(error.into()),
        _ => Ok(Action::await_change()),
    }
}

fn resource(definition: &CustomResourceDefinition) -> Option<ApiResource> {
    let version = definition
        .spec
        .versions
        .iter()
        .find(|version| version.served)?;
    let gvk = GroupVersionKind::gvk(
        &definition.spec.group,
        &version.name,
        &definition.spec.names.kind,
    );
    Some(ApiResource::from_gvk_with_plural(
        &gvk,
        &definition.spec.names.plural,
    ))
}
