//! The controller: what triggers a pass over a cluster, the pass itself, and when the next one is.

mod cleanup;
mod pass;
mod patience;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use kube::runtime::controller::{Action, Config, applier, trigger_self};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::finalizer::{Event as FinalizerEvent, finalizer};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::utils::PredicateConfig;
use kube::runtime::{Predicate, WatchStreamExt, predicates, watcher};
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;

use crate::act::ActError;
use crate::api::CacheCluster;
use crate::metrics::Metrics;
use crate::names::{FINALIZER, MANAGER};
use crate::observe::Nodes;
use crate::stores::Stores;
use crate::witness::Witnesses;
use patience::Patience;

/// Clusters reconciled at once.
const CONCURRENCY: u16 = 16;
/// The longest time between two passes over a cluster that fails.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// A pass failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An object could not be applied or deleted.
    #[error("{object}: {source}")]
    Object {
        /// Which object.
        object: String,
        /// Why.
        source: ActError,
    },
    /// The status could not be written.
    #[error("the status could not be written: {0}")]
    Status(#[source] kube::Error),
    /// The finalizer could not be set or cleared, or what it guards failed.
    #[error(transparent)]
    Finalizer(Box<kube::runtime::finalizer::Error<Error>>),
    /// The cluster has no namespace.
    #[error("the cluster has no namespace")]
    NoNamespace,
}

impl Error {
    /// A short word for metrics.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Object { .. } => "object",
            Self::Status(_) => "status",
            Self::Finalizer(inner) => match inner.as_ref() {
                kube::runtime::finalizer::Error::ApplyFailed(inner)
                | kube::runtime::finalizer::Error::CleanupFailed(inner) => inner.category(),
                _ => "finalizer",
            },
            Self::NoNamespace => "namespace",
        }
    }
}

/// What passes share.
pub struct Context {
    pub(crate) client: Client,
    pub(crate) stores: Stores,
    pub(crate) nodes: Arc<dyn Nodes>,
    pub(crate) witnesses: Witnesses,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Arc<Metrics>,
    /// Failed passes in a row, by cluster.
    failures: Mutex<HashMap<ObjectRef<CacheCluster>, u32>>,
    patience: Mutex<Patience>,
}

/// Reconciles all clusters (of one namespace, or of all) until `shutdown` completes.
pub async fn run(
    client: Client,
    namespace: Option<&str>,
    nodes: Arc<dyn Nodes>,
    witnesses: Witnesses,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let (stores, related) = Stores::new(&client, namespace);
    let api: Api<CacheCluster> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let (clusters, writer) = reflector::store();
    // Own status writes change no generation, so they ask for no further pass; deletion and finalizers do.
    let changed = predicates::generation.combine(predicates::finalizers);
    let own = watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(|cluster| cluster.managed_fields_mut().clear())
        .reflect(writer)
        .applied_objects()
        .predicate_filter(changed, PredicateConfig::default());
    let own = trigger_self(own, ()).into_stream().boxed();
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), reporter()),
        client,
        stores,
        nodes,
        witnesses,
        metrics,
        failures: Mutex::new(HashMap::new()),
        patience: Mutex::default(),
    });
    let queue = stream::select(own, related).take_until(Box::pin(shutdown));
    let config = Config::default().concurrency(CONCURRENCY);
    applier(
        |cluster, context| Box::pin(reconcile(cluster, context)),
        |cluster, error, context| back_off(&cluster, error, &context),
        context,
        clusters,
        queue,
        config,
    )
    .for_each(async |result| {
        // Failed passes are logged where they fail; a related object of a cluster that is gone is no news.
        if let Err(kube::runtime::controller::Error::QueueError(error)) = result {
            tracing::warn!(%error, "a watch failed and is begun again");
        }
    })
    .await;
}

fn reporter() -> Reporter {
    Reporter {
        controller: MANAGER.to_owned(),
        instance: std::env::var("POD_NAME").ok(),
    }
}

async fn reconcile(cluster: Arc<CacheCluster>, context: Arc<Context>) -> Result<Action, Error> {
    let namespace = cluster.namespace().ok_or(Error::NoNamespace)?;
    let timer = context.metrics.seconds.start_timer();
    let api: Api<CacheCluster> = Api::namespaced(context.client.clone(), &namespace);
    let key = ObjectRef::from_obj(cluster.as_ref());
    let result = finalizer(&api, FINALIZER, cluster, |event| async {
        // Without its stores the operator is blind: a pod that was not seen yet would count as gone.
        if context.stores.ready().await.is_err() {
            return Ok(Action::await_change());
        }
        match event {
            FinalizerEvent::Apply(cluster) => pass::pass(&cluster, &namespace, &context).await,
            FinalizerEvent::Cleanup(cluster) => {
                cleanup::cleanup(&cluster, &namespace, &context).await
            }
        }
    })
    .await
    .map_err(|error| Error::Finalizer(Box::new(error)));
    timer.observe_duration();
    if result.is_ok() {
        context.failures.lock().remove(&key);
    }
    result
}

/// Failures of one cluster slow down that cluster only: 1, 2, 4 ... seconds.
fn back_off(cluster: &CacheCluster, error: &Error, context: &Context) -> Action {
    tracing::warn!(
        cluster = cluster.name_any(),
        error = error as &dyn std::error::Error,
        "the pass failed"
    );
    context.metrics.passes.with_label_values(&["failed"]).inc();
    context
        .metrics
        .errors
        .with_label_values(&[error.category()])
        .inc();
    let mut failures = context.failures.lock();
    let count = failures.entry(ObjectRef::from_obj(cluster)).or_insert(0);
    let pause = Duration::from_secs(1 << (*count).min(6));
    *count += 1;
    Action::requeue(pause.min(LONGEST_BACKOFF))
}
