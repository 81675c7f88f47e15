//! PATCH in its kinds: JSON patch, merge patch, strategic merge patch and apply.

use std::sync::Arc;

use axum::{http::StatusCode, response::Response};
use serde_json::Value;

use super::{call::Call, encode, error::ApiError, update};

/// Answers a PATCH.
pub(super) fn answer(call: &Call, bytes: &[u8]) -> Result<Response, ApiError> {
    let options = call.options("PatchOptions")?;
    let updated: Arc<Value> = match call.media_type.as_str() {
        "application/json-patch+json" => {
            let patch: Vec<Value> = decode(bytes)?;
            call.state.with_store(|store| {
                update::replace(call, store, &options, |live| json_patch(live, &patch))
            })?
        }
        "application/merge-patch+json" => {
            let patch: Value = decode(bytes)?;
            call.state.with_store(|store| {
                update::replace(call, store, &options, |live| {
                    let mut merged = live.clone();
                    json_patch::merge(&mut merged, &patch);
                    Ok(merged)
                })
            })?
        }
        _ => return Err(ApiError::unsupported_patch()),
    };
    Ok(call.respond(StatusCode::OK, &encode::object(call, &updated)))
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))
}

/// Applies a JSON patch. As in Kubernetes, a `test` for null holds for an absent field.
fn json_patch(live: &Value, operations: &[Value]) -> Result<Value, ApiError> {
    let mut patched = live.clone();
    for operation in operations {
        let path = operation["path"].as_str().unwrap_or_default();
        if operation["op"] == "test"
            && operation["value"].is_null()
            && patched.pointer(path).is_none_or(Value::is_null)
        {
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
