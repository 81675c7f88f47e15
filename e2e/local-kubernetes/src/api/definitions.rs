//! What follows from custom resource definitions: their conditions, and the resources that they add.
//!
//! Kubernetes does this in controllers of the API server; here it happens within the write itself, so that a definition
//! is served as soon as it is created.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    clock,
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
    let mut status = definition["status"].clone();
    let now = clock::rfc3339(state.clock.now());
    let conflict = taken_name(store, definition);
    let accepted = conflict.is_none();
    if accepted {
        status["acceptedNames"] = definition["spec"]["names"].clone();
    }
    let (reason, message) = match &conflict {
        None => ("NoConflicts", "no conflicts found".to_owned()),
        Some((reason, message)) => (*reason, message.clone()),
    };
    set_condition(
        &mut status,
        &now,
        "NamesAccepted",
        accepted,
        reason,
        &message,
    );
    let (reason, message) = match accepted {
        true => (
            "InitialNamesAccepted",
            "the initial names have been accepted",
        ),
        false => ("NotAccepted", "not all names are accepted"),
    };
    let was_established = is_established(definition);
    if !was_established {
        set_condition(&mut status, &now, "Established", accepted, reason, message);
    }
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
    status
}

fn set_condition(
    status: &mut Value,
    now: &str,
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let value = if holds { "True" } else { "False" };
    let Some(conditions) = status["conditions"].as_array_mut() else {
        return;
    };
    let condition = json!({"type": kind, "status": value, "lastTransitionTime": now, "reason": reason, "message": message});
    match conditions
        .iter_mut()
        .find(|condition| condition["type"] == kind)
    {
        Some(present) if present["status"] == value && present["reason"] == reason => {}
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
    let versions = definition["spec"]["versions"]
        .as_array()
        .into_iter()
        .flatten();
    versions
        .filter(|version| version["served"] == true)
        .filter_map(|version| resource(definition, version))
        .collect()
}

fn resource(definition: &Value, version: &Value) -> Option<Resource> {
    let spec = &definition["spec"];
    let names = &spec["names"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let texts = |value: &Value| {
        value
            .as_array()
            .into_iter()
            .flatten()
            .map(text)
            .collect::<Vec<_>>()
    };
    let (group, plural) = (text(&spec["group"]), text(&names["plural"]));
    let scale = &version["subresources"]["scale"];
    let selectable = version["selectableFields"].as_array().into_iter().flatten();
    Some(Resource {
        version: text(&version["name"]),
        kind: text(&names["kind"]),
        list_kind: text(&names["listKind"]),
        singular: text(&names["singular"]),
        short_names: texts(&names["shortNames"]),
        categories: texts(&names["categories"]),
        namespaced: spec["scope"] == "Namespaced",
        storage: qualify(&plural, &group).into(),
        status: version["subresources"]["status"].is_object(),
        scale: scale.is_object().then(|| ScalePaths {
            spec: text(&scale["specReplicasPath"]),
            status: text(&scale["statusReplicasPath"]),
            selector: scale["labelSelectorPath"].as_str().map(String::from),
        }),
        others: vec![],
        generation: true,
        unconditional_update: false,
        stored: true,
        selectable: selectable
            .map(|field| text(&field["jsonPath"]).trim_start_matches('.').to_owned())
            .collect(),
        custom: Some(Arc::new(Custom::compile(definition, version)?)),
        group,
        plural,
    })
}
