//! Whether a schema is structural, and whether its rules can be compiled.

use regex::Regex;
use serde_json::Value;

use crate::{
    cel,
    schema::{self, Schema},
    validation::{FieldError, child, key},
};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
/// Keywords that say what a value is, which only the structure itself may say.
const STRUCTURE_ONLY: [&str; 8] = [
    "type",
    "default",
    "title",
    "description",
    "nullable",
    "additionalProperties",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-embedded-resource",
];

/// Checks the schema of a version; `path` is the one of `openAPIV3Schema`.
pub(super) fn validate(openapi: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if is_missing(&openapi["type"]) {
        errors.push(FieldError::required(
            child(path, "type"),
            "must not be empty at the root",
        ));
    } else if openapi["type"] != "object" {
        errors.push(FieldError::invalid(
            child(path, "type"),
            &openapi["type"],
            "must be object at the root",
        ));
    }
    if openapi["x-kubernetes-preserve-unknown-fields"] == true
        && openapi["x-kubernetes-embedded-resource"] == true
    {
        errors.push(FieldError::forbidden(
            child(path, "x-kubernetes-embedded-resource"),
            "must not be true at the root",
        ));
    }
    metadata(
        &openapi["properties"]["metadata"],
        &key(&child(path, "properties"), "metadata"),
        &mut errors,
    );
    node(openapi, path, true, &mut errors);
    if errors.is_empty() {
        rules(openapi, path, &mut errors);
    }
    errors
}

fn is_missing(value: &Value) -> bool {
    value.as_str().is_none_or(str::is_empty)
}

fn metadata(openapi: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if openapi.is_null() {
        return;
    }
    if openapi["type"] != "object" {
        errors.push(FieldError::invalid(
            child(path, "type"),
            &openapi["type"],
            "must be object",
        ));
    }
    let only_names = openapi["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .all(|(name, _)| matches!(name.as_str(), "name" | "generateName"));
    let keywords = openapi
        .as_object()
        .into_iter()
        .flatten()
        .all(|(name, _)| matches!(name.as_str(), "type" | "properties" | "description"));
    if !only_names || !keywords {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(path, detail));
    }
}

fn node(openapi: &Value, path: &str, is_root: bool, errors: &mut Vec<FieldError>) {
    forbidden(openapi, path, errors);
    lists_and_maps(openapi, path, errors);
    own_default(openapi, path, errors);
    if let Some(pattern) = openapi["pattern"].as_str()
        && let Err(problem) = Regex::new(pattern)
    {
        let problem = problem.to_string();
        let reason = problem
            .lines()
            .last()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        let detail = format!("must be a valid regular expression, but isn't: {reason}");
        errors.push(FieldError::invalid(
            child(path, "pattern"),
            &pattern.into(),
            &detail,
        ));
    }
    for keyword in ["allOf", "anyOf", "oneOf"] {
        for (at, branch) in openapi[keyword]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
        {
            value_validation(
                openapi,
                branch,
                &crate::validation::index(&child(path, keyword), at),
                errors,
            );
        }
    }
    if openapi["not"].is_object() {
        value_validation(openapi, &openapi["not"], &child(path, "not"), errors);
    }
    let container = |name: &str| {
        if name == "items" {
            "array items"
        } else {
            "object fields"
        }
    };
    for (name, property) in openapi["properties"].as_object().into_iter().flatten() {
        let path = key(&child(path, "properties"), name);
        let implicit = is_root && matches!(name.as_str(), "metadata" | "apiVersion" | "kind");
        if !implicit || name != "metadata" {
            typed(property, &path, container("properties"), errors);
            node(property, &path, false, errors);
        }
    }
    for name in ["items", "additionalProperties"] {
        if openapi[name].is_object() {
            let path = child(path, name);
            typed(&openapi[name], &path, container(name), errors);
            node(&openapi[name], &path, false, errors);
        }
    }
}

