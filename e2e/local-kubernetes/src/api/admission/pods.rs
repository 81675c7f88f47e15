//! What every pod gets: a service account with its token, tolerations of lost nodes, a priority.

use serde_json::{Value, json};

use crate::api::metadata;

const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Completes a new pod.
pub(super) fn complete(pod: &mut Value) {
    let spec = &mut pod["spec"];
    if !spec.is_object() {
        return;
    }
    let account = match spec["serviceAccountName"]
        .as_str()
        .filter(|name| !name.is_empty())
    {
        Some(account) => account.to_owned(),
        None => spec["serviceAccount"]
            .as_str()
            .filter(|name| !name.is_empty())
            .unwrap_or("default")
            .to_owned(),
    };
    spec["serviceAccountName"] = account.clone().into();
    spec["serviceAccount"] = account.into();
    if spec["automountServiceAccountToken"] != false {
        mount_token(spec);
    }
    tolerate_lost_nodes(spec);
    for (field, value) in [
        ("priority", json!(0)),
        ("preemptionPolicy", json!("PreemptLowerPriority")),
    ] {
        if spec[field].is_null() {
            spec[field] = value;
        }
    }
    pod["status"] = json!({"phase": "Pending", "qosClass": quality(&pod["spec"])});
}

fn list<'a>(spec: &'a mut Value, field: &str) -> Option<&'a mut Vec<Value>> {
    if spec[field].is_null() {
        spec[field] = json!([]);
    }
    spec[field].as_array_mut()
}

fn mount_token(spec: &mut Value) {
    let name = format!("kube-api-access-{}", metadata::suffix());
    let mut mounted = false;
    for containers in ["initContainers", "containers"] {
        for container in spec[containers].as_array_mut().into_iter().flatten() {
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
    if !mounted {
        return;
    }
    if let Some(volumes) = list(spec, "volumes") {
        volumes.push(json!({"name": name, "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [
                {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
            ]}},
        ]}}));
    }
}

fn tolerate_lost_nodes(spec: &mut Value) {
    let Some(tolerations) = list(spec, "tolerations") else {
        return;
    };
    for key in [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ] {
        let tolerated = |toleration: &Value| {
            let effect = toleration["effect"].as_str().unwrap_or_default();
            let keys = toleration["key"].as_str().unwrap_or_default();
            (keys == key || keys.is_empty()) && matches!(effect, "" | "NoExecute")
        };
        if !tolerations.iter().any(tolerated) {
            tolerations.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
        }
    }
}

/// The quality of service that follows from requests and limits.
fn quality(spec: &Value) -> &'static str {
    let containers: Vec<&Value> = ["initContainers", "containers"]
        .iter()
        .flat_map(|field| spec[*field].as_array().into_iter().flatten())
        .collect();
    let amount = |container: &Value, kind: &str, resource: &str| {
        container["resources"][kind][resource].clone()
    };
    let resources = ["cpu", "memory"];
    let is_empty = |container: &&Value| {
        resources.iter().all(|resource| {
            amount(container, "requests", resource).is_null()
                && amount(container, "limits", resource).is_null()
        })
    };
    let is_guaranteed = |container: &&Value| {
        resources.iter().all(|resource| {
            let limit = amount(container, "limits", resource);
            let request = amount(container, "requests", resource);
            !limit.is_null() && (request.is_null() || request == limit)
        })
    };
    match () {
        () if containers.iter().all(is_empty) => "BestEffort",
        () if containers.iter().all(is_guaranteed) => "Guaranteed",
        () => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_gets_its_account_and_its_token() {
        let mut pod = json!({"spec": {"containers": [{"name": "c"}]}});
        complete(&mut pod);
        assert_eq!(pod["spec"]["serviceAccountName"], "default");
        assert_eq!(
            pod["spec"]["containers"][0]["volumeMounts"][0]["mountPath"],
            TOKEN_PATH
        );
        assert_eq!(
            pod["spec"]["volumes"][0]["name"],
            pod["spec"]["containers"][0]["volumeMounts"][0]["name"]
        );
        assert_eq!(pod["spec"]["tolerations"].as_array().unwrap().len(), 2);
        assert_eq!(pod["status"]["qosClass"], "BestEffort");
    }

    #[test]
    fn a_pod_without_a_token_mounts_nothing() {
        let mut pod =
            json!({"spec": {"automountServiceAccountToken": false, "containers": [{"name": "c"}]}});
        complete(&mut pod);
        assert!(pod["spec"]["volumes"].is_null());
    }

    #[test]
    fn equal_requests_and_limits_are_guaranteed() {
        let same = json!({"cpu": "1", "memory": "1Gi"});
        let spec = json!({"containers": [{"resources": {"limits": same, "requests": same}}]});
        assert_eq!(quality(&spec), "Guaranteed");
        let spec = json!({"containers": [{"resources": {"requests": same}}]});
        assert_eq!(quality(&spec), "Burstable");
    }
}
