//! ConfigMaps and Secrets.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::{
    names,
    value::{fill, object, text},
};
use crate::validation::{FieldError, key};

/// Largest content, in bytes.
const LARGEST: usize = 1024 * 1024;

/// Text given as `stringData` becomes data; the type is `Opaque` unless said otherwise.
pub(super) fn default_secret(secret: &mut Value) {
    fill(secret, "type", "Opaque");
    let Some(Value::Object(strings)) = secret
        .as_object_mut()
        .and_then(|secret| secret.remove("stringData"))
    else {
        return;
    };
    if let Some(data) = object(secret, "data") {
        for (name, value) in strings {
            data[name] = STANDARD.encode(text(&value)).into();
        }
    }
}

/// What is wrong with a ConfigMap.
pub(super) fn validate_config_map(map: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (name, _) in entries(&map["data"]) {
        check_key(name, "data", &mut errors);
        if !map["binaryData"][name].is_null() {
            let detail = "duplicate of key present in data";
            errors.push(FieldError::invalid(
                key("binaryData", name),
                &name.as_str().into(),
                detail,
            ));
        }
    }
    for (name, _) in entries(&map["binaryData"]) {
        check_key(name, "binaryData", &mut errors);
    }
    let size: usize = ["data", "binaryData"]
        .iter()
        .flat_map(|part| entries(&map[*part]))
        .map(|(_, value)| text(value).len())
        .sum();
    if size > LARGEST {
        errors.push(FieldError::too_long("", LARGEST as u64));
    }
    errors
}

/// What is wrong with a Secret.
pub(super) fn validate_secret(secret: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (name, _) in entries(&secret["data"]) {
        check_key(name, "data", &mut errors);
    }
    let required: &[&str] = match text(&secret["type"]) {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        _ => &[],
    };
    errors.extend(
        required
            .iter()
            .filter(|name| secret["data"][**name].is_null())
            .map(|name| FieldError::required(key("data", name), "")),
    );
    let size: usize = entries(&secret["data"])
        .map(|(_, value)| text(value).len() / 4 * 3)
        .sum();
    if size > LARGEST {
        errors.push(FieldError::too_long("data", LARGEST as u64));
    }
    errors
}

/// What may not change: the type of a Secret, and the content of what is immutable.
pub(super) fn validate_update(kind: &str, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if kind == "Secret" && new["type"] != old["type"] {
        errors.push(FieldError::invalid(
            "type",
            &new["type"],
            "field is immutable",
        ));
    }
    if old["immutable"] == true {
        let detail = "field is immutable when `immutable` is set";
        let changed = ["data", "binaryData"]
            .into_iter()
            .filter(|part| new[*part] != old[*part]);
        if new["immutable"] != true {
            errors.push(FieldError::forbidden("immutable", detail));
        }
        errors.extend(changed.map(|part| FieldError::forbidden(part, detail)));
    }
    errors
}

fn check_key(name: &str, part: &str, errors: &mut Vec<FieldError>) {
    errors.extend(
        names::config_key(name)
            .iter()
            .map(|problem| FieldError::invalid(key(part, name), &name.into(), problem)),
    );
}

fn entries(map: &Value) -> impl Iterator<Item = (&String, &Value)> {
    map.as_object().into_iter().flat_map(Map::iter)
}
