//! A cluster that is as it should be causes no API write and no event.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::{Api, DynamicObject, ListParams};
use kube::discovery;
use kube::{Client, ResourceExt};

use crate::bench::{self, Bench};

/// Kinds that the operator writes, or could.
const KINDS: [(&str, &str, &str); 10] = [
    ("cache.evenkeel.dev", "v1alpha1", "CacheCluster"),
    ("apps", "v1", "StatefulSet"),
    ("policy", "v1", "PodDisruptionBudget"),
    ("events.k8s.io", "v1", "Event"),
    ("discovery.k8s.io", "v1", "EndpointSlice"),
    ("coordination.k8s.io", "v1", "Lease"),
    ("", "v1", "Pod"),
    ("", "v1", "Service"),
    ("", "v1", "ConfigMap"),
    ("", "v1", "Secret"),
];

fn idle_time() -> Duration {
    Duration::from_secs(
        std::env::var("E2E_IDLE_SECONDS")
            .ok()
            .and_then(|seconds| seconds.parse().ok())
            .unwrap_or(60),
    )
}

/// The version of every object in a namespace.
async fn versions(client: &Client, namespace: &str) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    for (group, version, kind) in KINDS {
        let kind = kube::core::GroupVersionKind::gvk(group, version, kind);
        let (resource, _) = discovery::pinned_kind(client, &kind).await.unwrap();
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        for object in api.list(&ListParams::default()).await.unwrap() {
            let version = object.resource_version().unwrap_or_default();
            versions.insert(format!("{} {}", resource.kind, object.name_any()), version);
        }
    }
    versions
}

#[test]
fn an_idle_cluster_causes_no_write_and_no_event() {
    bench::run("idle", async |bench: &Bench| {
        let _cache = bench.ready_cache(2, 1).await;
        let client = bench.platform.client();
        // The last events and endpoints of the start may still be on their way.
        let mut before = versions(client, &bench.namespace).await;
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let now = versions(client, &bench.namespace).await;
            if now == before {
                break;
            }
            before = now;
        }
        let since = jiff::Timestamp::now();
        tokio::time::sleep(idle_time()).await;
        assert_eq!(versions(client, &bench.namespace).await, before);
        // Not even a write that changes nothing was asked for.
        assert_eq!(
            bench.platform.write_requests(&bench.namespace, since),
            Vec::<String>::new()
        );
    });
}
