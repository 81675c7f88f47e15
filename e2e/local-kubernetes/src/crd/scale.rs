//! The paths of a scale subresource within an object.

use serde_json::Value;

use crate::{
    cel::value_at,
    validation::{FieldError, quoted},
};

/// Checks the desired replicas: a number that is not negative and fits 32 bits.
pub(super) fn validate_spec(path: &str, object: &Value) -> Vec<FieldError> {
    replicas(path, object)
}

/// Checks the observed replicas and the selector.
pub(super) fn validate_status(
    path: &str,
    selector_path: Option<&str>,
    object: &Value,
) -> Vec<FieldError> {
    let mut errors = replicas(path, object);
    if let Some(path) = selector_path
        && let Some(value) = value_at(object, path)
        && !value.is_string()
    {
        errors.push(FieldError::invalid(
            path,
            &"".into(),
            &accessor_error(path, value, "string"),
        ));
    }
    errors
}

fn replicas(path: &str, object: &Value) -> Vec<FieldError> {
    let Some(value) = value_at(object, path) else {
        return Vec::new();
    };
    let Some(number) = value.as_i64() else {
        return vec![FieldError::invalid(
            path,
            &0.into(),
            &accessor_error(path, value, "int64"),
        )];
    };
    if number < 0 {
        vec![FieldError::invalid(
            path,
            value,
            "should be a non-negative integer",
        )]
    } else if number > i64::from(i32::MAX) {
        vec![FieldError::invalid(
            path,
            value,
            &format!("should be less than or equal to {}", i32::MAX),
        )]
    } else {
        Vec::new()
    }
}

fn accessor_error(path: &str, value: &Value, wanted: &str) -> String {
    let (printed, kind) = match value {
        Value::Null => ("<nil>".to_owned(), "<nil>"),
        Value::Bool(_) => (value.to_string(), "bool"),
        Value::Number(number) if number.is_f64() => (value.to_string(), "float64"),
        Value::Number(_) => (value.to_string(), "int64"),
        Value::String(text) => (text.clone(), "string"),
        Value::Array(_) => (quoted(&value.to_string()), "[]interface {}"),
        Value::Object(_) => (quoted(&value.to_string()), "map[string]interface {}"),
    };
    format!("{path} accessor error: {printed} is of the type {kind}, expected {wanted}")
}
