//! What the cluster adds to an object and has to say about it: its namespace, a service's address, a pod's token.

mod pods;
mod services;

use serde_json::Value;

use super::error::ApiError;
use crate::{
    kinds, object,
    registry::Resource,
    server::AddressRange,
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

/// What nobody owns: parts that the cluster gives to a new object.
pub(super) fn complete(
    store: &Store,
    addresses: AddressRange,
    resource: &Resource,
    object: &mut Value,
) {
    if resource.custom.is_some() {
        return;
    }
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("", "Pod") => pods::mount_token(object),
        ("", "Service") => services::allocate(store, addresses, object),
        _ => {}
    }
    kinds::prepare_create(&resource.group, &resource.kind, object);
}

/// Carries over what the cluster has given and a writer may leave out.
pub(super) fn keep_allocated(resource: &Resource, live: &Value, new: &mut Value) {
    if resource.custom.is_none() {
        kinds::prepare_update(&resource.group, &resource.kind, new, live);
    }
}
