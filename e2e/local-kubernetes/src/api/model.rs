//! The seam to the schema side of the crate: what kinds look like, who owns which field, and what is valid.

use serde_json::Value;

use crate::{registry::Resource, validation::FieldError};

/// Fills in defaults.
pub(super) fn default(_resource: &Resource, _object: &mut Value) {}

/// What is wrong with a new object.
pub(super) fn validate_create(_resource: &Resource, _object: &Value) -> Vec<FieldError> {
    vec![]
}

/// What is wrong with a changed object.
pub(super) fn validate_update(
    _resource: &Resource,
    _new: &Value,
    _live: &Value,
) -> Vec<FieldError> {
    vec![]
}
