//! PUT, and the part that PUT and PATCH share: from a live object to its successor.

use std::sync::Arc;

use axum::{http::StatusCode, response::Response};
use serde_json::Value;

use super::{
    body, call::Call, create::refused, encode, error::ApiError, metadata, model,
    query::WriteOptions,
};
use crate::{object, store::Store};

/// Answers a PUT.
pub(super) fn answer(call: &Call, bytes: &[u8]) -> Result<Response, ApiError> {
    let options = call.options("UpdateOptions")?;
    let new = body::object(call, bytes)?;
    let updated = call
        .state
        .with_store(|store| replace(call, store, &options, |_| Ok(new)))?;
    Ok(call.respond(StatusCode::OK, &encode::object(call, &updated)))
}

/// Replaces the object of the URL by what `change` makes of it.
pub(super) fn replace(
    call: &Call,
    store: &mut Store,
    options: &WriteOptions,
    change: impl FnOnce(&Value) -> Result<Value, ApiError>,
) -> Result<Arc<Value>, ApiError> {
    let (resource, name) = (&call.resource, call.about.name.as_str());
    let key = call.key(name);
    let live = store
        .get(&key)
        .cloned()
        .ok_or_else(|| ApiError::not_found(resource, name))?;
    let mut new = change(&live)?;
    metadata::place(resource, call.namespace(), name, &mut new)?;
    check_identity(call, &live, &new)?;
    new["apiVersion"] = live["apiVersion"].clone();
    new["kind"] = live["kind"].clone();
    metadata::keep_system_fields(&live, &mut new);
    keep_other_parts(call, &live, &mut new);
    model::default(resource, &mut new);
    metadata::bump_generation(resource, &live, &mut new);
    object::copy_metadata(&live, &mut new, "resourceVersion");
    let errors = model::validate_update(resource, &new, &live);
    if !errors.is_empty() {
        return Err(ApiError::invalid(resource, name, &errors));
    }
    if options.dry_run {
        return Ok(Arc::new(new));
    }
    if metadata::is_finished(resource, &new) {
        store
            .remove(&key)
            .map_err(|error| refused(call, name, &error))?;
        return Ok(Arc::new(new));
    }
    store
        .replace(&key, new, None)
        .map_err(|error| refused(call, name, &error))
}

/// Optimistic concurrency: the uid and the resource version that the writer names must be the live ones.
fn check_identity(call: &Call, live: &Value, new: &Value) -> Result<(), ApiError> {
    let (resource, name) = (&call.resource, call.about.name.as_str());
    let (uid, live_uid) = (object::uid(new), object::uid(live));
    if !uid.is_empty() && uid != live_uid {
        let path = format!("/registry/{}/{}/{name}", resource.plural, call.namespace());
        return Err(ApiError::conflict(
            resource,
            name,
            &format!(
                "StorageError: invalid object, Code: 4, Key: {path}, ResourceVersion: 0, AdditionalErrorMsg: \
                 Precondition failed: UID in precondition: {uid}, UID in object meta: {live_uid}"
            ),
        ));
    }
    let seen = new["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default();
    if !matches!(seen, "" | "0")
        && seen
            != live["metadata"]["resourceVersion"]
                .as_str()
                .unwrap_or_default()
    {
        return Err(ApiError::modified(resource, name));
    }
    Ok(())
}

/// The main resource cannot write the status, and the status subresource nothing else.
fn keep_other_parts(call: &Call, live: &Value, new: &mut Value) {
    if call.about.subresource == "status" {
        let fields: Vec<String> = live
            .as_object()
            .into_iter()
            .flatten()
            .map(|(field, _)| field.clone())
            .collect();
        let own: Vec<String> = new
            .as_object()
            .into_iter()
            .flatten()
            .map(|(field, _)| field.clone())
            .collect();
        for field in fields
            .iter()
            .chain(&own)
            .filter(|field| !matches!(field.as_str(), "status" | "metadata"))
        {
            object::copy_field(live, new, field);
        }
        if call.resource.custom.is_some() {
            object::copy_field(live, new, "metadata");
        }
    } else if call.resource.status {
        object::copy_field(live, new, "status");
    }
}
