//! Small helpers for objects as JSON.

use serde_json::Value;

use crate::{
    schema::Quantity,
    validation::{FieldError, child},
};

/// The items of a list; none if there is no list.
pub(super) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The items of a list, to change them.
pub(super) fn items_mut<'a>(
    object: &'a mut Value,
    field: &str,
) -> impl Iterator<Item = &'a mut Value> {
    object
        .get_mut(field)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}

/// The text of a value; empty if it is none.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Whether a field is missing, null or an empty string.
pub(super) fn is_unset(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(str::is_empty)
}

/// Sets a field that is missing, null or an empty string.
pub(super) fn fill(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(fields) = object.as_object_mut()
        && fields.get(field).is_none_or(is_unset)
    {
        fields.insert(field.to_owned(), value.into());
    }
}

/// The field as an object to change; made if missing, none if it is something else.
pub(super) fn object<'a>(parent: &'a mut Value, field: &str) -> Option<&'a mut Value> {
    fill(parent, field, serde_json::Map::new());
    parent.get_mut(field).filter(|value| value.is_object())
}

/// An error if the number is there and negative.
pub(super) fn not_negative(parent: &Value, field: &str, path: &str, errors: &mut Vec<FieldError>) {
    if parent[field].as_i64().is_some_and(|number| number < 0) {
        errors.push(FieldError::invalid(
            child(path, field),
            &parent[field],
            "must be greater than or equal to 0",
        ));
    }
}

/// An error if the text is none of these; a missing one is `Required` if `required`.
pub(super) fn one_of(
    value: &Value,
    path: String,
    allowed: &[&str],
    required: bool,
    errors: &mut Vec<FieldError>,
) {
    if is_unset(value) {
        if required {
            errors.push(FieldError::required(path, ""));
        }
    } else if !allowed.contains(&text(value)) {
        let allowed: Vec<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
        errors.push(FieldError::not_supported(path, value, &allowed));
    }
}

/// An error if the number is no port.
pub(super) fn port(value: &Value, path: String, errors: &mut Vec<FieldError>) {
    if !value
        .as_i64()
        .is_some_and(|number| (1..=65535).contains(&number))
    {
        errors.push(FieldError::invalid(
            path,
            value,
            "must be between 1 and 65535, inclusive",
        ));
    }
}

/// The quantity that a value holds, written as a string or as a number.
pub(super) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text),
        Value::Number(number) => Quantity::parse(&number.to_string()),
        _ => None,
    }
}
