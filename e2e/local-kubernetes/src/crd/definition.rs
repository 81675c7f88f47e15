//! Checking a definition apart from its schemas: names, scope, versions, columns, subresources.

use serde_json::Value;

use super::{structural, text};
use crate::{
    kinds::{metadata, names},
    validation::{FieldError, child, index},
};

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];

/// What is wrong with a new definition (with its defaults filled in).
pub fn validate_definition(definition: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &definition["spec"];
    let wanted = format!(
        "{}.{}",
        text(&spec["names"]["plural"]),
        text(&spec["group"])
    );
    if definition["metadata"]["name"] != wanted.as_str() {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid(
            "metadata.name",
            &definition["metadata"]["name"],
            detail,
        ));
    }
    errors.extend(metadata::labels(
        &definition["metadata"]["labels"],
        "metadata.labels",
    ));
    errors.extend(validate_spec(spec));
    errors
}

/// What is wrong with a changed definition.
pub fn validate_definition_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = metadata::validate_update(&new["metadata"], &old["metadata"]);
    errors.extend(validate_spec(&new["spec"]));
    let conditions = old["status"]["conditions"].as_array().into_iter().flatten();
    let is_established = conditions
        .clone()
        .any(|condition| condition["type"] == "Established" && condition["status"] == "True");
    let immutable = [
        ("/spec/group", "spec.group"),
        ("/spec/names/plural", "spec.names.plural"),
    ];
    let when_established = [
        ("/spec/scope", "spec.scope"),
        ("/spec/names/kind", "spec.names.kind"),
    ];
    for (pointer, path) in immutable
        .into_iter()
        .chain(when_established.into_iter().filter(|_| is_established))
    {
        if new.pointer(pointer) != old.pointer(pointer) {
            errors.push(FieldError::invalid(
                path,
                new.pointer(pointer).unwrap_or(&Value::Null),
                "field is immutable",
            ));
        }
    }
    let versions = new["spec"]["versions"].as_array().into_iter().flatten();
    let names: Vec<String> = versions.map(|version| text(&version["name"])).collect();
    for (at, stored) in new["status"]["storedVersions"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        if !names.contains(&text(stored)) {
            let detail = format!(
                "missing from spec.versions; {} was previously a storage version, and must remain in spec.versions until a \
                                  storage migration ensures no data remains persisted in {} and removes {} from status.storedVersions",
                text(stored),
                text(stored),
                text(stored)
            );
            errors.push(FieldError::invalid(
                index("status.storedVersions", at),
                stored,
                &detail,
            ));
        }
    }
    errors
}

fn validate_spec(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let group = text(&spec["group"]);
    if group.is_empty() {
        errors.push(FieldError::required("spec.group", ""));
    } else if let Some(problem) = names::subdomain(&group).first() {
        errors.push(FieldError::invalid("spec.group", &spec["group"], problem));
    } else if !group.contains('.') {
        errors.push(FieldError::invalid(
            "spec.group",
            &spec["group"],
            "should be a domain with at least one dot",
        ));
    }
    let scopes = ["Cluster", "Namespaced"].map(str::to_owned);
    match text(&spec["scope"]).as_str() {
        "" => errors.push(FieldError::required("spec.scope", "")),
        scope if scopes.iter().any(|known| known == scope) => {}
        _ => errors.push(FieldError::not_supported(
            "spec.scope",
            &spec["scope"],
            &scopes,
        )),
    }
    validate_names(&spec["names"], &mut errors);
    validate_versions(spec, &mut errors);
    errors
}

fn validate_names(listed: &Value, errors: &mut Vec<FieldError>) {
    let path = "spec.names";
    for name in ["plural", "singular", "kind", "listKind"] {
        let value = text(&listed[name]);
        let path = child(path, name);
        let is_kind = name.to_lowercase().ends_with("kind");
        if value.is_empty() {
            errors.push(FieldError::required(path, ""));
            continue;
        }
        for problem in names::dns_label_1035(&value.to_lowercase()) {
            let problem = if is_kind {
                format!("may have mixed case, but should otherwise match: {problem}")
            } else {
                problem
            };
            errors.push(FieldError::invalid(path.as_str(), &listed[name], &problem));
        }
        if !is_kind && value != value.to_lowercase() {
            errors.extend(
                names::dns_label_1035(&value)
                    .iter()
                    .map(|problem| FieldError::invalid(path.as_str(), &listed[name], problem)),
            );
        }
    }
    for name in ["shortNames", "categories"] {
        for (at, value) in listed[name].as_array().into_iter().flatten().enumerate() {
            let path = index(&child(path, name), at);
            errors.extend(
                names::dns_label_1035(&text(value))
                    .iter()
                    .map(|problem| FieldError::invalid(path.as_str(), value, problem)),
            );
        }
    }
    if !text(&listed["kind"]).is_empty() && listed["kind"] == listed["listKind"] {
        errors.push(FieldError::invalid(
            child(path, "listKind"),
            &listed["listKind"],
            "kind and listKind may not be the same",
        ));
    }
}

