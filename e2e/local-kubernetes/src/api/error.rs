//! Failures as clients see them: `metav1.Status` with Kubernetes's codes, reasons and wording.

use axum::{
    body::Body,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use crate::{
    registry::Resource,
    validation::{self, FieldError},
};

/// A refused request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ApiError {
    /// HTTP status code.
    pub(super) code: u16,
    /// Machine-readable reason, empty if Kubernetes gives none.
    pub(super) reason: &'static str,
    /// Text for people.
    pub(super) message: String,
    /// `details`, left out if `None`.
    pub(super) details: Option<Value>,
    /// Whether the answer lacks its kind and calls itself text, as where Kubernetes gives up a request.
    is_bare: bool,
}

impl ApiError {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            is_bare: false,
        }
    }

    fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// 400 with a text of its own.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401: no user could be made out.
    #[must_use]
    pub(super) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 500 with a text and no reason, as Kubernetes answers where it did not expect to fail.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// 404 for an object.
    #[must_use]
    pub(super) fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(
            404,
            "NotFound",
            format!("{} \"{name}\" not found", resource.qualified()),
        )
        .with_details(object_details(resource, name))
    }

    /// 404 for the namespace of a new object.
    #[must_use]
    pub(super) fn no_namespace(name: &str) -> Self {
        Self::new(404, "NotFound", format!("namespaces \"{name}\" not found"))
            .with_details(kind_details("namespaces", "", name))
    }

    /// 404 for a resource in a group that exists.
    #[must_use]
    pub(super) fn no_such_resource() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
        .with_details(json!({}))
    }

    /// 405.
    #[must_use]
    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .with_details(json!({}))
    }

    /// 406 with the media types that are offered.
    #[must_use]
    pub(super) fn not_acceptable() -> Self {
        let offered = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
        Self::new(
            406,
            "NotAcceptable",
            format!("406: Not Acceptable\n\nAvailable representations: {offered}"),
        )
        .with_details(json!({}))
    }

    /// 415 without an explanation, for patches of an unknown kind.
    #[must_use]
    pub(super) fn unsupported_patch() -> Self {
        Self::new(415, "UnsupportedMediaType", "415: Unsupported Media Type")
            .with_details(json!({}))
    }

    /// 415 that names what is accepted.
    #[must_use]
    pub(super) fn unsupported_media_type(accepted: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 409: there is an object of that name.
    #[must_use]
    pub(super) fn already_exists(resource: &Resource, name: &str) -> Self {
        Self::new(
            409,
            "AlreadyExists",
            format!("{} \"{name}\" already exists", resource.qualified()),
        )
        .with_details(object_details(resource, name))
    }

    /// 409: the object changed in between.
    #[must_use]
    pub(super) fn modified(resource: &Resource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// 409 with a reason of its own.
    #[must_use]
    pub(super) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            resource.qualified()
        );
        Self::new(409, "Conflict", message).with_details(object_details(resource, name))
    }

    /// 409: a precondition of a deletion does not hold. Kubernetes names the kind here, not the resource.
    #[must_use]
    pub(super) fn precondition(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            resource.qualified_kind()
        );
        Self::new(409, "Conflict", message).with_details(kind_details(
            &resource.kind,
            &resource.group,
            name,
        ))
    }

    /// 409 of a server-side apply; `conflicts` are pairs of field path and text.
    #[must_use]
    pub(super) fn apply_conflict(message: &str, conflicts: &[(String, String)]) -> Self {
        let causes: Vec<_> = conflicts
            .iter()
            .map(|(field, message)| json!({"reason": "FieldManagerConflict", "message": message, "field": field}))
            .collect();
        Self::new(409, "Conflict", message).with_details(json!({ "causes": causes }))
    }

    /// 422: the object breaks rules.
    #[must_use]
    pub(super) fn invalid(resource: &Resource, name: &str, errors: &[FieldError]) -> Self {
        // Both forms of events are checked as the core one.
        let group = if resource.is("events.k8s.io", "Event") {
            ""
        } else {
            &resource.group
        };
        Self::invalid_kind(&resource.kind, group, name, errors)
    }

    /// 422 for a kind that is not a served resource, such as `ListOptions.meta.k8s.io`.
    #[must_use]
    pub(super) fn invalid_kind(kind: &str, group: &str, name: &str, errors: &[FieldError]) -> Self {
        let what = validation::aggregate(errors);
        let causes: Vec<_> = errors.iter().map(FieldError::cause).collect();
        let mut details = kind_details(kind, group, name);
        details["causes"] = causes.into();
        let qualified = crate::registry::qualify(kind, group);
        Self::new(
            422,
            "Invalid",
            format!("{qualified} \"{name}\" is invalid: {what}"),
        )
        .with_details(details)
    }

    /// 422 for a JSON patch that cannot be applied.
    #[must_use]
    pub(super) fn patch_failed() -> Self {
        Self::new(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        )
        .with_details(json!({}))
    }

    /// 403 for an object or, with an empty name, for a resource.
    #[must_use]
    pub(super) fn forbidden(resource: &str, group: &str, name: &str, why: &str) -> Self {
        let qualified = crate::registry::qualify(resource, group);
        let subject = if name.is_empty() {
            qualified
        } else {
            format!("{qualified} \"{name}\"")
        };
        Self::new(403, "Forbidden", format!("{subject} is forbidden: {why}"))
            .with_details(kind_details(resource, group, name))
    }

    /// 403 for a path that is not a resource.
    #[must_use]
    pub(super) fn forbidden_path(user: &str, verb: &str, path: &str) -> Self {
        let message = format!("forbidden: User \"{user}\" cannot {verb} path \"{path}\"");
        Self::new(403, "Forbidden", message).with_details(json!({}))
    }

    /// 403: the namespace is going away.
    #[must_use]
    pub(super) fn namespace_terminating(resource: &Resource, name: &str, namespace: &str) -> Self {
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let mut error = Self::forbidden(&resource.plural, &resource.group, name, &why);
        if let Some(details) = &mut error.details {
            details["causes"] = json!([{
                "reason": "NamespaceTerminating",
                "message": format!("namespace {namespace} is being terminated"),
                "field": "metadata.namespace",
            }]);
        }
        error
    }

    /// 410: the revision is compacted.
    pub(super) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 404 of a log that is not there.
    pub(super) fn no_log(message: impl Into<String>) -> Self {
        Self::new(404, "NotFound", message)
    }

    /// 429 of an eviction that a disruption budget does not allow.
    #[must_use]
    pub(super) fn eviction_refused(cause: &str) -> Self {
        let message = "Cannot evict pod as it would violate the pod's disruption budget.";
        Self::new(429, "TooManyRequests", message)
            .with_details(json!({"causes": [{"reason": "DisruptionBudget", "message": cause}]}))
    }

    /// 504: a list asked for a revision that has not come yet.
    #[must_use]
    pub(super) fn future_revision(asked: u64, current: u64) -> Self {
        Self::new(504, "Timeout", format!("Timeout: Too large resource version: {asked}, current: {current}")).with_details(
            json!({
                "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                "retryAfterSeconds": 1,
            }),
        )
    }

    /// 504: the time that the client gave is over.
    #[must_use]
    pub(super) fn timeout() -> Self {
        let message = "Timeout: request did not complete within the allotted timeout";
        let mut error = Self::new(504, "Timeout", message).with_details(json!({}));
        error.is_bare = true;
        error
    }

    /// A failure that a test asked for.
    #[must_use]
    pub(super) fn injected(code: u16) -> Self {
        let reason = match code {
            409 => "Conflict",
            429 => "TooManyRequests",
            503 => "ServiceUnavailable",
            504 => "Timeout",
            _ => "InternalError",
        };
        Self::new(code, reason, "injected fault")
    }

    /// The `Status` object.
    #[must_use]
    pub(super) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }
}

fn object_details(resource: &Resource, name: &str) -> Value {
    kind_details(&resource.plural, &resource.group, name)
}

fn kind_details(kind: &str, group: &str, name: &str) -> Value {
    let mut details = Map::new();
    for (field, value) in [("name", name), ("group", group), ("kind", kind)] {
        if !value.is_empty() {
            details.insert(field.into(), value.into());
        }
    }
    Value::Object(details)
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut status = self.status();
        if let Some(status) = status.as_object_mut().filter(|_| self.is_bare) {
            status.remove("kind");
            status.remove("apiVersion");
        }
        let mut response = Response::new(Body::from(status.to_string()));
        *response.status_mut() =
            StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            axum::http::HeaderValue::from_static(if self.is_bare {
                "text/plain; charset=utf-8"
            } else {
                "application/json"
            }),
        );
        let retry_after = self
            .details
            .as_ref()
            .and_then(|details| details["retryAfterSeconds"].as_u64());
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
