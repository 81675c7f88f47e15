//! PUT, and the part that PUT and PATCH share: from a live object to its successor.

use std::sync::Arc;

use axum::{http::StatusCode, response::Response};
use serde_json::Value;

use super::{
    admission, body,
    call::Call,
    create::{Ownership, refused},
    definitions, encode,
    error::ApiError,
    metadata, model,
    query::WriteOptions,
};
use crate::{fields, object, store::Store, validation::FieldError};

/// Answers a PUT.
pub(super) fn answer(call: &Call, bytes: &[u8]) -> Result<Response, ApiError> {
    let options = call.options("UpdateOptions")?;
    let (new, warnings) = body::object(call, bytes, &options)?;
    let updated = call.state.with_store(|store| {
        let live = live(call, store)?;
        check_unconditional(call, &new)?;
        replace(call, store, &live, new, &options, Ownership::Update)
    })?;
    Ok(call.respond_with(StatusCode::OK, &encode::object(call, &updated), &warnings))
}

/// The object of the URL, in the form of this resource.
///
/// # Errors
/// 404.
pub(super) fn live(call: &Call, store: &Store) -> Result<Value, ApiError> {
    let name = &call.about.name;
    let stored = store
        .get(&call.key(name))
        .ok_or_else(|| ApiError::not_found(&call.resource, name))?;
    Ok(encode::from_storage(call, stored))
}

/// Some kinds take no PUT without a resource version.
fn check_unconditional(call: &Call, new: &Value) -> Result<(), ApiError> {
    let resource = &call.resource;
    let given = new["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or_default();
    if resource.unconditional_update || !matches!(given, "" | "0") {
        return Ok(());
    }
    let error = FieldError::invalid(
        "metadata.resourceVersion",
        &0.into(),
        "must be specified for an update",
    );
    Err(ApiError::invalid(resource, object::name(new), &[error]))
}

/// Replaces a live object by its successor.
pub(super) fn replace(
    call: &Call,
    store: &mut Store,
    live: &Value,
    mut new: Value,
    options: &WriteOptions,
    ownership: Ownership,
) -> Result<Arc<Value>, ApiError> {
    let (resource, name) = (&call.resource, call.about.name.as_str());
    metadata::place(resource, call.namespace(), name, &mut new)?;
    check_identity(call, live, &new)?;
    new["apiVersion"] = live["apiVersion"].clone();
    new["kind"] = live["kind"].clone();
    metadata::keep_system_fields(live, &mut new);
    keep_other_parts(call, live, &mut new);
    model::settle(resource, &mut new);
    if ownership == Ownership::Update {
        model::record(call, options, Some(live), &mut new);
    }
    admission::keep_allocated(resource, live, &mut new);
    metadata::bump_generation(resource, live, &mut new);
    object::copy_metadata(live, &mut new, "resourceVersion");
    fields::keep_times_of_no_change(live, &mut new);
    let errors = model::validate_update(resource, &new, live, &call.about.subresource);
    if !errors.is_empty() {
        return Err(ApiError::invalid(resource, name, &errors));
    }
    let new = encode::to_storage(call, new);
    if options.dry_run {
        return Ok(Arc::new(new));
    }
    let key = call.key(name);
    if metadata::is_finished(resource, &new) {
        store
            .remove(&key)
            .map_err(|error| refused(call, name, &error))?;
        definitions::forget(&call.state, store, resource);
        return Ok(Arc::new(new));
    }
    let updated = store
        .replace(&key, new, None)
        .map_err(|error| refused(call, name, &error))?;
    definitions::follow(&call.state, store, resource, &updated);
    Ok(updated)
}

/// Optimistic concurrency: the uid and the resource version that the writer names must be the live ones.
fn check_identity(call: &Call, live: &Value, new: &Value) -> Result<(), ApiError> {
    let (resource, name) = (&call.resource, call.about.name.as_str());
    let (uid, live_uid) = (object::uid(new), object::uid(live));
    if !uid.is_empty() && uid != live_uid {
        let path = format!("/registry/{}/{}/{name}", resource.plural, call.namespace());
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: {path}, ResourceVersion: 0, AdditionalErrorMsg: \
             Precondition failed: UID in precondition: {uid}, UID in object meta: {live_uid}"
        );
        return Err(ApiError::conflict(resource, name, &why));
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
    let fields_of = |object: &Value| -> Vec<String> {
        object
            .as_object()
            .into_iter()
            .flatten()
            .map(|(field, _)| field.clone())
            .collect()
    };
    match call.about.subresource.as_str() {
        "status" => {
            let all = fields_of(live).into_iter().chain(fields_of(new));
            for field in all.filter(|field| !matches!(field.as_str(), "status" | "metadata")) {
                object::copy_field(live, new, &field);
            }
            if call.resource.custom.is_some() {
                let managers = new["metadata"].get("managedFields").cloned();
                let version = new["metadata"].get("resourceVersion").cloned();
                object::copy_field(live, new, "metadata");
                for (field, value) in [("managedFields", managers), ("resourceVersion", version)] {
                    if let Some(value) = value {
                        object::metadata_mut(new).insert(field.into(), value);
                    }
                }
            }
        }
        _ if call.resource.status => object::copy_field(live, new, "status"),
        _ => {}
    }
    if call.resource.is("", "Namespace") && call.about.subresource != "finalize" {
        object::copy_field(live, new, "spec");
    }
}
