//! What the cluster's state has to say about a new object: its namespace must exist and not be going away.

use super::error::ApiError;
use crate::{
    object,
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
