//! Names, as programs in pods resolve them.

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, DeleteParams};
use serde_json::json;

use crate::support::{self, Cluster, eventually};

/// Answers a GET of a name with the addresses that the system's resolver finds, or with its error.
const RESOLVER: &str = r#"
import http.server, os, socket
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            found = socket.getaddrinfo(self.path[1:], None)
            answer = " ".join(sorted({address[0] for *_, address in found}))
        except OSError as error:
            answer = str(error)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer.encode())
http.server.HTTPServer((os.environ["POD_IP"], 8080), Handler).serve_forever()
"#;

/// Whether names resolve in pods here; if not, says that a test is skipped.
fn resolves(cluster: &Cluster) -> bool {
    let resolves = cluster.inner().agent().name_server().is_some();
    if !resolves {
        eprintln!("skipped: needs mount namespaces and port 53, as root has them");
    }
    resolves
}

async fn address(pods: &Api<Pod>, name: &str) -> Option<String> {
    let pod = pods.get_opt(name).await.expect("an answer")?;
    pod.status?.pod_ip
}

/// Starts a pod that resolves names, and tells where to ask it.
async fn start_resolver(cluster: &Cluster, name: &str, dns: serde_json::Value) -> String {
    let pods: Api<Pod> = cluster.api();
    let mut spec = json!({"containers": [{"name": "c", "image": "tools", "command": ["python3", "-c", RESOLVER],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}]});
    spec.as_object_mut()
        .expect("an object")
        .extend(dns.as_object().expect("an object").clone());
    cluster.create_pod(name, spec).await;
    eventually("the resolver is ready", || async {
        support::is_ready_named(&pods, name).await
    })
    .await;
    format!("{}:8080", address(&pods, name).await.expect("an address"))
}

/// What the pod at an address finds.
async fn ask(resolver: &str, name: &str) -> String {
    let answer = support::http_get(resolver, &format!("/{name}")).await;
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    body.to_owned()
}

async fn eventually_finds(resolver: &str, name: &str, expected: &str) {
    eventually(&format!("{name} is {expected}"), || async {
        ask(resolver, name).await == expected
    })
    .await;
}

#[tokio::test]
async fn names_of_pods_and_services_follow_them() {
    let cluster = Cluster::start().await;
    if !resolves(&cluster) {
        return cluster.end().await;
    }
    let pods: Api<Pod> = cluster.api();
    let services: Api<Service> = cluster.api();
    // Nobody is ever ready.
    let headless = json!({"clusterIP": "None", "publishNotReadyAddresses": true, "selector": {"app": "db"}, "ports": [{"name": "redis", "port": 80}]});
    cluster.create_service("h", headless).await;
    let web = json!({"selector": {"app": "db"}, "ports": [{"port": 80}]});
    cluster.create_service("web", web.clone()).await;
    let mut unpublished = web;
    unpublished["clusterIP"] = json!("None");
    cluster.create_service("unpublished", unpublished).await;
    let unready = json!({"template": {"metadata": {"labels": {"app": "db"}}, "spec": {"terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": "tools", "command": ["sh", "-c", "sleep 1000"], "readinessProbe": {"exec": {"command": ["false"]}}}]}}});
    cluster.create_set("db", 2, json!([]), unready).await;
    let resolver = start_resolver(&cluster, "resolver", json!({})).await;

    eventually("both pods have addresses", || async {
        address(&pods, "db-0").await.is_some() && address(&pods, "db-1").await.is_some()
    })
    .await;
    let before = address(&pods, "db-0").await.expect("an address");
    let sibling = address(&pods, "db-1").await.expect("an address");
    for name in ["db-0.h", "db-0.h.t.svc", "db-0.h.t.svc.cluster.local."] {
        eventually_finds(&resolver, name, &before).await;
    }
    let mut both = [before.as_str(), sibling.as_str()];
    both.sort_unstable();
    eventually_finds(&resolver, "h", &both.join(" ")).await;
    let service = services.get("web").await.expect("a Service");
    let address_of_service = service.spec.and_then(|spec| spec.cluster_ip);
    eventually_finds(&resolver, "web.t", &address_of_service.expect("an address")).await;
    for name in ["db-2.h", "unpublished", "other.t"] {
        let full = format!("{name}.t.svc.cluster.local.");
        assert!(ask(&resolver, &full).await.contains("not known"), "{full}");
    }

    pods.delete("db-0", &DeleteParams::default())
        .await
        .expect("deleted");
    let again = || async { address(&pods, "db-0").await.filter(|ip| *ip != before) };
    eventually("the pod has another address", || async {
        again().await.is_some()
    })
    .await;
    eventually_finds(
        &resolver,
        "db-0.h.t.svc",
        &again().await.expect("an address"),
    )
    .await;
    cluster.end().await;
}

#[tokio::test]
async fn a_pod_may_resolve_names_in_its_own_way() {
    let cluster = Cluster::start().await;
    if !resolves(&cluster) {
        return cluster.end().await;
    }
    let server = cluster
        .inner()
        .agent()
        .name_server()
        .expect("a name server");
    cluster
        .create_service("web", json!({"ports": [{"port": 80}]}))
        .await;
    let own = json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": [server.to_string()], "searches": ["t.svc.cluster.local"]}});
    let resolver = start_resolver(&cluster, "own", own).await;
    let services: Api<Service> = cluster.api();
    let service = services.get("web").await.expect("a Service");
    let address = service.spec.and_then(|spec| spec.cluster_ip);
    eventually_finds(&resolver, "web", &address.expect("an address")).await;
    // Its only search domain does not make this one.
    assert!(!ask(&resolver, "web.t").await.starts_with("127."));
    cluster.end().await;
}
