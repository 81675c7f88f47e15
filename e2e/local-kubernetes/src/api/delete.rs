//! DELETE of an object and of collections.

use std::sync::Arc;

use axum::{http::StatusCode, response::Response};
use serde_json::{Value, json};

use super::{body, call::Call, create::refused, definitions, encode, error::ApiError, list, query};
use crate::{
    clock,
    object::{self, metadata_mut},
    store::Store,
};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// Holds a definition until its objects are gone.
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// What a client asks of a deletion.
#[derive(Clone, Debug, Default)]
pub(super) struct DeleteOptions {
    dry_run: bool,
    grace_seconds: Option<i64>,
    uid: Option<String>,
    resource_version: Option<String>,
    propagation: Option<Propagation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// What became of the object.
pub(super) enum Deleted {
    /// It is gone; this was its last state.
    Gone(Arc<Value>),
    /// It waits for finalizers or for its grace period.
    Waiting(Arc<Value>),
}

/// Answers a DELETE of one object.
pub(super) fn answer(call: &Call, bytes: &[u8]) -> Result<Response, ApiError> {
    let options = DeleteOptions::parse(call, bytes)?;
    let name = &call.about.name;
    let deleted = call
        .state
        .with_store(|store| delete(call, store, name, &options))?;
    let body = match deleted {
        Deleted::Waiting(object) => encode::object(call, &object),
        Deleted::Gone(object) if returns_object(call) => encode::object(call, &object),
        Deleted::Gone(object) => success(call, &object),
    };
    Ok(call.respond(StatusCode::OK, &body))
}

/// Answers a DELETE of a collection: the list of what was selected.
pub(super) fn collection(call: &Call, bytes: &[u8]) -> Result<Response, ApiError> {
    let options = DeleteOptions::parse(call, bytes)?;
    let filter = list::Filter::parse(call)?;
    let body = call.state.with_store(|store| {
        let revision = store.revision();
        let selected: Vec<Arc<Value>> = list::selected(call, store, &filter);
        for object in &selected {
            delete(call, store, object::name(object), &options)?;
        }
        Ok(encode::list(
            call,
            &selected,
            &json!({"resourceVersion": revision.to_string()}),
        ))
    })?;
    Ok(call.respond(StatusCode::OK, &body))
}

/// Kinds whose last state is the answer; the others answer a `Status`.
fn returns_object(call: &Call) -> bool {
    ["Pod", "PersistentVolumeClaim", "ServiceAccount"]
        .iter()
        .any(|kind| call.resource.is("", kind))
}

fn success(call: &Call, object: &Value) -> Value {
    let mut details = json!({"name": object::name(object), "kind": call.resource.plural, "uid": object::uid(object)});
    if !call.resource.group.is_empty() {
        details["group"] = call.resource.group.clone().into();
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

impl DeleteOptions {
    fn parse(call: &Call, bytes: &[u8]) -> Result<Self, ApiError> {
        let body = if bytes.is_empty() {
            json!({})
        } else {
            body::parse(&call.media_type, bytes, "DeleteOptions")?
        };
        let text = |value: &Value| value.as_str().map(String::from);
        let propagation = match body["propagationPolicy"]
            .as_str()
            .unwrap_or(call.query.get("propagationPolicy"))
        {
            "Foreground" => Some(Propagation::Foreground),
            "Orphan" => Some(Propagation::Orphan),
            "Background" => Some(Propagation::Background),
            _ => match body["orphanDependents"].as_bool() {
                Some(true) => Some(Propagation::Orphan),
                Some(false) => Some(Propagation::Background),
                None => None,
            },
        };
        let in_body = body["dryRun"]
            .as_array()
            .is_some_and(|values| values.iter().any(|value| value == "All"));
        let in_query = call.query.get("gracePeriodSeconds").parse().ok();
        Ok(Self {
            dry_run: in_body || query::dry_run(&call.query, "DeleteOptions")?,
            grace_seconds: body["gracePeriodSeconds"].as_i64().or(in_query),
            uid: text(&body["preconditions"]["uid"]),
            resource_version: text(&body["preconditions"]["resourceVersion"]),
            propagation,
        })
    }

    /// The options of a deletion with a grace period and nothing else.
    pub(super) fn eviction(body: &Value) -> Self {
        let options = &body["deleteOptions"];
        Self {
            dry_run: options["dryRun"]
                .as_array()
                .is_some_and(|values| !values.is_empty()),
            grace_seconds: options["gracePeriodSeconds"].as_i64(),
            uid: options["preconditions"]["uid"].as_str().map(String::from),
            ..Self::default()
        }
    }
}

/// Deletes an object, or marks it when finalizers or a grace period hold it.
pub(super) fn delete(
    call: &Call,
    store: &mut Store,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deleted, ApiError> {
    let resource = &call.resource;
    let key = call.key(name);
    let live = store
        .get(&key)
        .cloned()
        .ok_or_else(|| ApiError::not_found(resource, name))?;
    check_preconditions(call, name, &live, options)?;
    let mut marked = Value::clone(&live);
    object::set_finalizers(&mut marked, &finalizers(&live, options));
    let is_definition = resource.is("apiextensions.k8s.io", "CustomResourceDefinition");
    if is_definition && !object::is_deleting(&live) {
        let mut held = object::finalizers(&marked);
        held.push(CLEANUP.into());
        object::set_finalizers(&mut marked, &held);
        definitions::terminating(&call.state, &mut marked);
    }
    if !mark(call, &mut marked, options) {
        return Ok(Deleted::Waiting(live));
    }
    let held = !object::finalizers(&marked).is_empty()
        || marked["metadata"]["deletionGracePeriodSeconds"]
            .as_i64()
            .unwrap_or_default()
            > 0
        || resource.is("", "Namespace");
    match (held, options.dry_run) {
        (false, true) => Ok(Deleted::Gone(live)),
        (false, false) => store
            .remove(&key)
            .map(Deleted::Gone)
            .map_err(|error| refused(call, name, &error)),
        (true, true) => Ok(Deleted::Waiting(Arc::new(marked))),
        (true, false) => store
            .replace(&key, marked, None)
            .map(Deleted::Waiting)
            .map_err(|error| refused(call, name, &error)),
    }
}

fn check_preconditions(
    call: &Call,
    name: &str,
    live: &Value,
    options: &DeleteOptions,
) -> Result<(), ApiError> {
    let live_uid = object::uid(live);
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != live_uid) {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({live_uid}). \
             The object might have been deleted and then recreated"
        );
        return Err(ApiError::precondition(&call.resource, name, &why));
    }
    let live_version = object::resource_version(live).to_string();
    if let Some(version) = options
        .resource_version
        .as_deref()
        .filter(|version| *version != live_version)
    {
        let why = format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record \
             ({live_version}). The object might have been modified"
        );
        return Err(ApiError::precondition(&call.resource, name, &why));
    }
    Ok(())
}

/// The object's finalizers with those of the wanted propagation.
fn finalizers(live: &Value, options: &DeleteOptions) -> Vec<String> {
    let mut finalizers = object::finalizers(live);
    let wanted = match options.propagation {
        None => return finalizers,
        Some(Propagation::Background) => None,
        Some(Propagation::Foreground) => Some(FOREGROUND),
        Some(Propagation::Orphan) => Some(ORPHAN),
    };
    finalizers.retain(|finalizer| {
        !matches!(finalizer.as_str(), FOREGROUND | ORPHAN) || Some(finalizer.as_str()) == wanted
    });
    if let Some(wanted) =
        wanted.filter(|wanted| !finalizers.iter().any(|finalizer| finalizer == wanted))
    {
        finalizers.push(wanted.into());
    }
    finalizers
}

/// Sets deletion timestamp and grace period. Answers false if the object is being deleted already and nothing changes.
fn mark(call: &Call, object: &mut Value, options: &DeleteOptions) -> bool {
    let grace = grace_seconds(call, object, options);
    let now = call.state.clock.now();
    if object::is_deleting(object) {
        let current = object["metadata"]["deletionGracePeriodSeconds"]
            .as_i64()
            .unwrap_or_default();
        let is_shorter = options.grace_seconds.is_some() && grace < current;
        if is_shorter {
            metadata_mut(object).insert("deletionGracePeriodSeconds".into(), grace.into());
        }
        return is_shorter || (current == 0 && object::finalizers(object).is_empty());
    }
    let generation = object::generation(object);
    let is_namespace = call.resource.is("", "Namespace");
    let is_definition = call
        .resource
        .is("apiextensions.k8s.io", "CustomResourceDefinition");
    let end = now
        .checked_add(jiff::SignedDuration::from_secs(grace))
        .unwrap_or(now);
    let metadata = metadata_mut(object);
    metadata.insert("deletionTimestamp".into(), clock::rfc3339(end).into());
    if is_namespace {
        object["status"]["phase"] = "Terminating".into();
    } else if !is_definition {
        metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
        if generation > 0 {
            metadata.insert("generation".into(), (generation + 1).into());
        }
    }
    true
}

/// Only pods are deleted gracefully, and only those that a node may be running.
fn grace_seconds(call: &Call, object: &Value, options: &DeleteOptions) -> i64 {
    if !call.resource.is("", "Pod") {
        return 0;
    }
    let has_node = !object["spec"]["nodeName"]
        .as_str()
        .unwrap_or_default()
        .is_empty();
    let has_ended = matches!(
        object["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed")
    );
    if !has_node || has_ended {
        return 0;
    }
    let own = object["spec"]["terminationGracePeriodSeconds"]
        .as_i64()
        .unwrap_or(30);
    options.grace_seconds.unwrap_or(own).max(0)
}
