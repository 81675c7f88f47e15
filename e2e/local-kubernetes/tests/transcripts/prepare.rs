//! What happened between the recorded exchanges: requests that were made but not recorded, and values that were written
//! into requests.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{exchange::Exchange, session::Session};

const MAPS: &str = "/api/v1/namespaces/t/configmaps";
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";

/// Makes what an exchange found.
pub(crate) async fn before(session: &Session, exchange: &Exchange) {
    match exchange.name.as_str() {
        // The evicted pod is still on its way out.
        "eviction refused by the budget" => tokio::time::sleep(Duration::from_millis(500)).await,
        _ if exchange.file == "workloads" => session.settle().await,
        _ => {}
    }
    match exchange.name.as_str() {
        "create" => {
            session.settle().await;
            cluster_maps(session).await;
        }
        "list label equality" => {
            for number in 0..5 {
                let app = if number % 2 == 0 { "b" } else { "a" };
                let labels = json!({"app": app, "n": number.to_string()});
                create(session, &json!({"metadata": {"name": format!("l{number}"), "labels": labels}, "data": {"a": "1"}})).await;
            }
        }
        "delete with finalizer" => {
            let metadata = json!({"name": "fin", "finalizers": ["example.com/hold"]});
            create(session, &json!({"metadata": metadata, "data": {"a": "1"}})).await;
        }
        "watch without rv: existing as ADDED first" => create(session, &watched()).await,
        "child" => {
            create(
                session,
                &json!({"metadata": {"name": "owner"}, "data": {"a": "1"}}),
            )
            .await;
        }
        "orphan delete" => {
            create(
                session,
                &json!({"metadata": {"name": "owner"}, "data": {"a": "1"}}),
            )
            .await;
            let uid = live_uid(session, &format!("{MAPS}/owner")).await;
            let owner =
                json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid});
            create(session, &json!({"metadata": {"name": "child", "ownerReferences": [owner]}, "data": {"a": "1"}})).await;
        }
        "namespace delete" => {
            let namespace =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gone"}});
            session
                .send("POST", "/api/v1/namespaces", JSON, &namespace)
                .await;
            let held = json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}});
            session
                .send("POST", "/api/v1/namespaces/gone/configmaps", JSON, &held)
                .await;
        }
        "namespace gone" => {
            let freed = json!({"metadata": {"finalizers": null}});
            session
                .send(
                    "PATCH",
                    "/api/v1/namespaces/gone/configmaps/held",
                    MERGE,
                    &freed,
                )
                .await;
        }
        "allowed" => {
            let binding = json!({
                "metadata": {"name": "op"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "op"},
                "subjects": [{"kind": "ServiceAccount", "name": "op", "namespace": "t"}],
            });
            let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/t/rolebindings";
            session.send("POST", path, JSON, &binding).await;
        }
        _ => {}
    }
}

/// Makes what a watch saw.
pub(crate) async fn during(session: &Session, exchange: &Exchange) {
    let changes = match exchange.name.as_str() {
        "watch from rv"
        | "watch with selector: leaves as DELETED, returns as ADDED"
        | "watch by name"
        | "watch as table"
        | "watch as partial metadata" => {
            create(session, &watched()).await;
            true
        }
        "watch without rv: existing as ADDED first" => true,
        _ => false,
    };
    if !changes {
        return;
    }
    let path = format!("{MAPS}/w");
    for change in [
        json!({"data": {"a": "2"}}),
        json!({"metadata": {"labels": {"in": "no"}}}),
        json!({"metadata": {"labels": {"in": "yes"}}}),
    ] {
        session.send("PATCH", &path, MERGE, &change).await;
    }
    session.send("DELETE", &path, JSON, &Value::Null).await;
}

fn watched() -> Value {
    json!({"metadata": {"name": "w", "labels": {"in": "yes"}}, "data": {"a": "1"}})
}

async fn create(session: &Session, map: &Value) {
    session.send("POST", MAPS, JSON, map).await;
}

/// The map that the recorded cluster's own service put into every namespace. The other one comes from our controllers.
async fn cluster_maps(session: &Session) {
    let annotations = json!({"service.beta.openshift.io/inject-cabundle": "true"});
    let map = json!({
        "metadata": {"name": "openshift-service-ca.crt", "annotations": annotations},
        "data": {"service-ca.crt": ""},
    });
    session
        .send(
            "POST",
            &format!("{MAPS}?fieldManager=kube-controller-manager"),
            JSON,
            &map,
        )
        .await;
}

async fn live_uid(session: &Session, path: &str) -> String {
    let object = session.send("GET", path, JSON, &Value::Null).await.json();
    object["metadata"]["uid"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Whether controllers have a part in the answer.
pub(crate) fn waits_for_controllers(exchange: &Exchange) -> bool {
    let name = exchange.name.as_str();
    [
        "/statefulsets",
        "/pods",
        "/endpoints",
        "/endpointslices",
        "/poddisruptionbudgets",
        "/controllerrevisions",
        "/shelves",
    ]
    .iter()
    .any(|part| exchange.path.contains(part))
        || ["collected", "gone", "orphan", "limit", "table"]
            .iter()
            .any(|part| name.contains(part))
}

/// The path with the values of this run.
pub(crate) fn path(session: &Session, exchange: &Exchange) -> String {
    let mut path = session.substitute(exchange, &exchange.path);
    if let (Some(start), Some(token)) = (
        path.find("continue=eyJ"),
        session.bound(exchange, "<tok:1>"),
    ) {
        path.truncate(start);
        path.push_str(&format!("continue={token}"));
    }
    let revision = match exchange.name.as_str() {
        "list rv in the future" | "watch from the future" => 999_999_999,
        "list rv 0" => 0,
        "list rv exact too old?"
        | "list exact at a compacted rv"
        | "watch from a compacted rv (exact list storage)" => 1,
        _ => session.revision(),
    };
    path.replace("<n>", &revision.to_string())
}

/// The body with the values of this run.
pub(crate) async fn body(session: &Session, exchange: &Exchange) -> String {
    let mut body = match &exchange.body {
        Value::Null => return String::new(),
        Value::String(text) => return session.substitute(exchange, text),
        body => body.clone(),
    };
    if exchange.name == "child" {
        body["metadata"]["ownerReferences"][0]["uid"] =
            live_uid(session, &format!("{MAPS}/owner")).await.into();
    }
    let names_itself = body["metadata"]["uid"].is_string() && exchange.status == 200
        || exchange.name == "put stale: Conflict"
        || exchange.name == "lease update with the old rv";
    if names_itself {
        let live = session
            .send("GET", &path(session, exchange), JSON, &Value::Null)
            .await
            .json();
        for field in ["uid", "creationTimestamp", "managedFields"] {
            body["metadata"][field] = live["metadata"][field].clone();
        }
    }
    session.substitute(exchange, &body.to_string())
}

/// The certificate authority of the recorded cluster.
pub(crate) fn recorded_ca() -> String {
    let exchanges = crate::exchange::read("objects");
    let bodies = exchanges
        .iter()
        .filter_map(|exchange| match &exchange.answer {
            crate::exchange::Answer::Body(body) => Some(body),
            crate::exchange::Answer::Events(_) => None,
        });
    let mut items = bodies.flat_map(|body| body["items"].as_array().into_iter().flatten());
    let ca = items.find_map(|item| item["data"]["ca.crt"].as_str());
    ca.expect("a recorded list has the certificate").to_owned()
}
