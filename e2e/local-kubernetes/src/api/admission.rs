//! What the cluster adds to an object and has to say about it: its namespace, a service's address, a pod's account.

mod pods;
mod services;

use serde_json::{Value, json};

use super::error::ApiError;
use crate::{
    crd,
    object::{self, metadata_mut},
    registry::Resource,
    store::{Key, Store},
};

/// Checks the namespace of a new object.
///
/// # Errors
/// 404 if it is missing, 403 if it is being deleted.
pub(super) fn namespace_open(
    store: &Store,
    resource: &Resource,
    namespace: &str,
    name: &str,
) -> Result<(), ApiError> {
    if !resource.namespaced {
        return Ok(());
    }
    let key = Key {
        resource: "namespaces".into(),
        namespace: String::new(),
        name: namespace.into(),
    };
    match store.get(&key) {
        None => Err(ApiError::no_namespace(namespace)),
        Some(found) if object::is_deleting(found) => {
            Err(ApiError::namespace_terminating(resource, name, namespace))
        }
        Some(_) => Ok(()),
    }
}

/// What an object's writer owns although it is filled in: it follows from the object alone.
pub(super) fn default(resource: &Resource, object: &mut Value) {
    if resource.is("apiextensions.k8s.io", "CustomResourceDefinition") {
        crd::default_definition(object);
    }
    if resource.is("", "Namespace") {
        let name = object::name(object).to_owned();
        if !name.is_empty() {
            let labels = metadata_mut(object)
                .entry("labels")
                .or_insert_with(|| json!({}));
            labels["kubernetes.io/metadata.name"] = name.into();
        }
    }
}

/// What nobody owns: parts that the cluster gives to a new object.
pub(super) fn complete(store: &Store, resource: &Resource, object: &mut Value) {
    if resource.custom.is_some() {
        return;
    }
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Namespace") => {
            object["spec"] = json!({"finalizers": ["kubernetes"]});
            object["status"] = json!({"phase": "Active"});
        }
        ("", "Pod") => pods::complete(object),
        ("", "Service") => {
            services::allocate(store, object);
            object["status"] = json!({"loadBalancer": {}});
        }
        ("", "PersistentVolumeClaim") => object["status"] = json!({"phase": "Pending"}),
        ("apps", "StatefulSet") => {
            object["status"] = json!({"replicas": 0, "availableReplicas": 0})
        }
        ("apps", "ReplicaSet") => object["status"] = json!({"replicas": 0}),
        ("apps", "Deployment") => object["status"] = json!({}),
        ("policy", "PodDisruptionBudget") => {
            object["status"] = json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            object["status"] = crd::initial_status(object)
        }
        _ => {}
    }
}

/// Carries over what the cluster has given and a writer may leave out.
pub(super) fn keep_allocated(resource: &Resource, live: &Value, new: &mut Value) {
    if resource.is("", "Service") {
        services::keep(live, new);
    }
}
