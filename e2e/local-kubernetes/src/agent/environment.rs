//! A container's environment: fields of the pod, resources, ConfigMaps, Secrets, and `$(VAR)` references. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};
use kube::ResourceExt;

use crate::quantity;

/// The objects that a pod's environment and volumes refer to, by name; those that do not exist are missing.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// ConfigMaps by name.
    pub config_maps: BTreeMap<String, ConfigMap>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, Secret>,
}

/// What the pod's fields do not say yet when its containers start.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The pod's address.
    pub pod_ip: String,
    /// The node's address.
    pub host_ip: String,
    /// What the node can give, where a container has no limit.
    pub allocatable: BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>,
}

/// Something that the environment needs is not there; the container waits for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// No such object.
    #[error("{kind} \"{name}\" not found")]
    NoObject {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The object has no such key.
    #[error("couldn't find key {key} in {kind} {name}")]
    NoKey {
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// A reference that this agent does not know.
    #[error("unsupported reference: {0}")]
    Unsupported(String),
}

/// A container's variables in their order, references expanded; later ones replace earlier ones of the same name.
///
/// # Errors
/// An object, key or field that is needed is not there.
pub fn resolve(
    pod: &Pod,
    container: &Container,
    place: &Place,
    sources: &Sources,
) -> Result<Vec<(String, String)>, EnvironmentError> {
    let mut variables: Vec<(String, String)> = Vec::new();
    let set = |variables: &mut Vec<(String, String)>, name: String, value: String| {
        variables.retain(|(known, _)| *known != name);
        variables.push((name, value));
    };
    for (name, value) in whole_objects(container, sources)? {
        set(&mut variables, name, value);
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (_, Some(source)) => referenced(pod, container, place, sources, source)?,
            (Some(text), None) => Some(expand(text, &variables)),
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            set(&mut variables, variable.name.clone(), value);
        }
    }
    Ok(variables)
}

/// `envFrom`: every key of an object, with a prefix.
fn whole_objects(
    container: &Container,
    sources: &Sources,
) -> Result<Vec<(String, String)>, EnvironmentError> {
    let mut variables = Vec::new();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let values = if let Some(reference) = &from.config_map_ref {
            match sources.config_maps.get(&reference.name) {
                Some(map) => config_map_texts(map),
                None if reference.optional == Some(true) => continue,
                None => {
                    return Err(EnvironmentError::NoObject {
                        kind: "configmap",
                        name: reference.name.clone(),
                    });
                }
            }
        } else if let Some(reference) = &from.secret_ref {
            match sources.secrets.get(&reference.name) {
                Some(secret) => secret_texts(secret),
                None if reference.optional == Some(true) => continue,
                None => {
                    return Err(EnvironmentError::NoObject {
                        kind: "secret",
                        name: reference.name.clone(),
                    });
                }
            }
        } else {
            continue;
        };
        variables.extend(
            values
                .into_iter()
                .map(|(key, value)| (format!("{prefix}{key}"), value)),
        );
    }
    Ok(variables)
}

fn config_map_texts(map: &ConfigMap) -> BTreeMap<String, String> {
    map.data.clone().unwrap_or_default()
}

fn secret_texts(secret: &Secret) -> BTreeMap<String, String> {
    secret
        .data
        .iter()
        .flatten()
        .map(|(key, value)| (key.clone(), String::from_utf8_lossy(&value.0).into_owned()))
        .collect()
}

/// A reference's value; `None` when it is optional and not there.
fn referenced(
    pod: &Pod,
    container: &Container,
    place: &Place,
    sources: &Sources,
    source: &EnvVarSource,
) -> Result<Option<String>, EnvironmentError> {
    if let Some(field) = &source.field_ref {
        return field_value(pod, place, &field.field_path).map(Some);
    }
    if let Some(resource) = &source.resource_field_ref {
        let of = container.resources.as_ref();
        let (kind, name) = resource
            .resource
            .split_once('.')
            .unwrap_or(("limits", &resource.resource));
        let (limits, requests) = (
            of.and_then(|of| of.limits.as_ref()),
            of.and_then(|of| of.requests.as_ref()),
        );
        let stated = if kind == "limits" { limits } else { requests }.and_then(|all| all.get(name));
        let quantity = stated.or_else(|| place.allocatable.get(name).filter(|_| kind == "limits"));
        let value =
            quantity.and_then(|quantity| quantity::whole(quantity, resource.divisor.as_ref()));
        return Ok(Some(value.unwrap_or(0).to_string()));
    }
    let (kind, found, name, key, optional) = if let Some(reference) = &source.config_map_key_ref {
        (
            ("configmap", "ConfigMap"),
            sources
                .config_maps
                .get(&reference.name)
                .map(config_map_texts),
            &reference.name,
            &reference.key,
            reference.optional,
        )
    } else if let Some(reference) = &source.secret_key_ref {
        (
            ("secret", "Secret"),
            sources.secrets.get(&reference.name).map(secret_texts),
            &reference.name,
            &reference.key,
            reference.optional,
        )
    } else {
        return Err(EnvironmentError::Unsupported("an empty valueFrom".into()));
    };
    match found {
        Some(mut values) => match values.remove(key) {
            None if optional != Some(true) => Err(EnvironmentError::NoKey {
                kind: kind.1,
                name: name.clone(),
                key: key.clone(),
            }),
            value => Ok(value),
        },
        None if optional == Some(true) => Ok(None),
        None => Err(EnvironmentError::NoObject {
            kind: kind.0,
            name: name.clone(),
        }),
    }
}

