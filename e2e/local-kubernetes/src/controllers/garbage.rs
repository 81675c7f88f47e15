//! The garbage collector's edge: watches the metadata of everything, looks absent owners up, does what the graph decides.

pub mod graph;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy,
};
use kube::core::PartialObjectMeta;
use kube::discovery::ApiResource;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::graph::{Action, Graph, Item, Place, Suspect};
use super::context::{self, Context, Error};
use super::kinds::{self, Kind};

/// A change of one kind's objects.
enum Change {
    Applied(Box<Item>),
    Deleted(String),
    /// All objects of the kind as of now.
    Listed(Vec<Item>),
}

type Changed = (ApiResource, Change);

/// How long to wait before a look at what did not work out.
const RETRY: Duration = Duration::from_millis(250);

struct Collector {
    context: Arc<Context>,
    graph: Graph,
    kinds: HashMap<Kind, CancellationToken>,
    /// Kinds whose objects have not all been seen yet: until then dependents may be missing.
    unseen: BTreeSet<String>,
    changes: mpsc::Sender<Changed>,
}

/// Runs until shutdown.
pub(super) async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let (changes, mut incoming) = mpsc::channel(1024);
    let mut definitions: BoxStream<'_, _> = watcher(
        Api::<CustomResourceDefinition>::all(context.client.clone()),
        watcher::Config::default(),
    )
    .default_backoff()
    .boxed();
    let mut collector = Collector {
        context,
        graph: Graph::default(),
        kinds: HashMap::new(),
        unseen: BTreeSet::new(),
        changes,
    };
    let mut wait = Duration::ZERO;
    loop {
        let mut rediscover = false;
        tokio::select! {
            () = shutdown.cancelled() => break,
            definition = definitions.next() => match definition {
                None => break,
                Some(_) => rediscover = true,
            },
            change = incoming.recv() => {
                if let Some(change) = change { collector.note(change) }
                while let Ok(change) = incoming.try_recv() { collector.note(change) }
            }
            () = tokio::time::sleep(wait) => {}
        }
        // After a failure, or when a new kind was just defined but is not served yet, look again soon.
        let outcome = async {
            let settled = !rediscover || collector.discover().await?;
            collector.collect().await.map(|done| done && settled)
        };
        wait = match outcome.await {
            Ok(true) => Duration::from_secs(3600),
            Ok(false) => RETRY,
            Err(error) => {
                tracing::debug!(%error, "garbage collection failed");
                RETRY
            }
        };
    }
    collector.kinds.values().for_each(CancellationToken::cancel);
}

fn key(resource: &ApiResource) -> String {
    format!("{}/{}", resource.api_version, resource.kind)
}

impl Collector {
    fn note(&mut self, (resource, change): Changed) {
        match change {
            Change::Applied(item) => self.graph.apply(*item),
            Change::Deleted(uid) => self.graph.remove(&uid),
            Change::Listed(items) => {
                let uids = items
                    .iter()
                    .filter_map(|item| item.metadata.uid.clone())
                    .collect();
                self.graph
                    .retain(&resource.api_version, &resource.kind, &uids);
                items.into_iter().for_each(|item| self.graph.apply(item));
                self.unseen.remove(&key(&resource));
            }
        }
    }

    /// Watches kinds that are new and stops watching those that are gone; true when nothing more is expected.
    async fn discover(&mut self) -> Result<bool, Error> {
        let found: Vec<Kind> = kinds::discover(&self.context.client)
            .await?
            .into_iter()
            .filter(|kind| kind.resource.kind != "Event")
            .collect();
        let gone: Vec<_> = self
            .kinds
            .keys()
            .filter(|kind| !found.contains(kind))
            .cloned()
            .collect();
        for kind in gone {
            if let Some(token) = self.kinds.remove(&kind) {
                token.cancel();
            }
            self.graph.retain(
                &kind.resource.api_version,
                &kind.resource.kind,
                &BTreeSet::new(),
            );
            self.unseen.remove(&key(&kind.resource));
        }
        for kind in found {
            if !self.kinds.contains_key(&kind) {
                let token = CancellationToken::new();
                self.unseen.insert(key(&kind.resource));
                tokio::spawn(watch(
                    self.context.client.clone(),
                    kind.resource.clone(),
                    self.changes.clone(),
                    token.clone(),
                ));
                self.kinds.insert(kind, token);
            }
        }
        self.all_definitions_served().await
    }

    async fn all_definitions_served(&self) -> Result<bool, Error> {
        let definitions = Api::<CustomResourceDefinition>::all(self.context.client.clone())
            .list(&kube::api::ListParams::default())
            .await?;
        Ok(definitions.items.iter().all(|definition| {
            let refused = definition
                .status
                .as_ref()
                .and_then(|status| status.conditions.as_ref())
                .is_some_and(|conditions| {
                    conditions
                        .iter()
                        .any(|one| one.type_ == "NamesAccepted" && one.status == "False")
                });
            refused
                || self.kinds.keys().any(|kind| {
                    kind.resource.group == definition.spec.group
                        && kind.resource.kind == definition.spec.names.kind
                })
        }))
    }

    /// One round; false when something has to be looked at again although nothing changes.
    async fn collect(&mut self) -> Result<bool, Error> {
        if !self.unseen.is_empty() {
            return Ok(true);
        }
        let mut absent = BTreeSet::new();
        let mut settled = true;
        for suspect in self.graph.suspects() {
            match self.is_absent(&suspect).await? {
                Some(true) => drop(absent.insert(suspect)),
                Some(false) => settled = false,
                None => {}
            }
        }
        for action in self.graph.decide(&absent) {
            self.act(action).await?;
        }
        Ok(settled)
    }

