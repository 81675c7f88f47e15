//! The HTTP API: from a request to its answer.
//!
//! One handler takes every request, because Kubernetes's paths are a grammar and not a fixed set of routes: it finds out
//! who asks ([`authentication`]) and for what ([`request`]), whether they may ([`rbac`]), and then dispatches. Everything
//! below works synchronously on the store under its lock; only watches, logs and lists of a future revision wait.

mod accounts;
mod admission;
mod authentication;
mod binding;
mod body;
mod call;
mod create;
mod definitions;
mod delete;
mod discovery;
mod encode;
mod error;
mod events;
mod eviction;
mod list;
mod log;
mod metadata;
mod model;
mod negotiate;
mod openapi;
mod patch;
mod protobuf;
mod query;
mod rbac;
mod request;
mod reviews;
mod scale;
mod table;
mod update;
mod watch;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::State as Extract,
    http::{Request, header},
    response::{IntoResponse, Response},
};

use self::{
    call::Call,
    error::ApiError,
    query::Query,
    request::{ResourceRequest, Target},
};
use crate::{audit, registry::Resource, state::State, user::User};

/// The router over the shared state.
pub(crate) fn router(state: Arc<State>) -> Router {
    Router::new().fallback(handle).with_state(state)
}

/// Extension by which in-process clients say who they are.
#[derive(Clone, Debug)]
pub(crate) struct InProcessUser(pub(crate) User);

async fn handle(Extract(state): Extract<Arc<State>>, request: Request<Body>) -> Response {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let target = request::parse(request.method(), request.uri().path(), &query);
    let verb = match &target {
        Target::Resource(resource) => resource.verb.to_owned(),
        Target::Path => request.method().as_str().to_lowercase(),
    };
    let path = request
        .uri()
        .path_and_query()
        .map(ToString::to_string)
        .unwrap_or_default();
    let before = state.with_store(|store| store.revision());
    let (user, response) =
        match authentication::user(&state, request.headers(), request.extensions()) {
            Ok(user) => {
                let answered = answer(&state, &user, target, query, request).await;
                (
                    user.name,
                    answered.unwrap_or_else(IntoResponse::into_response),
                )
            }
            Err(error) => (String::new(), error.into_response()),
        };
    let code = response.status().as_u16();
    let is_write = !matches!(verb.as_str(), "get" | "list" | "watch" | "head");
    let wrote = is_write && code < 400 && state.with_store(|store| store.revision()) != before;
    state.audit.request(audit::Request {
        at: state.clock.now(),
        verb,
        user,
        path,
        code,
        wrote,
    });
    response
}

async fn answer(
    state: &Arc<State>,
    user: &User,
    target: Target,
    query: Query,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    match target {
        Target::Path => {
            rbac::check_path(state, user, request.method().as_str(), request.uri().path())?;
            Ok(discovery::answer(state, &request))
        }
        Target::Resource(about) => {
            rbac::check(state, user, &about)?;
            resource(state, user, about, query, request).await
        }
    }
}

async fn resource(
    state: &Arc<State>,
    user: &User,
    about: ResourceRequest,
    query: Query,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let registry = state.registry();
    if registry.version(&about.group, &about.version).is_none() {
        return Ok(discovery::page_not_found());
    }
    let resource = registry
        .find(&about.group, &about.version, &about.resource)
        .ok_or_else(ApiError::no_such_resource)?;
    check_method(resource, &about)?;
    if let Some(code) = state.faults.strike(about.verb, &about.resource) {
        return Err(ApiError::injected(code));
    }
    let (parts, body) = request.into_parts();
    let text = |name| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let call = Call {
        state: state.clone(),
        resource: resource.clone(),
        user: user.clone(),
        agent: text(header::USER_AGENT),
        representation: negotiate::accept(&text(header::ACCEPT))?,
        media_type: negotiate::media_type(&text(header::CONTENT_TYPE)).to_owned(),
        about,
        query,
    };
    let deprecation = deprecation(resource);
    let mut response = match call.about.verb {
        "watch" => watch::answer(call).await?,
        "list" => list::answer(call).await?,
        _ => {
            let body = body::read(body).await?;
            dispatch(&call, &body).await?
        }
    };
    if let Some(warning) = deprecation {
        call::warn(&mut response, &warning);
    }
    Ok(response)
}

/// The warning that comes with every use of a deprecated resource.
fn deprecation(resource: &Resource) -> Option<String> {
    if resource.is("", "Endpoints") {
        let text = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";
        return Some(text.to_owned());
    }
    resource.custom.as_ref()?.version.deprecation.clone()
}

async fn dispatch(call: &Call, body: &[u8]) -> Result<Response, ApiError> {
    match (call.about.verb, call.about.subresource.as_str()) {
        ("get", "" | "status") => list::get(call),
        ("create", "") if !call.resource.stored => reviews::answer(call, body),
        ("create", "") => create::answer(call, body),
        ("update", "" | "status" | "finalize") => update::answer(call, body),
        ("patch", "" | "status") => patch::answer(call, body),
        ("delete", "") => delete::answer(call, body),
        ("deletecollection", "") => delete::collection(call, body),
        (_, "scale") => scale::answer(call, body),
        ("create", "binding") => binding::answer(call, body),
        ("create", "eviction") => eviction::answer(call, body),
        ("create", "token") => accounts::token(call, body),
        ("get", "log") => log::answer(call).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// 404 and 405 before anything else is looked at.
fn check_method(resource: &Resource, about: &ResourceRequest) -> Result<(), ApiError> {
    if !about.subresource.is_empty() && !resource.has_subresource(&about.subresource) {
        return Err(ApiError::no_such_resource());
    }
    if resource.namespaced && about.namespace.is_empty() && !about.name.is_empty() {
        return Err(ApiError::no_such_resource());
    }
    let on_collection = about.name.is_empty();
    let allowed = match about.verb {
        "create" => on_collection || !about.subresource.is_empty(),
        "update" | "patch" => !on_collection,
        "" => false,
        _ => true,
    };
    let reviewed = resource.stored || about.verb == "create";
    if allowed && reviewed {
        Ok(())
    } else {
        Err(ApiError::method_not_allowed())
    }
}
