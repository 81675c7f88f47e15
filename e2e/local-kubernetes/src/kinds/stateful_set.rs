//! StatefulSets.

use serde_json::Value;

use super::{
    claim, controller, pod,
    value::{fill, items_mut, not_negative, object, one_of, text},
};
use crate::validation::{FieldError, child};

/// Fields of the specification that may change.
const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

/// Defaults of a StatefulSet.
pub(super) fn default(set: &mut Value) {
    let Some(spec) = object(set, "spec") else {
        return;
    };
    fill(spec, "podManagementPolicy", "OrderedReady");
    fill(spec, "replicas", 1);
    fill(spec, "revisionHistoryLimit", 10);
    if let Some(strategy) = object(spec, "updateStrategy") {
        fill(strategy, "type", "RollingUpdate");
        if text(&strategy["type"]) == "RollingUpdate"
            && let Some(rolling) = object(strategy, "rollingUpdate")
        {
            fill(rolling, "partition", 0);
        }
    }
    if let Some(policy) = object(spec, "persistentVolumeClaimRetentionPolicy") {
        fill(policy, "whenDeleted", "Retain");
        fill(policy, "whenScaled", "Retain");
    }
    if let Some(template) = object(spec, "template") {
        pod::default_template(template);
    }
    for template in items_mut(spec, "volumeClaimTemplates") {
        fill(template, "apiVersion", "v1");
        fill(template, "kind", "PersistentVolumeClaim");
        claim::default(template);
    }
}

/// What is wrong with a StatefulSet.
pub(super) fn validate(set: &Value) -> Vec<FieldError> {
    let spec = &set["spec"];
    let mut errors = Vec::new();
    let policies = ["OrderedReady", "Parallel"];
    one_of(
        &spec["podManagementPolicy"],
        "spec.podManagementPolicy".to_owned(),
        &policies,
        true,
        &mut errors,
    );
    let strategy = &spec["updateStrategy"];
    one_of(
        &strategy["type"],
        "spec.updateStrategy.type".to_owned(),
        &["OnDelete", "RollingUpdate"],
        true,
        &mut errors,
    );
    if strategy["type"] == "OnDelete" && !strategy["rollingUpdate"].is_null() {
        let detail = "only allowed for updateStrategy 'RollingUpdate'";
        let path = "spec.updateStrategy.rollingUpdate";
        errors.push(FieldError::invalid(
            path,
            &strategy["rollingUpdate"],
            detail,
        ));
    }
    not_negative(
        &strategy["rollingUpdate"],
        "partition",
        "spec.updateStrategy.rollingUpdate",
        &mut errors,
    );
    let retention = &spec["persistentVolumeClaimRetentionPolicy"];
    for field in ["whenDeleted", "whenScaled"] {
        let path = child("spec.persistentVolumeClaimRetentionPolicy", field);
        one_of(
            &retention[field],
            path,
            &["Delete", "Retain"],
            true,
            &mut errors,
        );
    }
    not_negative(spec, "replicas", "spec", &mut errors);
    not_negative(spec, "minReadySeconds", "spec", &mut errors);
    not_negative(&spec["ordinals"], "start", "spec.ordinals", &mut errors);
    controller::validate_selector(spec, "statefulset", &mut errors);
    controller::validate_template(spec, &controller::claim_names(spec), &mut errors);
    errors
}

/// Most of a StatefulSet never changes.
pub(super) fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let fixed = |set: &Value| {
        let mut spec = set["spec"].clone();
        if let Some(spec) = spec.as_object_mut() {
            spec.retain(|field, _| !MUTABLE.contains(&field.as_str()));
        }
        spec
    };
    if fixed(new) == fixed(old) {
        return Vec::new();
    }
    let detail = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
                  'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
    vec![FieldError::forbidden("spec", detail)]
}
