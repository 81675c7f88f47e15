//! Leases.

use serde_json::Value;

use super::value::{not_negative, text};
use crate::validation::FieldError;

/// What is wrong with a lease.
pub(super) fn validate(lease: &Value) -> Vec<FieldError> {
    let spec = &lease["spec"];
    let mut errors = Vec::new();
    if spec["holderIdentity"].is_string() && text(&spec["holderIdentity"]).is_empty() {
        errors.push(FieldError::invalid(
            "spec.holderIdentity",
            &spec["holderIdentity"],
            "must not be empty",
        ));
    }
    if spec["leaseDurationSeconds"]
        .as_i64()
        .is_some_and(|seconds| seconds <= 0)
    {
        errors.push(FieldError::invalid(
            "spec.leaseDurationSeconds",
            &spec["leaseDurationSeconds"],
            "must be greater than 0",
        ));
    }
    not_negative(spec, "leaseTransitions", "spec", &mut errors);
    errors
}
