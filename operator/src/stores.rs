//! What Kubernetes has of all clusters, kept current by watches that are limited to our labels.

use std::sync::Arc;

use futures::stream::{BoxStream, select_all};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::controller::{ReconcileReason, ReconcileRequest, trigger_with};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::api::CacheCluster;
use crate::names::{CLUSTER_LABEL, MANAGER};
use crate::resources::{Object, is_current};

/// Requests to reconcile clusters whose objects changed.
pub type Triggers = BoxStream<'static, Result<ReconcileRequest<CacheCluster>, watcher::Error>>;

/// Our objects in Kubernetes, as the watches saw them last.
#[derive(Clone)]
pub struct Stores {
    /// The nodes' pods.
    pub pods: Store<Pod>,
    /// The shards.
    pub sets: Store<StatefulSet>,
    /// Services.
    pub services: Store<Service>,
    /// Configuration.
    pub configs: Store<ConfigMap>,
    /// Disruption budgets.
    pub budgets: Store<PodDisruptionBudget>,
}

impl Stores {
    /// The stores, and the changes to them, which must be polled to keep the stores current.
    pub fn new(client: &Client, namespace: Option<&str>) -> (Self, Triggers) {
        let (pods, on_pods) = watch::<Pod>(client, namespace);
        let (sets, on_sets) = watch::<StatefulSet>(client, namespace);
        let (services, on_services) = watch::<Service>(client, namespace);
        let (configs, on_configs) = watch::<ConfigMap>(client, namespace);
        let (budgets, on_budgets) = watch::<PodDisruptionBudget>(client, namespace);
        let stores = Self {
            pods,
            sets,
            services,
            configs,
            budgets,
        };
        let triggers = select_all([on_pods, on_sets, on_services, on_configs, on_budgets]);
        (stores, triggers.boxed())
    }

    /// Waits until every store has been filled once.
    ///
    /// # Errors
    /// When a watch ended, which happens only when the process ends.
    pub async fn ready(&self) -> Result<(), reflector::store::WriterDropped> {
        self.pods.wait_until_ready().await?;
        self.sets.wait_until_ready().await?;
        self.services.wait_until_ready().await?;
        self.configs.wait_until_ready().await?;
        self.budgets.wait_until_ready().await
    }

    /// Those of `objects` that are missing in Kubernetes or differ from what is there.
    pub fn outdated(&self, namespace: &str, objects: Vec<Object>) -> Vec<Object> {
        let outdated = |object: &Object| match object {
            Object::ConfigMap(object) => differs(&self.configs, namespace, object.as_ref()),
            Object::Service(object) => differs(&self.services, namespace, object.as_ref()),
            Object::StatefulSet(object) => differs(&self.sets, namespace, object.as_ref()),
            Object::PodDisruptionBudget(object) => {
                differs(&self.budgets, namespace, object.as_ref())
            }
        };
        objects.into_iter().filter(outdated).collect()
    }
}

/// The objects of a cluster in a store.
pub fn of_cluster<K>(store: &Store<K>, cluster: &str, namespace: &str) -> Vec<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.state_filter(|object: &K| {
        object.labels().get(CLUSTER_LABEL).map(String::as_str) == Some(cluster)
            && object.meta().namespace.as_deref() == Some(namespace)
    })
}

fn differs<K>(store: &Store<K>, namespace: &str, desired: &K) -> bool
where
    K: Resource<DynamicType = ()> + Clone + serde::Serialize + 'static,
{
    let key = ObjectRef::new(&desired.name_any()).within(namespace);
    store
        .get(&key)
        .is_none_or(|live| !is_current(desired, live.as_ref()))
}

/// A watch on our objects of one kind. Every change asks for a pass over the cluster that the object's label names.
fn watch<K>(client: &Client, namespace: Option<&str>) -> (Store<K>, Triggers)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    let api: Api<K> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let ours = format!("app.kubernetes.io/managed-by={MANAGER},{CLUSTER_LABEL}");
    let config = watcher::Config::default().labels(&ours);
    let (store, writer) = reflector::store();
    let events = watcher(api, config)
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer)
        .touched_objects();
    let triggers = trigger_with(events, |object: K| request(&object));
    (store, triggers.into_stream().boxed())
}

fn request<K: Resource<DynamicType = ()>>(object: &K) -> Option<ReconcileRequest<CacheCluster>> {
    let cluster = object.labels().get(CLUSTER_LABEL)?;
    let namespace = object.meta().namespace.as_deref()?;
    Some(ReconcileRequest {
        obj_ref: ObjectRef::new(cluster).within(namespace),
        reason: ReconcileReason::Custom {
            reason: format!("{} {} changed", K::kind(&()), object.name_any()),
        },
    })
}
