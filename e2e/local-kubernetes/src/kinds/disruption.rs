//! Pod disruption budgets.

use serde_json::Value;

use super::{
    selector,
    value::{one_of, text},
};
use crate::validation::{FieldError, child};

/// What is wrong with a budget.
pub(super) fn validate(budget: &Value) -> Vec<FieldError> {
    let spec = &budget["spec"];
    let mut errors = Vec::new();
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        let printed = format!(
            "{{\"MinAvailable\":{},\"Selector\":{},\"MaxUnavailable\":{},\"UnhealthyPodEvictionPolicy\":{}}}",
            spec["minAvailable"],
            spec["selector"],
            spec["maxUnavailable"],
            spec["unhealthyPodEvictionPolicy"]
        );
        errors.push(FieldError::invalid_printed(
            "spec",
            &printed,
            "minAvailable and maxUnavailable cannot be both set",
        ));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        amount(&spec[field], &child("spec", field), &mut errors);
    }
    errors.extend(selector::validate(&spec["selector"], "spec.selector"));
    let policies = ["AlwaysAllow", "IfHealthyBudget"];
    one_of(
        &spec["unhealthyPodEvictionPolicy"],
        "spec.unhealthyPodEvictionPolicy".to_owned(),
        &policies,
        false,
        &mut errors,
    );
    errors
}

/// A number that is not negative, or a percentage up to 100%.
pub(super) fn amount(value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if value.as_i64().is_some_and(|number| number < 0) {
        errors.push(FieldError::invalid(
            path,
            value,
            "must be greater than or equal to 0",
        ));
    }
    if value.is_string() {
        let percent = text(value)
            .strip_suffix('%')
            .and_then(|number| number.parse::<u32>().ok());
        match percent {
            None => {
                let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used \
                              for validation is '[0-9]+%')";
                errors.push(FieldError::invalid(path, value, detail));
            }
            Some(percent) if percent > 100 => errors.push(FieldError::invalid(
                path,
                value,
                "must not be greater than 100%",
            )),
            Some(_) => {}
        }
    }
}
