//! Metadata, which all kinds share: labels, annotations, owners, finalizers, and what may not change.

use serde_json::{Map, Value};

use super::names::{self, NameRule};
use crate::validation::{FieldError, child, index, quoted};

/// Finalizers without a domain that Kubernetes itself uses.
const STANDARD_FINALIZERS: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];
/// Largest sum of keys and values of all annotations, in bytes.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// What is wrong with the metadata of an object.
pub fn validate(metadata: &Value, name_rule: NameRule) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let text = |key: &str| metadata[key].as_str().unwrap_or_default();
    let generate_name = text("generateName");
    for problem in name_rule
        .problems(generate_name, true)
        .iter()
        .filter(|_| !generate_name.is_empty())
    {
        errors.push(FieldError::invalid(
            "metadata.generateName",
            &generate_name.into(),
            problem,
        ));
    }
    let name = text("name");
    if name.is_empty() {
        errors.push(FieldError::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else {
        errors.extend(
            name_rule
                .problems(name, false)
                .iter()
                .map(|problem| FieldError::invalid("metadata.name", &name.into(), problem)),
        );
    }
    errors.extend(labels(&metadata["labels"], "metadata.labels"));
    errors.extend(annotations(
        &metadata["annotations"],
        "metadata.annotations",
    ));
    errors.extend(owners(&metadata["ownerReferences"]));
    errors.extend(finalizers(&metadata["finalizers"]));
    errors
}

/// What is wrong with a change of metadata.
pub fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in ["name", "namespace", "uid"] {
        if new[field] != old[field] && !new[field].is_null() {
            errors.push(FieldError::invalid(
                child("metadata", field),
                &new[field],
                "field is immutable",
            ));
        }
    }
    if !old["deletionTimestamp"].is_null() {
        let listed = |metadata: &Value| {
            metadata["finalizers"]
                .as_array()
                .cloned()
                .unwrap_or_default()
        };
        let before = listed(old);
        let added: Vec<String> = listed(new)
            .iter()
            .filter(|finalizer| !before.contains(finalizer))
            .map(ToString::to_string)
            .collect();
        if !added.is_empty() {
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            );
            // Kubernetes checks this twice and reports both.
            errors.push(FieldError::forbidden("metadata.finalizers", &detail));
            errors.push(FieldError::forbidden("metadata.finalizers", &detail));
        }
    }
    errors.extend(labels(&new["labels"], "metadata.labels"));
    errors.extend(annotations(&new["annotations"], "metadata.annotations"));
    errors.extend(owners(&new["ownerReferences"]));
    errors.extend(finalizers(&new["finalizers"]));
    errors
}

/// What is wrong with labels.
pub fn labels(labels: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in entries(labels) {
        errors.extend(
            names::qualified_name(key)
                .iter()
                .map(|problem| FieldError::invalid(path, &key.as_str().into(), problem)),
        );
        let text = value.as_str().unwrap_or_default();
        errors.extend(
            names::label_value(text)
                .iter()
                .map(|problem| FieldError::invalid(path, value, problem)),
        );
    }
    errors
}

