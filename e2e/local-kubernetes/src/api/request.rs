//! What a request is about, read off its method and path before anything is looked up.

use axum::http::Method;

use super::query::Query;

/// A parsed request path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// An object, a collection or a subresource.
    Resource(ResourceRequest),
    /// Anything else: discovery, health, version, OpenAPI.
    Path,
}

/// A request for a resource.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct ResourceRequest {
    /// RBAC verb: get, list, watch, create, update, patch, delete, deletecollection.
    pub(super) verb: &'static str,
    /// Group, empty for the core group.
    pub(super) group: String,
    /// Version.
    pub(super) version: String,
    /// Plural.
    pub(super) resource: String,
    /// Namespace, empty at the cluster scope.
    pub(super) namespace: String,
    /// Name, empty for collections.
    pub(super) name: String,
    /// Subresource, or empty.
    pub(super) subresource: String,
}

impl ResourceRequest {
    /// `pods` or `pods/log`, as RBAC rules name it.
    #[must_use]
    pub(super) fn resource_path(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

/// Reads the path. Paths with fewer segments than a resource has are [`Target::Path`].
#[must_use]
pub(super) fn parse(method: &Method, path: &str, query: &Query) -> Target {
    let segments: Vec<&str> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    let (group, version, rest) = match segments.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => return Target::Path,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !matches!(rest, [] | ["status" | "finalize"]) => {
            (*namespace, rest)
        }
        ["namespaces", name, ..] => (*name, rest),
        _ => ("", rest),
    };
    let (resource, name, subresource) = match rest {
        [resource] => (*resource, "", ""),
        [resource, name] => (*resource, *name, ""),
        [resource, name, subresource @ ..] => (*resource, *name, subresource[0]),
        [] => return Target::Path,
    };
    if rest.len() > 3 {
        return Target::Path;
    }
    let verb = verb(method, name, query);
    let mut request = ResourceRequest {
        verb,
        group: group.into(),
        version: version.into(),
        ..Default::default()
    };
    request.resource = decode(resource);
    request.namespace = decode(namespace);
    request.name = decode(name);
    request.subresource = decode(subresource);
    Target::Resource(request)
}

fn decode(segment: &str) -> String {
    super::query::percent_decode(segment, false)
}

fn verb(method: &Method, name: &str, query: &Query) -> &'static str {
    match *method {
        Method::GET | Method::HEAD if query.flag("watch") => "watch",
        Method::GET | Method::HEAD if name.is_empty() => "list",
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if name.is_empty() => "deletecollection",
        Method::DELETE => "delete",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &Method, path: &str) -> ResourceRequest {
        match parse(method, path, &Query::parse("")) {
            Target::Resource(request) => request,
            Target::Path => panic!("{path} should be a resource"),
        }
    }

    #[test]
    fn a_namespace_is_an_object_and_a_scope() {
        let object = request(&Method::GET, "/api/v1/namespaces/t");
        assert_eq!(
            (
                object.resource.as_str(),
                object.name.as_str(),
                object.namespace.as_str()
            ),
            ("namespaces", "t", "t")
        );
        let scope = request(&Method::GET, "/api/v1/namespaces/t/pods");
        assert_eq!(
            (scope.resource.as_str(), scope.name.as_str(), scope.verb),
            ("pods", "", "list")
        );
        let status = request(&Method::PUT, "/api/v1/namespaces/t/status");
        assert_eq!(
            (status.resource.as_str(), status.subresource.as_str()),
            ("namespaces", "status")
        );
    }

    #[test]
    fn a_subresource_is_part_of_the_rbac_resource() {
        let scale = request(
            &Method::PATCH,
            "/apis/apps/v1/namespaces/t/statefulsets/db/scale",
        );
        assert_eq!(scale.resource_path(), "statefulsets/scale");
    }

    #[test]
    fn short_paths_are_not_resources() {
        for path in [
            "/",
            "/api",
            "/apis/apps/v1",
            "/version",
            "/openapi/v3/apis/apps/v1",
        ] {
            assert_eq!(
                parse(&Method::GET, path, &Query::parse("")),
                Target::Path,
                "{path}"
            );
        }
    }
}
