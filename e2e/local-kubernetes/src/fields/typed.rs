//! Values with a schema: which fields they have, how two of them differ, merge, and lose fields.
//!
//! These are the operations of structured merge diff. A value without a schema is taken apart by its own shape: objects are granular, lists are atomic.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{path::PathElement, set::FieldSet};
use crate::schema::{ListType, Schema, Type};

/// What changed from one value to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Paths only in the new value.
    pub added: FieldSet,
    /// Leaves with another value.
    pub modified: FieldSet,
    /// Paths only in the old value.
    pub removed: FieldSet,
}

impl Comparison {
    /// Whether nothing changed.
    pub fn is_same(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }
}

/// How a value is taken apart.
enum Shape<'a> {
    Leaf,
    Object(Option<&'a Schema>),
    List(&'a Schema),
}

fn shape<'a>(schema: Option<&'a Schema>, value: &Value) -> Shape<'a> {
    let Some(schema) = schema else {
        return if value.is_object() {
            Shape::Object(None)
        } else {
            Shape::Leaf
        };
    };
    match value {
        Value::Object(_) if !is_atomic_object(schema) => Shape::Object(Some(schema)),
        Value::Array(_) if schema.list_type != ListType::Atomic && schema.items.is_some() => {
            Shape::List(schema)
        }
        _ => Shape::Leaf,
    }
}

/// The shape that two values have together; a missing or null value takes the other's.
fn joint_shape<'a>(
    schema: Option<&'a Schema>,
    left: Option<&Value>,
    right: Option<&Value>,
) -> Shape<'a> {
    let (left, right) = (
        left.filter(|value| !value.is_null()),
        right.filter(|value| !value.is_null()),
    );
    match (left, right) {
        (Some(left), Some(right))
            if left.is_object() != right.is_object() || left.is_array() != right.is_array() =>
        {
            Shape::Leaf
        }
        (_, Some(value)) | (Some(value), None) => {
            if is_empty(left) && is_empty(right) {
                return Shape::Leaf;
            }
            shape(schema, value)
        }
        (None, None) => Shape::Leaf,
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

fn is_atomic_object(schema: &Schema) -> bool {
    let says_nothing = schema.properties.is_empty()
        && schema.kind == Some(Type::Object)
        && !schema.keeps_everything()
        && !schema.is_map();
    schema.atomic_map || says_nothing
}

fn field<'a>(schema: Option<&'a Schema>, name: &str) -> Option<&'a Schema> {
    schema
        .and_then(|schema| schema.field(name))
        .map(AsRef::as_ref)
}

fn item(schema: &Schema) -> Option<&Schema> {
    schema.items.as_deref()
}

/// The path element of an item: its keys (with their defaults), its value, or its place if it has neither.
fn element(schema: &Schema, at: usize, value: &Value) -> PathElement {
    identity(schema, value).unwrap_or(PathElement::Index(at))
}

fn identity(schema: &Schema, value: &Value) -> Result<PathElement, String> {
    let keys = match &schema.list_type {
        ListType::Atomic => return Err("atomic list".to_owned()),
        ListType::Set if value.is_null() => {
            return Err(
                "associative list without keys has an element that's explicitly null".to_owned(),
            );
        }
        ListType::Set => return Ok(PathElement::value(value)),
        ListType::Map(keys) => keys,
    };
    let Some(fields) = value.as_object() else {
        return Err("associative list with keys may not have non-map elements".to_owned());
    };
    let mut values = Map::new();
    for key in keys {
        let default = || item(schema)?.properties.get(key)?.default.as_ref();
        let value = fields.get(key).or_else(default).ok_or_else(|| {
            format!("associative list with keys has an element that omits key field \"{key}\" (and doesn't have default value)")
        })?;
        values.insert(key.clone(), value.clone());
    }
    Ok(PathElement::key(&values))
}

/// What does not fit the schema, worded as `.spec.bogus: field not declared in schema`. Nulls fit everywhere.
pub fn mismatches(schema: &Schema, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(Some(schema), value, "", &mut found);
    found
}

