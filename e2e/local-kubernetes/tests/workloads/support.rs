//! A cluster for a test: quick timings, one namespace, and a proof at the end that no process is left.

use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    ConfigMap, ContainerStatus, Namespace, Pod, Service, ServiceAccount,
};
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use local_kubernetes::agent::backoff::BackoffPolicy;
use local_kubernetes::agent::images::ImageTable;
use local_kubernetes::cluster::{self, ClusterOptions, LocalCluster};
use local_kubernetes::controllers;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(40);

pub(crate) struct Cluster {
    inner: LocalCluster,
    directory: tempfile::TempDir,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::start_with(ImageTable::default().with("tools", "/usr/bin", None)).await
    }

    /// A cluster whose pods are no processes.
    pub(crate) async fn start_hollow() -> Self {
        Self::start_with(ImageTable::hollow()).await
    }

    async fn start_with(images: ImageTable) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let inner = cluster::start(ClusterOptions {
            controllers: controllers::Options {
                node_grace: Duration::from_secs(2),
                max_toleration: Some(Duration::from_secs(1)),
                ..controllers::Options::default()
            },
            lease_renewal: Duration::from_millis(500),
            backoff: BackoffPolicy {
                base: Duration::from_millis(300),
                ..BackoffPolicy::default()
            },
            ..ClusterOptions::new(directory.path(), images)
        })
        .expect("a cluster");
        let cluster = Self { inner, directory };
        let namespace =
            serde_json::from_value(json!({"metadata": {"name": "t"}})).expect("a Namespace");
        Api::<Namespace>::all(cluster.client())
            .create(&PostParams::default(), &namespace)
            .await
            .expect("created");
        let accounts: Api<ServiceAccount> = cluster.api();
        let maps: Api<ConfigMap> = cluster.api();
        eventually("the namespace is furnished", || async {
            accounts
                .get_opt("default")
                .await
                .expect("an answer")
                .is_some()
                && maps
                    .get_opt("kube-root-ca.crt")
                    .await
                    .expect("an answer")
                    .is_some()
        })
        .await;
        cluster
    }

    pub(crate) fn inner(&self) -> &LocalCluster {
        &self.inner
    }

    pub(crate) fn client(&self) -> Client {
        self.inner.client()
    }

    /// An API of the test's namespace.
    pub(crate) fn api<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(
        &self,
    ) -> Api<K> {
        Api::namespaced(self.client(), "t")
    }

    pub(crate) async fn create_service(&self, name: &str, spec: Value) {
        let service: Service =
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))
                .expect("a Service");
        self.api()
            .create(&PostParams::default(), &service)
            .await
            .expect("created");
    }

    pub(crate) async fn create_pod(&self, name: &str, spec: Value) {
        let pod: Pod = serde_json::from_value(
            json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": spec}),
        )
        .expect("a Pod");
        self.api()
            .create(&PostParams::default(), &pod)
            .await
            .expect("created");
    }

    /// A parallel StatefulSet that is updated on delete, as the operator makes them.
    pub(crate) async fn create_set(&self, name: &str, replicas: i32, command: Value, extra: Value) {
        let container = json!({"name": "c", "image": "tools", "command": command, "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]});
        let mut spec = json!({
            "serviceName": "h", "replicas": replicas, "podManagementPolicy": "Parallel", "updateStrategy": {"type": "OnDelete"},
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"terminationGracePeriodSeconds": 2, "containers": [container]}},
        });
        spec.as_object_mut()
            .expect("an object")
            .extend(extra.as_object().expect("an object").clone());
        let set: StatefulSet =
            serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))
                .expect("a StatefulSet");
        self.api()
            .create(&PostParams::default(), &set)
            .await
            .expect("created");
    }

    /// The real directory of a pod's volume.
    pub(crate) async fn volume(&self, pods: &Api<Pod>, pod: &str, volume: &str) -> PathBuf {
        let uid = pods.get(pod).await.expect("a pod").uid().expect("a uid");
        self.directory
            .path()
            .join("pods")
            .join(uid)
            .join("volumes")
            .join(volume)
    }

    /// Whether, once all is done, nobody but a heartbeat writes for that long.
    pub(crate) async fn quiet_for(&self, time: Duration) -> bool {
        let settled = tokio::time::Instant::now() + LIMIT;
        while tokio::time::Instant::now() < settled {
            let before = self.revisions().await;
            tokio::time::sleep(time).await;
            if before == self.revisions().await {
                return true;
            }
        }
        false
    }

    /// The resource versions of everything that is not a heartbeat.
    async fn revisions(&self) -> Vec<(String, String, Option<String>)> {
        let mut revisions = Vec::new();
        for kind in controllers::kinds::discover(&self.client())
            .await
            .expect("discovery")
        {
            if kind.resource.kind == "Lease" {
                continue;
            }
            let api = Api::<kube::api::DynamicObject>::all_with(self.client(), &kind.resource);
            let all = api
                .list_metadata(&ListParams::default())
                .await
                .expect("a list");
            revisions.extend(all.items.into_iter().map(|object| {
                (
                    kind.resource.kind.clone(),
                    object.name_any(),
                    object.metadata.resource_version,
                )
            }));
        }
        revisions
    }

    /// Stops the cluster and proves that no process is left.
    pub(crate) async fn end(self) {
        self.inner.shutdown().await;
        let path = self.directory.path().to_string_lossy().into_owned();
        eventually("no process is left", || async {
            processes_with(&path).is_empty()
        })
        .await;
    }
}

/// Processes whose environment mentions the text.
fn processes_with(text: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let numbered = entries.filter(|entry| {
        entry
            .file_name()
            .to_string_lossy()
            .bytes()
            .all(|byte| byte.is_ascii_digit())
    });
    let mentions = |entry: &std::fs::DirEntry| {
        std::fs::read(entry.path().join("environ"))
            .is_ok_and(|environment| String::from_utf8_lossy(&environment).contains(text))
    };
    numbered
        .filter(mentions)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Waits until a condition holds, and fails with its name when it takes too long.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    controllers::pods::is_ready(pod)
}

pub(crate) async fn is_ready_named(pods: &Api<Pod>, name: &str) -> bool {
    pods.get_opt(name)
        .await
        .expect("an answer")
        .is_some_and(|pod| is_ready(&pod))
}

pub(crate) async fn ready_count(pods: &Api<Pod>) -> usize {
    pods.list(&ListParams::default())
        .await
        .expect("pods")
        .items
        .iter()
        .filter(|pod| is_ready(pod))
        .count()
}

/// The status of a pod's only container.
pub(crate) async fn container(pods: &Api<Pod>, name: &str) -> Option<ContainerStatus> {
    pods.get_opt(name)
        .await
        .expect("an answer")?
        .status?
        .container_statuses?
        .into_iter()
        .next()
}

/// Why a container waits; empty when it does not.
pub(crate) fn waiting(status: &ContainerStatus) -> String {
    status
        .state
        .as_ref()
        .and_then(|state| state.waiting.as_ref())
        .and_then(|waiting| waiting.reason.clone())
        .unwrap_or_default()
}

/// The answer to a GET, whole.
pub(crate) async fn http_get(address: &str, path: &str) -> String {
    try_http_get(address, path).await.expect("an answer")
}

/// The answer to a GET, if there is one.
pub(crate) async fn try_http_get(address: &str, path: &str) -> Option<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    stream
        .write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())
        .await
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}
