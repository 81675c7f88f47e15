//! Empties a namespace that is being deleted, says what it still waits for, and lets it go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use tokio_util::sync::CancellationToken;

use super::context::{self, Context, Error};
use super::kinds;

/// How often a namespace that is not empty yet is looked at again.
const PAUSE: Duration = Duration::from_millis(250);
const FINALIZER: &str = "kubernetes";

/// What is left in a namespace: resource (`pods.`, `leases.coordination.k8s.io`) to its objects' metadata.
pub type Remains = BTreeMap<String, Vec<ObjectMeta>>;

/// Runs until shutdown.
pub(super) async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let controller = Controller::new(
        Api::<Namespace>::all(context.client.clone()),
        watcher::Config::default(),
    )
    .graceful_shutdown_on(shutdown.cancelled_owned());
    context::drive(
        "namespaces",
        controller.run(reconcile, context::retry, context),
    )
    .await;
}

async fn reconcile(seen: Arc<Namespace>, context: Arc<Context>) -> Result<Action, Error> {
    let api = Api::<Namespace>::all(context.client.clone());
    let held = |namespace: &Namespace| {
        let finalizers = namespace
            .spec
            .as_ref()
            .and_then(|spec| spec.finalizers.as_deref())
            .unwrap_or_default();
        namespace.metadata.deletion_timestamp.is_some()
            && finalizers.iter().any(|finalizer| finalizer == FINALIZER)
    };
    if !held(&seen) {
        return Ok(Action::await_change());
    }
    let Some(namespace) = api.get_opt(&seen.name_any()).await?.filter(held) else {
        return Ok(Action::await_change());
    };
    empty(&context, &namespace.name_any()).await?;
    let remains = remains(&context, &namespace.name_any()).await?;
    if remains.is_empty() {
        finalize(&api, namespace).await?;
        return Ok(Action::await_change());
    }
    let old = namespace.status.clone().unwrap_or_default();
    let conditions = conditions(
        old.conditions.as_deref().unwrap_or_default(),
        &remains,
        context.clock.now(),
    );
    if old.conditions.as_ref() != Some(&conditions) {
        let mut namespace = namespace;
        namespace.status.get_or_insert_default().conditions = Some(conditions);
        api.replace_status(&namespace.name_any(), &context::post(), &namespace)
            .await?;
    }
    Ok(Action::requeue(PAUSE))
}

/// Deletes everything in the namespace that is not being deleted already.
async fn empty(context: &Context, namespace: &str) -> Result<(), Error> {
    for kind in kinds::discover(&context.client)
        .await?
        .iter()
        .filter(|kind| kind.namespaced)
    {
        let api = Api::<DynamicObject>::namespaced_with(
            context.client.clone(),
            namespace,
            &kind.resource,
        );
        for object in list(&api).await? {
            if object.metadata.deletion_timestamp.is_none() {
                context::deleted(
                    api.delete(&object.name_any(), &context::precondition(&object.metadata))
                        .await,
                )?;
            }
        }
    }
    Ok(())
}

async fn list(api: &Api<DynamicObject>) -> Result<Vec<PartialObjectMeta<DynamicObject>>, Error> {
    match api.list_metadata(&ListParams::default()).await {
        Ok(list) => Ok(list.items),
        // A custom resource that is being withdrawn.
        Err(error) if context::is_not_found(&error) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

async fn remains(context: &Context, namespace: &str) -> Result<Remains, Error> {
    let mut remains = Remains::new();
    for kind in kinds::discover(&context.client)
        .await?
        .iter()
        .filter(|kind| kind.namespaced)
    {
        let api = Api::<DynamicObject>::namespaced_with(
            context.client.clone(),
            namespace,
            &kind.resource,
        );
        let left: Vec<_> = list(&api)
            .await?
            .into_iter()
            .map(|object| object.metadata)
            .collect();
        if !left.is_empty() {
            remains.insert(
                format!("{}.{}", kind.resource.plural, kind.resource.group),
                left,
            );
        }
    }
    Ok(remains)
}

async fn finalize(api: &Api<Namespace>, mut namespace: Namespace) -> Result<(), Error> {
    let spec = namespace.spec.get_or_insert_default();
    spec.finalizers
        .get_or_insert_default()
        .retain(|finalizer| finalizer != FINALIZER);
    context::deleted(
        api.replace_subresource(
            "finalize",
            &namespace.name_any(),
            &context::post(),
            &namespace,
        )
        .await,
    )?;
    Ok(())
}

/// The conditions of a namespace that still has content, in Kubernetes's words.
pub fn conditions(
    old: &[NamespaceCondition],
    remains: &Remains,
    now: Timestamp,
) -> Vec<NamespaceCondition> {
    let resources: Vec<_> = remains
        .iter()
        .map(|(resource, left)| format!("{resource} has {} resource instances", left.len()))
        .collect();
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    for finalizer in remains
        .values()
        .flatten()
        .flat_map(|metadata| metadata.finalizers.iter().flatten())
    {
        *finalizers.entry(finalizer).or_default() += 1;
    }
    let waits: Vec<_> = finalizers
        .iter()
        .map(|(finalizer, count)| format!("{finalizer} in {count} resource instances"))
        .collect();
    let remaining = format!("Some resources are remaining: {}", resources.join(", "));
    let finalizing = format!(
        "Some content in the namespace has finalizers remaining: {}",
        waits.join(", ")
    );
    let last = if waits.is_empty() {
        (
            "NamespaceFinalizersRemaining",
            "False",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished".to_string(),
        )
    } else {
        (
            "NamespaceFinalizersRemaining",
            "True",
            "SomeFinalizersRemain",
            finalizing,
        )
    };
    let all = [
        (
            "NamespaceDeletionDiscoveryFailure",
            "False",
            "ResourcesDiscovered",
            "All resources successfully discovered".to_string(),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_string(),
        ),
        (
            "NamespaceDeletionContentFailure",
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization".to_string(),
        ),
        (
            "NamespaceContentRemaining",
            "True",
            "SomeResourcesRemain",
            remaining,
        ),
        last,
    ];
    let condition = |(type_, status, reason, message): (&str, &str, &str, String)| {
        let since = old
            .iter()
            .find(|before| before.type_ == type_ && before.status == status)
            .and_then(|before| before.last_transition_time.clone());
        NamespaceCondition {
            type_: type_.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_transition_time: since.or_else(|| Some(Time(crate::moment::whole_second(now)))),
        }
    };
    all.into_iter().map(condition).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_name_what_remains_and_keep_their_times() {
        let held = ObjectMeta {
            finalizers: Some(vec!["a/b".into()]),
            ..ObjectMeta::default()
        };
        let remains = Remains::from([("pods.".to_string(), vec![ObjectMeta::default(), held])]);
        let first = conditions(&[], &remains, Timestamp::UNIX_EPOCH);
        let message = |index: usize| first[index].message.as_deref().unwrap_or_default();
        assert_eq!(
            message(3),
            "Some resources are remaining: pods. has 2 resource instances"
        );
        assert_eq!(
            message(4),
            "Some content in the namespace has finalizers remaining: a/b in 1 resource instances"
        );
        let later = Timestamp::from_second(100).expect("in range");
        assert_eq!(conditions(&first, &remains, later), first);
    }
}
