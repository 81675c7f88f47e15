//! Reading request bodies: JSON or YAML into an object of the expected kind.

use axum::body::Body;
use serde_json::Value;

use super::{
    call::Call,
    error::ApiError,
    model, protobuf,
    query::{FieldValidation, WriteOptions},
};
use crate::{registry::Resource, schema};

/// Largest body that is taken, as in Kubernetes (3 MiB).
const LIMIT: usize = 3 * 1024 * 1024;

/// Collects a body.
///
/// # Errors
/// 400 if it is too large or breaks off.
pub(super) async fn read(body: Body) -> Result<Vec<u8>, ApiError> {
    let bytes = axum::body::to_bytes(body, LIMIT).await;
    bytes
        .map(Vec::from)
        .map_err(|error| ApiError::bad_request(format!("cannot read the request body: {error}")))
}

/// Parses the body of a POST or PUT, checks its kind and its fields; answers it with the warnings about it.
///
/// # Errors
/// 400 or 415 in Kubernetes's wording.
pub(super) fn object(
    call: &Call,
    body: &[u8],
    options: &WriteOptions,
) -> Result<(Value, Vec<String>), ApiError> {
    let resource = &call.resource;
    let value = parse(&call.media_type, body, &resource.kind)?;
    check_kind(resource, &value)?;
    if let Some(wrong) = model::wrong_type(resource, &value) {
        return Err(ApiError::bad_request(format!(
            "{}: {wrong}",
            cannot_be_handled(resource)
        )));
    }
    let complaints = complaints(resource, body, &value);
    match options.field_validation {
        FieldValidation::Ignore => Ok((value, vec![])),
        FieldValidation::Warn => Ok((value, complaints)),
        FieldValidation::Strict if complaints.is_empty() => Ok((value, complaints)),
        FieldValidation::Strict => {
            let what = complaints.join(", ");
            Err(ApiError::bad_request(format!(
                "{}: strict decoding error: {what}",
                cannot_be_handled(resource)
            )))
        }
    }
}

/// Fields that appear twice, and fields that the resource does not have.
pub(super) fn complaints(resource: &Resource, body: &[u8], value: &Value) -> Vec<String> {
    let twice = schema::duplicate_fields(body)
        .into_iter()
        .map(|field| format!("duplicate field \"{field}\""));
    let unknown = model::unknown_fields(resource, value)
        .into_iter()
        .map(|field| format!("unknown field \"{field}\""));
    twice.chain(unknown).collect()
}

fn cannot_be_handled(resource: &Resource) -> String {
    format!(
        "{0} in version \"{1}\" cannot be handled as a {0}",
        resource.kind, resource.version
    )
}

/// Parses JSON, YAML or, for some kinds, protobuf.
///
/// # Errors
/// 415 for other media types, 400 for malformed text.
pub(super) fn parse(media_type: &str, body: &[u8], kind: &str) -> Result<Value, ApiError> {
    match media_type {
        "application/json" => {
            serde_json::from_slice(body).map_err(|error| malformed(body, kind, &json_error(&error)))
        }
        "application/yaml" => {
            serde_yaml::from_slice(body).map_err(|error| malformed(body, kind, &error.to_string()))
        }
        protobuf::MEDIA_TYPE => protobuf::decode(body).ok_or_else(unsupported),
        _ => Err(unsupported()),
    }
}

fn unsupported() -> ApiError {
    ApiError::unsupported_media_type("application/json, application/yaml")
}

fn malformed(body: &[u8], kind: &str, why: &str) -> ApiError {
    let text = String::from_utf8_lossy(body);
    ApiError::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {why} ({text})"
    ))
}

/// The text with which Go's JSON decoder would refuse.
pub(super) fn json_error(error: &serde_json::Error) -> String {
    if error.is_eof() {
        "unexpected end of JSON input".into()
    } else {
        error.to_string()
    }
}

/// Whether the body is an object of the resource's kind. A built-in kind may leave both fields out.
fn check_kind(resource: &Resource, value: &Value) -> Result<(), ApiError> {
    if !value.is_object() {
        return Err(ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {})",
            resource.kind
        )));
    }
    let kind = value["kind"].as_str().unwrap_or_default();
    let api_version = value["apiVersion"].as_str().unwrap_or_default();
    let expected = resource.api_version();
    if resource.custom.is_none() {
        let kind_matches = kind.is_empty() || kind == resource.kind;
        if kind_matches && (api_version.is_empty() || api_version == expected) {
            return Ok(());
        }
        return Err(wrong_kind(resource, api_version, kind));
    }
    if kind.is_empty() {
        return Err(ApiError::bad_request(format!(
            "Object 'Kind' is missing in '{value}'"
        )));
    }
    if kind != resource.kind || api_version != expected {
        return Err(ApiError::bad_request(format!(
            "{kind} in version \"{}\" cannot be handled as a {}: the API version in the data ({api_version}) does not match the expected API version ({expected})",
            api_version.rsplit('/').next().unwrap_or_default(),
            resource.kind,
        )));
    }
    Ok(())
}

fn wrong_kind(resource: &Resource, api_version: &str, kind: &str) -> ApiError {
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let internal = if resource.group.is_empty() {
        "core"
    } else {
        resource.group.split('.').next().unwrap_or_default()
    };
    let expected = &resource.kind;
    ApiError::bad_request(format!(
        "{kind} in version \"{version}\" cannot be handled as a {expected}: converting ({version}.{kind}) to ({internal}.{expected}): unknown conversion"
    ))
}
