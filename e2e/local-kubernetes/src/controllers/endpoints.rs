//! The Endpoints and EndpointSlice controllers' edge: one Service at a time, from its pods.

pub mod build;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use tokio_util::sync::CancellationToken;

use super::context::{self, Context, Error};

/// Runs until shutdown.
pub(super) async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let client = context.client.clone();
    let controller = Controller::new(
        Api::<Service>::all(client.clone()),
        watcher::Config::default(),
    );
    let services = controller.store();
    // Every Service of the namespace, not only those whose selector matches now: a pod may have lost a label.
    let of_pod = move |pod: Pod| {
        let namespace = pod.namespace();
        services
            .state_filter(move |service| {
                service.namespace() == namespace && build::selector(service).is_some()
            })
            .into_iter()
            .map(|service| ObjectRef::from_obj(service.as_ref()))
    };
    let controller = controller
        .owns(
            Api::<EndpointSlice>::all(client.clone()),
            watcher::Config::default(),
        )
        .watches(Api::<Pod>::all(client), watcher::Config::default(), of_pod)
        .graceful_shutdown_on(shutdown.cancelled_owned());
    context::drive(
        "endpoints",
        controller.run(reconcile, context::retry, context),
    )
    .await;
}

async fn reconcile(seen: Arc<Service>, context: Arc<Context>) -> Result<Action, Error> {
    let namespace = seen.namespace().unwrap_or_default();
    let name = seen.name_any();
    let services = Api::<Service>::namespaced(context.client.clone(), &namespace);
    let Some(service) = services
        .get_opt(&name)
        .await?
        .filter(|service| service.metadata.deletion_timestamp.is_none())
    else {
        return Ok(Action::await_change());
    };
    let Some(selector) = build::selector(&service) else {
        return Ok(Action::await_change());
    };
    let pods = Api::<Pod>::namespaced(context.client.clone(), &namespace)
        .list(&ListParams::default().labels_from(&selector))
        .await?
        .items;
    write_endpoints(&context, &service, &pods, &namespace).await?;
    write_slice(&context, &service, &pods, &namespace).await?;
    Ok(Action::await_change())
}

async fn write_endpoints(
    context: &Context,
    service: &Service,
    pods: &[Pod],
    namespace: &str,
) -> Result<(), Error> {
    let api = Api::<Endpoints>::namespaced(context.client.clone(), namespace);
    let mut wanted = build::endpoints(service, pods);
    match api.get_opt(&service.name_any()).await? {
        None => {
            build::stamp(&mut wanted.metadata, context.clock.now());
            api.create(&context::post(), &wanted).await?;
        }
        Some(present)
            if present.subsets == wanted.subsets
                && build::has_labels(&present.metadata, &wanted.metadata) => {}
        Some(mut present) => {
            present.subsets = wanted.subsets;
            present.metadata.labels = wanted.metadata.labels;
            build::stamp(&mut present.metadata, context.clock.now());
            api.replace(&service.name_any(), &context::post(), &present)
                .await?;
        }
    }
    Ok(())
}

async fn write_slice(
    context: &Context,
    service: &Service,
    pods: &[Pod],
    namespace: &str,
) -> Result<(), Error> {
    let api = Api::<EndpointSlice>::namespaced(context.client.clone(), namespace);
    let mut wanted = build::slice(service, pods);
    let of_service = format!("{}={}", build::SERVICE_LABEL, service.name_any());
    let mut present = api
        .list(&ListParams::default().labels(&of_service))
        .await?
        .items
        .into_iter();
    match present.next() {
        None => {
            build::stamp(&mut wanted.metadata, context.clock.now());
            api.create(&context::post(), &wanted).await?;
        }
        Some(first) if build::same(&first, &wanted) => {}
        Some(mut first) => {
            first.endpoints = wanted.endpoints;
            first.ports = wanted.ports;
            first.metadata.labels = wanted.metadata.labels;
            build::stamp(&mut first.metadata, context.clock.now());
            api.replace(&first.name_any(), &context::post(), &first)
                .await?;
        }
    }
    for surplus in present {
        context::deleted(
            api.delete(
                &surplus.name_any(),
                &context::precondition(&surplus.metadata),
            )
            .await,
        )?;
    }
    Ok(())
}
