//! Whether a user may: RBAC over the stored roles and bindings.

use std::sync::Arc;

use serde_json::Value;

use super::{error::ApiError, request::ResourceRequest};
use crate::{
    audit::Denial,
    state::State,
    store::{Key, Store},
    user::User,
};

const GROUP: &str = "rbac.authorization.k8s.io";

/// What is to be allowed.
#[derive(Clone, Debug, Default)]
pub(super) struct Action<'a> {
    pub(super) verb: &'a str,
    pub(super) group: &'a str,
    /// `pods` or `pods/log`.
    pub(super) resource: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    /// Set instead of the resource for paths that are none.
    pub(super) path: &'a str,
}

/// Refuses a request for a resource that no rule allows, and records the refusal.
pub(super) fn check(state: &State, user: &User, about: &ResourceRequest) -> Result<(), ApiError> {
    let resource = about.resource_path();
    let action = Action {
        verb: about.verb,
        group: &about.group,
        resource: &resource,
        namespace: &about.namespace,
        name: &about.name,
        path: "",
    };
    if state.with_store(|store| allows(store, user, &action)) {
        return Ok(());
    }
    let scope = if about.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace \"{}\"", about.namespace)
    };
    let why = format!(
        "User \"{}\" cannot {} resource \"{resource}\" in API group \"{}\" {scope}",
        user.name, about.verb, about.group
    );
    Err(deny(
        state,
        user,
        ApiError::forbidden(&about.resource, &about.group, &about.name, &why),
    ))
}

/// Refuses a request for another path that no rule allows.
pub(super) fn check_path(
    state: &State,
    user: &User,
    method: &str,
    path: &str,
) -> Result<(), ApiError> {
    let verb = method.to_lowercase();
    let action = Action {
        verb: &verb,
        path,
        ..Action::default()
    };
    if state.with_store(|store| allows(store, user, &action)) {
        return Ok(());
    }
    Err(deny(
        state,
        user,
        ApiError::forbidden_path(&user.name, &verb, path),
    ))
}

/// Refuses to act as somebody else unless a rule allows it.
pub(super) fn check_impersonation(state: &State, user: &User, name: &str) -> Result<(), ApiError> {
    let action = Action {
        verb: "impersonate",
        resource: "users",
        name,
        ..Action::default()
    };
    if state.with_store(|store| allows(store, user, &action)) {
        return Ok(());
    }
    let why = format!(
        "User \"{}\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
        user.name
    );
    Err(deny(
        state,
        user,
        ApiError::forbidden("users", "", name, &why),
    ))
}

fn deny(state: &State, user: &User, error: ApiError) -> ApiError {
    state.audit.denial(Denial {
        user: user.name.clone(),
        message: error.message.clone(),
    });
    error
}

/// Whether some rule allows the action.
pub(super) fn allows(store: &Store, user: &User, action: &Action<'_>) -> bool {
    user.is_master()
        || rules(store, user, action.namespace)
            .iter()
            .any(|rule| rule_allows(rule, action))
}

/// All rules that hold for the user in a namespace (empty: at the cluster scope).
pub(super) fn rules(store: &Store, user: &User, namespace: &str) -> Vec<Value> {
    let mut rules = bound_rules(store, user, "clusterrolebindings", None);
    if !namespace.is_empty() {
        rules.extend(bound_rules(store, user, "rolebindings", Some(namespace)));
    }
    rules
}

fn bound_rules(store: &Store, user: &User, bindings: &str, namespace: Option<&str>) -> Vec<Value> {
    let bindings = storage(bindings);
    let bound = store
        .list(&bindings, namespace)
        .filter(|(_, binding)| is_subject(binding, user));
    let roles = bound.filter_map(|(key, binding)| role(store, &binding["roleRef"], &key.namespace));
    roles
        .flat_map(|role| role["rules"].as_array().cloned().unwrap_or_default())
        .collect()
}

fn storage(plural: &str) -> Arc<str> {
    format!("{plural}.{GROUP}").into()
}

fn role<'a>(store: &'a Store, reference: &Value, namespace: &str) -> Option<&'a Arc<Value>> {
    let (resource, namespace) = match reference["kind"].as_str()? {
        "ClusterRole" => (storage("clusterroles"), ""),
        _ => (storage("roles"), namespace),
    };
    store.get(&Key {
        resource,
        namespace: namespace.into(),
        name: reference["name"].as_str()?.into(),
    })
}

fn is_subject(binding: &Value, user: &User) -> bool {
    let text =
        |subject: &Value, field: &str| subject[field].as_str().unwrap_or_default().to_owned();
    binding["subjects"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|subject| {
            let name = text(subject, "name");
            match subject["kind"].as_str() {
                Some("User") => name == user.name,
                Some("Group") => user.groups.contains(&name),
                Some("ServiceAccount") => {
                    user.as_service_account()
                        == Some((text(subject, "namespace").as_str(), name.as_str()))
                }
                _ => false,
            }
        })
}

fn rule_allows(rule: &Value, action: &Action<'_>) -> bool {
    let listed = |field: &str, test: &dyn Fn(&str) -> bool| {
        rule[field]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .any(test)
    };
    if !listed("verbs", &|verb| verb == "*" || verb == action.verb) {
        return false;
    }
    if !action.path.is_empty() {
        return listed(
            "nonResourceURLs",
            &|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => action.path.starts_with(prefix),
                None => action.path == pattern,
            },
        );
    }
    let names = rule["resourceNames"].as_array().map_or(0, Vec::len);
    listed("apiGroups", &|group| group == "*" || group == action.group)
        && listed("resources", &|resource| {
            resource_matches(resource, action.resource)
        })
        && (names == 0 || listed("resourceNames", &|name| name == action.name))
}

/// `*`, `pods`, `pods/log` or `*/scale`.
fn resource_matches(pattern: &str, resource: &str) -> bool {
    let any_subresource = || {
        let wanted = pattern.strip_prefix("*/")?;
        let (_, subresource) = resource.split_once('/')?;
        Some(wanted == subresource)
    };
    pattern == "*" || pattern == resource || any_subresource().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn allowed(rule: &Value, verb: &str, resource: &str, name: &str) -> bool {
        rule_allows(
            rule,
            &Action {
                verb,
                group: "apps",
                resource,
                name,
                ..Action::default()
            },
        )
    }

    #[test]
    fn a_rule_for_a_resource_is_none_for_its_subresources() {
        let rule = json!({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["statefulsets"]});
        assert!(allowed(&rule, "get", "statefulsets", "a"));
        assert!(!allowed(&rule, "get", "statefulsets/scale", "a"));
        let rule = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*/scale"]});
        assert!(allowed(&rule, "patch", "statefulsets/scale", "a"));
        assert!(!allowed(&rule, "patch", "statefulsets", "a"));
    }

    #[test]
    fn resource_names_restrict_a_rule() {
        let rule = json!({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["*"], "resourceNames": ["a"]});
        assert!(allowed(&rule, "get", "statefulsets", "a"));
        assert!(!allowed(&rule, "get", "statefulsets", "b"));
        assert!(!allowed(&rule, "get", "statefulsets", ""));
    }

    #[test]
    fn paths_are_matched_by_prefix() {
        let rule = json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/openapi/*"]});
        for (path, expected) in [
            ("/healthz", true),
            ("/healthz/x", false),
            ("/openapi/v3", true),
            ("/version", false),
        ] {
            assert_eq!(
                rule_allows(
                    &rule,
                    &Action {
                        verb: "get",
                        path,
                        ..Action::default()
                    }
                ),
                expected,
                "{path}"
            );
        }
    }
}
