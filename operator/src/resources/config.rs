//! The nodes' configuration file.

use std::collections::BTreeMap;
use std::fmt::Write;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;

use super::metadata;
use crate::api::CacheCluster;
use crate::names;

/// Name of the configuration file in the ConfigMap and, below [`DIRECTORY`], in the pods.
pub(super) const FILE: &str = "cache-node.conf";
/// Where the ConfigMap is mounted.
pub(super) const DIRECTORY: &str = "/etc/cache-node";
/// The nodes' own default, in ms.
const NODE_TIMEOUT: u64 = 2_000;
/// The directive that changes it.
const NODE_TIMEOUT_DIRECTIVE: &str = "cluster-node-timeout";

pub(super) fn config_map(cluster: &CacheCluster) -> ConfigMap {
    ConfigMap {
        metadata: metadata(cluster, names::config(&cluster.name_any()), None),
        data: Some(BTreeMap::from([(FILE.to_owned(), file(cluster))])),
        ..ConfigMap::default()
    }
}

/// The directives that are the same for all pods; addresses are given as flags.
fn file(cluster: &CacheCluster) -> String {
    let mut directives = BTreeMap::from([
        ("port".to_owned(), names::CLIENT_PORT.to_string()),
        ("cluster-enabled".to_owned(), "yes".to_owned()),
        ("cluster-port".to_owned(), names::BUS_PORT.to_string()),
        ("metrics-port".to_owned(), names::HTTP_PORT.to_string()),
        (
            "maxmemory-policy".to_owned(),
            cluster.spec.memory.eviction_policy.directive().to_owned(),
        ),
    ]);
    let synchronous = cluster.spec.synchronous_replicas;
    if synchronous > 0 {
        directives.insert("synchronous-replicas".to_owned(), synchronous.to_string());
    }
    if let Some(bytes) = max_memory(cluster) {
        directives.insert("maxmemory".to_owned(), bytes.to_string());
    }
    if let Some(cores) = &cluster.spec.resources.limits.cpu {
        let threads = cores.value().unwrap_or(1).max(1);
        directives.insert("threads".to_owned(), threads.to_string());
    }
    directives.extend(cluster.spec.config.clone());
    let mut text = String::new();
    for (name, value) in directives {
        let _ = writeln!(text, "{name} {value}");
    }
    text
}

/// Bytes that keys may use in each pod: the user's share of the memory limit.
fn max_memory(cluster: &CacheCluster) -> Option<u64> {
    let limit = cluster.spec.resources.limits.memory.as_ref()?.value()?;
    let percent = u64::try_from(cluster.spec.memory.max_memory_percent).ok()?;
    Some((u128::from(limit) * u128::from(percent) / 100) as u64)
}

/// Silence after which the nodes suspect each other, in ms.
pub fn node_timeout(cluster: &CacheCluster) -> u64 {
    let directive = cluster.spec.config.get(NODE_TIMEOUT_DIRECTIVE);
    let number = directive.and_then(|text| text.trim().parse().ok());
    number.unwrap_or(NODE_TIMEOUT)
}

/// A digest of the configuration for the pod template, so that a change shows as a new revision (FNV-1a, 64 bits).
pub(super) fn hash(config: &ConfigMap) -> String {
    let text = config
        .data
        .iter()
        .flat_map(BTreeMap::values)
        .flat_map(|text| text.bytes());
    let digest = text.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{digest:016x}")
}

#[cfg(test)]
mod tests {
    use super::super::tests::cluster;
    use super::*;
    use kube::CustomResourceExt;
    use serde_json::json;

    #[test]
    fn maxmemory_is_the_share_of_the_limit() {
        let cluster = cluster(&json!({
            "resources": {"limits": {"memory": "1Gi"}}, "memory": {"maxMemoryPercent": 50}}));
        assert!(file(&cluster).contains("maxmemory 536870912\n"));
    }

    #[test]
    fn every_eviction_policy_of_the_schema_is_the_directive_of_its_name() {
        let crd = serde_json::to_value(CacheCluster::crd()).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
            ["properties"]["memory"]["properties"]["evictionPolicy"];
        let names = schema["enum"].as_array().unwrap();
        assert_eq!(names.len(), 14);
        for name in names {
            let cluster = cluster(&json!({"memory": {"evictionPolicy": name}}));
            let directive = format!("maxmemory-policy {}\n", name.as_str().unwrap());
            assert!(file(&cluster).contains(&directive), "{directive}");
        }
        let default = format!("maxmemory-policy {}\n", schema["default"].as_str().unwrap());
        assert_eq!(default, "maxmemory-policy auto\n");
        assert!(file(&cluster(&json!({}))).contains(&default));
    }

    #[test]
    fn the_durability_mode_is_a_directive() {
        let cluster_with = |number| cluster(&json!({"synchronousReplicas": number}));
        assert!(file(&cluster_with(1)).contains("synchronous-replicas 1\n"));
        assert!(!file(&cluster_with(0)).contains("synchronous-replicas"));
    }

    #[test]
    fn the_users_directives_are_taken_over() {
        let cluster = cluster(
            &json!({"config": {"threads": "3"}, "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}}),
        );
        assert!(file(&cluster).contains("threads 3\n"));
        assert_eq!(file(&cluster).matches("threads").count(), 1);
    }
}
