//! The Kubernetes objects of a cluster, built purely from its spec, and how they differ from what exists.
//!
//! Must never talk to Kubernetes: `act` applies what stands here.

mod config;
mod drift;
mod secret;
mod services;
mod statefulset;
mod witness;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};

use crate::api::CacheCluster;
use crate::names;

pub use config::node_timeout;
pub use drift::is_current;
pub use secret::{FILE as SECRET_FILE, random_text, secret, wants_secret};
pub use witness::witness;

/// An object that the operator applies.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// The nodes' configuration.
    ConfigMap(Box<ConfigMap>),
    /// The headless or the client Service.
    Service(Box<Service>),
    /// A shard's pods.
    StatefulSet(Box<StatefulSet>),
    /// A shard's disruption budget.
    PodDisruptionBudget(Box<PodDisruptionBudget>),
}

impl Object {
    /// The object's name.
    pub fn name(&self) -> String {
        match self {
            Self::ConfigMap(object) => object.name_any(),
            Self::Service(object) => object.name_any(),
            Self::StatefulSet(object) => object.name_any(),
            Self::PodDisruptionBudget(object) => object.name_any(),
        }
    }
}

/// All objects of `cluster`, with `pods[i]` pods in shard `i`. Shards that are not in `pods` have no objects.
pub fn objects(cluster: &CacheCluster, pods: &BTreeMap<u32, i32>) -> Vec<Object> {
    let config = config::config_map(cluster);
    let hash = config::hash(&config);
    let mut objects = vec![
        Object::ConfigMap(Box::new(config)),
        Object::Service(Box::new(services::nodes(cluster))),
        Object::Service(Box::new(services::clients(cluster))),
    ];
    for (index, count) in pods {
        let set = statefulset::stateful_set(cluster, *index, *count, &hash);
        objects.push(Object::StatefulSet(Box::new(set)));
        let budget = services::disruption_budget(cluster, *index);
        objects.push(Object::PodDisruptionBudget(Box::new(budget)));
    }
    objects
}

/// Metadata of an object of `cluster`: labels and the owner reference by which Kubernetes removes it with the cluster.
fn metadata(cluster: &CacheCluster, name: String, index: Option<u32>) -> ObjectMeta {
    ObjectMeta {
        labels: Some(names::labels(&cluster.name_any(), index)),
        name: Some(name),
        namespace: cluster.namespace(),
        owner_references: cluster.controller_owner_ref(&()).map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    pub(super) fn cluster(spec: &Value) -> CacheCluster {
        serde_json::from_value(json!({
            "apiVersion": "cache.evenkeel.dev/v1alpha1",
            "kind": "CacheCluster",
            "metadata": {"name": "sessions", "namespace": "team-a", "uid": "u-1"},
            "spec": spec,
        }))
        .unwrap()
    }

    fn built(spec: &Value) -> Vec<Value> {
        let (cluster, pods) = (cluster(spec), BTreeMap::from([(0, 2)]));
        let secret = serde_json::to_value(secret(&cluster, "not to be guessed".to_owned()));
        objects(&cluster, &pods)
            .into_iter()
            .map(|object| match object {
                Object::ConfigMap(object) => serde_json::to_value(object).unwrap(),
                Object::Service(object) => serde_json::to_value(object).unwrap(),
                Object::StatefulSet(object) => serde_json::to_value(object).unwrap(),
                Object::PodDisruptionBudget(object) => serde_json::to_value(object).unwrap(),
            })
            .chain([secret.unwrap()])
            .collect()
    }

    #[test]
    fn the_objects_of_a_cluster_are_the_recorded_ones() {
        let built = serde_yaml::to_string(&built(&json!({
            "image": "example.org/cache-node:1",
            "resources": {"requests": {"cpu": "500m"}, "limits": {"cpu": 2, "memory": "1Gi"}},
            "config": {"timeout": "300"}
        })))
        .unwrap();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/objects.yaml");
        if std::env::var_os("UPDATE_RECORDED").is_some() {
            std::fs::write(path, &built).unwrap();
        }
        let recorded = std::fs::read_to_string(path).unwrap();
        assert!(
            recorded == built,
            "differs from {path}; if that is meant, run again with UPDATE_RECORDED=1 and read the diff\n{built}"
        );
    }

    #[test]
    fn every_object_is_owned_by_its_cluster_and_labelled() {
        for object in built(&json!({})) {
            let owner = &object["metadata"]["ownerReferences"][0];
            assert_eq!(owner["kind"], "CacheCluster");
            assert_eq!(owner["uid"], "u-1");
            assert_eq!(
                object["metadata"]["labels"][names::CLUSTER_LABEL],
                "sessions",
                "{object}"
            );
        }
    }

    #[test]
    fn no_shard_has_objects_unless_it_is_asked_for() {
        assert_eq!(objects(&cluster(&json!({})), &BTreeMap::new()).len(), 3);
    }
}
