//! Services and disruption budgets.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::metadata;
use crate::api::CacheCluster;
use crate::names;

/// The headless Service: a host name for every pod, ready or not, because nodes must find each other to become ready.
pub(super) fn nodes(cluster: &CacheCluster) -> Service {
    let name = cluster.name_any();
    Service {
        metadata: metadata(cluster, names::nodes_service(&name), None),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(names::selector(&name)),
            ports: Some(vec![
                port("redis", names::CLIENT_PORT),
                port("bus", names::BUS_PORT),
                port("metrics", names::HTTP_PORT),
            ]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// The Service through which clients find a first node; the node tells them the others.
pub(super) fn clients(cluster: &CacheCluster) -> Service {
    let name = cluster.name_any();
    Service {
        spec: Some(ServiceSpec {
            selector: Some(names::selector(&name)),
            ports: Some(vec![port("redis", names::CLIENT_PORT)]),
            ..ServiceSpec::default()
        }),
        metadata: metadata(cluster, name, None),
        ..Service::default()
    }
}

fn port(name: &str, number: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(name.to_owned())),
        ..ServicePort::default()
    }
}

/// Lets Kubernetes evict one pod of a shard at a time.
pub(super) fn disruption_budget(cluster: &CacheCluster, index: u32) -> PodDisruptionBudget {
    let name = cluster.name_any();
    PodDisruptionBudget {
        metadata: metadata(cluster, names::shard(&name, index), Some(index)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(names::shard_selector(&name, index)),
                ..LabelSelector::default()
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
