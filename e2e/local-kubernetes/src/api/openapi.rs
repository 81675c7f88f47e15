//! OpenAPI v3 documents of what is served.

use std::collections::BTreeMap;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::Value;

use super::{call::respond, negotiate::Format};
use crate::{
    openapi::{self, Served, Source},
    registry::{Registry, Resource},
};

/// Answers a request below `/openapi/v3`; `None` if there is no such document.
pub(super) fn answer(registry: &Registry, path: &str) -> Option<Response> {
    let documents = registry.documents(documents);
    let path = path.trim_matches('/');
    if path.is_empty() {
        let index = openapi::index(
            documents
                .iter()
                .map(|(path, document)| (path.clone(), document)),
        );
        let mut response = respond(Format::Json, StatusCode::OK, &index);
        let media = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, media);
        return Some(response);
    }
    Some(respond(Format::Json, StatusCode::OK, documents.get(path)?))
}

/// All documents by path.
fn documents(registry: &Registry) -> BTreeMap<String, Value> {
    let groups = registry.groups().iter();
    let versions = groups.flat_map(|group| {
        group
            .versions
            .iter()
            .map(move |(version, resources)| (group, version, resources))
    });
    versions
        .map(|(group, version, resources)| {
            let served: Vec<Served<'_>> = resources
                .values()
                .map(|resource| served(resource))
                .collect();
            (
                openapi::document_path(&group.name, version),
                openapi::document(&served),
            )
        })
        .collect()
}

fn served(resource: &Resource) -> Served<'_> {
    Served {
        group: &resource.group,
        version: &resource.version,
        kind: &resource.kind,
        list_kind: &resource.list_kind,
        plural: &resource.plural,
        namespaced: resource.namespaced,
        status: resource.status,
        scale: resource.scale.is_some(),
        source: match &resource.custom {
            None => Source::Builtin,
            Some(custom) => Source::Custom {
                openapi: &custom.version.openapi,
                selectable: &custom.version.selectable,
            },
        },
    }
}
