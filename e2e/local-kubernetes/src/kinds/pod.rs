//! Pods, and the pod templates of what makes pods.

use serde_json::{Value, json};

use super::{
    containers, metadata, names,
    value::{fill, is_unset, items, items_mut, not_negative, object, one_of, text},
    volumes,
};
use crate::validation::{FieldError, child, index};

/// Seconds that a pod stays on a node that is not ready or not reachable.
const NODE_TOLERATION_SECONDS: i64 = 300;

/// Defaults of a pod.
pub(super) fn default(pod: &mut Value) {
    let Some(spec) = object(pod, "spec") else {
        return;
    };
    default_spec(spec);
    if spec["enableServiceLinks"].is_null() {
        spec["enableServiceLinks"] = true.into();
    }
    for list in ["containers", "initContainers"] {
        items_mut(spec, list).for_each(containers::default_requests);
    }
}

/// Defaults of a template.
pub(super) fn default_template(template: &mut Value) {
    if let Some(spec) = object(template, "spec") {
        default_spec(spec);
    }
}

fn default_spec(spec: &mut Value) {
    items_mut(spec, "volumes").for_each(volumes::default);
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        items_mut(spec, list).for_each(containers::default);
    }
    fill(spec, "dnsPolicy", "ClusterFirst");
    fill(spec, "restartPolicy", "Always");
    fill(spec, "securityContext", json!({}));
    fill(spec, "terminationGracePeriodSeconds", 30);
    fill(spec, "schedulerName", "default-scheduler");
    for constraint in items_mut(spec, "topologySpreadConstraints") {
        fill(constraint, "whenUnsatisfiable", "DoNotSchedule");
    }
}

/// What admission adds to a new pod, and the status that it starts with.
pub(super) fn prepare_create(pod: &mut Value) {
    let quality = quality_of_service(&pod["spec"]);
    pod["status"] = json!({"phase": "Pending", "qosClass": quality});
    let spec = &mut pod["spec"];
    fill(spec, "serviceAccountName", "default");
    spec["serviceAccount"] = spec["serviceAccountName"].clone();
    fill(spec, "priority", 0);
    fill(spec, "preemptionPolicy", "PreemptLowerPriority");
    let mut tolerations = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for taint in [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ] {
        let tolerated = |toleration: &Value| {
            let same_key = is_unset(&toleration["key"]) || toleration["key"] == taint;
            same_key && (is_unset(&toleration["effect"]) || toleration["effect"] == "NoExecute")
        };
        if !tolerations.iter().any(tolerated) {
            tolerations.push(json!({
                "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": NODE_TOLERATION_SECONDS,
            }));
        }
    }
    spec["tolerations"] = tolerations.into();
}

/// `Guaranteed` if every container's limits of CPU and memory are its requests, `BestEffort` if nothing is asked for, else `Burstable`.
fn quality_of_service(spec: &Value) -> &'static str {
    let all: Vec<&Value> = items(&spec["containers"])
        .chain(items(&spec["initContainers"]))
        .collect();
    let amounts = |part: &str| {
        all.iter().any(|container| {
            container["resources"][part]
                .as_object()
                .is_some_and(|amounts| !amounts.is_empty())
        })
    };
    if !amounts("requests") && !amounts("limits") {
        return "BestEffort";
    }
    let is_fixed = |container: &&Value| {
        let resources = &container["resources"];
        ["cpu", "memory"].iter().all(|name| {
            let limit = &resources["limits"][*name];
            let request = &resources["requests"][*name];
            !limit.is_null() && (request.is_null() || request == limit)
        })
    };
    if all.iter().all(is_fixed) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// What is wrong with a pod.
pub(super) fn validate(pod: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    validate_spec(&pod["spec"], &[], "spec", &mut errors);
    errors
}

/// What is wrong with a template. `claims` are names of volumes that come with each pod.
pub(super) fn validate_template(
    template: &Value,
    claims: &[&str],
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let place = child(path, "metadata");
    errors.extend(metadata::labels(
        &template["metadata"]["labels"],
        &child(&place, "labels"),
    ));
    errors.extend(metadata::annotations(
        &template["metadata"]["annotations"],
        &child(&place, "annotations"),
    ));
    validate_spec(&template["spec"], claims, &child(path, "spec"), errors);
}

fn validate_spec(spec: &Value, claims: &[&str], path: &str, errors: &mut Vec<FieldError>) {
    volumes::validate(&spec["volumes"], &child(path, "volumes"), errors);
    let names: Vec<&str> = items(&spec["volumes"])
        .map(|volume| text(&volume["name"]))
        .chain(claims.iter().copied())
        .collect();
    let main: Vec<&Value> = items(&spec["containers"]).collect();
    if main.is_empty() {
        errors.push(FieldError::required(child(path, "containers"), ""));
    }
    containers::validate(&main, &names, &child(path, "containers"), errors);
    let init: Vec<&Value> = items(&spec["initContainers"]).collect();
    containers::validate(&init, &names, &child(path, "initContainers"), errors);
    for (at, container) in init.iter().enumerate() {
        if main.iter().any(|other| other["name"] == container["name"]) {
            errors.push(FieldError::duplicate(
                child(&index(&child(path, "initContainers"), at), "name"),
                &container["name"],
            ));
        }
    }
    let policies = ["Always", "Never", "OnFailure"];
    one_of(
        &spec["restartPolicy"],
        child(path, "restartPolicy"),
        &policies,
        true,
        errors,
    );
    let policies = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
    one_of(
        &spec["dnsPolicy"],
        child(path, "dnsPolicy"),
        &policies,
        true,
        errors,
    );
    not_negative(spec, "terminationGracePeriodSeconds", path, errors);
    errors.extend(metadata::labels(
        &spec["nodeSelector"],
        &child(path, "nodeSelector"),
    ));
    for (field, check) in [
        (
            "serviceAccountName",
            names::subdomain as fn(&str) -> Vec<String>,
        ),
        ("hostname", names::dns_label),
        ("subdomain", names::dns_label),
    ] {
        if !is_unset(&spec[field]) {
            let problems = check(text(&spec[field]));
            errors.extend(
                problems
                    .iter()
                    .map(|problem| FieldError::invalid(child(path, field), &spec[field], problem)),
            );
        }
    }
    validate_tolerations(&spec["tolerations"], &child(path, "tolerations"), errors);
}

fn validate_tolerations(tolerations: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (at, toleration) in items(tolerations).enumerate() {
        let path = index(path, at);
        if is_unset(&toleration["key"]) && text(&toleration["operator"]) != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(FieldError::invalid(
                child(&path, "operator"),
                &toleration["operator"],
                detail,
            ));
        }
        let operators = ["Equal", "Exists", "Gt", "Lt"];
        one_of(
            &toleration["operator"],
            child(&path, "operator"),
            &operators,
            false,
            errors,
        );
        let effects = ["NoExecute", "NoSchedule", "PreferNoSchedule"];
        one_of(
            &toleration["effect"],
            child(&path, "effect"),
            &effects,
            false,
            errors,
        );
    }
}