/// What is wrong with annotations.
pub fn annotations(annotations: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut size = 0;
    for (key, value) in entries(annotations) {
        let lower = key.to_lowercase();
        errors.extend(
            names::qualified_name(&lower)
                .iter()
                .map(|problem| FieldError::invalid(path, &key.as_str().into(), problem)),
        );
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_LIMIT {
        errors.push(FieldError::too_long(path, ANNOTATIONS_LIMIT as u64));
    }
    errors
}

fn entries(map: &Value) -> impl Iterator<Item = (&String, &Value)> {
    map.as_object().into_iter().flat_map(Map::iter)
}

fn owners(owners: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = "metadata.ownerReferences";
    let listed: Vec<&Value> = owners.as_array().into_iter().flatten().collect();
    for (at, owner) in listed.iter().enumerate() {
        let at = index(path, at);
        let text = |key: &str| owner[key].as_str().unwrap_or_default();
        if text("apiVersion").is_empty() || text("apiVersion").starts_with('/') {
            errors.push(FieldError::invalid(
                child(&at, "apiVersion"),
                &text("apiVersion").into(),
                "version must not be empty",
            ));
        }
        for key in ["kind", "name", "uid"] {
            if text(key).is_empty() {
                errors.push(FieldError::invalid(
                    child(&at, key),
                    &"".into(),
                    &format!("{key} must not be empty"),
                ));
            }
        }
        if (text("apiVersion"), text("kind")) == ("v1", "Event") {
            errors.push(FieldError::invalid(
                path,
                &"".into(),
                "v1, Kind=Event is disallowed from being an owner",
            ));
        }
    }
    let controllers: Vec<String> = listed
        .iter()
        .filter(|owner| owner["controller"] == true)
        .map(|owner| {
            format!(
                "{}/{}",
                owner["kind"].as_str().unwrap_or_default(),
                owner["name"].as_str().unwrap_or_default()
            )
        })
        .collect();
    if let [first, .., last] = controllers.as_slice() {
        let printed: Vec<String> = listed.iter().map(|owner| printed_owner(owner)).collect();
        let detail = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {last}"
        );
        errors.push(FieldError::invalid_printed(
            path,
            &format!("[{}]", printed.join(",")),
            &detail,
        ));
    }
    errors
}

/// An owner reference with its fields in the order of its type.
fn printed_owner(owner: &Value) -> String {
    let fields = [
        "apiVersion",
        "kind",
        "name",
        "uid",
        "controller",
        "blockOwnerDeletion",
    ];
    let present = fields.iter().filter(|field| !owner[**field].is_null());
    let printed: Vec<String> = present
        .map(|field| format!("{}:{}", quoted(field), owner[*field]))
        .collect();
    format!("{{{}}}", printed.join(","))
}

fn finalizers(finalizers: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (at, value) in finalizers.as_array().into_iter().flatten().enumerate() {
        let name = value.as_str().unwrap_or_default();
        let at = index("metadata.finalizers", at);
        let problems = names::qualified_name(name);
        errors.extend(
            problems
                .iter()
                .map(|problem| FieldError::invalid(at.as_str(), value, problem)),
        );
        if problems.is_empty() && !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(at, value, detail));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_controller_of_an_object_is_one() {
        let owner = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": "u", "controller": true});
        let errors = validate(
            &json!({"name": "x", "ownerReferences": [owner("a"), owner("b")]}),
            NameRule::Subdomain,
        );
        let expected = "Invalid value: [{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"name\":\"a\",\"uid\":\"u\",\"controller\":true},\
                        {\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"name\":\"b\",\"uid\":\"u\",\"controller\":true}]: \
                        Only one reference can have Controller set to true. Found \"true\" in references for ConfigMap/a and ConfigMap/b";
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].message, expected);
    }

    #[test]
    fn a_finalizer_needs_a_domain() {
        let errors = validate(
            &json!({"name": "x", "finalizers": ["hold", "example.com/hold"]}),
            NameRule::Subdomain,
        );
        let detail = "Invalid value: \"hold\": name is neither a standard finalizer name nor is it fully qualified";
        assert_eq!(
            (
                errors.len(),
                errors[0].message.as_str(),
                errors[0].field.as_str()
            ),
            (1, detail, "metadata.finalizers[0]")
        );
    }

    #[test]
    fn a_deleted_object_takes_no_new_finalizers() {
        let old = json!({"name": "x", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a/b"]});
        let mut new = old.clone();
        new["finalizers"] = json!(["a/b", "a/c"]);
        let errors = validate_update(&new, &old);
        assert!(
            errors[0]
                .message
                .ends_with("found new finalizers []string{\"a/c\"}")
        );
        new["finalizers"] = json!([]);
        assert!(validate_update(&new, &old).is_empty());
    }
}