/// A field must say what it is, unless it is a number or string, or keeps everything.
fn typed(openapi: &Value, path: &str, container: &str, errors: &mut Vec<FieldError>) {
    let path = child(path, "type");
    let int_or_string = openapi["x-kubernetes-int-or-string"] == true;
    match openapi["type"].as_str().filter(|kind| !kind.is_empty()) {
        Some(kind) if int_or_string => errors.push(FieldError::invalid(
            path,
            &kind.into(),
            "must be empty if x-kubernetes-int-or-string is true",
        )),
        Some(kind) if !TYPES.contains(&kind) => {
            errors.push(FieldError::not_supported(
                path,
                &kind.into(),
                &TYPES.map(str::to_owned),
            ));
        }
        None if !int_or_string && openapi["x-kubernetes-preserve-unknown-fields"] != true => {
            errors.push(FieldError::required(
                path,
                &format!("must not be empty for specified {container}"),
            ));
        }
        _ => {}
    }
}

fn forbidden(openapi: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut forbid = |keyword: &str, detail: &str| {
        errors.push(FieldError::forbidden(child(path, keyword), detail));
    };
    for keyword in [
        "$ref",
        "id",
        "definitions",
        "dependencies",
        "patternProperties",
    ] {
        if !openapi[keyword].is_null() {
            forbid(keyword, &format!("{keyword} is not supported"));
        }
    }
    if openapi["additionalProperties"] == false {
        forbid(
            "additionalProperties",
            "additionalProperties cannot be set to false",
        );
    }
    if openapi["uniqueItems"] == true {
        forbid(
            "uniqueItems",
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        );
    }
    let has_properties = openapi["properties"]
        .as_object()
        .is_some_and(|properties| !properties.is_empty());
    if has_properties
        && !openapi["additionalProperties"].is_null()
        && openapi["additionalProperties"] != false
    {
        forbid(
            "additionalProperties",
            "additionalProperties and properties are mutual exclusive",
        );
    }
    if openapi["x-kubernetes-preserve-unknown-fields"] == false {
        errors.push(FieldError::invalid(
            child(path, "x-kubernetes-preserve-unknown-fields"),
            &false.into(),
            "must be true or undefined",
        ));
    }
    if openapi["type"] == "array" && !openapi["items"].is_object() {
        errors.push(FieldError::required(
            child(path, "items"),
            "must be specified",
        ));
    }
}

fn lists_and_maps(openapi: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let list_type = &openapi["x-kubernetes-list-type"];
    let keys: Vec<&str> = openapi["x-kubernetes-list-map-keys"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let keys_path = child(path, "x-kubernetes-list-map-keys");
    if !list_type.is_null() {
        if openapi["type"] != "array" {
            let detail = "must be array if x-kubernetes-list-type is specified";
            errors.push(FieldError::invalid(
                child(path, "type"),
                &openapi["type"],
                detail,
            ));
        }
        if !matches!(list_type.as_str(), Some("atomic" | "set" | "map")) {
            let supported = ["atomic", "map", "set"].map(str::to_owned);
            errors.push(FieldError::not_supported(
                child(path, "x-kubernetes-list-type"),
                list_type,
                &supported,
            ));
        }
    }
    if list_type == "map" && keys.is_empty() {
        errors.push(FieldError::required(
            keys_path,
            "must not be empty if x-kubernetes-list-type is map",
        ));
    } else if list_type != "map" && !keys.is_empty() {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        errors.push(FieldError::invalid(
            child(path, "x-kubernetes-list-type"),
            list_type,
            detail,
        ));
    }
    let items = &openapi["items"];
    for name in keys {
        let property = &items["properties"][name];
        let path = key(&child(&child(path, "items"), "properties"), name);
        if property.is_null() {
            let detail = "entries must all be names of item properties";
            errors.push(FieldError::invalid(
                child(path.trim_end_matches(']'), name),
                &name.into(),
                detail,
            ));
            continue;
        }
        if matches!(property["type"].as_str(), Some("object" | "array")) {
            errors.push(FieldError::invalid(
                child(&path, "type"),
                &property["type"],
                "must be a scalar type if parent array's x-kubernetes-list-type is map",
            ));
        }
        let required = items["required"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|required| required == name);
        if !required && property["default"].is_null() {
            let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(child(&path, "default"), detail));
        }
    }
    let map_type = &openapi["x-kubernetes-map-type"];
    if !map_type.is_null() && !matches!(map_type.as_str(), Some("atomic" | "granular")) {
        let supported = ["atomic", "granular"].map(str::to_owned);
        errors.push(FieldError::not_supported(
            child(path, "x-kubernetes-map-type"),
            map_type,
            &supported,
        ));
    }
}

