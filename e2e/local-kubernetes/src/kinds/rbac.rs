//! Roles and bindings.

use serde_json::Value;

use super::value::{fill, is_unset, items, items_mut, one_of, text};
use crate::validation::{FieldError, child, index};

const GROUP: &str = "rbac.authorization.k8s.io";

/// References name their group.
pub(super) fn default_binding(binding: &mut Value) {
    if let Some(role) = binding.get_mut("roleRef") {
        fill(role, "apiGroup", GROUP);
    }
    for subject in items_mut(binding, "subjects") {
        if matches!(text(&subject["kind"]), "User" | "Group") {
            fill(subject, "apiGroup", GROUP);
        }
    }
}

/// What is wrong with a role.
pub(super) fn validate_role(kind: &str, role: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (at, rule) in items(&role["rules"]).enumerate() {
        let path = index("rules", at);
        let count = |field: &str| items(&rule[field]).count();
        let mut require = |field: &str, detail: &str| {
            errors.push(FieldError::required(child(&path, field), detail));
        };
        if count("verbs") == 0 {
            require("verbs", "verbs must contain at least one value");
        }
        if count("nonResourceURLs") > 0 {
            let other = count("apiGroups") + count("resources") + count("resourceNames");
            let detail = if kind == "Role" {
                Some("namespaced rules cannot apply to non-resource URLs")
            } else {
                (other > 0)
                    .then_some("rules cannot apply to both regular resources and non-resource URLs")
            };
            if let Some(detail) = detail {
                errors.push(FieldError::invalid(
                    child(&path, "nonResourceURLs"),
                    &rule["nonResourceURLs"],
                    detail,
                ));
            }
            continue;
        }
        if count("apiGroups") == 0 {
            require(
                "apiGroups",
                "resource rules must supply at least one api group",
            );
        }
        if count("resources") == 0 {
            require(
                "resources",
                "resource rules must supply at least one resource",
            );
        }
    }
    errors
}

/// What is wrong with a binding.
pub(super) fn validate_binding(kind: &str, binding: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let role = &binding["roleRef"];
    one_of(
        &role["apiGroup"],
        "roleRef.apiGroup".to_owned(),
        &[GROUP],
        true,
        &mut errors,
    );
    let kinds: &[&str] = if kind == "RoleBinding" {
        &["ClusterRole", "Role"]
    } else {
        &["ClusterRole"]
    };
    one_of(
        &role["kind"],
        "roleRef.kind".to_owned(),
        kinds,
        true,
        &mut errors,
    );
    if is_unset(&role["name"]) {
        errors.push(FieldError::required("roleRef.name", ""));
    }
    for (at, subject) in items(&binding["subjects"]).enumerate() {
        let path = index("subjects", at);
        if is_unset(&subject["name"]) {
            errors.push(FieldError::required(child(&path, "name"), ""));
        }
        let kinds = ["Group", "ServiceAccount", "User"];
        one_of(
            &subject["kind"],
            child(&path, "kind"),
            &kinds,
            true,
            &mut errors,
        );
        if text(&subject["kind"]) == "ServiceAccount" && is_unset(&subject["namespace"]) {
            errors.push(FieldError::required(child(&path, "namespace"), ""));
        }
    }
    errors
}

/// A binding keeps its role.
pub(super) fn validate_binding_update(new: &Value, old: &Value) -> Vec<FieldError> {
    if new["roleRef"] == old["roleRef"] {
        return Vec::new();
    }
    let role = &new["roleRef"];
    let printed = format!(
        "{{\"APIGroup\":{},\"Kind\":{},\"Name\":{}}}",
        role["apiGroup"], role["kind"], role["name"]
    );
    vec![FieldError::invalid_printed(
        "roleRef",
        &printed,
        "cannot change roleRef",
    )]
}
