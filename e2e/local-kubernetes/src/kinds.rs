//! Built-in kinds: their defaults, what makes an object of them valid, and what may not change.
//!
//! The order of a write is the server's: [`default`] when an object is decoded (after `schema::canonical`; what it fills in belongs to the
//! updater), then ownership is recorded, then [`prepare_create`] or [`prepare_update`] (what they fill in belongs to nobody), then
//! [`validate_create`] or [`validate_update`]. Kinds without a file of their own have metadata rules only. Pure.

mod claim;
mod config;
mod containers;
mod controller;
mod disruption;
mod event;
mod lease;
pub mod metadata;
pub mod names;
mod namespace;
mod pod;
mod pod_update;
mod rbac;
mod selector;
mod service;
mod stateful_set;
mod value;
mod volumes;

use serde_json::{Value, json};

use self::names::NameRule;
use crate::{crd, validation::FieldError};

/// Fills in the defaults that depend on more than the schema.
pub fn default(group: &str, kind: &str, object: &mut Value) {
    match (group, kind) {
        ("", "Namespace") => namespace::default(object),
        ("", "Pod") => pod::default(object),
        ("", "PersistentVolumeClaim") => claim::default(object),
        ("", "PersistentVolume") => claim::default_volume(object),
        ("", "Secret") => config::default_secret(object),
        ("", "Service") => service::default(object),
        ("apps", "StatefulSet") => stateful_set::default(object),
        ("apps", "Deployment") => controller::default_deployment(object),
        ("apps", "ReplicaSet") => controller::default_replica_set(object),
        ("apps", "DaemonSet") => controller::default_daemon_set(object),
        ("discovery.k8s.io", "EndpointSlice") => service::default_slice(object),
        ("", "Endpoints") => service::default_endpoints(object),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            rbac::default_binding(object);
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => crd::default_definition(object),
        _ => {}
    }
}

/// Completes a new object after its fields have owners: the status that it starts with, and what admission adds to pods.
pub fn prepare_create(group: &str, kind: &str, object: &mut Value) {
    match (group, kind) {
        ("", "Namespace") => namespace::prepare_create(object),
        ("", "Pod") => pod::prepare_create(object),
        ("", "PersistentVolumeClaim" | "PersistentVolume") => {
            object["status"] = json!({"phase": "Pending"});
        }
        ("", "Service") => service::prepare_create(object),
        ("apps", "StatefulSet") => {
            object["status"] = json!({"replicas": 0, "availableReplicas": 0});
        }
        ("apps", "ReplicaSet") => object["status"] = json!({"replicas": 0}),
        ("apps", "Deployment") => object["status"] = json!({}),
        ("policy", "PodDisruptionBudget") => {
            object["status"] = json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            object["status"] = crd::initial_status(object);
        }
        _ => {}
    }
}

/// Completes a changed object: what the server gave the old one and the new one leaves out.
pub fn prepare_update(group: &str, kind: &str, new: &mut Value, old: &Value) {
    if let ("", "Service") = (group, kind) {
        service::prepare_update(new, old);
    }
}

/// How objects of a kind may be named.
pub fn name_rule(group: &str, kind: &str) -> NameRule {
    match (group, kind) {
        ("", "Namespace") => NameRule::Label,
        ("", "Service") => NameRule::Label1035,
        ("rbac.authorization.k8s.io", _) => NameRule::PathSegment,
        _ => NameRule::Subdomain,
    }
}

/// What is wrong with a new object, metadata included.
pub fn validate_create(group: &str, kind: &str, object: &Value) -> Vec<FieldError> {
    let mut errors = metadata::validate(&object["metadata"], name_rule(group, kind));
    if kind == "CustomResourceDefinition" {
        errors.extend(crd::validate_definition(object));
    } else {
        errors.extend(validate(group, kind, object));
    }
    if kind == "Event" {
        errors.extend(event::validate_create(group, object));
    }
    errors
}

/// What is wrong with a changed object, metadata included. `subresource` is `status` for writes of the status.
pub fn validate_update(
    group: &str,
    kind: &str,
    new: &Value,
    old: &Value,
    subresource: &str,
) -> Vec<FieldError> {
    if kind == "CustomResourceDefinition" {
        return crd::validate_definition_update(new, old);
    }
    let mut errors = metadata::validate_update(&new["metadata"], &old["metadata"]);
    if subresource == "status" {
        return errors;
    }
    errors.extend(match (group, kind) {
        ("", "Pod") => pod_update::validate(new, old),
        ("", "Service") => service::validate_update(new, old),
        ("", "PersistentVolumeClaim") => claim::validate_update(new, old),
        ("", "ConfigMap" | "Secret") => config::validate_update(kind, new, old),
        ("apps", "StatefulSet") => stateful_set::validate_update(new, old),
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet") => {
            controller::validate_update(new, old)
        }
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            rbac::validate_binding_update(new, old)
        }
        _ => Vec::new(),
    });
    errors.extend(validate(group, kind, new));
    errors
}

fn validate(group: &str, kind: &str, object: &Value) -> Vec<FieldError> {
    match (group, kind) {
        ("", "ConfigMap") => config::validate_config_map(object),
        ("", "Secret") => config::validate_secret(object),
        ("", "PersistentVolumeClaim") => claim::validate(object),
        ("", "Pod") => pod::validate(object),
        ("", "Service") => service::validate(object),
        ("apps", "StatefulSet") => stateful_set::validate(object),
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet") => controller::validate(kind, object),
        ("coordination.k8s.io", "Lease") => lease::validate(object),
        ("policy", "PodDisruptionBudget") => disruption::validate(object),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => rbac::validate_role(kind, object),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            rbac::validate_binding(kind, object)
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
#[path = "kinds/tests.rs"]
mod tests;