fn own_default(openapi: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let default = &openapi["default"];
    if default.is_null() {
        return;
    }
    let path = child(path, "default");
    let Ok(schema) = Schema::parse(openapi) else {
        return;
    };
    let mut pruned = default.clone();
    schema::prune(&schema, &mut pruned);
    if pruned != *default {
        errors.push(FieldError::invalid(
            path.as_str(),
            default,
            "must not have unknown fields",
        ));
    }
    errors.extend(schema::validate(&schema, default, &path, &path));
}

/// Within `allOf` and the like only values are restricted, never described.
fn value_validation(structure: &Value, openapi: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let int_or_string = structure["x-kubernetes-int-or-string"] == true;
    for keyword in STRUCTURE_ONLY {
        let is_allowed = int_or_string && keyword == "type";
        if !is_allowed && !openapi[keyword].is_null() {
            errors.push(FieldError::forbidden(
                child(path, keyword),
                "must be empty to be structural",
            ));
        }
    }
    for (name, property) in openapi["properties"].as_object().into_iter().flatten() {
        let inner = key(&child(path, "properties"), name);
        if structure["properties"][name].is_null() {
            let missing = key(
                &child(&path[..path.rfind(['.', '[']).unwrap_or(0)], "properties"),
                name,
            );
            errors.push(FieldError::required(
                missing,
                &format!("because it is defined in {inner}"),
            ));
        }
        value_validation(&structure["properties"][name], property, &inner, errors);
    }
    if openapi["items"].is_object() {
        value_validation(
            &structure["items"],
            &openapi["items"],
            &child(path, "items"),
            errors,
        );
    }
    for keyword in ["allOf", "anyOf", "oneOf"] {
        for (at, branch) in openapi[keyword]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
        {
            value_validation(
                structure,
                branch,
                &crate::validation::index(&child(path, keyword), at),
                errors,
            );
        }
    }
}

fn rules(openapi: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Ok(schema) = Schema::parse(openapi) else {
        return;
    };
    node_rules(&schema, path, true, errors);
}

fn node_rules(schema: &Schema, path: &str, is_root: bool, errors: &mut Vec<FieldError>) {
    for (at, rule) in schema.rules.iter().enumerate() {
        let path = crate::validation::index(&child(path, "x-kubernetes-validations"), at);
        if rule.rule.trim().is_empty() {
            errors.push(FieldError::required(
                child(&path, "rule"),
                "rule is not specified",
            ));
            continue;
        }
        if rule
            .message
            .as_ref()
            .is_some_and(|message| message.trim().is_empty() && !message.is_empty())
        {
            let detail = "message must be non-empty if specified";
            errors.push(FieldError::invalid(
                child(&path, "message"),
                &rule.message.clone().into(),
                detail,
            ));
        }
        if let Some(reason) = &rule.reason {
            let supported = [
                "FieldValueRequired",
                "FieldValueForbidden",
                "FieldValueInvalid",
                "FieldValueDuplicate",
            ]
            .map(str::to_owned);
            if !supported.contains(reason) {
                errors.push(FieldError::not_supported(
                    child(&path, "reason"),
                    &reason.as_str().into(),
                    &supported,
                ));
            }
        }
        if let Some(problem) = cel::rule_problem(rule, schema, is_root || schema.embedded_resource)
        {
            errors.push(FieldError::invalid_printed(
                child(&path, "rule"),
                &cel::go_rule(rule),
                &problem,
            ));
        }
    }
    for (name, property) in &schema.properties {
        node_rules(
            property,
            &key(&child(path, "properties"), name),
            false,
            errors,
        );
    }
    if let Some(items) = &schema.items {
        node_rules(items, &child(path, "items"), false, errors);
    }
    if let schema::Additional::Schema(values) = &schema.additional {
        node_rules(values, &child(path, "additionalProperties"), false, errors);
    }
}
