//! The Kubernetes API of the operator: `CacheCluster` in `cache.evenkeel.dev/v1alpha1`.
//!
//! Owns the types, their schema, the validation rules and the texts that `kubectl explain` shows. It must never hold behaviour:
//! what a field causes is decided by `resources` and `plan`.

mod quantity;
#[allow(
    unreachable_pub,
    reason = "KubeSchema repeats each struct inside a function, with its visibility"
)]
mod spec;
#[allow(
    unreachable_pub,
    reason = "KubeSchema repeats each struct inside a function, with its visibility"
)]
mod status;

use kube::CustomResourceExt;

pub use quantity::Quantity;
pub use spec::{
    CacheCluster, CacheClusterSpec, EvictionPolicy, Memory, Placement, ResourceList, Resources,
    ShardAntiAffinity,
};
pub use status::{CacheClusterStatus, Health, Phase, RebalanceStatus, ShardStatus};

/// Version of the data plane that this operator was built with; the default image carries it as its tag.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The `CustomResourceDefinition` as YAML, as it stands in `crds/`.
///
/// # Errors
/// Only if the definition cannot be expressed in YAML, which its test excludes.
pub fn crd_yaml() -> Result<String, serde_yaml::Error> {
    serde_yaml::to_string(&CacheCluster::crd())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[allow(
        clippy::needless_pass_by_value,
        reason = "callers write the value in place"
    )]
    fn cluster(spec: Value) -> CacheCluster {
        named("sessions", spec)
    }

    #[allow(
        clippy::needless_pass_by_value,
        reason = "callers write the value in place"
    )]
    fn named(name: &str, spec: Value) -> CacheCluster {
        serde_json::from_value(json!({
            "apiVersion": "cache.evenkeel.dev/v1alpha1",
            "kind": "CacheCluster",
            "metadata": {"name": name, "namespace": "default"},
            "spec": spec,
        }))
        .unwrap()
    }

    fn refusal(cluster: &CacheCluster) -> String {
        let errors = cluster.validate_cel().unwrap_err();
        format!("{errors:?}")
    }

    #[test]
    fn the_generated_crd_is_the_checked_in_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/cachecluster.yaml");
        assert_eq!(
            std::fs::read_to_string(path).unwrap(),
            crd_yaml().unwrap(),
            "regenerate with: cargo run -p cache-operator -- crd > crds/cachecluster.yaml"
        );
    }

    #[test]
    fn an_empty_spec_gets_the_defaults_and_is_valid() {
        let cluster = cluster(json!({}));
        assert_eq!(cluster.spec.shards, 3);
        assert_eq!(cluster.spec.replicas_per_shard, 1);
        assert_eq!(cluster.spec.memory.max_memory_percent, 75);
        assert_eq!(cluster.spec.memory.eviction_policy, EvictionPolicy::Auto);
        cluster.validate_cel().unwrap();
    }

    #[test]
    fn names_must_be_short_dns_labels() {
        named("a-1", json!({})).validate_cel().unwrap();
        let long = named(&"x".repeat(41), json!({}));
        assert!(refusal(&long).contains("metadata.name must be at most 40 characters"));
        for bad in ["1st", "with.dot"] {
            assert!(refusal(&named(bad, json!({}))).contains("metadata.name must be a DNS label"));
        }
    }

    #[test]
    fn a_memory_limit_is_required_because_maxmemory_is_a_share_of_it() {
        let cluster = cluster(json!({"resources": {"requests": {"memory": "1Gi"}}}));
        assert!(refusal(&cluster).contains("resources.limits.memory is required"));
    }

    #[test]
    fn requests_must_not_exceed_limits() {
        let cluster = cluster(json!({"resources": {
            "requests": {"memory": "2Gi", "cpu": 1}, "limits": {"memory": "1Gi", "cpu": "2"}}}));
        let refusal = refusal(&cluster);
        assert!(
            refusal.contains("requests.memory must not exceed"),
            "{refusal}"
        );
        assert!(
            !refusal.contains("requests.cpu must not exceed"),
            "{refusal}"
        );
    }

    #[test]
    fn config_refuses_what_the_operator_manages_and_what_it_does_not_know() {
        cluster(json!({"config": {"timeout": "30", "loglevel": "verbose"}}))
            .validate_cel()
            .unwrap();
        for (key, reason) in [
            ("maxmemory", "memory.maxMemoryPercent"),
            ("maxmemory-policy", "memory.evictionPolicy"),
            ("appendonly", "persistence"),
            ("cluster-enabled", "sets the addresses"),
            ("colour", "config may set only"),
        ] {
            let refusal = refusal(&cluster(json!({"config": {key: "x"}})));
            assert!(refusal.contains(reason), "{key}: {refusal}");
        }
        let two_lines = cluster(json!({"config": {"timeout": "30\nport 1"}}));
        assert!(refusal(&two_lines).contains("one line"));
    }

    #[test]
    fn every_rule_fits_the_cost_budget_of_a_real_api_server() {
        let crd = serde_json::to_value(CacheCluster::crd()).unwrap();
        let config = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
            ["properties"]["config"];
        assert_eq!(config["maxProperties"], 32);
        assert_eq!(config["additionalProperties"]["maxLength"], 256);
    }
}
