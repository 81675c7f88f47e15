//! `pods/log`: which container is meant, and its text from whoever runs it.

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use serde_json::Value;

use super::{call::Call, error::ApiError, update};
use crate::{
    logs::{LogError, LogRequest},
    object,
};

/// Answers a GET of a log.
pub(super) async fn answer(call: &Call) -> Result<Response, ApiError> {
    let pod = call.state.with_store(|store| update::live(call, store))?;
    let request = LogRequest {
        namespace: call.namespace().into(),
        pod: call.about.name.clone(),
        uid: object::uid(&pod).into(),
        container: container(call, &pod)?,
        follow: call.query.flag("follow"),
        previous: call.query.flag("previous"),
        tail_lines: call.query.get("tailLines").parse().ok(),
        since_seconds: call.query.get("sinceSeconds").parse().ok(),
        timestamps: call.query.flag("timestamps"),
    };
    if pod["spec"]["nodeName"]
        .as_str()
        .unwrap_or_default()
        .is_empty()
    {
        let message = format!("pod {} does not have a host assigned", call.about.name);
        return Err(ApiError::bad_request(message));
    }
    let source = call.state.logs.read().clone();
    let source = source.ok_or_else(|| ApiError::no_log("no node serves logs"))?;
    let stream = source.open(request).await.map_err(refused)?;
    let mut response = Response::new(Body::from_stream(stream));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}

fn refused(error: LogError) -> ApiError {
    match error {
        LogError::Waiting { .. } | LogError::NoPrevious { .. } => {
            ApiError::bad_request(error.to_string())
        }
        LogError::Failed(message) => ApiError::internal(message),
    }
}

/// The container of the request: the named one, the annotated default, or the only one.
fn container(call: &Call, pod: &Value) -> Result<String, ApiError> {
    let names = |field: &str| -> Vec<String> {
        let containers = pod["spec"][field].as_array().into_iter().flatten();
        containers
            .filter_map(|container| container["name"].as_str())
            .map(String::from)
            .collect()
    };
    let (own, init) = (names("containers"), names("initContainers"));
    let pod_name = &call.about.name;
    let wanted = call.query.get("container");
    if !wanted.is_empty() {
        let known = own.iter().chain(&init).any(|name| name == wanted);
        let unknown = || {
            ApiError::bad_request(format!(
                "container {wanted} is not valid for pod {pod_name}"
            ))
        };
        return if known {
            Ok(wanted.into())
        } else {
            Err(unknown())
        };
    }
    if let Some(default) =
        pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str()
    {
        return Ok(default.into());
    }
    match own.as_slice() {
        [only] => Ok(only.clone()),
        several => {
            let mut message = format!(
                "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                several.join(" ")
            );
            if !init.is_empty() {
                message.push_str(&format!(
                    " or one of the init containers: [{}]",
                    init.join(" ")
                ));
            }
            Err(ApiError::bad_request(message))
        }
    }
}
