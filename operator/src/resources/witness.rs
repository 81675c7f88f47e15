//! The ConfigMap in which the operator keeps what it has promised as a cluster's witness.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;

use super::metadata;
use crate::api::CacheCluster;
use crate::names;

/// The ConfigMap, with nothing in it. Kubernetes removes it with the cluster.
pub fn witness(cluster: &CacheCluster) -> ConfigMap {
    let name = cluster.name_any();
    let object = names::witness(&name, &cluster.uid().unwrap_or_default());
    let mut metadata = metadata(cluster, object, None);
    metadata.labels = Some(BTreeMap::from([(names::WITNESS_LABEL.to_owned(), name)]));
    ConfigMap {
        metadata,
        ..ConfigMap::default()
    }
}
