//! The secret that a cluster's nodes know each other by on the bus.
//!
//! It is only ever created. The operator need not be able to read Secrets (only its votes need that), so it does not know whether this one is
//! there; what it does know is when making one does no harm.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use super::metadata;
use crate::api::CacheCluster;
use crate::names;
use crate::observe::Observed;

/// Name of the secret in the Secret and, below [`DIRECTORY`], in the pods.
pub const FILE: &str = "secret";
/// Where the Secret is mounted.
pub(super) const DIRECTORY: &str = "/etc/cache-node-secret";

/// A Secret for the cluster's nodes, with this text.
pub fn secret(cluster: &CacheCluster, text: String) -> Secret {
    Secret {
        metadata: metadata(cluster, name(cluster), None),
        string_data: Some(BTreeMap::from([(FILE.to_owned(), text)])),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    }
}

/// A text that nobody guesses: 32 random bytes in hexadecimal.
pub fn random_text() -> String {
    let bytes: [u8; 32] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether to create the Secret, which may be there: while a shard's pods are not told to use it, or no pod runs. Otherwise somebody has removed it;
/// another one would keep pods that start from those that run with the first.
pub fn wants_secret<S: Borrow<StatefulSet>>(
    cluster: &CacheCluster,
    sets: &[S],
    observed: &Observed,
) -> bool {
    let name = name(cluster);
    let all_use_it = sets.iter().all(|set| uses(set.borrow(), &name));
    !all_use_it || !observed.pods.values().any(|pod| pod.running)
}

pub(super) fn name(cluster: &CacheCluster) -> String {
    names::secret(&cluster.name_any(), &cluster.uid().unwrap_or_default())
}

fn uses(set: &StatefulSet, name: &str) -> bool {
    let pods = set
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let volumes = pods.and_then(|pods| pods.volumes.as_ref());
    let mut secrets = volumes
        .into_iter()
        .flatten()
        .filter_map(|volume| volume.secret.as_ref());
    secrets.any(|secret| secret.secret_name.as_deref() == Some(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::statefulset::stateful_set;
    use super::super::tests::cluster;
    use super::*;
    use crate::names::PodPlace;
    use crate::observe::Pod;

    fn observed(running: bool) -> Observed {
        let place = PodPlace {
            shard: 0,
            ordinal: 0,
        };
        let pod = Pod {
            running,
            ..Pod::default()
        };
        Observed {
            pods: BTreeMap::from([(place, pod)]),
            ..Observed::default()
        }
    }

    #[test]
    fn it_is_made_before_the_first_pod_and_not_again_while_one_runs_with_it() {
        let cluster = cluster(&json!({}));
        let (none, nobody): ([StatefulSet; 0], _) = ([], Observed::default());
        assert!(wants_secret(&cluster, &none, &nobody));
        let with = [stateful_set(&cluster, 0, 1, "hash")];
        assert!(wants_secret(&cluster, &with, &observed(false)));
        assert!(!wants_secret(&cluster, &with, &observed(true)));
    }

    #[test]
    fn a_cluster_from_before_there_were_secrets_gets_one_while_its_pods_run() {
        let cluster = cluster(&json!({}));
        let mut sets = [0, 1].map(|index| stateful_set(&cluster, index, 1, "hash"));
        assert!(!wants_secret(&cluster, &sets, &observed(true)));
        let pods = sets[1]
            .spec
            .as_mut()
            .and_then(|spec| spec.template.spec.as_mut());
        pods.unwrap().volumes = None;
        assert!(wants_secret(&cluster, &sets, &observed(true)));
    }

    #[test]
    fn another_cluster_of_the_same_name_has_another_one() {
        let (first, mut second) = (cluster(&json!({})), cluster(&json!({})));
        second.metadata.uid = Some("u-2".to_owned());
        assert_ne!(name(&first), name(&second));
    }

    #[test]
    fn no_two_texts_are_alike_and_each_is_long_enough_for_the_nodes() {
        let (one, other) = (random_text(), random_text());
        assert_ne!(one, other);
        assert_eq!(one.len(), 64);
    }
}
