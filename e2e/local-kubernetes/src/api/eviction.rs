//! `pods/eviction`: a deletion that disruption budgets may refuse.

use axum::{http::StatusCode, response::Response};
use serde_json::{Value, json};

use super::{
    body,
    call::Call,
    delete::{self, DeleteOptions},
    error::ApiError,
    update,
};
use crate::{
    clock,
    object::{self, at_path},
    selector::LabelSelector,
    store::{Key, Store},
};

/// Answers a POST of an eviction.
pub(super) fn answer(call: &Call, bytes: &[u8]) -> Result<Response, ApiError> {
    let eviction = body::parse(&call.media_type, bytes, "Eviction")?;
    let name = call.about.name.as_str();
    let own = object::name(&eviction);
    if !own.is_empty() && own != name {
        return Err(ApiError::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    let options = DeleteOptions::eviction(&eviction);
    call.state.with_store(|store| {
        let pod = update::live(call, store)?;
        if may_be_disrupted_freely(&pod) {
            return delete::delete(call, store, name, &options).map(drop);
        }
        if let Some((key, budget)) = budget(store, call.namespace(), &pod)? {
            spend(call, store, &key, &budget, name)?;
        }
        delete::delete(call, store, name, &options).map(drop)
    })?;
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(call.respond(StatusCode::CREATED, &status))
}

/// Pods that have ended, or never began, are not protected.
fn may_be_disrupted_freely(pod: &Value) -> bool {
    object::is_deleting(pod)
        || matches!(
            pod["status"]["phase"].as_str(),
            Some("Succeeded" | "Failed" | "Pending")
        )
}

/// The budget that covers a pod.
fn budget(store: &Store, namespace: &str, pod: &Value) -> Result<Option<(Key, Value)>, ApiError> {
    let budgets = store.list(&"poddisruptionbudgets.policy".into(), Some(namespace));
    let labels = object::labels(pod);
    let mut covering = budgets.filter(|(_, budget)| {
        LabelSelector::from_object(&budget["spec"]["selector"])
            .is_some_and(|selector| selector.matches(&labels))
    });
    let first = covering
        .next()
        .map(|(key, budget)| (key.clone(), Value::clone(budget)));
    match covering.next() {
        Some(_) => Err(ApiError::internal(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        )),
        None => Ok(first),
    }
}

/// Takes one disruption off the budget, as the pod's absence shows in its status only later.
fn spend(
    call: &Call,
    store: &mut Store,
    key: &Key,
    budget: &Value,
    pod: &str,
) -> Result<(), ApiError> {
    let number = |path: &str| {
        at_path(budget, path)
            .and_then(Value::as_i64)
            .unwrap_or_default()
    };
    let observed = number(".status.observedGeneration");
    if observed < object::generation(budget) {
        return Err(ApiError::eviction_refused(&format!(
            "The disruption budget {} is still being processed by the server.",
            key.name
        )));
    }
    let allowed = number(".status.disruptionsAllowed");
    if allowed <= 0 {
        return Err(ApiError::eviction_refused(&format!(
            "The disruption budget {} needs {} healthy pods and has {} currently",
            key.name,
            number(".status.desiredHealthy"),
            number(".status.currentHealthy"),
        )));
    }
    let mut spent = budget.clone();
    spent["status"]["disruptionsAllowed"] = (allowed - 1).into();
    spent["status"]["disruptedPods"][pod] = clock::rfc3339(call.state.clock.now()).into();
    store
        .replace(key, spent, None)
        .map_err(|error| super::create::refused(call, &key.name, &error))?;
    Ok(())
}
