//! Deployments, ReplicaSets and DaemonSets: a selector and a template.

use serde_json::{Value, json};

use super::{
    disruption, pod, selector,
    value::{fill, items, not_negative, object, one_of, text},
};
use crate::validation::{FieldError, child};

/// Defaults of a Deployment.
pub(super) fn default_deployment(deployment: &mut Value) {
    let Some(spec) = object(deployment, "spec") else {
        return;
    };
    fill(spec, "replicas", 1);
    fill(spec, "revisionHistoryLimit", 10);
    fill(spec, "progressDeadlineSeconds", 600);
    if let Some(strategy) = object(spec, "strategy") {
        fill(strategy, "type", "RollingUpdate");
        if text(&strategy["type"]) == "RollingUpdate"
            && let Some(rolling) = object(strategy, "rollingUpdate")
        {
            fill(rolling, "maxUnavailable", "25%");
            fill(rolling, "maxSurge", "25%");
        }
    }
    default_template(spec);
}

/// Defaults of a ReplicaSet.
pub(super) fn default_replica_set(set: &mut Value) {
    if let Some(spec) = object(set, "spec") {
        fill(spec, "replicas", 1);
        default_template(spec);
    }
}

/// Defaults of a DaemonSet.
pub(super) fn default_daemon_set(set: &mut Value) {
    let Some(spec) = object(set, "spec") else {
        return;
    };
    fill(spec, "revisionHistoryLimit", 10);
    if let Some(strategy) = object(spec, "updateStrategy") {
        fill(strategy, "type", "RollingUpdate");
        if text(&strategy["type"]) == "RollingUpdate"
            && let Some(rolling) = object(strategy, "rollingUpdate")
        {
            fill(rolling, "maxUnavailable", 1);
            fill(rolling, "maxSurge", 0);
        }
    }
    default_template(spec);
}

fn default_template(spec: &mut Value) {
    if let Some(template) = object(spec, "template") {
        pod::default_template(template);
    }
}

/// What is wrong with a Deployment, ReplicaSet or DaemonSet.
pub(super) fn validate(kind: &str, object: &Value) -> Vec<FieldError> {
    let spec = &object["spec"];
    let mut errors = Vec::new();
    not_negative(spec, "replicas", "spec", &mut errors);
    not_negative(spec, "minReadySeconds", "spec", &mut errors);
    not_negative(spec, "revisionHistoryLimit", "spec", &mut errors);
    validate_selector(spec, &kind.to_lowercase(), &mut errors);
    validate_strategy(kind, spec, &mut errors);
    validate_template(spec, &[], &mut errors);
    errors
}

/// The selector must be there, select something and match the template.
pub(super) fn validate_selector(spec: &Value, kind: &str, errors: &mut Vec<FieldError>) {
    if spec["selector"].is_null() {
        errors.push(FieldError::required("spec.selector", ""));
        return;
    }
    errors.extend(selector::validate(&spec["selector"], "spec.selector"));
    if selector::is_empty(&spec["selector"]) {
        let detail = format!("empty selector is invalid for {kind}");
        errors.push(FieldError::invalid(
            "spec.selector",
            &spec["selector"],
            &detail,
        ));
    }
}

/// Pods of a controller carry its labels and are always restarted.
pub(super) fn validate_template(spec: &Value, claims: &[&str], errors: &mut Vec<FieldError>) {
    let template = &spec["template"];
    let labels = &template["metadata"]["labels"];
    if !selector::matches(&spec["selector"], labels) {
        let labels = if labels.is_null() { &json!({}) } else { labels };
        let printed = if labels.as_object().is_some_and(serde_json::Map::is_empty) {
            Value::Null
        } else {
            labels.clone()
        };
        errors.push(FieldError::invalid(
            "spec.template.metadata.labels",
            &printed,
            "`selector` does not match template `labels`",
        ));
    }
    pod::validate_template(template, claims, "spec.template", errors);
    if template["spec"]["restartPolicy"] != "Always" && !template["spec"]["restartPolicy"].is_null()
    {
        let supported = ["Always".to_owned()];
        errors.push(FieldError::not_supported(
            "spec.template.spec.restartPolicy",
            &template["spec"]["restartPolicy"],
            &supported,
        ));
    }
    if !template["spec"]["activeDeadlineSeconds"].is_null() {
        errors.push(FieldError::forbidden(
            "spec.template.spec.activeDeadlineSeconds",
            "activeDeadlineSeconds in ReplicaSet is not Supported",
        ));
    }
}

fn validate_strategy(kind: &str, spec: &Value, errors: &mut Vec<FieldError>) {
    let (field, types): (&str, &[&str]) = match kind {
        "Deployment" => ("strategy", &["Recreate", "RollingUpdate"]),
        "DaemonSet" => ("updateStrategy", &["OnDelete", "RollingUpdate"]),
        _ => return,
    };
    let (strategy, path) = (&spec[field], child("spec", field));
    one_of(&strategy["type"], child(&path, "type"), types, true, errors);
    let rolling = &strategy["rollingUpdate"];
    if strategy["type"] == "Recreate" && !rolling.is_null() {
        let detail = "may not be specified when strategy `type` is 'Recreate'";
        errors.push(FieldError::forbidden(child(&path, "rollingUpdate"), detail));
    }
    for amount in ["maxUnavailable", "maxSurge"] {
        disruption::amount(
            &rolling[amount],
            &child(&child(&path, "rollingUpdate"), amount),
            errors,
        );
    }
    let is_zero = |value: &Value| *value == 0 || *value == "0%";
    if is_zero(&rolling["maxUnavailable"]) && is_zero(&rolling["maxSurge"]) {
        let path = child(&child(&path, "rollingUpdate"), "maxUnavailable");
        errors.push(FieldError::invalid(
            path,
            &rolling["maxUnavailable"],
            "may not be 0 when `maxSurge` is 0",
        ));
    }
}

/// The selector of a controller never changes.
pub(super) fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    if new["spec"]["selector"] == old["spec"]["selector"] {
        return Vec::new();
    }
    vec![FieldError::invalid(
        "spec.selector",
        &new["spec"]["selector"],
        "field is immutable",
    )]
}

/// The names of the claims that come with each pod.
pub(super) fn claim_names(spec: &Value) -> Vec<&str> {
    items(&spec["volumeClaimTemplates"])
        .map(|claim| text(&claim["metadata"]["name"]))
        .collect()
}
