//! One request for a resource with everything that its handling needs.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::Value;

use super::{
    error::ApiError,
    negotiate::{Format, Representation},
    query::{Query, WriteOptions},
    request::ResourceRequest,
};
use crate::{registry::Resource, state::State, store::Key, user::User};

/// A request for a resource, resolved and allowed.
pub(super) struct Call {
    pub(super) state: Arc<State>,
    pub(super) resource: Arc<Resource>,
    pub(super) user: User,
    pub(super) agent: String,
    pub(super) representation: Representation,
    pub(super) media_type: String,
    pub(super) about: ResourceRequest,
    pub(super) query: Query,
}

impl Call {
    /// The namespace of the objects, empty for cluster-scoped ones.
    pub(super) fn namespace(&self) -> &str {
        if self.resource.namespaced {
            &self.about.namespace
        } else {
            ""
        }
    }

    /// The key of an object of this resource in this namespace.
    pub(super) fn key(&self, name: &str) -> Key {
        Key {
            resource: self.resource.storage.clone(),
            namespace: self.namespace().into(),
            name: name.into(),
        }
    }

    /// The options of a write; `kind` as in error messages.
    pub(super) fn options(&self, kind: &str) -> Result<WriteOptions, ApiError> {
        WriteOptions::parse(&self.query, &self.agent, kind)
    }

    /// An answer with a JSON or YAML body.
    pub(super) fn respond(&self, code: StatusCode, body: &Value) -> Response {
        respond(self.representation.format, code, body)
    }

    /// An answer with warnings.
    pub(super) fn respond_with(
        &self,
        code: StatusCode,
        body: &Value,
        warnings: &[String],
    ) -> Response {
        let mut response = self.respond(code, body);
        for warning in warnings {
            warn(&mut response, warning);
        }
        response
    }
}

/// Adds a warning, which kubectl prints.
pub(super) fn warn(response: &mut Response, warning: &str) {
    let escaped = warning.replace('\\', "\\\\").replace('"', "\\\"");
    if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{escaped}\"")) {
        response.headers_mut().append(header::WARNING, value);
    }
}

/// An answer in JSON or YAML.
pub(super) fn respond(format: Format, code: StatusCode, body: &Value) -> Response {
    let (media, text) = match format {
        Format::Json => ("application/json", body.to_string()),
        Format::Yaml => (
            "application/yaml",
            serde_yaml::to_string(body).unwrap_or_default(),
        ),
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response
}
