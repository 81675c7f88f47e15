//! POST of an object.

use std::sync::Arc;

use axum::{http::StatusCode, response::Response};
use serde_json::Value;

use super::{
    admission, body, call::Call, encode, error::ApiError, metadata, model, query::WriteOptions,
};
use crate::{object, store::StoreError};

/// Answers a POST.
pub(super) fn answer(call: &Call, bytes: &[u8]) -> Result<Response, ApiError> {
    let options = call.options("CreateOptions")?;
    let object = body::object(call, bytes)?;
    let created = create(call, object, &options, "")?;
    Ok(call.respond(StatusCode::CREATED, &encode::object(call, &created)))
}

/// Stores a new object. `name` is the one of the URL, empty for a POST.
pub(super) fn create(
    call: &Call,
    mut object: Value,
    options: &WriteOptions,
    name: &str,
) -> Result<Arc<Value>, ApiError> {
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
    model::default(resource, &mut object);
    call.state.with_store(|store| {
        admission::namespace_open(store, resource, call.namespace(), object::name(&object))?;
        metadata::complete(&call.state, resource, &mut object);
        let errors = model::validate_create(resource, &object);
        if !errors.is_empty() {
            return Err(ApiError::invalid(resource, object::name(&object), &errors));
        }
        let key = call.key(object::name(&object));
        if options.dry_run {
            return match store.get(&key) {
                Some(_) => Err(ApiError::already_exists(resource, &key.name)),
                None => Ok(Arc::new(object)),
            };
        }
        let name = key.name.clone();
        store
            .insert(key, object)
            .map_err(|error| refused(call, &name, &error))
    })
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
