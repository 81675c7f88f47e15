//! Installs the operator as its users do: the CRD, the namespace and the rendered chart, by server-side apply.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{self, Scope};
use kube::runtime::wait::{Condition, await_condition, conditions};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::chart::{self, Release};

/// The definition of `CacheCluster`.
pub(crate) const CRD: &str = include_str!("../../crds/cachecluster.yaml");
/// Field manager of everything that is installed.
const MANAGER: &str = "helm";
/// How long the server may take to take a new definition up.
const BOUND: Duration = Duration::from_secs(30);

/// Where the operator is installed in tests and in the playground.
#[must_use]
pub fn release() -> Release {
    Release {
        name: "evenkeel".to_owned(),
        namespace: "evenkeel-system".to_owned(),
    }
}

/// Applies the CRD and waits until the server serves it.
///
/// # Errors
/// If the server refuses it or does not establish it within half a minute.
pub async fn crd(client: &Client) -> Result<()> {
    let definition: Value = serde_yaml::from_str(CRD).context("crds/cachecluster.yaml")?;
    apply(client, &definition).await?;
    let name = definition["metadata"]["name"].as_str().unwrap_or_default();
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let established = await_condition(api, name, conditions::is_crd_established());
    tokio::time::timeout(BOUND, established)
        .await
        .context("the CRD is not established")??;
    Ok(())
}

/// Renders the chart for `release` with `values` over its own and applies every object. The namespace is created first.
///
/// # Errors
/// If the chart cannot be rendered or the server refuses an object.
pub async fn operator(client: &Client, release: &Release, values: &Value) -> Result<()> {
    namespace(client, &release.namespace).await?;
    for object in chart::render(release, values)? {
        apply(client, &object).await?;
    }
    Ok(())
}

/// Waits until the operator's pods are ready.
///
/// # Errors
/// If they are not within `bound`.
pub async fn operator_ready(client: &Client, release: &Release, bound: Duration) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), &release.namespace);
    let available = await_condition(api, &release.name, is_available());
    tokio::time::timeout(bound, available)
        .await
        .with_context(|| format!("the operator's pods are not ready after {bound:?}"))??;
    Ok(())
}

fn is_available() -> impl Condition<Deployment> {
    |deployment: Option<&Deployment>| {
        deployment.is_some_and(|deployment| {
            let wanted = deployment
                .spec
                .as_ref()
                .and_then(|spec| spec.replicas)
                .unwrap_or(1);
            let ready = deployment
                .status
                .as_ref()
                .and_then(|status| status.ready_replicas)
                .unwrap_or(0);
            ready >= wanted
        })
    }
}

/// Creates a namespace unless it exists.
///
/// # Errors
/// If the server refuses it.
pub async fn namespace(client: &Client, name: &str) -> Result<()> {
    apply(
        client,
        &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
    )
    .await
}

/// Server-side apply of one object of any kind.
///
/// # Errors
/// If the server does not know the kind or refuses the object.
pub async fn apply(client: &Client, object: &Value) -> Result<()> {
    let object: DynamicObject =
        serde_json::from_value(object.clone()).context("not a Kubernetes object")?;
    let types = object.types.clone().context("no kind")?;
    let what = || format!("apply {} {}", types.kind, object.name_any());
    let kind = GroupVersionKind::try_from(&types).with_context(what)?;
    let (resource, capabilities) = discovery::pinned_kind(client, &kind)
        .await
        .with_context(what)?;
    let api: Api<DynamicObject> = match (capabilities.scope, object.namespace()) {
        (Scope::Namespaced, Some(namespace)) => {
            Api::namespaced_with(client.clone(), &namespace, &resource)
        }
        (Scope::Namespaced, None) => Api::default_namespaced_with(client.clone(), &resource),
        (Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
    };
    api.patch(
        &object.name_any(),
        &PatchParams::apply(MANAGER),
        &Patch::Apply(&object),
    )
    .await
    .with_context(what)?;
    Ok(())
}
