//! Namespaces.

use serde_json::{Value, json};

use super::value::object;

/// The label that names the namespace.
pub(super) fn default(namespace: &mut Value) {
    let name = namespace["metadata"]["name"].clone();
    if name.as_str().is_none_or(str::is_empty) {
        return;
    }
    if let Some(labels) = object(&mut namespace["metadata"], "labels") {
        labels["kubernetes.io/metadata.name"] = name;
    }
}

/// A new namespace is active and is held by Kubernetes until its content is gone.
pub(super) fn prepare_create(namespace: &mut Value) {
    let held = namespace["spec"]["finalizers"]
        .as_array()
        .is_some_and(|finalizers| finalizers.iter().any(|name| name == "kubernetes"));
    if !held {
        let mut finalizers = namespace["spec"]["finalizers"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        finalizers.push("kubernetes".into());
        namespace["spec"]["finalizers"] = finalizers.into();
    }
    namespace["status"] = json!({"phase": "Active"});
}
