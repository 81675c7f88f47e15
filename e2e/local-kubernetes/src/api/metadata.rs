//! The life of an object's metadata: names, identity, generation, finalizers.

use rand::Rng;
use serde_json::Value;

use super::error::ApiError;
use crate::{
    clock,
    object::{self, metadata_mut},
    registry::Resource,
    state::State,
};

/// Letters of generated names: no vowels and no digits that look like them, so that no words come out.
const SUFFIX_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Fields that only the server writes.
const SYSTEM_FIELDS: [&str; 6] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
];

/// Checks that the object belongs where the URL says and puts it there.
///
/// # Errors
/// 400 if names or namespaces differ.
pub(super) fn place(
    resource: &Resource,
    namespace: &str,
    name: &str,
    object: &mut Value,
) -> Result<(), ApiError> {
    let own_name = object::name(object);
    if !name.is_empty() && !own_name.is_empty() && own_name != name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({own_name}) does not match the name on the URL ({name})"
        )));
    }
    let own_namespace = object::namespace(object);
    if !own_namespace.is_empty() && own_namespace != namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let metadata = metadata_mut(object);
    if resource.namespaced {
        metadata.insert("namespace".into(), namespace.into());
    }
    if !name.is_empty() {
        metadata.insert("name".into(), name.into());
    }
    Ok(())
}

/// Gives a new object its identity.
pub(super) fn complete(state: &State, resource: &Resource, object: &mut Value) {
    let generate_name = object["metadata"]["generateName"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let needs_name = object::name(object).is_empty() && !generate_name.is_empty();
    let metadata = metadata_mut(object);
    for field in SYSTEM_FIELDS {
        metadata.remove(field);
    }
    if needs_name {
        metadata.insert("name".into(), format!("{generate_name}{}", suffix()).into());
    }
    metadata.insert("uid".into(), state.new_uid().into());
    metadata.insert(
        "creationTimestamp".into(),
        clock::rfc3339(state.clock.now()).into(),
    );
    if resource.generation {
        metadata.insert("generation".into(), 1.into());
    }
}

/// Five random letters, as Kubernetes appends to `generateName`.
pub(super) fn suffix() -> String {
    let mut random = rand::rng();
    (0..5)
        .map(|_| char::from(SUFFIX_LETTERS[random.random_range(0..SUFFIX_LETTERS.len())]))
        .collect()
}

/// Carries over what an update cannot change.
pub(super) fn keep_system_fields(live: &Value, new: &mut Value) {
    for field in SYSTEM_FIELDS {
        object::copy_metadata(live, new, field);
    }
}

/// Counts a change of anything but metadata and, with a status subresource, status.
pub(super) fn bump_generation(resource: &Resource, live: &Value, new: &mut Value) {
    if !resource.generation || !specification_differs(resource, live, new) {
        return;
    }
    metadata_mut(new).insert("generation".into(), (object::generation(live) + 1).into());
}

fn specification_differs(resource: &Resource, live: &Value, new: &Value) -> bool {
    let ignored = |field: &str| field == "metadata" || (field == "status" && resource.status);
    let fields = |object: &Value| -> Vec<(String, Value)> {
        let root = object.as_object().into_iter().flatten();
        root.filter(|(field, _)| !ignored(field))
            .map(|(field, value)| (field.clone(), value.clone()))
            .collect()
    };
    fields(live) != fields(new)
}

/// Whether an update completes the deletion of an object that is being deleted.
pub(super) fn is_finished(resource: &Resource, object: &Value) -> bool {
    let grace = object["metadata"]["deletionGracePeriodSeconds"]
        .as_i64()
        .unwrap_or_default();
    let namespace_held = resource.is("", "Namespace")
        && object["spec"]["finalizers"]
            .as_array()
            .is_some_and(|finalizers| !finalizers.is_empty());
    object::is_deleting(object)
        && object::finalizers(object).is_empty()
        && grace == 0
        && !namespace_held
}
