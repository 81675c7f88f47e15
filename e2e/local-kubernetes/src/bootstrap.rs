//! What every cluster has from the start: the system's namespaces, and the roles that let everybody discover the API.

use serde_json::{Value, json};

use crate::{
    clock,
    object::metadata_mut,
    state::State,
    store::{Key, Store},
};

const RBAC: &str = "rbac.authorization.k8s.io";

/// Fills a new store.
pub(crate) fn fill(state: &State) {
    let now = clock::rfc3339(state.clock.now());
    state.with_store(|store| {
        for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            insert(state, store, "namespaces", &now, namespace(name));
        }
        for (name, rules, group) in roles() {
            insert(
                state,
                store,
                "clusterroles.rbac.authorization.k8s.io",
                &now,
                role(name, &rules),
            );
            insert(
                state,
                store,
                "clusterrolebindings.rbac.authorization.k8s.io",
                &now,
                binding(name, group),
            );
        }
    });
}

fn insert(state: &State, store: &mut Store, resource: &str, now: &str, mut object: Value) {
    let metadata = metadata_mut(&mut object);
    metadata.insert("uid".into(), state.new_uid().into());
    metadata.insert("creationTimestamp".into(), now.into());
    let name = crate::object::name(&object).to_owned();
    let key = Key {
        resource: resource.into(),
        namespace: String::new(),
        name,
    };
    store
        .insert(key, object)
        .expect("a new store has none of these objects");
}

fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    })
}

/// Name, rules and bound group.
fn roles() -> [(&'static str, Value, &'static str); 4] {
    let discovery = [
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi",
        "/openapi/*",
        "/readyz",
        "/version",
        "/version/",
    ];
    let public = ["/healthz", "/livez", "/readyz", "/version", "/version/"];
    [
        (
            "cluster-admin",
            json!([
                {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
                {"nonResourceURLs": ["*"], "verbs": ["*"]},
            ]),
            "system:masters",
        ),
        (
            "system:discovery",
            json!([{"nonResourceURLs": discovery, "verbs": ["get"]}]),
            "system:authenticated",
        ),
        (
            "system:basic-user",
            json!([
                {"apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], "verbs": ["create"]},
                {"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]},
            ]),
            "system:authenticated",
        ),
        (
            "system:public-info-viewer",
            json!([{"nonResourceURLs": public, "verbs": ["get"]}]),
            "system:unauthenticated",
        ),
    ]
}

fn role(name: &str, rules: &Value) -> Value {
    json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": "ClusterRole",
        "metadata": {"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}},
        "rules": rules,
    })
}

fn binding(role: &str, group: &str) -> Value {
    json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": "ClusterRoleBinding",
        "metadata": {"name": role, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": RBAC, "kind": "Group", "name": group}],
    })
}
