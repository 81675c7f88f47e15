//! The invariant of sets and keyed lists: no two equal items, no two items with the same keys.

use serde_json::{Map, Value};

use super::{ListType, Schema};
use crate::validation::{self, FieldError};

/// Finds repeated items in sets and in keyed lists at every depth, worded as Kubernetes does.
pub fn validate_lists(schema: &Schema, value: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(schema, value, path, &mut errors);
    errors
}

fn walk(schema: &Schema, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if let Some(known) = schema.field(name) {
                    let path = if schema.properties.contains_key(name) {
                        validation::child(path, name)
                    } else {
                        validation::key(path, name)
                    };
                    walk(known, field, &path, errors);
                }
            }
        }
        Value::Array(items) => {
            repeated(&schema.list_type, schema, items, path, errors);
            if let Some(schema) = &schema.items {
                for (at, item) in items.iter().enumerate() {
                    walk(schema, item, &validation::index(path, at), errors);
                }
            }
        }
        _ => {}
    }
}

fn repeated(
    list_type: &ListType,
    schema: &Schema,
    items: &[Value],
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let identity = |item: &Value| match list_type {
        ListType::Atomic => None,
        ListType::Set => Some(item.clone()),
        ListType::Map(keys) => Some(key_values(schema, keys, item)),
    };
    let mut seen: Vec<Value> = Vec::new();
    let mut reported: Vec<Value> = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let Some(identity) = identity(item) else {
            return;
        };
        if !seen.contains(&identity) {
            seen.push(identity);
        } else if !reported.contains(&identity) {
            errors.push(FieldError::duplicate(
                validation::index(path, at),
                &identity,
            ));
            reported.push(identity);
        }
    }
}

fn key_values(schema: &Schema, keys: &[String], item: &Value) -> Value {
    let mut values = Map::new();
    for key in keys {
        let default = || schema.items.as_ref()?.properties.get(key)?.default.as_ref();
        if let Some(value) = item.get(key).or_else(default) {
            values.insert(key.clone(), value.clone());
        }
    }
    values.into()
}
