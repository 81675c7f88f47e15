//! What may change in a pod: little.

use serde_json::Value;

use super::value::{items, items_mut};
use crate::validation::FieldError;

/// What is wrong with a change of a pod. The real server appends a diff of its internal form, which is left out.
pub(super) fn validate(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut allowed = old["spec"].clone();
    let spec = &new["spec"];
    for list in ["containers", "initContainers"] {
        for (container, changed) in items_mut(&mut allowed, list).zip(items(&spec[list])) {
            container["image"] = changed["image"].clone();
        }
    }
    take(&mut allowed, spec, "activeDeadlineSeconds");
    if old["spec"]["schedulingGates"] != spec["schedulingGates"] {
        // Gates may only go.
        let before: Vec<&Value> = items(&old["spec"]["schedulingGates"]).collect();
        if items(&spec["schedulingGates"]).all(|gate| before.contains(&gate)) {
            take(&mut allowed, spec, "schedulingGates");
        }
    }
    let tolerations: Vec<&Value> = items(&spec["tolerations"]).collect();
    if items(&old["spec"]["tolerations"]).all(|toleration| tolerations.contains(&toleration)) {
        take(&mut allowed, spec, "tolerations");
    }
    if old["spec"]["terminationGracePeriodSeconds"]
        .as_i64()
        .is_some_and(|seconds| seconds < 0)
        && spec["terminationGracePeriodSeconds"] == 1
    {
        take(&mut allowed, spec, "terminationGracePeriodSeconds");
    }
    if items(&spec["containers"]).count() != items(&old["spec"]["containers"]).count() {
        errors.push(FieldError::forbidden(
            "spec.containers",
            "pod updates may not add or remove containers",
        ));
        return errors;
    }
    if allowed != *spec {
        let detail = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
                      `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
                      `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
        errors.push(FieldError::forbidden("spec", detail));
    }
    errors
}

fn take(spec: &mut Value, from: &Value, field: &str) {
    if let Some(fields) = spec.as_object_mut() {
        match from.get(field) {
            Some(value) => fields.insert(field.to_owned(), value.clone()),
            None => fields.remove(field),
        };
    }
}
