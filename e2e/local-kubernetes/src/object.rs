//! Reading and writing the well-known fields of an object that is plain JSON.
//!
//! Absent and wrongly typed fields read as empty: whether they are allowed is validation's question, not this module's.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

fn metadata_text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// `metadata.name`, or empty.
#[must_use]
pub fn name(object: &Value) -> &str {
    metadata_text(object, "name")
}

/// `metadata.namespace`, or empty.
#[must_use]
pub fn namespace(object: &Value) -> &str {
    metadata_text(object, "namespace")
}

/// `metadata.uid`, or empty.
#[must_use]
pub fn uid(object: &Value) -> &str {
    metadata_text(object, "uid")
}

/// `metadata.resourceVersion` as a number, 0 if absent.
#[must_use]
pub fn resource_version(object: &Value) -> u64 {
    metadata_text(object, "resourceVersion")
        .parse()
        .unwrap_or_default()
}

/// Writes `metadata.resourceVersion`.
pub fn set_resource_version(object: &mut Value, revision: u64) {
    metadata_mut(object).insert("resourceVersion".into(), revision.to_string().into());
}

/// `metadata.generation`, 0 if absent.
#[must_use]
pub fn generation(object: &Value) -> i64 {
    object["metadata"]["generation"]
        .as_i64()
        .unwrap_or_default()
}

/// Whether `metadata.deletionTimestamp` is set.
#[must_use]
pub fn is_deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

/// `metadata.finalizers`.
#[must_use]
pub fn finalizers(object: &Value) -> Vec<String> {
    let listed = object["metadata"]["finalizers"].as_array();
    listed
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(String::from)
        .collect()
}

/// Writes `metadata.finalizers`, or removes the field if there are none.
pub fn set_finalizers(object: &mut Value, finalizers: &[String]) {
    let metadata = metadata_mut(object);
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), finalizers.into());
    }
}

/// `metadata.labels`.
#[must_use]
pub fn labels(object: &Value) -> BTreeMap<&str, &str> {
    let labels = object["metadata"]["labels"].as_object();
    labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
        .collect()
}

/// The metadata map, made if it is missing.
///
/// # Panics
/// If the object is not a JSON object; every caller has checked that when the request was decoded.
pub fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    let root = object
        .as_object_mut()
        .expect("objects are checked to be JSON objects when they are decoded");
    let metadata = root
        .entry("metadata")
        .or_insert_with(|| Value::Object(Map::new()));
    if !metadata.is_object() {
        *metadata = Value::Object(Map::new());
    }
    metadata
        .as_object_mut()
        .expect("it has just been made an object")
}

/// Copies a field of the root from one object to another, removing it there if it is absent here.
pub fn copy_field(from: &Value, to: &mut Value, field: &str) {
    let Some(root) = to.as_object_mut() else {
        return;
    };
    match from.get(field) {
        Some(value) => root.insert(field.into(), value.clone()),
        None => root.remove(field),
    };
}

/// Copies a metadata field from one object to another, removing it there if it is absent here.
pub fn copy_metadata(from: &Value, to: &mut Value, field: &str) {
    match from["metadata"].get(field) {
        Some(value) => metadata_mut(to).insert(field.into(), value.clone()),
        None => metadata_mut(to).remove(field),
    };
}

/// The value under a dotted path such as `.spec.replicas`; keys with dots are not supported.
#[must_use]
pub fn at_path<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .filter(|part| !part.is_empty())
        .try_fold(object, |value, part| value.get(part))
}

/// Writes a value under a dotted path, making the objects on the way.
pub fn set_at_path(object: &mut Value, path: &str, value: Value) {
    let mut target = object;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        if !target.is_object() {
            *target = Value::Object(Map::new());
        }
        target = &mut target[part];
    }
    *target = value;
}
