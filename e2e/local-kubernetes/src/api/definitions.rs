//! What follows from custom resource definitions: their conditions, and the resources that they add.
//!
//! Kubernetes does this in controllers of the API server; here it happens within the write itself, so that a definition
//! is served as soon as it is created.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    clock,
    crd::{self, Definition, Version},
    custom::Custom,
    fields::{self, Part, Write},
    object,
    registry::{Registry, Resource, ScalePaths, qualify},
    schema,
    state::State,
    store::{Key, Store},
};

const GROUP: &str = "apiextensions.k8s.io";
const KIND: &str = "CustomResourceDefinition";
const STORAGE: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// Follows a written object: the first write of a definition establishes it, any write changes what is served.
pub(super) fn follow(state: &State, store: &mut Store, resource: &Resource, written: &Value) {
    if !resource.is(GROUP, KIND) {
        return;
    }
    let key = Key {
        resource: STORAGE.into(),
        namespace: String::new(),
        name: object::name(written).into(),
    };
    let mut established = written.clone();
    established["status"] = status(state, store, written);
    record(state, written, &mut established);
    store
        .replace(&key, established, None)
        .expect("the definition was written under the same lock");
    serve(state, store);
}

/// Stops serving what a removed definition added.
pub(super) fn forget(state: &State, store: &Store, resource: &Resource) {
    if resource.is(GROUP, KIND) {
        serve(state, store);
    }
}

/// The condition by which a definition says that its deletion has begun.
pub(super) fn terminating(state: &State, definition: &mut Value) {
    let now = clock::rfc3339(state.clock.now());
    let condition = json!({
        "type": "Terminating",
        "status": "True",
        "lastTransitionTime": now,
        "reason": "InstanceDeletionPending",
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    });
    if let Some(conditions) = definition["status"]["conditions"].as_array_mut() {
        conditions.push(condition);
    }
}

/// The status of a definition: names are accepted unless another definition of the group has them.
fn status(state: &State, store: &Store, definition: &Value) -> Value {
    let now = clock::rfc3339(state.clock.now());
    match (is_established(definition), taken_name(store, definition)) {
        (false, None) => crd::established_status(definition, &now),
        (true, None) => {
            let mut status = definition["status"].clone();
            status["acceptedNames"] = definition["spec"]["names"].clone();
            remember_storage_versions(definition, &mut status);
            status
        }
        (_, Some((reason, message))) => {
            let mut status = definition["status"].clone();
            set_condition(&mut status, &now, "NamesAccepted", reason, &message);
            if !is_established(definition) {
                set_condition(
                    &mut status,
                    &now,
                    "Established",
                    "NotAccepted",
                    "not all names are accepted",
                );
            }
            status
        }
    }
}

fn remember_storage_versions(definition: &Value, status: &mut Value) {
    for version in definition["spec"]["versions"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let stored = status["storedVersions"].as_array_mut();
        if let Some(stored) =
            stored.filter(|stored| version["storage"] == true && !stored.contains(&version["name"]))
        {
            stored.push(version["name"].clone());
        }
    }
}

/// Sets a condition that does not hold.
fn set_condition(status: &mut Value, now: &str, kind: &str, reason: &str, message: &str) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else {
        return;
    };
    let condition = json!({"type": kind, "status": "False", "lastTransitionTime": now, "reason": reason, "message": message});
    match conditions
        .iter_mut()
        .find(|condition| condition["type"] == kind)
    {
        Some(present) if present["status"] == "False" && present["reason"] == reason => {}
        Some(present) => *present = condition,
        None => conditions.push(condition),
    }
}

/// A name that another definition of the group, or a built-in resource, has.
fn taken_name(store: &Store, definition: &Value) -> Option<(&'static str, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let group = text(&definition["spec"]["group"]);
    let names = &definition["spec"]["names"];
    let others = store.list(&STORAGE.into(), None).map(|(_, other)| other);
    let mut others = others.filter(|other| {
        object::uid(other) != object::uid(definition)
            && other["spec"]["group"] == group.as_str()
            && is_established(other)
    });
    others.find_map(|other| {
        let accepted = &other["status"]["acceptedNames"];
        let same = |field: &str| accepted[field] == names[field];
        if same("kind") {
            return Some((
                "KindConflict",
                format!("\"{}\" is already in use", text(&names["kind"])),
            ));
        }
        same("plural").then(|| {
            (
                "PluralConflict",
                format!("\"{}\" is already in use", text(&names["plural"])),
            )
        })
    })
}

fn is_established(definition: &Value) -> bool {
    let conditions = definition["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Established" && condition["status"] == "True")
}

/// The status is the API server's.
fn record(state: &State, live: &Value, new: &mut Value) {
    let Some(schema) = schema::builtin(GROUP, "v1", KIND) else {
        return;
    };
    let now = clock::rfc3339(state.clock.now());
    let write = Write {
        schema,
        builtin: true,
        api_version: "apiextensions.k8s.io/v1",
        kind: KIND,
        manager: "kube-apiserver",
        subresource: "status",
        part: Part::Status,
        now: &now,
    };
    fields::update(&write, Some(live), new);
}

/// Serves the built-in resources and those of all established definitions.
fn serve(state: &State, store: &Store) {
    let mut registry = Registry::builtin();
    for (_, definition) in store
        .list(&STORAGE.into(), None)
        .filter(|(_, definition)| is_established(definition))
    {
        for resource in resources(definition) {
            registry.add(Arc::new(resource));
        }
    }
    state.set_registry(registry);
}

fn resources(definition: &Value) -> Vec<Resource> {
    match Definition::compile(definition) {
        Ok(mut compiled) => {
            let versions = std::mem::take(&mut compiled.versions);
            versions
                .into_iter()
                .filter(|version| version.served)
                .map(|version| resource(&compiled, version))
                .collect()
        }
        Err(error) => {
            tracing::warn!(definition = object::name(definition), %error, "an accepted definition cannot be served");
            vec![]
        }
    }
}

fn resource(definition: &Definition, version: Version) -> Resource {
    Resource {
        group: definition.group.clone(),
        version: version.name.clone(),
        kind: definition.kind.clone(),
        list_kind: definition.list_kind.clone(),
        plural: definition.plural.clone(),
        singular: definition.singular.clone(),
        short_names: definition.short_names.clone(),
        categories: definition.categories.clone(),
        namespaced: definition.namespaced,
        storage: qualify(&definition.plural, &definition.group).into(),
        status: version.status,
        scale: version.scale.clone().map(|scale| ScalePaths {
            spec: scale.spec,
            status: scale.status,
            selector: scale.selector,
        }),
        others: vec![],
        generation: true,
        unconditional_update: false,
        stored: true,
        selectable: version.selectable.clone(),
        custom: Some(Arc::new(Custom::new(version))),
    }
}