/// The value of a downward field path.
///
/// # Errors
/// The path is not one of those that Kubernetes has.
pub fn field_value(pod: &Pod, place: &Place, path: &str) -> Result<String, EnvironmentError> {
    let spec = pod.spec.as_ref();
    if let Some((map, key)) = path
        .strip_suffix("']")
        .and_then(|path| path.split_once("['"))
    {
        return match map {
            "metadata.labels" => Ok(pod.labels().get(key).cloned().unwrap_or_default()),
            "metadata.annotations" => Ok(pod.annotations().get(key).cloned().unwrap_or_default()),
            _ => Err(EnvironmentError::Unsupported(path.into())),
        };
    }
    let lines = |map: &BTreeMap<String, String>| {
        map.iter()
            .map(|(key, value)| format!("{key}={value:?}"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    Ok(match path {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace().unwrap_or_default(),
        "metadata.uid" => pod.uid().unwrap_or_default(),
        "metadata.labels" => lines(pod.labels()),
        "metadata.annotations" => lines(pod.annotations()),
        "spec.nodeName" => spec
            .and_then(|spec| spec.node_name.clone())
            .unwrap_or_default(),
        "spec.serviceAccountName" => spec
            .and_then(|spec| spec.service_account_name.clone())
            .unwrap_or_default(),
        "status.podIP" | "status.podIPs" => place.pod_ip.clone(),
        "status.hostIP" | "status.hostIPs" => place.host_ip.clone(),
        other => return Err(EnvironmentError::Unsupported(other.into())),
    })
}

/// Replaces `$(NAME)` by the variable's value; unknown ones stay, `$$` is a literal dollar sign.
pub fn expand(text: &str, variables: &[(String, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'))
        {
            match variables.iter().find(|(known, _)| known == name) {
                Some((_, value)) => out.push_str(value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "db-0", "namespace": "t", "uid": "u", "labels": {"app": "db"}}, "spec": {"nodeName": "n1", "containers": []}})).expect("a Pod")
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "literals read better by value"
    )]
    fn container(env: serde_json::Value) -> Container {
        serde_json::from_value(
            json!({"name": "c", "resources": {"limits": {"memory": "64Mi"}}, "env": env}),
        )
        .expect("a Container")
    }

    fn place() -> Place {
        Place {
            pod_ip: "127.1.1.1".into(),
            ..Place::default()
        }
    }

    #[test]
    fn references_are_expanded_in_order_and_unknown_ones_stay() {
        let env = json!([
            {"name": "A", "value": "1"}, {"name": "B", "value": "$(A)-$(LATER)-$$(A)"}, {"name": "LATER", "value": "x"},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
        ]);
        let values: BTreeMap<_, _> =
            resolve(&pod(), &container(env), &place(), &Sources::default())
                .expect("resolved")
                .into_iter()
                .collect();
        assert_eq!(values["B"], "1-$(LATER)-$(A)");
        assert_eq!(
            (
                values["NAME"].as_str(),
                values["IP"].as_str(),
                values["APP"].as_str()
            ),
            ("db-0", "127.1.1.1", "db")
        );
        assert_eq!(values["MEMORY"], "67108864");
    }

    #[test]
    fn missing_objects_and_keys_are_named_unless_optional() {
        let map: ConfigMap =
            serde_json::from_value(json!({"data": {"k": "v"}})).expect("a ConfigMap");
        let sources = Sources {
            config_maps: [("m".to_string(), map)].into(),
            ..Sources::default()
        };
        let get = |name: &str, key: &str, optional: bool| {
            let env = json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": name, "key": key, "optional": optional}}}]);
            resolve(&pod(), &container(env), &place(), &sources)
        };
        assert_eq!(
            get("m", "k", false).expect("resolved"),
            [("A".to_string(), "v".to_string())]
        );
        assert_eq!(get("m", "x", true).expect("resolved"), []);
        assert_eq!(
            get("m", "x", false).expect_err("no key").to_string(),
            "couldn't find key x in ConfigMap m"
        );
        assert_eq!(
            get("n", "k", false).expect_err("no map").to_string(),
            "configmap \"n\" not found"
        );
    }

    #[test]
    fn whole_objects_come_first_and_may_have_a_prefix() {
        let secret: Secret =
            serde_json::from_value(json!({"data": {"K": "dg=="}})).expect("a Secret");
        let sources = Sources {
            secrets: [("s".to_string(), secret)].into(),
            ..Sources::default()
        };
        let container: Container = serde_json::from_value(json!({"name": "c", "envFrom": [{"prefix": "P_", "secretRef": {"name": "s"}}], "env": [{"name": "X", "value": "$(P_K)"}]})).expect("a Container");
        let values = resolve(&pod(), &container, &place(), &sources).expect("resolved");
        assert_eq!(
            values,
            [
                ("P_K".to_string(), "v".to_string()),
                ("X".to_string(), "v".to_string())
            ]
        );
    }
}
