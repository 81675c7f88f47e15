//! Volumes of a pod.

use serde_json::{Value, json};

use super::{
    names,
    value::{fill, is_unset, items, items_mut, text},
};
use crate::validation::{FieldError, child, index};

/// Mode of files made from configuration: 0644.
const FILE_MODE: i64 = 420;

/// Defaults of a volume.
pub(super) fn default(volume: &mut Value) {
    if sources(volume).is_empty() {
        volume["emptyDir"] = json!({});
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source).filter(|source| source.is_object()) {
            if source["defaultMode"].is_null() {
                source["defaultMode"] = FILE_MODE.into();
            }
            default_items(source);
            for inner in items_mut(source, "sources") {
                if let Some(token) = inner
                    .get_mut("serviceAccountToken")
                    .filter(|token| token["expirationSeconds"].is_null())
                {
                    token["expirationSeconds"] = 3600.into();
                }
                if let Some(api) = inner.get_mut("downwardAPI") {
                    default_items(api);
                }
            }
        }
    }
    if let Some(path) = volume
        .get_mut("hostPath")
        .filter(|path| path["type"].is_null())
    {
        path["type"] = "".into();
    }
    if let Some(spec) = volume.pointer_mut("/ephemeral/volumeClaimTemplate/spec") {
        fill(spec, "volumeMode", "Filesystem");
    }
}

fn default_items(source: &mut Value) {
    for item in items_mut(source, "items") {
        if let Some(reference) = item.get_mut("fieldRef") {
            fill(reference, "apiVersion", "v1");
        }
    }
}

fn sources(volume: &Value) -> Vec<&String> {
    volume
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, value)| *name != "name" && !value.is_null())
        .map(|(name, _)| name)
        .collect()
}

/// What is wrong with the volumes of a pod.
pub(super) fn validate(volumes: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut seen: Vec<&str> = Vec::new();
    for (at, volume) in items(volumes).enumerate() {
        let path = index(path, at);
        for extra in sources(volume).iter().skip(1) {
            errors.push(FieldError::forbidden(
                child(&path, extra),
                "may not specify more than 1 volume type",
            ));
        }
        if volume["persistentVolumeClaim"].is_object()
            && is_unset(&volume["persistentVolumeClaim"]["claimName"])
        {
            errors.push(FieldError::required(
                child(&path, "persistentVolumeClaim.claimName"),
                "",
            ));
        }
        if volume["configMap"].is_object() && is_unset(&volume["configMap"]["name"]) {
            errors.push(FieldError::required(child(&path, "configMap.name"), ""));
        }
        if volume["secret"].is_object() && is_unset(&volume["secret"]["secretName"]) {
            errors.push(FieldError::required(child(&path, "secret.secretName"), ""));
        }
        let name = text(&volume["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(child(&path, "name"), ""));
            continue;
        }
        errors.extend(
            names::dns_label(name)
                .iter()
                .map(|problem| FieldError::invalid(child(&path, "name"), &volume["name"], problem)),
        );
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(child(&path, "name"), &volume["name"]));
        }
        seen.push(name);
    }
}
