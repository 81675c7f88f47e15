//! PATCH in its kinds: JSON patch, merge patch, strategic merge patch and apply.

use std::sync::Arc;

use axum::{http::StatusCode, response::Response};
use serde_json::Value;

use super::{
    body,
    call::Call,
    create::{self, Ownership},
    encode,
    error::ApiError,
    model,
    query::{FieldValidation, WriteOptions},
    update,
};
use crate::{object, validation::FieldError};

/// A patch of one of the kinds.
pub(super) enum Patch {
    Json(Vec<Value>),
    Merge(Value),
    Strategic(Value),
    Apply(Value),
}

impl Patch {
    /// Reads a patch by its media type.
    ///
    /// # Errors
    /// 415 for unknown media types, 400 for malformed patches.
    pub(super) fn parse(media_type: &str, bytes: &[u8]) -> Result<Self, ApiError> {
        match media_type {
            "application/json-patch+json" => json(bytes).map(Self::Json),
            "application/merge-patch+json" => json(bytes).map(Self::Merge),
            "application/strategic-merge-patch+json" => json(bytes).map(Self::Strategic),
            "application/apply-patch+yaml" => serde_yaml::from_slice(bytes)
                .map(Self::Apply)
                .map_err(|error| ApiError::bad_request(format!("error decoding YAML: {error}"))),
            _ => Err(ApiError::unsupported_patch()),
        }
    }

    /// The patched object. An apply is no function of the object alone and is handled before.
    pub(super) fn of(&self, call: &Call, object: &Value) -> Result<Value, ApiError> {
        match self {
            Self::Json(operations) => json_patch(object, operations),
            Self::Merge(patch) => {
                let mut merged = object.clone();
                json_patch::merge(&mut merged, patch);
                Ok(merged)
            }
            Self::Strategic(patch) => model::merge_strategically(&call.resource, object, patch),
            Self::Apply(_) => Err(ApiError::unsupported_patch()),
        }
    }
}

/// Answers a PATCH of an object or its status.
pub(super) fn answer(call: &Call, bytes: &[u8]) -> Result<Response, ApiError> {
    let options = call.options("PatchOptions")?;
    match Patch::parse(&call.media_type, bytes)? {
        Patch::Apply(patch) => apply(call, &patch, bytes, &options),
        patch => {
            let mut warnings = vec![];
            let updated = call.state.with_store(|store| {
                let live = update::live(call, store)?;
                let new = patch.of(call, &live)?;
                warnings = check_fields(call, bytes, &new, &options)?;
                update::replace(call, store, &live, new, &options, Ownership::Update)
            })?;
            Ok(call.respond_with(StatusCode::OK, &encode::object(call, &updated), &warnings))
        }
    }
}

fn json<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| {
        ApiError::bad_request(format!(
            "error decoding patch: {}",
            body::json_error(&error)
        ))
    })
}

/// Unknown fields and wrong types in the patched object; the answers are warnings.
fn check_fields(
    call: &Call,
    bytes: &[u8],
    new: &Value,
    options: &WriteOptions,
) -> Result<Vec<String>, ApiError> {
    let refuse = |why: &str| {
        let error = FieldError::invalid("patch", &new.to_string().into(), why);
        ApiError::invalid_kind("", "", "", &[error])
    };
    if let Some(wrong) = model::wrong_type(&call.resource, new) {
        return Err(refuse(&wrong));
    }
    let complaints = body::complaints(&call.resource, bytes, new);
    match options.field_validation {
        FieldValidation::Strict if !complaints.is_empty() => Err(refuse(&format!(
            "strict decoding error: {}",
            complaints.join(", ")
        ))),
        FieldValidation::Ignore => Ok(vec![]),
        _ => Ok(complaints),
    }
}

/// Server-side apply: creates the object if it is not there.
fn apply(
    call: &Call,
    patch: &Value,
    bytes: &[u8],
    options: &WriteOptions,
) -> Result<Response, ApiError> {
    check_apply(call, patch)?;
    let twice = crate::schema::duplicate_fields(bytes);
    if options.field_validation == FieldValidation::Strict && !twice.is_empty() {
        let texts: Vec<String> = twice
            .iter()
            .map(|field| format!("duplicate field \"{field}\""))
            .collect();
        return Err(ApiError::bad_request(format!(
            "strict decoding error: {}",
            texts.join(", ")
        )));
    }
    let name = call.about.name.as_str();
    let (code, applied) = call.state.with_store(|store| -> Result<(StatusCode, Arc<Value>), ApiError> {
        if store.get(&call.key(name)).is_none() {
            if !call.about.subresource.is_empty() {
                return Err(ApiError::not_found(&call.resource, name));
            }
            if !patch["metadata"]["uid"].as_str().unwrap_or_default().is_empty() {
                return Err(ApiError::conflict(&call.resource, name, "uid mismatch: the provided object specified uid, and no existing object was found"));
            }
            let new = model::apply(call, options, None, patch)?;
            let new = create::begin(call, new, name)?;
            return Ok((StatusCode::CREATED, create::create(call, store, new, options, Ownership::Recorded)?));
        }
        let live = update::live(call, store)?;
        let new = model::apply(call, options, Some(&live), patch)?;
        Ok((StatusCode::OK, update::replace(call, store, &live, new, options, Ownership::Recorded)?))
    })?;
    Ok(call.respond(code, &encode::object(call, &applied)))
}

fn check_apply(call: &Call, patch: &Value) -> Result<(), ApiError> {
    if call.query.get("fieldManager").is_empty() {
        let error = FieldError::required("fieldManager", "is required for apply patch");
        return Err(ApiError::invalid_kind(
            "PatchOptions",
            "meta.k8s.io",
            "",
            &[error],
        ));
    }
    let text = |field: &str| patch[field].as_str().unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if !patch.is_object() || api_version.is_empty() || kind.is_empty() {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        return Err(ApiError::bad_request(format!(
            "invalid object type: {group}/{version}, Kind={kind}"
        )));
    }
    if kind != call.resource.kind {
        let message = format!(
            "the kind of the applied object ({kind}) does not match {}",
            call.resource.kind
        );
        return Err(ApiError::bad_request(message));
    }
    let (namespace, own) = (object::namespace(patch), call.namespace());
    if !namespace.is_empty() && namespace != own {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// Applies a JSON patch. As in Kubernetes, a `test` for null holds for an absent field.
fn json_patch(live: &Value, operations: &[Value]) -> Result<Value, ApiError> {
    let mut patched = live.clone();
    for operation in operations {
        let path = operation["path"].as_str().unwrap_or_default();
        let tests_null = operation["op"] == "test" && operation["value"].is_null();
        if tests_null && patched.pointer(path).is_none_or(Value::is_null) {
            continue;
        }
        let operation =
            serde_json::from_value(operation.clone()).map_err(|_| ApiError::patch_failed())?;
        json_patch::patch(&mut patched, &[operation]).map_err(|_| ApiError::patch_failed())?;
    }
    Ok(patched)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_test_for_null_holds_for_an_absent_field() {
        let operations = [
            json!({"op": "test", "path": "/metadata/finalizers", "value": null}),
            json!({"op": "add", "path": "/metadata/finalizers", "value": ["a/b"]}),
        ];
        let patched = json_patch(&json!({"metadata": {}}), &operations).unwrap();
        assert_eq!(patched["metadata"]["finalizers"], json!(["a/b"]));
        assert_eq!(
            json_patch(&patched, &operations[..1]).unwrap_err().code,
            422
        );
    }
}
