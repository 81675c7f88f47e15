//! What is served: groups, versions and resources; the server's version and health.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{HeaderValue, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    call::respond,
    negotiate::{self, Format, Shape},
    openapi,
};
use crate::{
    registry::{Group, Registry, Resource},
    state::State,
};

const OBJECT_VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
const SUBRESOURCE_VERBS: [&str; 3] = ["get", "patch", "update"];

/// Answers a request for a path that is not a resource.
pub(super) fn answer(state: &Arc<State>, request: &Request<Body>) -> Response {
    let accept = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let segments: Vec<&str> = request
        .uri()
        .path()
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    let registry = state.registry();
    if let ["healthz" | "readyz" | "livez", ..] = segments.as_slice() {
        return text(StatusCode::OK, "ok");
    }
    if let ["openapi", "v3", ..] = segments.as_slice() {
        let answer = openapi::answer(
            &registry,
            request.uri().path().trim_start_matches("/openapi/v3"),
        );
        return answer.unwrap_or_else(page_not_found);
    }
    let representation = match negotiate::accept(accept) {
        Ok(representation) => representation,
        Err(error) => return error.into_response(),
    };
    let aggregated = representation.shape == Shape::Discovery;
    let body = match segments.as_slice() {
        ["version"] => Some(version()),
        ["api"] if aggregated => Some(aggregated_list(&registry, |group| group.name.is_empty())),
        ["apis"] if aggregated => Some(aggregated_list(&registry, |group| !group.name.is_empty())),
        ["api"] => Some(json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1:6443"}],
        })),
        ["apis"] => Some(group_list(&registry)),
        ["api", version] => resource_list(&registry, "", version),
        ["apis", group] => registry
            .group(group)
            .filter(|group| !group.name.is_empty())
            .map(|found| {
                let mut body = group_body(found);
                body["kind"] = "APIGroup".into();
                body["apiVersion"] = "v1".into();
                body
            }),
        ["apis", group, version] => resource_list(&registry, group, version),
        _ => None,
    };
    match body {
        None => page_not_found(),
        Some(body) if aggregated => {
            let mut response = respond(Format::Json, StatusCode::OK, &body);
            let media = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
            response
        }
        Some(body) => respond(representation.format, StatusCode::OK, &body),
    }
}

/// The plain-text 404 of paths that lead nowhere.
pub(super) fn page_not_found() -> Response {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

fn text(code: StatusCode, body: &'static str) -> Response {
    (
        code,
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
        body,
    )
        .into_response()
}

fn version() -> Value {
    json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": "v1.36.2",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "linux/amd64",
    })
}

fn group_list(registry: &Registry) -> Value {
    let groups: Vec<Value> = registry
        .groups()
        .iter()
        .filter(|group| !group.name.is_empty())
        .map(group_body)
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn group_body(group: &Group) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|(version, _)| json!({"groupVersion": format!("{}/{version}", group.name), "version": version}))
        .collect();
    json!({"name": group.name, "preferredVersion": versions.first(), "versions": versions})
}

fn resource_list(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let resources = registry.version(group, version)?;
    let listed: Vec<Value> = resources
        .values()
        .flat_map(|resource| resource_entries(resource))
        .collect();
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    Some(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}),
    )
}

/// A resource and its subresources, as unaggregated discovery lists them.
fn resource_entries(resource: &Resource) -> Vec<Value> {
    let mut entry = json!({
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": verbs(resource),
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = resource.short_names.clone().into();
    }
    if !resource.categories.is_empty() {
        entry["categories"] = resource.categories.clone().into();
    }
    if resource.stored {
        entry["storageVersionHash"] = storage_version_hash(resource).into();
    }
    let mut entries = vec![entry];
    for subresource in subresources(resource) {
        let mut entry = json!({
            "name": format!("{}/{}", resource.plural, subresource.name),
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": subresource.kind,
            "verbs": subresource.verbs,
        });
        if let Some((group, version)) = subresource.group_version {
            entry["group"] = group.into();
            entry["version"] = version.into();
        }
        entries.push(entry);
    }
    entries
}

struct Entry<'a> {
    name: &'a str,
    kind: &'a str,
    group_version: Option<(&'a str, &'a str)>,
    verbs: Vec<&'a str>,
}

/// Subresources in the order in which Kubernetes lists them: by name, for custom resources status first.
fn subresources(resource: &Resource) -> Vec<Entry<'_>> {
    let mut entries = vec![];
    if resource.status {
        let verbs = SUBRESOURCE_VERBS.to_vec();
        entries.push(Entry {
            name: "status",
            kind: &resource.kind,
            group_version: None,
            verbs,
        });
    }
    if resource.scale.is_some() {
        let verbs = SUBRESOURCE_VERBS.to_vec();
        entries.push(Entry {
            name: "scale",
            kind: "Scale",
            group_version: Some(("autoscaling", "v1")),
            verbs,
        });
    }
    entries.extend(resource.others.iter().map(|other| Entry {
        name: other.name,
        kind: other.kind,
        group_version: other.group_version,
        verbs: other.verbs.to_vec(),
    }));
    if resource.custom.is_none() {
        entries.sort_by_key(|entry| entry.name);
    }
    entries
}

fn verbs(resource: &Resource) -> Vec<&'static str> {
    match (resource.stored, &resource.custom) {
        (false, _) => vec!["create"],
        (true, None) => OBJECT_VERBS.to_vec(),
        (true, Some(_)) => vec![
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "create",
            "update",
            "watch",
        ],
    }
}

/// Eight bytes that identify group, version and kind, as Kubernetes computes them.
fn storage_version_hash(resource: &Resource) -> String {
    let identity = format!("{}/{}/{}", resource.group, resource.version, resource.kind);
    STANDARD.encode(&Sha256::digest(identity)[..8])
}

fn aggregated_list(registry: &Registry, wanted: impl Fn(&Group) -> bool) -> Value {
    let items: Vec<Value> = registry
        .groups()
        .iter()
        .filter(|group| wanted(group))
        .map(aggregated_group)
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn aggregated_group(group: &Group) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|(version, resources)| {
            let resources: Vec<Value> = resources
                .values()
                .map(|resource| aggregated_resource(resource))
                .collect();
            json!({"version": version, "resources": resources, "freshness": "Current"})
        })
        .collect();
    let metadata = if group.name.is_empty() {
        json!({})
    } else {
        json!({"name": group.name})
    };
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated_resource(resource: &Resource) -> Value {
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let mut entry = json!({
        "resource": resource.plural,
        "responseKind": kind(&resource.group, &resource.version, &resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": verbs(resource),
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = resource.short_names.clone().into();
    }
    if !resource.categories.is_empty() {
        entry["categories"] = resource.categories.clone().into();
    }
    let subresources: Vec<Value> = subresources(resource)
        .into_iter()
        .map(|subresource| {
            let (group, version) = subresource
                .group_version
                .unwrap_or((&resource.group, &resource.version));
            json!({
                "subresource": subresource.name,
                "responseKind": kind(group, version, subresource.kind),
                "verbs": subresource.verbs,
            })
        })
        .collect();
    if !subresources.is_empty() {
        entry["subresources"] = subresources.into();
    }
    entry
}