fn check(schema: Option<&Schema>, value: &Value, path: &str, found: &mut Vec<String>) {
    let Some(schema) = schema else {
        return;
    };
    let prefix = || {
        if path.is_empty() {
            String::new()
        } else {
            format!("{path}: ")
        }
    };
    if value.is_null() || schema.int_or_string {
        return;
    }
    let wanted = match schema.kind {
        Some(Type::Object) if !value.is_object() => "map",
        Some(Type::Array) if !value.is_array() => "list",
        Some(Type::String) if !value.is_string() => "string",
        Some(Type::Integer | Type::Number) if !value.is_number() => {
            found.push(format!(
                "{}expected numeric (int or float), got {}",
                prefix(),
                go_type(value)
            ));
            return;
        }
        Some(Type::Boolean) if !value.is_boolean() => "boolean",
        _ => "",
    };
    if !wanted.is_empty() {
        found.push(format!(
            "{}expected {wanted}, got {}",
            prefix(),
            go_value(value)
        ));
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, below) in fields {
                let path = format!("{path}.{name}");
                match schema.field(name) {
                    Some(known) => check(Some(known), below, &path, found),
                    None if schema.keeps_everything()
                        || is_atomic_object(schema)
                        || schema.kind.is_none() => {}
                    None => found.push(format!("{path}: field not declared in schema")),
                }
            }
        }
        Value::Array(items) => check_items(schema, items, path, found),
        _ => {}
    }
}

fn check_items(schema: &Schema, items: &[Value], path: &str, found: &mut Vec<String>) {
    let mut seen = Vec::new();
    for (at, value) in items.iter().enumerate() {
        let element = match identity(schema, value) {
            _ if schema.list_type == ListType::Atomic => PathElement::Index(at),
            Ok(element) => element,
            Err(reason) => {
                found.push(format!("{path}: element {at}: {reason}"));
                continue;
            }
        };
        if seen.contains(&element) {
            found.push(format!("{path}: duplicate entries for key {element}"));
        }
        check(item(schema), value, &format!("{path}{element}"), found);
        seen.push(element);
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn go_value(value: &Value) -> String {
    match value {
        Value::Number(_) => format!("&value.valueUnstructured{{Value:{value}}}"),
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name}:{value}"))
                .collect();
            format!("&{{map[{}]}}", fields.join(" "))
        }
        other => format!(
            "&{{{}}}",
            other
                .as_str()
                .map_or_else(|| other.to_string(), str::to_owned)
        ),
    }
}

/// The fields that a value has: its leaves, the entries of its maps and the items of its lists.
pub fn to_set(schema: &Schema, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    add_fields(Some(schema), value, &mut Vec::new(), &mut set);
    set
}

fn add_fields(
    schema: Option<&Schema>,
    value: &Value,
    path: &mut Vec<PathElement>,
    set: &mut FieldSet,
) {
    match (shape(schema, value), value) {
        (Shape::Object(schema), Value::Object(fields)) => {
            for (name, below) in fields {
                path.push(PathElement::Field(name.clone()));
                add_fields(field(schema, name), below, path, set);
                let declared = schema.is_some_and(|schema| schema.properties.contains_key(name));
                let empty = below.is_null() || below.as_object().is_some_and(Map::is_empty);
                if empty || !declared {
                    set.insert(path);
                }
                path.pop();
            }
        }
        (Shape::List(schema), Value::Array(items)) => {
            for (at, below) in items.iter().enumerate() {
                path.push(element(schema, at, below));
                add_fields(item(schema), below, path, set);
                set.insert(path);
                path.pop();
            }
        }
        _ => set.insert(path),
    }
}

/// What changed from `old` to `new`.
pub fn compare(schema: &Schema, old: &Value, new: &Value) -> Comparison {
    let mut comparison = Comparison::default();
    compare_at(
        Some(schema),
        Some(old),
        Some(new),
        &mut Vec::new(),
        &mut comparison,
    );
    comparison
}

fn compare_at(
    schema: Option<&Schema>,
    old: Option<&Value>,
    new: Option<&Value>,
    path: &mut Vec<PathElement>,
    found: &mut Comparison,
) {
    match (old, new) {
        (None, None) => return,
        (None, Some(_)) => found.added.insert(path),
        (Some(_), None) => found.removed.insert(path),
        (Some(_), Some(_)) => {}
    }
    match joint_shape(schema, old, new) {
        Shape::Object(schema) => {
            for name in names(old, new) {
                path.push(PathElement::Field(name.clone()));
                let (old, new) = (
                    old.and_then(|old| old.get(&name)),
                    new.and_then(|new| new.get(&name)),
                );
                compare_at(field(schema, &name), old, new, path, found);
                path.pop();
            }
        }
        Shape::List(schema) => compare_items(schema, old, new, path, found),
        Shape::Leaf => {
            if let (Some(old), Some(new)) = (old, new)
                && old != new
            {
                found.modified.insert(path);
            }
        }
    }
}

