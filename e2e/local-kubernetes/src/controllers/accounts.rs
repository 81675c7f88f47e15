//! Gives every namespace its `default` ServiceAccount and the `kube-root-ca.crt` ConfigMap, and puts them back when deleted.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use tokio_util::sync::CancellationToken;

use super::context::{self, Context, Error};

const ACCOUNT: &str = "default";
const ROOT_CA: &str = "kube-root-ca.crt";
const DESCRIBED: &str = "kubernetes.io/description";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// Runs until shutdown.
pub(super) async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let client = context.client.clone();
    let named = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
    let controller = Controller::new(
        Api::<Namespace>::all(client.clone()),
        watcher::Config::default(),
    )
    .watches(
        Api::<ServiceAccount>::all(client.clone()),
        named(ACCOUNT),
        |account| account.namespace().map(|name| ObjectRef::new(&name)),
    )
    .watches(Api::<ConfigMap>::all(client), named(ROOT_CA), |map| {
        map.namespace().map(|name| ObjectRef::new(&name))
    })
    .graceful_shutdown_on(shutdown.cancelled_owned());
    context::drive(
        "accounts",
        controller.run(reconcile, context::retry, context),
    )
    .await;
}

async fn reconcile(namespace: Arc<Namespace>, context: Arc<Context>) -> Result<Action, Error> {
    let name = namespace.name_any();
    if namespace.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let named = |object: &str| ObjectMeta {
        name: Some(object.into()),
        namespace: Some(name.clone()),
        ..ObjectMeta::default()
    };
    let accounts = Api::<ServiceAccount>::namespaced(context.client.clone(), &name);
    if accounts.get_opt(ACCOUNT).await?.is_none() {
        let account = ServiceAccount {
            metadata: named(ACCOUNT),
            ..ServiceAccount::default()
        };
        created(accounts.create(&context::post(), &account).await)?;
    }
    let maps = Api::<ConfigMap>::namespaced(context.client.clone(), &name);
    let data = Some([("ca.crt".to_string(), context.options.root_ca.clone())].into());
    match maps.get_opt(ROOT_CA).await? {
        None => created(
            maps.create(
                &context::post(),
                &ConfigMap {
                    metadata: ObjectMeta {
                        annotations: Some([(DESCRIBED.into(), DESCRIPTION.into())].into()),
                        ..named(ROOT_CA)
                    },
                    data,
                    ..ConfigMap::default()
                },
            )
            .await,
        )?,
        Some(present) if present.data == data => {}
        Some(mut present) => {
            present.data = data;
            maps.replace(ROOT_CA, &context::post(), &present).await?;
        }
    }
    Ok(Action::await_change())
}

/// A namespace that is going, or an object that somebody else made just now, is no error.
fn created<T>(outcome: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match outcome {
        Err(kube::Error::Api(status)) if [403, 404, 409].contains(&status.code) => Ok(()),
        other => other.map(drop),
    }
}
