//! Persistent volumes and claims to them.

use serde_json::{Value, json};

use super::value::{fill, items, object, one_of, quantity, text};
use crate::validation::{FieldError, child, key};

const ACCESS_MODES: [&str; 4] = [
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];

/// Defaults of a claim, also within the template of a StatefulSet.
pub(super) fn default(claim: &mut Value) {
    if let Some(spec) = object(claim, "spec") {
        fill(spec, "volumeMode", "Filesystem");
    }
    if let Some(status) = object(claim, "status") {
        fill(status, "phase", "Pending");
    }
}

/// Defaults of a volume.
pub(super) fn default_volume(volume: &mut Value) {
    if let Some(spec) = object(volume, "spec") {
        fill(spec, "persistentVolumeReclaimPolicy", "Retain");
        fill(spec, "volumeMode", "Filesystem");
    }
    if let Some(status) = object(volume, "status") {
        fill(status, "phase", "Pending");
    }
}

/// What is wrong with a claim.
pub(super) fn validate(claim: &Value) -> Vec<FieldError> {
    validate_spec(&claim["spec"], "spec")
}

/// What is wrong with the specification of a claim.
pub(super) fn validate_spec(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if items(&spec["accessModes"]).next().is_none() {
        errors.push(FieldError::required(
            child(path, "accessModes"),
            "at least 1 access mode is required",
        ));
    }
    for mode in items(&spec["accessModes"]) {
        one_of(
            mode,
            child(path, "accessModes"),
            &ACCESS_MODES,
            true,
            &mut errors,
        );
    }
    let requests = child(path, "resources.requests");
    match &spec["resources"]["requests"]["storage"] {
        Value::Null => errors.push(FieldError::required(child(path, "resources[storage]"), "")),
        storage => {
            if quantity(storage).is_none_or(|size| size.units() <= 0) {
                errors.push(FieldError::invalid(
                    key(&requests, "storage"),
                    storage,
                    "must be greater than zero",
                ));
            }
        }
    }
    one_of(
        &spec["volumeMode"],
        child(path, "volumeMode"),
        &["Block", "Filesystem"],
        false,
        &mut errors,
    );
    errors
}

/// Only the size of a claim may grow.
pub(super) fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let fixed = |claim: &Value| {
        let mut spec = claim["spec"].clone();
        spec["resources"]["requests"] = json!({});
        spec["volumeAttributesClassName"] = Value::Null;
        // A claim is bound to its volume once.
        if text(&old["spec"]["volumeName"]).is_empty() {
            spec["volumeName"] = Value::Null;
        }
        spec
    };
    let mut errors = Vec::new();
    if fixed(new) != fixed(old) {
        let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.push(FieldError::forbidden("spec", detail));
    }
    let size = |claim: &Value| quantity(&claim["spec"]["resources"]["requests"]["storage"]);
    if let (Some(new), Some(old)) = (size(new), size(old))
        && new < old
    {
        let detail = "field can not be less than status.capacity";
        errors.push(FieldError::forbidden(
            "spec.resources.requests.storage",
            detail,
        ));
    }
    errors
}
