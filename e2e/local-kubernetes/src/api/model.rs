//! The seam to the schema side of the crate: what kinds look like, who owns which field, and what is valid.
//!
//! Built-in kinds have their schemas and rules in the crate; custom resources bring theirs in their definition. This
//! module is where the two meet, so that the verbs need not tell them apart.

use serde_json::Value;

use super::{call::Call, error::ApiError, query::WriteOptions};
use crate::{
    clock,
    fields::{self, ApplyError, Part, Write},
    kinds,
    object::metadata_mut,
    registry::Resource,
    schema::{self, Schema},
    strategic,
    validation::{FieldError, Reason},
};

/// The schema of a resource's objects, `None` if anything goes.
pub(super) fn schema(resource: &Resource) -> Option<&Schema> {
    match &resource.custom {
        Some(custom) => Some(custom.schema()),
        None => schema::builtin(&resource.group, &resource.version, &resource.kind),
    }
}

/// Brings a decoded object to its stored form: unknown fields and empty values go, defaults come.
pub(super) fn settle(resource: &Resource, object: &mut Value) {
    let managers = metadata_mut(object).remove("managedFields");
    match (&resource.custom, schema(resource)) {
        (Some(custom), _) => custom.version.complete(object),
        (None, Some(schema)) => {
            schema::canonical(schema, object);
            kinds::default(&resource.group, &resource.kind, object);
        }
        (None, None) => {}
    }
    if let Some(managers) = managers {
        metadata_mut(object).insert("managedFields".into(), managers);
    }
}

/// Paths of fields that the resource does not have. Field sets name fields as they like.
pub(super) fn unknown_fields(resource: &Resource, object: &Value) -> Vec<String> {
    let mut object = object.clone();
    metadata_mut(&mut object).remove("managedFields");
    match &resource.custom {
        Some(custom) => custom.version.unknown_fields(&object),
        None => schema(resource)
            .map(|schema| schema::unknown_fields(schema, &object))
            .unwrap_or_default(),
    }
}

/// The first field of a built-in object that has the wrong JSON type. Custom resources learn of it in validation.
pub(super) fn wrong_type(resource: &Resource, object: &Value) -> Option<String> {
    if resource.custom.is_some() {
        return None;
    }
    let errors = schema::validate(schema(resource)?, object, "", "");
    let found = |field: &str| {
        let pointer = format!("/{}", field.replace(['.', '['], "/").replace(']', ""));
        object.pointer(&pointer)
    };
    // Null stands for a field that is not there, whatever its type.
    let wrong = errors.into_iter().find(|error| {
        error.reason == Reason::TypeInvalid && !found(&error.field).is_some_and(Value::is_null)
    })?;
    let expected = wrong
        .message
        .split("must be of type ")
        .nth(1)?
        .split(':')
        .next()?
        .to_owned();
    let found = found(&wrong.field).map_or("value", schema::type_name);
    Some(format!(
        "json: cannot unmarshal {found} into Go struct field .{} of type {expected}",
        wrong.field
    ))
}

/// What is wrong with a new object.
pub(super) fn validate_create(resource: &Resource, object: &Value) -> Vec<FieldError> {
    if let Some(custom) = &resource.custom {
        return custom.version.validate_create(object);
    }
    kinds::validate_create(&resource.group, &resource.kind, object)
}

/// What is wrong with a changed object.
pub(super) fn validate_update(
    resource: &Resource,
    new: &Value,
    live: &Value,
    subresource: &str,
) -> Vec<FieldError> {
    if let Some(custom) = &resource.custom {
        return custom.validate_update(new, live, subresource);
    }
    kinds::validate_update(&resource.group, &resource.kind, new, live, subresource)
}

/// Records in `managedFields` that the manager wrote `new` over `live`.
pub(super) fn record(call: &Call, options: &WriteOptions, live: Option<&Value>, new: &mut Value) {
    let now = clock::rfc3339(call.state.clock.now());
    let api_version = call.resource.api_version();
    if let Some(write) = write(call, options, &api_version, &now) {
        fields::update(&write, live, new);
    }
}

/// The object that an apply makes of `live`; ownership is recorded, defaults are still to come.
///
/// # Errors
/// 409 for conflicts, 400 and 500 for patches that do not fit.
pub(super) fn apply(
    call: &Call,
    options: &WriteOptions,
    live: Option<&Value>,
    patch: &Value,
) -> Result<Value, ApiError> {
    let now = clock::rfc3339(call.state.clock.now());
    let api_version = call.resource.api_version();
    let write = write(call, options, &api_version, &now).ok_or_else(ApiError::unsupported_patch)?;
    match fields::apply(&write, live, patch, options.force) {
        Ok(applied) => Ok(applied.object),
        Err(ApplyError::Conflict { message, conflicts }) => {
            let conflicts: Vec<_> = conflicts
                .into_iter()
                .map(|conflict| (conflict.field, conflict.message))
                .collect();
            Err(ApiError::apply_conflict(&message, &conflicts))
        }
        Err(ApplyError::BadRequest(message)) => Err(ApiError::bad_request(message)),
        Err(mismatch @ ApplyError::Mismatch { .. }) => {
            Err(ApiError::internal(mismatch.to_string()))
        }
    }
}

fn write<'a>(
    call: &'a Call,
    options: &'a WriteOptions,
    api_version: &'a str,
    now: &'a str,
) -> Option<Write<'a>> {
    let resource = &call.resource;
    let subresource = call.about.subresource.as_str();
    let part = match (resource.status, subresource) {
        (true, "status") => Part::Status,
        (true, _) => Part::NotStatus,
        (false, _) => Part::All,
    };
    Some(Write {
        schema: schema(resource)?,
        builtin: resource.custom.is_none(),
        api_version,
        kind: &resource.kind,
        manager: &options.manager,
        subresource,
        part,
        now,
    })
}

/// The object with a strategic merge patch merged into it.
///
/// # Errors
/// 415 for custom resources, 400 for patches that cannot be merged.
pub(super) fn merge_strategically(
    resource: &Resource,
    live: &Value,
    patch: &Value,
) -> Result<Value, ApiError> {
    let (None, Some(schema)) = (&resource.custom, schema(resource)) else {
        let accepted = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
        return Err(ApiError::unsupported_media_type(accepted));
    };
    strategic::merge(schema, live, patch).map_err(|error| ApiError::bad_request(error.to_string()))
}
