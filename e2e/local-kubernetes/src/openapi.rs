//! OpenAPI v3 documents, one a group and version: what `kubectl explain`, `apply` and `diff` read.
//!
//! Every resource appears with its paths and operations (`PATCH` declares `fieldValidation` and `dryRun`) and with the schema of its kind, which
//! carries the kind's name and, for built-in kinds, the merge strategies. Pure: what is served is passed in.

mod operations;
mod schemas;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

/// Where the schema of a kind comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// The crate's own definitions.
    Builtin,
    /// A custom resource definition.
    Custom {
        /// `openAPIV3Schema` as written.
        openapi: &'a Value,
        /// Fields that field selectors may name, as `spec.tier`.
        selectable: &'a [String],
    },
}

/// A served resource, as far as documents describe it.
#[derive(Clone, Copy, Debug)]
pub struct Served<'a> {
    /// API group, empty for the core group.
    pub group: &'a str,
    /// Version.
    pub version: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// Kind of lists.
    pub list_kind: &'a str,
    /// Plural name, as in paths.
    pub plural: &'a str,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Whether there is a status subresource.
    pub status: bool,
    /// Whether there is a scale subresource.
    pub scale: bool,
    /// Where the schema comes from.
    pub source: Source<'a>,
}

impl Served<'_> {
    fn group_version_kind(&self, kind: &str) -> Value {
        json!({"group": self.group, "version": self.version, "kind": kind})
    }

    fn is_custom(&self) -> bool {
        matches!(self.source, Source::Custom { .. })
    }
}

/// The document of one group and version; all `resources` belong to it.
pub fn document(resources: &[Served<'_>]) -> Value {
    let mut paths = Map::new();
    let mut schemas = schemas::Schemas::default();
    for resource in resources {
        operations::add(resource, &mut paths);
        schemas.add(resource);
    }
    let is_custom = resources.first().is_some_and(Served::is_custom);
    let info = if is_custom {
        json!({"title": "Kubernetes CRD Swagger", "version": "v0.1.0"})
    } else {
        json!({"title": "Kubernetes", "version": "v1.36.2"})
    };
    json!({"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas.finish()}})
}

/// The path of a document below `/openapi/v3/`: `api/v1` or `apis/apps/v1`.
pub fn document_path(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

/// The index: `GET /openapi/v3`. Takes every document with its path.
pub fn index<'a>(documents: impl IntoIterator<Item = (String, &'a Value)>) -> Value {
    let paths: Map<String, Value> = documents
        .into_iter()
        .map(|(path, document)| {
            let url = format!("/openapi/v3/{path}?hash={}", hash(document));
            (path, json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

/// A hash of a document that changes whenever the document does.
pub fn hash(document: &Value) -> String {
    let digest = Sha512::digest(document.to_string().as_bytes());
    digest.iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
#[path = "openapi/tests.rs"]
mod tests;