fn compare_items(
    schema: &Schema,
    old: Option<&Value>,
    new: Option<&Value>,
    path: &mut Vec<PathElement>,
    found: &mut Comparison,
) {
    let (old, new) = (by_element(schema, old), by_element(schema, new));
    let mut elements: Vec<&PathElement> = old.keys().chain(new.keys()).collect();
    elements.sort();
    elements.dedup();
    for element in elements {
        let items = |side: &BTreeMap<PathElement, Vec<Value>>| {
            side.get(element).cloned().unwrap_or_default()
        };
        let (olds, news) = (items(&old), items(&new));
        path.push(element.clone());
        match (olds.as_slice(), news.as_slice()) {
            ([] | [_], [] | [_]) => {
                compare_at(item(schema), olds.first(), news.first(), path, found);
            }
            ([_, _, ..], [_, _, ..]) if olds != news => found.modified.insert(path),
            ([_, _, ..], [_, _, ..]) => {}
            ([_, _, ..], _) => {
                compare_at(item(schema), None, news.first(), path, found);
                found.removed.insert(path);
            }
            _ => {
                compare_at(item(schema), olds.first(), None, path, found);
                found.added.insert(path);
            }
        }
        path.pop();
    }
}

fn by_element(schema: &Schema, list: Option<&Value>) -> BTreeMap<PathElement, Vec<Value>> {
    let mut items: BTreeMap<PathElement, Vec<Value>> = BTreeMap::new();
    for (at, value) in list
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
    {
        items
            .entry(element(schema, at, value))
            .or_default()
            .push(value.clone());
    }
    items
}

fn names(left: Option<&Value>, right: Option<&Value>) -> Vec<String> {
    let of = |value: Option<&Value>| {
        value
            .and_then(Value::as_object)
            .map(|fields| fields.keys().cloned().collect())
            .unwrap_or_default()
    };
    let mut all: Vec<String> = of(left);
    let more: Vec<String> = of(right);
    all.extend(more);
    all.sort();
    all.dedup();
    all
}

/// `live` with the fields of `patch` put over it; list items keep the order of the patch where it names them.
pub fn merge(schema: &Schema, live: &Value, patch: &Value) -> Value {
    merge_at(Some(schema), Some(live), Some(patch)).unwrap_or(Value::Null)
}

fn merge_at(schema: Option<&Schema>, live: Option<&Value>, patch: Option<&Value>) -> Option<Value> {
    match joint_shape(schema, live, patch) {
        Shape::Object(schema) => {
            let mut merged = Map::new();
            for name in names(live, patch) {
                let (live, patch) = (
                    live.and_then(|live| live.get(&name)),
                    patch.and_then(|patch| patch.get(&name)),
                );
                if let Some(value) = merge_at(field(schema, &name), live, patch) {
                    merged.insert(name, value);
                }
            }
            Some(merged.into())
        }
        Shape::List(schema) => Some(super::order::merge_items(
            live,
            patch,
            &|at, value| element(schema, at, value),
            &|live, patch| merge_at(item(schema), live, patch),
        )),
        Shape::Leaf => patch.or(live).cloned(),
    }
}

/// The value without the members of a set; none if nothing is left of an object or list.
pub fn remove(schema: &Schema, value: &Value, set: &FieldSet) -> Value {
    remove_at(Some(schema), value, set).unwrap_or_else(|| Map::new().into())
}

fn remove_at(schema: Option<&Schema>, value: &Value, set: &FieldSet) -> Option<Value> {
    match (shape(schema, value), value) {
        (Shape::Object(schema), Value::Object(fields)) => {
            let mut left = Map::new();
            for (name, below) in fields {
                let element = PathElement::Field(name.clone());
                if set.has(std::slice::from_ref(&element)) {
                    continue;
                }
                let kept = match set.below(&element) {
                    Some(set) => remove_at(field(schema, name), below, set),
                    None => Some(below.clone()),
                };
                if let Some(kept) = kept {
                    left.insert(name.clone(), kept);
                }
            }
            (!left.is_empty() || fields.is_empty()).then(|| left.into())
        }
        (Shape::List(schema), Value::Array(items)) => {
            let mut left = Vec::new();
            for (at, below) in items.iter().enumerate() {
                let element = element(schema, at, below);
                if set.has(std::slice::from_ref(&element)) {
                    continue;
                }
                left.extend(match set.below(&element) {
                    Some(set) => remove_at(item(schema), below, set),
                    None => Some(below.clone()),
                });
            }
            (!left.is_empty() || items.is_empty()).then(|| left.into())
        }
        _ => Some(value.clone()),
    }
}
