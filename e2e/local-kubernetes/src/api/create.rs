//! POST of an object.

use std::sync::Arc;

use axum::{http::StatusCode, response::Response};
use serde_json::Value;

use super::{
    admission, body, call::Call, definitions, encode, error::ApiError, metadata, model,
    query::WriteOptions,
};
use crate::{
    object,
    store::{Store, StoreError},
};

/// Answers a POST.
pub(super) fn answer(call: &Call, bytes: &[u8]) -> Result<Response, ApiError> {
    let options = call.options("CreateOptions")?;
    let (object, warnings) = body::object(call, bytes, &options)?;
    let created = call.state.with_store(|store| {
        let object = begin(call, object, "")?;
        create(call, store, object, &options, Ownership::Update)
    })?;
    Ok(call.respond_with(
        StatusCode::CREATED,
        &encode::object(call, &created),
        &warnings,
    ))
}

/// Whether the fields of a new object are still to be recorded as its creator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ownership {
    /// By an update: everything that is set, defaults included.
    Update,
    /// An apply has recorded it already.
    Recorded,
}

/// Puts a new object in its place. `name` is the one of the URL, empty for a POST.
pub(super) fn begin(call: &Call, mut object: Value, name: &str) -> Result<Value, ApiError> {
    let resource = &call.resource;
    metadata::place(resource, call.namespace(), name, &mut object)?;
    if !object["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default()
        .is_empty()
    {
        return Err(ApiError::internal(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    object["apiVersion"] = resource.api_version().into();
    object["kind"] = resource.kind.clone().into();
    Ok(object)
}

/// Stores a new object.
pub(super) fn create(
    call: &Call,
    store: &mut Store,
    mut object: Value,
    options: &WriteOptions,
    ownership: Ownership,
) -> Result<Arc<Value>, ApiError> {
    let resource = &call.resource;
    if resource.status
        && let Some(root) = object.as_object_mut()
        && !resource.is("", "Node")
    {
        root.remove("status");
    }
    model::settle(resource, &mut object);
    if ownership == Ownership::Update {
        model::record(call, options, None, &mut object);
    }
    admission::namespace_open(store, resource, call.namespace(), object::name(&object))?;
    metadata::complete(&call.state, resource, &mut object);
    admission::complete(store, call.state.services, resource, &mut object);
    let errors = model::validate_create(resource, &object);
    if !errors.is_empty() {
        return Err(ApiError::invalid(resource, object::name(&object), &errors));
    }
    let key = call.key(object::name(&object));
    if options.dry_run {
        return match store.get(&key) {
            Some(_) => Err(ApiError::already_exists(resource, &key.name)),
            None => Ok(Arc::new(encode::to_storage(call, object))),
        };
    }
    let name = key.name.clone();
    let created = store
        .insert(key, encode::to_storage(call, object))
        .map_err(|error| refused(call, &name, &error))?;
    definitions::follow(&call.state, store, resource, &created);
    Ok(created)
}

/// A refusal of the store as clients see it.
pub(super) fn refused(call: &Call, name: &str, error: &StoreError) -> ApiError {
    match error {
        StoreError::Exists => ApiError::already_exists(&call.resource, name),
        StoreError::Missing => ApiError::not_found(&call.resource, name),
        StoreError::Conflict => ApiError::modified(&call.resource, name),
        StoreError::Compacted { .. } => ApiError::expired(error.to_string()),
    }
}
