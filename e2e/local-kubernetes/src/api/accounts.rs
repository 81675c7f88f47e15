//! `serviceaccounts/token`: tokens of service accounts.

use axum::{http::StatusCode, response::Response};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{body, call::Call, error::ApiError, update};
use crate::{clock, user::User};

const DEFAULT_SECONDS: i64 = 3600;

/// Answers a POST of a `TokenRequest`. Tokens are opaque and last as long as the server.
pub(super) fn token(call: &Call, bytes: &[u8]) -> Result<Response, ApiError> {
    let request: Value = body::parse(&call.media_type, bytes, "TokenRequest")?;
    call.state.with_store(|store| update::live(call, store))?;
    let token = call
        .state
        .tokens
        .issue(User::service_account(call.namespace(), &call.about.name));
    let seconds = request["spec"]["expirationSeconds"]
        .as_i64()
        .unwrap_or(DEFAULT_SECONDS);
    let now = call.state.clock.now();
    let end = now
        .checked_add(SignedDuration::from_secs(seconds))
        .unwrap_or(now);
    let mut spec = request["spec"].clone();
    if !spec.is_object() {
        spec = json!({});
    }
    spec["expirationSeconds"] = seconds.into();
    if spec["audiences"].is_null() {
        spec["audiences"] = json!(["https://kubernetes.default.svc.cluster.local"]);
    }
    let answer = json!({
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {
            "name": call.about.name,
            "namespace": call.namespace(),
            "creationTimestamp": clock::rfc3339(now),
        },
        "spec": spec,
        "status": {"token": token, "expirationTimestamp": clock::rfc3339(end)},
    });
    Ok(call.respond(StatusCode::CREATED, &answer))
}
