//! What remains to be done when a cluster is deleted. Kubernetes removes what the cluster owns; this removes objects that carry the
//! cluster's labels without being owned by it, for example after they were restored from a backup.

use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::{Context, Error};
use crate::act::Actor;
use crate::api::CacheCluster;
use crate::observe::Observed;
use crate::stores::of_cluster;

pub(super) async fn cleanup(
    cluster: &Arc<CacheCluster>,
    namespace: &str,
    context: &Context,
) -> Result<Action, Error> {
    let name = cluster.name_any();
    let actor = Actor {
        client: &context.client,
        nodes: context.nodes.as_ref(),
        cluster: &name,
        namespace,
        observed: &Observed::default(),
    };
    context.witnesses.end(cluster);
    let key = ObjectRef::from_obj(cluster.as_ref());
    context.patience.lock().forget(&key);
    let owner = cluster.uid().unwrap_or_default();
    let Context { stores, .. } = context;
    delete_unowned(&actor, &stores.sets, &owner).await?;
    delete_unowned(&actor, &stores.services, &owner).await?;
    delete_unowned(&actor, &stores.configs, &owner).await?;
    delete_unowned(&actor, &stores.budgets, &owner).await?;
    tracing::info!(cluster = name, namespace, "the cluster is deleted");
    Ok(Action::await_change())
}

async fn delete_unowned<K>(actor: &Actor<'_>, store: &Store<K>, owner: &str) -> Result<(), Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + 'static,
{
    for object in of_cluster(store, actor.cluster, actor.namespace) {
        let owned = object
            .owner_references()
            .iter()
            .any(|reference| reference.uid == owner);
        if !owned {
            let name = object.name_any();
            let deleted = actor.delete::<K>(&name).await;
            deleted.map_err(|source| Error::Object {
                object: format!("{} {name}", K::kind(&())),
                source,
            })?;
        }
    }
    Ok(())
}