fn validate_versions(spec: &Value, errors: &mut Vec<FieldError>) {
    let path = "spec.versions";
    let versions: Vec<&Value> = spec["versions"].as_array().into_iter().flatten().collect();
    let names: Vec<String> = versions
        .iter()
        .map(|version| text(&version["name"]))
        .collect();
    let storage: Vec<&String> = names
        .iter()
        .zip(&versions)
        .filter(|(_, version)| version["storage"] == true)
        .map(|(name, _)| name)
        .collect();
    if versions.is_empty() {
        errors.push(FieldError::required(path, "must have at least one version"));
        return;
    }
    if names
        .iter()
        .enumerate()
        .any(|(at, name)| names[..at].contains(name))
    {
        errors.push(FieldError::invalid(
            path,
            &names.clone().into(),
            "must contain unique version names",
        ));
    }
    if storage.len() != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid_omitted(path, detail));
    }
    // A definition whose versions agree has its schema at the top of its internal form, and is reported there.
    let shared = versions.iter().all(|version| {
        ["schema", "subresources", "additionalPrinterColumns"]
            .iter()
            .all(|part| version[*part] == versions[0][*part])
    });
    for (at, version) in versions.iter().enumerate() {
        let path = index(path, at);
        errors.extend(
            names::dns_label_1035(&names[at]).iter().map(|problem| {
                FieldError::invalid(child(&path, "name"), &version["name"], problem)
            }),
        );
        if !shared || at == 0 {
            let place = if shared {
                "spec".to_owned()
            } else {
                path.clone()
            };
            let schema = if shared {
                "spec.validation".to_owned()
            } else {
                child(&path, "schema")
            };
            validate_version(version, &place, &child(&schema, "openAPIV3Schema"), errors);
        }
        selectable_fields(version, &path, errors);
    }
}

fn validate_version(version: &Value, path: &str, schema_path: &str, errors: &mut Vec<FieldError>) {
    let openapi = &version["schema"]["openAPIV3Schema"];
    if openapi.is_object() {
        errors.extend(structural::validate(openapi, schema_path));
    } else {
        let path = if path == "spec" {
            "spec.versions[0]"
        } else {
            path
        };
        errors.push(FieldError::required(
            child(path, "schema.openAPIV3Schema"),
            "schemas are required",
        ));
    }
    for (at, column) in version["additionalPrinterColumns"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let path = index(&child(path, "additionalPrinterColumns"), at);
        if text(&column["name"]).is_empty() {
            errors.push(FieldError::required(child(&path, "name"), ""));
        }
        let kind = text(&column["type"]);
        if kind.is_empty() {
            let detail = format!("must be one of {}", COLUMN_TYPES.join(","));
            errors.push(FieldError::required(child(&path, "type"), &detail));
        } else if !COLUMN_TYPES.contains(&kind.as_str()) {
            let detail = format!("must be one of {}", COLUMN_TYPES.join(","));
            errors.push(FieldError::invalid(
                child(&path, "type"),
                &column["type"],
                &detail,
            ));
        }
        json_path(&column["jsonPath"], &child(&path, "jsonPath"), errors);
    }
    scale(
        &version["subresources"]["scale"],
        &child(path, "subresources.scale"),
        errors,
    );
}

fn json_path(value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let written = text(value);
    if written.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !written.starts_with('.') {
        errors.push(FieldError::invalid(
            path,
            value,
            "must be a simple json path starting with .",
        ));
    }
}

fn scale(scale: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !scale.is_object() {
        return;
    }
    let places = [
        ("specReplicasPath", ".spec", true),
        ("statusReplicasPath", ".status", true),
        ("labelSelectorPath", ".", false),
    ];
    for (name, under, required) in places {
        let path = child(path, name);
        let written = text(&scale[name]);
        if written.is_empty() {
            if required {
                errors.push(FieldError::required(path, ""));
            }
            continue;
        }
        if written.contains('[') {
            errors.push(FieldError::invalid(
                path,
                &scale[name],
                "must be a simple json path without array notation",
            ));
        } else if name == "labelSelectorPath"
            && !written.starts_with(".spec.")
            && !written.starts_with(".status.")
        {
            errors.push(FieldError::invalid(
                path,
                &scale[name],
                "should be a json path under either .status or .spec",
            ));
        } else if name != "labelSelectorPath" && !written.starts_with(&format!("{under}.")) {
            errors.push(FieldError::invalid(
                path,
                &scale[name],
                &format!("should be a json path under {under}"),
            ));
        }
    }
}

fn selectable_fields(version: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let path = child(path, "selectableFields");
    let fields: Vec<&Value> = version["selectableFields"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    for (at, field) in fields.iter().enumerate() {
        let path = child(&index(&path, at), "jsonPath");
        let written = text(&field["jsonPath"]);
        let steps: Vec<&str> = written.trim_start_matches('.').split('.').collect();
        let schema = &version["schema"]["openAPIV3Schema"];
        let named = steps
            .iter()
            .fold(schema, |schema, step| &schema["properties"][*step]);
        if written.is_empty() {
            errors.push(FieldError::required(path, ""));
        } else if written.starts_with(".metadata") {
            errors.push(FieldError::invalid(
                path,
                &field["jsonPath"],
                "must not point to fields in metadata",
            ));
        } else if named.is_null() {
            errors.push(FieldError::invalid(
                path,
                &field["jsonPath"],
                "is an invalid path: does not refer to a valid field",
            ));
        } else if !matches!(
            named["type"].as_str(),
            Some("string" | "boolean" | "integer")
        ) {
            errors.push(FieldError::invalid(
                path,
                &field["jsonPath"],
                "must point to a field of type string, boolean or integer",
            ));
        } else if fields[..at].contains(field) {
            errors.push(FieldError::duplicate(path, &field["jsonPath"]));
        }
    }
}
