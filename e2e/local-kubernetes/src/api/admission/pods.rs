//! The token of its service account that every pod mounts.

use serde_json::{Value, json};

use crate::api::metadata;

const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Mounts the token into all containers, unless the pod does not want it or has something there already.
pub(super) fn mount_token(pod: &mut Value) {
    let spec = &mut pod["spec"];
    if !spec.is_object() || spec["automountServiceAccountToken"] == false {
        return;
    }
    let name = format!("kube-api-access-{}", metadata::suffix());
    let mut mounted = false;
    for containers in ["initContainers", "containers"] {
        for container in spec
            .get_mut(containers)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let Some(mounts) = list(container, "volumeMounts") else {
                continue;
            };
            if mounts.iter().any(|mount| mount["mountPath"] == TOKEN_PATH) {
                continue;
            }
            mounts.push(json!({"name": name, "readOnly": true, "mountPath": TOKEN_PATH}));
            mounted = true;
        }
    }
    if let Some(volumes) = mounted.then(|| list(spec, "volumes")).flatten() {
        volumes.push(volume(&name));
    }
}

fn list<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Vec<Value>> {
    let object = object.as_object_mut()?;
    object
        .entry(field)
        .or_insert_with(|| json!([]))
        .as_array_mut()
}

fn volume(name: &str) -> Value {
    let namespace = json!({"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}});
    json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_mounts_its_token() {
        let mut pod = json!({"spec": {"containers": [{"name": "c"}]}});
        mount_token(&mut pod);
        assert_eq!(
            pod["spec"]["containers"][0]["volumeMounts"][0]["mountPath"],
            TOKEN_PATH
        );
        assert_eq!(
            pod["spec"]["volumes"][0]["name"],
            pod["spec"]["containers"][0]["volumeMounts"][0]["name"]
        );
    }

    #[test]
    fn a_pod_that_wants_no_token_mounts_nothing() {
        let mut pod =
            json!({"spec": {"automountServiceAccountToken": false, "containers": [{"name": "c"}]}});
        mount_token(&mut pod);
        assert!(pod["spec"]["volumes"].is_null());
    }
}
