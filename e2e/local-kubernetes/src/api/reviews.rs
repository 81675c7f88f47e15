//! Reviews: questions about users and what they may do. They are answered, not stored.

use axum::{http::StatusCode, response::Response};
use serde_json::{Value, json};

use super::{
    body,
    call::Call,
    error::ApiError,
    model,
    rbac::{self, Action},
};
use crate::user::User;

/// Answers a POST of a review.
pub(super) fn answer(call: &Call, bytes: &[u8]) -> Result<Response, ApiError> {
    let options = call.options("CreateOptions")?;
    let (mut review, _) = body::object(call, bytes, &options)?;
    model::settle(&call.resource, &mut review);
    if !review["metadata"].is_object() {
        review["metadata"] = json!({});
    }
    model::record(call, &options, None, &mut review);
    review["kind"] = call.resource.kind.clone().into();
    review["apiVersion"] = call.resource.api_version().into();
    review["status"] = match call.resource.kind.as_str() {
        "SelfSubjectAccessReview" => access(call, &call.user, &review["spec"]),
        "SubjectAccessReview" => access(call, &subject(&review["spec"]), &review["spec"]),
        "SelfSubjectRulesReview" => rules(
            call,
            review["spec"]["namespace"].as_str().unwrap_or_default(),
        ),
        _ => json!({"userInfo": {"username": call.user.name, "groups": call.user.groups}}),
    };
    Ok(call.respond(StatusCode::CREATED, &review))
}

fn subject(spec: &Value) -> User {
    let groups = spec["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(String::from)
        .collect();
    User {
        name: spec["user"].as_str().unwrap_or_default().into(),
        groups,
    }
}

fn access(call: &Call, user: &User, spec: &Value) -> Value {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let attributes = &spec["resourceAttributes"];
    let path = text(&spec["nonResourceAttributes"]["path"]);
    let (verb, group) = (
        text(&attributes["verb"]) + &text(&spec["nonResourceAttributes"]["verb"]),
        text(&attributes["group"]),
    );
    let (namespace, name) = (text(&attributes["namespace"]), text(&attributes["name"]));
    let resource = match text(&attributes["subresource"]) {
        none if none.is_empty() => text(&attributes["resource"]),
        subresource => format!("{}/{subresource}", text(&attributes["resource"])),
    };
    let action = Action {
        verb: &verb,
        group: &group,
        resource: &resource,
        namespace: &namespace,
        name: &name,
        path: &path,
    };
    json!({"allowed": call.state.with_store(|store| rbac::allows(store, user, &action))})
}

fn rules(call: &Call, namespace: &str) -> Value {
    let everything = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
    let mut rules = call
        .state
        .with_store(|store| rbac::rules(store, &call.user, namespace));
    if call.user.is_master() {
        rules.push(everything);
        rules.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
    }
    let (paths, resources): (Vec<Value>, Vec<Value>) = rules
        .into_iter()
        .partition(|rule| rule["nonResourceURLs"].is_array());
    json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false})
}
