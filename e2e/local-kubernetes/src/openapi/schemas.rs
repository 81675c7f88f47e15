//! Schemas of a document: those of the served kinds and of their lists, and everything that they refer to.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Served, Source};
use crate::schema;

pub(super) const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
pub(super) const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
pub(super) const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized \
                           schemas to the latest internal value, and may reject unrecognized values. More info: \
                           https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint \
                    the client submits requests to. Cannot be updated. In CamelCase. More info: \
                    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: \
                        https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const LIST_METADATA: &str = "Standard list metadata. More info: \
                             https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

/// The name of a kind's schema: `io.k8s.api.core.v1.Pod`, `com.example.demo.v1alpha1.Shelf`.
pub(super) fn name(resource: &Served<'_>, kind: &str) -> String {
    let builtin = schema::definition_name(resource.group, resource.version, resource.kind);
    match (
        resource.source,
        builtin.and_then(|name| name.strip_suffix(resource.kind)),
    ) {
        (Source::Builtin, Some(prefix)) => format!("{prefix}{kind}"),
        _ => {
            let reversed: Vec<&str> = resource.group.split('.').rev().collect();
            format!("{}.{}.{kind}", reversed.join("."), resource.version)
        }
    }
}

/// Collects schemas.
#[derive(Default)]
pub(super) struct Schemas {
    schemas: Map<String, Value>,
    wanted: BTreeSet<String>,
}

impl Schemas {
    /// Adds the schemas of a resource.
    pub(super) fn add(&mut self, resource: &Served<'_>) {
        let name_of_kind = name(resource, resource.kind);
        let own = match resource.source {
            Source::Builtin => schema::definitions().get(&name_of_kind).map(published),
            Source::Custom { openapi, .. } => Some(custom(openapi)),
        };
        let Some(mut own) = own else {
            return;
        };
        name_kind(&mut own, resource, resource.kind);
        let mut list = list(resource, &name_of_kind);
        name_kind(&mut list, resource, resource.list_kind);
        self.schemas.insert(name_of_kind, own);
        self.schemas
            .insert(name(resource, resource.list_kind), list);
        self.wanted
            .extend([STATUS, DELETE_OPTIONS, LIST_META, OBJECT_META].map(str::to_owned));
        if resource.scale {
            self.wanted.insert(SCALE.to_owned());
        }
    }

    /// All schemas with everything that they refer to.
    pub(super) fn finish(mut self) -> Map<String, Value> {
        if !self.schemas.is_empty() {
            let description = "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body.";
            self.schemas.insert(
                PATCH.to_owned(),
                json!({"description": description, "type": "object"}),
            );
        }
        for schema in self.schemas.values() {
            references(schema, &mut self.wanted);
        }
        while let Some(name) = self.wanted.pop_first() {
            if self.schemas.contains_key(&name) {
                continue;
            }
            if let Some(definition) = schema::definitions().get(&name) {
                let mut definition = published(definition);
                if let Some((group, version, kind)) = schema::definition_kind(&name) {
                    let kind = json!({"group": group, "version": version, "kind": kind});
                    definition["x-kubernetes-group-version-kind"] = json!([kind]);
                }
                references(&definition, &mut self.wanted);
                self.schemas.insert(name, definition);
            }
        }
        self.schemas
    }
}

fn references(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            if let Some(name) = fields
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|path| path.rsplit('/').next())
            {
                found.insert(name.to_owned());
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

fn name_kind(schema: &mut Value, resource: &Served<'_>, kind: &str) {
    schema["x-kubernetes-group-version-kind"] = json!([resource.group_version_kind(kind)]);
    if let Source::Custom { selectable, .. } = resource.source
        && !selectable.is_empty()
    {
        let fields: Vec<Value> = selectable
            .iter()
            .map(|path| json!({"fieldPath": path}))
            .collect();
        schema["x-kubernetes-selectable-fields"] = fields.into();
    }
}

/// A built-in definition as it is published: zero values that are null are no defaults for clients.
fn published(definition: &Value) -> Value {
    let mut definition = definition.clone();
    for (_, property) in definition
        .get_mut("properties")
        .and_then(Value::as_object_mut)
        .into_iter()
        .flatten()
    {
        if let Some(property) = property
            .as_object_mut()
            .filter(|property| property.get("default") == Some(&Value::Null))
        {
            property.remove("default");
        }
    }
    if let Some(definition) = definition.as_object_mut()
        && !definition.contains_key("properties")
    {
        definition.remove("x-kubernetes-preserve-unknown-fields");
        definition.remove("x-kubernetes-map-type");
    }
    definition
}

/// A custom schema as it is published: with the metadata of every object, and saying that a number may be a string.
fn custom(openapi: &Value) -> Value {
    let mut schema = openapi.clone();
    say_int_or_string(&mut schema);
    if schema["x-kubernetes-preserve-unknown-fields"] == true && schema["properties"].is_null() {
        schema["properties"] = json!({});
    }
    schema["properties"]["apiVersion"] = json!({"description": API_VERSION, "type": "string"});
    schema["properties"]["kind"] = json!({"description": KIND, "type": "string"});
    schema["properties"]["metadata"] = json!({"description": METADATA, "allOf": [{"$ref": format!("#/components/schemas/{OBJECT_META}")}]});
    schema
}

fn say_int_or_string(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true))
                && !fields.contains_key("anyOf")
            {
                fields.insert(
                    "anyOf".to_owned(),
                    json!([{"type": "integer"}, {"type": "string"}]),
                );
            }
            fields.values_mut().for_each(say_int_or_string);
        }
        Value::Array(items) => items.iter_mut().for_each(say_int_or_string),
        _ => {}
    }
}

fn list(resource: &Served<'_>, name_of_kind: &str) -> Value {
    let description = format!(
        "List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md",
        resource.plural
    );
    json!({
        "description": format!("{} is a list of {}", resource.list_kind, resource.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"description": API_VERSION, "type": "string"},
            "items": {"description": description, "type": "array", "items": {"$ref": format!("#/components/schemas/{name_of_kind}")}},
            "kind": {"description": KIND, "type": "string"},
            "metadata": {"description": LIST_METADATA, "allOf": [{"$ref": format!("#/components/schemas/{LIST_META}")}]},
        },
    })
}
