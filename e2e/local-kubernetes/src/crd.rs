//! Custom resource definitions: checking them, and what a valid one means for the resources that it defines.
//!
//! Pure. A definition that comes is defaulted ([`default_definition`]) and checked ([`validate_definition`]); an accepted one is compiled
//! ([`Definition::compile`]) into what the server needs for each version. Never stores or serves anything.

mod definition;
mod scale;
mod structural;
mod version;

use serde_json::{Value, json};

pub use self::{
    definition::{validate_definition, validate_definition_update},
    version::{Column, Version},
};
use crate::schema::SchemaError;

/// A compiled definition.
#[derive(Debug)]
pub struct Definition {
    /// Name of the definition: `plural.group`.
    pub name: String,
    /// API group.
    pub group: String,
    /// Plural name, as in paths.
    pub plural: String,
    /// Singular name.
    pub singular: String,
    /// Kind.
    pub kind: String,
    /// Kind of lists.
    pub list_kind: String,
    /// Short names for kubectl.
    pub short_names: Vec<String>,
    /// Groups of resources such as `all`.
    pub categories: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// All versions, in the order of the definition.
    pub versions: Vec<Version>,
}

impl Definition {
    /// Compiles a definition that has been defaulted and found valid.
    ///
    /// # Errors
    /// `SchemaError` if a schema cannot be read, which a valid definition's can.
    pub fn compile(definition: &Value) -> Result<Self, SchemaError> {
        let spec = &definition["spec"];
        let names = &spec["names"];
        let (group, kind) = (text(&spec["group"]), text(&names["kind"]));
        let versions = spec["versions"].as_array().into_iter().flatten();
        Ok(Self {
            name: text(&definition["metadata"]["name"]),
            plural: text(&names["plural"]),
            singular: text(&names["singular"]),
            list_kind: text(&names["listKind"]),
            short_names: texts(&names["shortNames"]),
            categories: texts(&names["categories"]),
            namespaced: spec["scope"] == "Namespaced",
            versions: versions
                .map(|version| Version::compile(version, &group, &kind))
                .collect::<Result<_, _>>()?,
            group,
            kind,
        })
    }

    /// The version in which objects are stored.
    pub fn storage(&self) -> Option<&Version> {
        self.versions.iter().find(|version| version.storage)
    }

    /// A version by name.
    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.name == name)
    }
}

/// Fills in what a definition may leave out: singular name, kind of lists, conversion.
pub fn default_definition(definition: &mut Value) {
    let spec = &mut definition["spec"];
    let kind = text(&spec["names"]["kind"]);
    if !spec["names"].is_object() {
        spec["names"] = json!({});
    }
    if text(&spec["names"]["singular"]).is_empty() {
        spec["names"]["singular"] = kind.to_lowercase().into();
    }
    if text(&spec["names"]["listKind"]).is_empty() && !kind.is_empty() {
        spec["names"]["listKind"] = format!("{kind}List").into();
    }
    if spec["conversion"].is_null() {
        spec["conversion"] = json!({"strategy": "None"});
    }
}

/// The status of a definition that has just been created.
pub fn initial_status(definition: &Value) -> Value {
    json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": storage_versions(definition)})
}

/// The status of a definition whose names were accepted and whose resources are served. `now` is RFC 3339.
pub fn established_status(definition: &Value, now: &str) -> Value {
    let mut names = definition["spec"]["names"].clone();
    if let Some(names) = names.as_object_mut() {
        names.retain(|_, value| !value.is_null());
    }
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now, "reason": reason, "message": message});
    json!({
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "acceptedNames": names,
        "storedVersions": storage_versions(definition),
    })
}

fn storage_versions(definition: &Value) -> Vec<String> {
    let versions = definition["spec"]["versions"]
        .as_array()
        .into_iter()
        .flatten();
    versions
        .filter(|version| version["storage"] == true)
        .map(|version| text(&version["name"]))
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

#[cfg(test)]
#[path = "crd/tests.rs"]
mod tests;
