//! Names, labels and ports of what belongs to a cluster. Both the objects that are built and the pods that are found follow them.

use std::collections::BTreeMap;
use std::fmt;

/// Field manager of everything that the operator applies.
pub const MANAGER: &str = "cache-operator";
/// Finalizer on every `CacheCluster`.
pub const FINALIZER: &str = "cache.evenkeel.dev/operator";
/// Label whose value is the cluster's name.
pub const CLUSTER_LABEL: &str = "cache.evenkeel.dev/cluster";
/// Label of what the operator writes as a cluster's witness; its value is the cluster's name. It is not among what passes follow, since that
/// changes whenever the witness votes.
pub const WITNESS_LABEL: &str = "cache.evenkeel.dev/witness";
/// Label whose value is the shard's index.
pub const SHARD_LABEL: &str = "cache.evenkeel.dev/shard";
/// Name of the pods' container.
pub const CONTAINER: &str = "cache-node";
/// Port for clients.
pub const CLIENT_PORT: u16 = 6379;
/// Port of the cluster bus.
pub const BUS_PORT: u16 = 16_379;
/// Port of `/metrics`, `/livez` and `/readyz`.
pub const HTTP_PORT: u16 = 9121;

/// A pod's place: which shard, and which pod of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodPlace {
    /// The shard's index.
    pub shard: u32,
    /// The pod's ordinal in the shard's StatefulSet.
    pub ordinal: u32,
}

impl fmt::Display for PodPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}-{}", self.shard, self.ordinal)
    }
}

/// Name of a shard's StatefulSet and PodDisruptionBudget.
pub fn shard(cluster: &str, index: u32) -> String {
    format!("{cluster}-s{index}")
}

/// Name of a pod.
pub fn pod(cluster: &str, place: PodPlace) -> String {
    format!("{cluster}-{place}")
}

/// Name of the headless Service that gives every pod a host name.
pub fn nodes_service(cluster: &str) -> String {
    format!("{cluster}-nodes")
}

/// Name of the ConfigMap with the nodes' configuration.
pub fn config(cluster: &str) -> String {
    format!("{cluster}-config")
}

/// Name of the Secret that the nodes know each other by. It has the beginning of the cluster's uid: what is left of an earlier cluster of the
/// same name, and about to be removed by Kubernetes, is not this one's.
pub fn secret(cluster: &str, uid: &str) -> String {
    let beginning: String = uid.chars().take(8).collect();
    format!("{cluster}-bus-{beginning}")
}

/// Name of the ConfigMap in which the operator keeps what it has promised as the cluster's witness. For the rest, as [`secret`].
pub fn witness(cluster: &str, uid: &str) -> String {
    let beginning: String = uid.chars().take(8).collect();
    format!("{cluster}-witness-{beginning}")
}

/// Host and port for clients.
pub fn endpoint(cluster: &str, namespace: &str) -> String {
    format!("{cluster}.{namespace}.svc:{CLIENT_PORT}")
}

/// The shard index in the name of a shard's StatefulSet, if it is one of this cluster's.
pub fn shard_index(cluster: &str, name: &str) -> Option<u32> {
    let digits = name.strip_prefix(cluster)?.strip_prefix("-s")?;
    digits.parse().ok()
}

/// The place in a pod's name or host name, if it is one of this cluster's.
pub fn pod_place(cluster: &str, name: &str) -> Option<PodPlace> {
    let label = name.split('.').next()?;
    let (set, ordinal) = label.rsplit_once('-')?;
    Some(PodPlace {
        shard: shard_index(cluster, set)?,
        ordinal: ordinal.parse().ok()?,
    })
}

/// Labels that select the pods of a cluster.
pub fn selector(cluster: &str) -> BTreeMap<String, String> {
    labels_of(&[
        ("app.kubernetes.io/name", "cache-node"),
        (CLUSTER_LABEL, cluster),
    ])
}

/// Labels that select the pods of one shard.
pub fn shard_selector(cluster: &str, index: u32) -> BTreeMap<String, String> {
    let mut labels = selector(cluster);
    labels.insert(SHARD_LABEL.to_owned(), index.to_string());
    labels
}

/// The label selector of a cluster's pods as text.
pub fn selector_text(cluster: &str) -> String {
    format!("app.kubernetes.io/name=cache-node,{CLUSTER_LABEL}={cluster}")
}

/// Labels of an object of a cluster, or of one of its shards.
pub fn labels(cluster: &str, index: Option<u32>) -> BTreeMap<String, String> {
    let mut labels = labels_of(&[
        ("app.kubernetes.io/name", "cache-node"),
        ("app.kubernetes.io/instance", cluster),
        ("app.kubernetes.io/managed-by", MANAGER),
        (CLUSTER_LABEL, cluster),
    ]);
    if let Some(index) = index {
        labels.insert(SHARD_LABEL.to_owned(), index.to_string());
    }
    labels
}

fn labels_of(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_from_pod_and_host_names_of_its_own_cluster_only() {
        let place = PodPlace {
            shard: 12,
            ordinal: 1,
        };
        assert_eq!(pod_place("a-s1", "a-s1-s12-1"), Some(place));
        assert_eq!(pod_place("a", "a-s12-1.a-nodes.default.svc"), Some(place));
        assert_eq!(pod_place("a", "b-s12-1"), None);
        assert_eq!(pod_place("a", "a-s1-s12-1"), None);
        assert_eq!(pod_place("a", ""), None);
        assert_eq!(pod("a", place), "a-s12-1");
        assert_eq!(shard_index("a", "a-s12"), Some(12));
    }
}
