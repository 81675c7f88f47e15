//! A manifest that cannot be meant is refused by the API server, with a message that names the field.

use crate::bench::{self, Bench};
use crate::kubectl::kubectl;

/// A spec, and what the refusal must say.
const BAD: [(&str, &[&str]); 12] = [
    ("shards: 0", &["spec.shards", "greater than or equal to 1"]),
    ("shards: 501", &["spec.shards", "less than or equal to 500"]),
    ("shards: three", &["spec.shards", "integer"]),
    (
        "replicasPerShard: 6",
        &["spec.replicasPerShard", "less than or equal to 5"],
    ),
    ("replicas: 2", &["unknown field \"spec.replicas\""]),
    ("image: \"\"", &["spec.image", "at least 1 chars long"]),
    (
        "memory: {maxMemoryPercent: 100}",
        &["spec.memory.maxMemoryPercent", "less than or equal to 95"],
    ),
    (
        "memory: {evictionPolicy: sometimes}",
        &[
            "spec.memory.evictionPolicy",
            "Unsupported value",
            "allkeys-lru",
        ],
    ),
    (
        "resources: {requests: {memory: 1Gi}}",
        &["spec.resources", "resources.limits.memory is required"],
    ),
    (
        "resources: {requests: {memory: 2Gi}, limits: {memory: 1Gi}}",
        &["resources.requests.memory must not exceed"],
    ),
    (
        "config: {maxmemory: 1gb}",
        &["spec.config", "config.maxmemory is derived"],
    ),
    (
        "config: {save: \"60 1\"}",
        &["spec.config", "persistence is not supported yet"],
    ),
];

#[test]
fn bad_manifests_are_refused_with_a_message_that_names_the_field() {
    bench::run("manifests", async |bench: &Bench| {
        for (spec, parts) in BAD {
            let manifest = format!(
                "apiVersion: cache.evenkeel.dev/v1alpha1\nkind: CacheCluster\nmetadata:\n  name: bad\nspec:\n  {spec}\n"
            );
            let answer = kubectl(bench, &["apply", "-f", "-"], &manifest).await;
            assert!(!answer.succeeded, "{spec} was taken: {answer:?}");
            for part in parts {
                assert!(
                    answer.error.contains(part),
                    "{spec}: no {part:?} in {}",
                    answer.error
                );
            }
        }
        let long = format!(
            "apiVersion: cache.evenkeel.dev/v1alpha1\nkind: CacheCluster\nmetadata:\n  name: {}\nspec: {{}}\n",
            "x".repeat(41)
        );
        let answer = kubectl(bench, &["apply", "-f", "-"], &long).await;
        assert!(
            answer
                .error
                .contains("metadata.name must be at most 40 characters"),
            "{answer:?}"
        );
    });
}
