//! Label selectors.

use serde_json::Value;

use super::{
    metadata, names,
    value::{items, text},
};
use crate::validation::{FieldError, child, index};

/// What is wrong with a selector.
pub(super) fn validate(selector: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = metadata::labels(&selector["matchLabels"], &child(path, "matchLabels"));
    for (at, requirement) in items(&selector["matchExpressions"]).enumerate() {
        let path = index(&child(path, "matchExpressions"), at);
        let count = items(&requirement["values"]).count();
        match text(&requirement["operator"]) {
            "In" | "NotIn" if count == 0 => {
                errors.push(FieldError::required(
                    child(&path, "values"),
                    "must be specified when `operator` is 'In' or 'NotIn'",
                ));
            }
            "Exists" | "DoesNotExist" if count > 0 => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(child(&path, "values"), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.push(FieldError::invalid(
                child(&path, "operator"),
                &requirement["operator"],
                "not a valid selector operator",
            )),
        }
        let problems = names::qualified_name(text(&requirement["key"]));
        errors.extend(
            problems.iter().map(|problem| {
                FieldError::invalid(child(&path, "key"), &requirement["key"], problem)
            }),
        );
    }
    errors
}

/// Whether a selector selects nothing in particular.
pub(super) fn is_empty(selector: &Value) -> bool {
    let no_labels = selector["matchLabels"]
        .as_object()
        .is_none_or(serde_json::Map::is_empty);
    no_labels && items(&selector["matchExpressions"]).next().is_none()
}

/// Whether a selector matches labels; a missing selector matches nothing.
pub(super) fn matches(selector: &Value, labels: &Value) -> bool {
    if !selector.is_object() {
        return false;
    }
    let wanted = selector["matchLabels"].as_object().into_iter().flatten();
    wanted.into_iter().all(|(key, value)| labels[key] == *value)
        && items(&selector["matchExpressions"]).all(|requirement| {
            let label = &labels[text(&requirement["key"])];
            let listed = items(&requirement["values"]).any(|value| value == label);
            match text(&requirement["operator"]) {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => !label.is_null(),
                "DoesNotExist" => label.is_null(),
                _ => false,
            }
        })
}
