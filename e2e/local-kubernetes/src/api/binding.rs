//! `pods/binding`: the scheduler's word on where a pod runs.

use axum::{http::StatusCode, response::Response};
use serde_json::{Value, json};

use super::{body, call::Call, create::refused, encode, error::ApiError, update};
use crate::{clock, object};

/// Answers a POST of a `Binding`: the pod's node and its `PodScheduled` condition change together.
pub(super) fn answer(call: &Call, bytes: &[u8]) -> Result<Response, ApiError> {
    let binding: Value = body::parse(&call.media_type, bytes, "Binding")?;
    let name = call.about.name.as_str();
    let node = binding["target"]["name"].as_str().unwrap_or_default();
    if node.is_empty() {
        return Err(ApiError::bad_request("target.name: Required value"));
    }
    call.state.with_store(|store| {
        let live = update::live(call, store)?;
        let uid = object::uid(&binding);
        if !uid.is_empty() && uid != object::uid(&live) {
            return Err(ApiError::not_found(&call.resource, name));
        }
        if object::is_deleting(&live) {
            let why = format!("pod {name} is being deleted, cannot be assigned to a host");
            return Err(ApiError::conflict(&call.resource, name, &why));
        }
        if let Some(assigned) = live["spec"]["nodeName"]
            .as_str()
            .filter(|assigned| !assigned.is_empty())
        {
            let why = format!("pod {name} is already assigned to node \"{assigned}\"");
            return Err(ApiError::conflict(&call.resource, name, &why));
        }
        let mut bound = live.clone();
        bound["spec"]["nodeName"] = node.into();
        schedule(&mut bound, &clock::rfc3339(call.state.clock.now()));
        let bound = encode::to_storage(call, bound);
        store
            .replace(&call.key(name), bound, None)
            .map(drop)
            .map_err(|error| refused(call, name, &error))
    })?;
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(call.respond(StatusCode::CREATED, &status))
}

/// Replaces the `PodScheduled` condition.
fn schedule(pod: &mut Value, now: &str) {
    let status = &mut pod["status"];
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    if let Some(conditions) = status["conditions"].as_array_mut() {
        conditions.retain(|condition| condition["type"] != "PodScheduled");
        conditions.push(json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now}));
    }
}
