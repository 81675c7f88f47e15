//! Events, of both groups.

use serde_json::Value;

use super::value::{is_unset, text};
use crate::validation::FieldError;

/// What is wrong with a new event. Events of the newer group are checked strictly; errors name the fields of the older form, as in Kubernetes.
pub(super) fn validate_create(group: &str, event: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let namespace = &event["metadata"]["namespace"];
    let object = if group.is_empty() {
        &event["involvedObject"]
    } else {
        &event["regarding"]
    };
    let is_elsewhere = !is_unset(&object["namespace"]) && object["namespace"] != *namespace;
    if is_elsewhere {
        errors.push(FieldError::invalid(
            "involvedObject.namespace",
            &object["namespace"],
            "does not match event.namespace",
        ));
    }
    if group.is_empty() {
        return errors;
    }
    for field in [
        "reportingController",
        "reportingInstance",
        "action",
        "reason",
    ] {
        let longest = if matches!(field, "reportingController") {
            usize::MAX
        } else {
            128
        };
        if is_unset(&event[field]) {
            errors.push(FieldError::required(field, ""));
        } else if text(&event[field]).len() > longest {
            errors.push(FieldError::invalid(
                field,
                &"".into(),
                "can have at most 128 characters",
            ));
        }
    }
    if text(&event["note"]).len() > 1024 {
        errors.push(FieldError::invalid(
            "message",
            &"".into(),
            "can have at most 1024 characters",
        ));
    }
    if !matches!(text(&event["type"]), "Normal" | "Warning") {
        errors.push(FieldError::invalid(
            "type",
            &"".into(),
            &format!("has invalid value: {}", text(&event["type"])),
        ));
    }
    if event["eventTime"].is_null() {
        errors.push(FieldError::required("eventTime", ""));
    }
    errors
}
