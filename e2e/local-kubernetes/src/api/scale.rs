//! The scale subresource: the replicas of an object as an `autoscaling/v1 Scale`.

use axum::{http::StatusCode, response::Response};
use serde_json::{Value, json};

use super::{
    body, call::Call, create::Ownership, error::ApiError, patch::Patch, query::WriteOptions, update,
};
use crate::{
    fields,
    object::{self, metadata_mut},
    registry::ScalePaths,
    selector::LabelSelector,
    store::Store,
    validation::FieldError,
};

/// Answers a GET, PUT or PATCH of a scale.
pub(super) fn answer(call: &Call, bytes: &[u8]) -> Result<Response, ApiError> {
    let paths = call
        .resource
        .scale
        .clone()
        .ok_or_else(ApiError::no_such_resource)?;
    let scale = call.state.with_store(|store| match call.about.verb {
        "get" => Ok(scale(&update::live(call, store)?, &paths)),
        "update" => {
            let options = call.options("UpdateOptions")?;
            let new = body::parse(&call.media_type, bytes, "Scale")?;
            write(call, store, &paths, &options, |_| Ok(new))
        }
        "patch" => {
            let options = call.options("PatchOptions")?;
            let patch = Patch::parse(&call.media_type, bytes)?;
            write(call, store, &paths, &options, |scale| patch.of(call, scale))
        }
        _ => Err(ApiError::method_not_allowed()),
    })?;
    Ok(call.respond(StatusCode::OK, &scale))
}

fn write(
    call: &Call,
    store: &mut Store,
    paths: &ScalePaths,
    options: &WriteOptions,
    change: impl FnOnce(&Value) -> Result<Value, ApiError>,
) -> Result<Value, ApiError> {
    let live = update::live(call, store)?;
    let wanted = change(&scale(&live, paths))?;
    let (name, own) = (object::name(&wanted), call.about.name.as_str());
    if !name.is_empty() && name != own {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({own})"
        )));
    }
    let replicas = wanted["spec"]["replicas"].as_i64().unwrap_or_default();
    if replicas < 0 && call.resource.custom.is_none() {
        let error = FieldError::invalid(
            "spec.replicas",
            &replicas.into(),
            "must be greater than or equal to 0",
        );
        return Err(ApiError::invalid_kind(
            "Scale",
            "autoscaling",
            own,
            &[error],
        ));
    }
    let mut new = live.clone();
    object::set_at_path(&mut new, &paths.spec, replicas.into());
    object::copy_metadata(&wanted, &mut new, "resourceVersion");
    let changed = object::at_path(&live, &paths.spec) != object::at_path(&new, &paths.spec);
    if changed {
        let managers = fields::update_scale(
            live["metadata"].get("managedFields"),
            &call.resource.api_version(),
            &options.manager,
            &paths.spec,
        );
        if !managers.is_empty() {
            metadata_mut(&mut new).insert("managedFields".into(), managers.into());
        }
    }
    let updated = update::replace(call, store, &live, new, options, Ownership::Recorded)?;
    Ok(scale(&updated, paths))
}

/// The scale of an object.
fn scale(object: &Value, paths: &ScalePaths) -> Value {
    let number = |path: &str| {
        object::at_path(object, path)
            .and_then(Value::as_i64)
            .unwrap_or_default()
    };
    let mut metadata = json!({});
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        if let Some(value) = object["metadata"].get(field) {
            metadata[field] = value.clone();
        }
    }
    let mut status = json!({"replicas": number(&paths.status)});
    match paths
        .selector
        .as_deref()
        .and_then(|path| object::at_path(object, path))
    {
        Some(Value::String(selector)) if !selector.is_empty() => {
            status["selector"] = selector.clone().into();
        }
        Some(selector @ Value::Object(_)) => {
            let selector = LabelSelector::from_object(selector)
                .unwrap_or_default()
                .to_string();
            if !selector.is_empty() {
                status["selector"] = selector.into();
            }
        }
        _ => {}
    }
    let mut spec = json!({});
    match number(&paths.spec) {
        0 => {}
        replicas => spec["replicas"] = replicas.into(),
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}