    fn kind(&self, place: &Place) -> Option<&Kind> {
        // Another version of the same group names the same objects.
        let group = |api_version: &str| {
            api_version
                .split_once('/')
                .map_or(String::new(), |(group, _)| group.to_string())
        };
        self.kinds.keys().find(|kind| {
            kind.resource.kind == place.kind && kind.resource.group == group(&place.api_version)
        })
    }

    fn api(&self, kind: &Kind, namespace: &str) -> Api<DynamicObject> {
        if kind.namespaced && !namespace.is_empty() {
            Api::namespaced_with(self.context.client.clone(), namespace, &kind.resource)
        } else {
            Api::all_with(self.context.client.clone(), &kind.resource)
        }
    }

    /// Whether the server says that there is no such owner; `None` when its kind is unknown, so that nobody can say.
    async fn is_absent(&self, suspect: &Suspect) -> Result<Option<bool>, Error> {
        let Some(kind) = self.kind(&suspect.place) else {
            return Ok(None);
        };
        let live = self
            .api(kind, &suspect.place.namespace)
            .get_metadata_opt(&suspect.place.name)
            .await?;
        let exists = live.is_some_and(|live| live.metadata.uid.as_ref() == Some(&suspect.uid));
        Ok(Some(!exists))
    }

    async fn act(&mut self, action: Action) -> Result<(), Error> {
        let uid = match &action {
            Action::Delete { uid, .. }
            | Action::SetOwners { uid, .. }
            | Action::RemoveFinalizer { uid, .. } => uid.clone(),
        };
        let Some((item, kind)) = self
            .graph
            .get(&uid)
            .and_then(|item| Some((item.clone(), self.kind(&item.place)?.clone())))
        else {
            return Ok(());
        };
        let api = self.api(&kind, &item.place.namespace);
        let name = &item.place.name;
        let version = item.metadata.resource_version.clone();
        let manager = PatchParams {
            field_manager: Some(context::MANAGER.into()),
            ..PatchParams::default()
        };
        let seen = |extra: serde_json::Value| {
            let mut metadata = BTreeMap::from([
                ("uid".to_string(), json!(uid)),
                ("resourceVersion".to_string(), json!(version)),
            ]);
            metadata.extend(extra.as_object().cloned().unwrap_or_default());
            Patch::Merge(json!({"metadata": metadata}))
        };
        let outcome = match action {
            Action::Delete { foreground, .. } => {
                let propagation_policy = Some(if foreground {
                    PropagationPolicy::Foreground
                } else {
                    PropagationPolicy::Background
                });
                let preconditions = Some(Preconditions {
                    uid: Some(uid.clone()),
                    resource_version: version,
                });
                api.delete(
                    name,
                    &DeleteParams {
                        propagation_policy,
                        preconditions,
                        ..DeleteParams::default()
                    },
                )
                .await
                .map(drop)
            }
            Action::SetOwners { owners, .. } => {
                let owners = if owners.is_empty() {
                    json!(null)
                } else {
                    json!(owners)
                };
                api.patch(name, &manager, &seen(json!({"ownerReferences": owners})))
                    .await
                    .map(drop)
            }
            Action::RemoveFinalizer { finalizer, .. } => {
                let rest: Vec<_> = item
                    .metadata
                    .finalizers
                    .iter()
                    .flatten()
                    .filter(|name| *name != finalizer)
                    .collect();
                let rest = if rest.is_empty() {
                    json!(null)
                } else {
                    json!(rest)
                };
                api.patch(name, &manager, &seen(json!({"finalizers": rest})))
                    .await
                    .map(drop)
            }
        };
        // Whoever changed the object first, the watch will tell.
        context::deleted(outcome)?;
        Ok(())
    }
}

fn item(resource: &ApiResource, object: PartialObjectMeta<DynamicObject>) -> Item {
    let place = Place {
        api_version: resource.api_version.clone(),
        kind: resource.kind.clone(),
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
    };
    Item {
        place,
        metadata: object.metadata,
    }
}

/// Passes the changes of one kind on until it is told to stop.
async fn watch(
    client: Client,
    resource: ApiResource,
    changes: mpsc::Sender<Changed>,
    stop: CancellationToken,
) {
    let api = Api::<PartialObjectMeta<DynamicObject>>::all_with(client, &resource);
    let mut events = watcher(api, watcher::Config::default())
        .default_backoff()
        .boxed();
    let mut listing = Vec::new();
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = events.next() => event,
        };
        let change = match event {
            None => return,
            Some(Err(_)) => continue,
            Some(Ok(watcher::Event::Init)) => {
                listing.clear();
                continue;
            }
            Some(Ok(watcher::Event::InitApply(object))) => {
                listing.push(item(&resource, object));
                continue;
            }
            Some(Ok(watcher::Event::InitDone)) => Change::Listed(std::mem::take(&mut listing)),
            Some(Ok(watcher::Event::Apply(object))) => {
                Change::Applied(Box::new(item(&resource, object)))
            }
            Some(Ok(watcher::Event::Delete(object))) => {
                Change::Deleted(object.uid().unwrap_or_default())
            }
        };
        if changes.send((resource.clone(), change)).await.is_err() {
            return;
        }
    }
}
