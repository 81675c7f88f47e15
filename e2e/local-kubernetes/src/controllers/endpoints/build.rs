//! Endpoints and EndpointSlices of a Service from its pods. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
    ServicePort,
};
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointPort as SlicePort, EndpointSlice,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::core::Selector;

use crate::controllers::pods;

/// Label of a slice that names its Service.
pub const SERVICE_LABEL: &str = "kubernetes.io/service-name";
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// The Service's selector; `None` when endpoints are not ours to manage.
pub fn selector(service: &Service) -> Option<Selector> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    let labels = spec.selector.as_ref().filter(|labels| !labels.is_empty())?;
    Some(
        labels
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    )
}

fn is_headless(service: &Service) -> bool {
    service
        .spec
        .as_ref()
        .and_then(|spec| spec.cluster_ip.as_deref())
        == Some("None")
}

fn publishes_not_ready(service: &Service) -> bool {
    service
        .spec
        .as_ref()
        .and_then(|spec| spec.publish_not_ready_addresses)
        == Some(true)
}

/// Notes when the endpoints changed last, as Kubernetes does.
pub fn stamp(metadata: &mut ObjectMeta, now: Timestamp) {
    metadata
        .annotations
        .get_or_insert_default()
        .insert(TRIGGER_TIME.into(), crate::clock::rfc3339(now));
}

/// Whether the stored object has all the labels that it should have.
pub fn has_labels(present: &ObjectMeta, wanted: &ObjectMeta) -> bool {
    present.labels.clone().unwrap_or_default() == wanted.labels.clone().unwrap_or_default()
}

/// Whether a stored slice says what it should say.
pub fn same(present: &EndpointSlice, wanted: &EndpointSlice) -> bool {
    present.endpoints == wanted.endpoints
        && present.ports.clone().unwrap_or_default() == wanted.ports.clone().unwrap_or_default()
        && has_labels(&present.metadata, &wanted.metadata)
}

/// The number of a port in a pod: a literal one, or that of the container port with the name.
fn target_port(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match port.target_port.as_ref() {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let containers = &pod.spec.as_ref()?.containers;
            let mut ports = containers
                .iter()
                .flat_map(|container| container.ports.iter().flatten());
            ports
                .find(|port| {
                    port.name.as_ref() == Some(name)
                        && port.protocol.as_deref().unwrap_or("TCP") == protocol
                })
                .map(|port| port.container_port)
        }
    }
}

fn ports_of(service: &Service) -> &[ServicePort] {
    service
        .spec
        .as_ref()
        .and_then(|spec| spec.ports.as_deref())
        .unwrap_or_default()
}

fn address(pod: &Pod) -> Option<&str> {
    pod.status
        .as_ref()?
        .pod_ip
        .as_deref()
        .filter(|ip| !ip.is_empty())
}

fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".into()),
        namespace: pod.namespace(),
        name: pod.metadata.name.clone(),
        uid: pod.uid(),
        ..ObjectReference::default()
    }
}

/// The host name that a pod has under its governing Service.
fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    spec.hostname
        .clone()
        .filter(|_| spec.subdomain.as_deref() == service.metadata.name.as_deref())
}

/// A pod that ended never receives traffic; others do as soon as they have an address.
fn candidates(pods: &[Pod]) -> Vec<&Pod> {
    let mut pods: Vec<_> = pods
        .iter()
        .filter(|pod| !pods::is_finished(pod) && address(pod).is_some())
        .collect();
    pods.sort_by_key(|pod| (address(pod).map(str::to_string), pod.metadata.name.clone()));
    pods
}

/// The Service's `Endpoints`: one subset for each distinct set of port numbers.
pub fn endpoints(service: &Service, pods: &[Pod]) -> Endpoints {
    type Addresses = (Vec<EndpointAddress>, Vec<EndpointAddress>);
    let mut subsets: BTreeMap<Vec<Option<i32>>, Addresses> = BTreeMap::new();
    for pod in candidates(pods)
        .into_iter()
        .filter(|pod| !pods::is_terminating(pod) || publishes_not_ready(service))
    {
        let numbers: Vec<_> = ports_of(service)
            .iter()
            .map(|port| target_port(port, pod))
            .collect();
        if !numbers.is_empty() && numbers.iter().all(Option::is_none) {
            continue;
        }
        let entry = EndpointAddress {
            ip: address(pod).unwrap_or_default().into(),
            hostname: hostname(service, pod),
            node_name: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            target_ref: Some(reference(pod)),
        };
        let subset = subsets.entry(numbers).or_default();
        if publishes_not_ready(service) || pods::is_ready(pod) {
            subset.0.push(entry);
        } else {
            subset.1.push(entry);
        }
    }
    let subsets: Vec<_> = subsets
        .into_iter()
        .map(|(numbers, (ready, not_ready))| EndpointSubset {
            addresses: Some(ready).filter(|list| !list.is_empty()),
            not_ready_addresses: Some(not_ready).filter(|list| !list.is_empty()),
            ports: Some(
                ports_of(service)
                    .iter()
                    .zip(&numbers)
                    .filter_map(|(port, number)| endpoint_port(port, *number))
                    .collect::<Vec<_>>(),
            )
            .filter(|list| !list.is_empty()),
        })
        .collect();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(
        "endpoints.kubernetes.io/managed-by".into(),
        "endpoint-controller".into(),
    );
    if is_headless(service) {
        labels.insert(HEADLESS_LABEL.into(), String::new());
    }
    Endpoints {
        metadata: ObjectMeta {
            name: Some(service.name_any()),
            namespace: service.namespace(),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        subsets: Some(subsets).filter(|subsets| !subsets.is_empty()),
    }
}

fn endpoint_port(port: &ServicePort, number: Option<i32>) -> Option<EndpointPort> {
    Some(EndpointPort {
        name: port.name.clone(),
        port: number?,
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
        app_protocol: port.app_protocol.clone(),
    })
}

/// The Service's single slice. Port numbers are those of the first pod that has them all.
pub fn slice(service: &Service, pods: &[Pod]) -> EndpointSlice {
    let pods = candidates(pods);
    let numbered = pods.iter().find(|pod| {
        ports_of(service)
            .iter()
            .all(|port| target_port(port, pod).is_some())
    });
    let ports: Option<Vec<_>> = numbered
        .filter(|_| !ports_of(service).is_empty())
        .map(|pod| {
            ports_of(service)
                .iter()
                .map(|port| SlicePort {
                    name: Some(port.name.clone().unwrap_or_default()),
                    port: target_port(port, pod),
                    protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
                    app_protocol: port.app_protocol.clone(),
                })
                .collect()
        });
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(
        "endpointslice.kubernetes.io/managed-by".into(),
        "endpointslice-controller.k8s.io".into(),
    );
    labels.insert(SERVICE_LABEL.into(), service.name_any());
    if is_headless(service) {
        labels.insert(HEADLESS_LABEL.into(), String::new());
    }
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", service.name_any())),
            namespace: service.namespace(),
            labels: Some(labels),
            owner_references: pods::controller_reference(service),
            ..ObjectMeta::default()
        },
        address_type: "IPv4".into(),
        endpoints: Some(
            pods.iter()
                .map(|pod| endpoint(service, pod))
                .collect::<Vec<_>>(),
        )
        .filter(|list| !list.is_empty()),
        ports,
    }
}

fn endpoint(service: &Service, pod: &Pod) -> Endpoint {
    let serving = pods::is_ready(pod);
    let terminating = pods::is_terminating(pod);
    Endpoint {
        addresses: address(pod).map(str::to_string).into_iter().collect(),
        conditions: Some(EndpointConditions {
            ready: Some(publishes_not_ready(service) || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: hostname(service, pod),
        node_name: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        target_ref: Some(reference(pod)),
        ..Endpoint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::pods::fixtures::{pod, terminating};
    use serde_json::json;

    #[expect(
        clippy::needless_pass_by_value,
        reason = "literals read better by value"
    )]
    fn service(spec: serde_json::Value) -> Service {
        serde_json::from_value(
            json!({"metadata": {"name": "h", "namespace": "t", "uid": "u"}, "spec": spec}),
        )
        .expect("a Service")
    }

    fn at(ip: &str, mut pod: Pod) -> Pod {
        pod.status.as_mut().expect("a status").pod_ip = Some(ip.into());
        pod.spec = serde_json::from_value(json!({"hostname": pod.name_any(), "subdomain": "h",
            "containers": [{"name": "c", "ports": [{"name": "redis", "containerPort": 6379}]}]}))
        .expect("a spec");
        pod
    }

    #[test]
    fn ready_pods_are_addresses_and_others_are_not_ready_addresses() {
        let service = service(
            json!({"selector": {"a": "b"}, "ports": [{"name": "redis", "port": 80, "targetPort": "redis"}]}),
        );
        let pods = [
            at("127.0.0.2", pod("b", "Running", false)),
            at("127.0.0.1", pod("a", "Running", true)),
            at("127.0.0.3", terminating(pod("c", "Running", true))),
            at("127.0.0.4", pod("d", "Failed", false)),
            pod("e", "Pending", false),
        ];
        let subsets = endpoints(&service, &pods).subsets.expect("subsets");
        let subset = &subsets[0];
        let ips = |list: &Option<Vec<EndpointAddress>>| {
            list.iter()
                .flatten()
                .map(|address| address.ip.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (ips(&subset.addresses), ips(&subset.not_ready_addresses)),
            (vec!["127.0.0.1".into()], vec!["127.0.0.2".into()])
        );
        assert_eq!(subset.ports.as_ref().expect("ports")[0].port, 6379);
        let slice = slice(&service, &pods);
        let ready: Vec<_> = slice
            .endpoints
            .iter()
            .flatten()
            .map(|endpoint| {
                endpoint
                    .conditions
                    .as_ref()
                    .and_then(|conditions| conditions.ready)
            })
            .collect();
        assert_eq!(ready, [Some(true), Some(false), Some(false)]);
        assert_eq!(
            slice.endpoints.expect("endpoints")[0].hostname.as_deref(),
            Some("a")
        );
    }

    #[test]
    fn a_headless_service_may_publish_pods_before_they_are_ready() {
        let service = service(
            json!({"selector": {"a": "b"}, "clusterIP": "None", "publishNotReadyAddresses": true, "ports": [{"port": 6379}]}),
        );
        let pods = [at("127.0.0.2", pod("b", "Running", false))];
        let made = endpoints(&service, &pods);
        assert_eq!(
            made.subsets.as_ref().expect("subsets")[0]
                .addresses
                .as_ref()
                .expect("addresses")
                .len(),
            1
        );
        assert_eq!(made.labels()[HEADLESS_LABEL], "");
        let conditions = slice(&service, &pods).endpoints.expect("endpoints")[0]
            .conditions
            .clone()
            .expect("conditions");
        assert_eq!(
            (conditions.ready, conditions.serving),
            (Some(true), Some(false))
        );
    }

    #[test]
    fn a_service_without_pods_has_empty_endpoints_and_without_selector_none() {
        let empty = service(json!({"selector": {"a": "b"}, "ports": [{"port": 1}]}));
        assert_eq!(endpoints(&empty, &[]).subsets, None);
        assert_eq!(
            (slice(&empty, &[]).endpoints, slice(&empty, &[]).ports),
            (None, None)
        );
        assert!(selector(&service(json!({"ports": [{"port": 1}]}))).is_none());
    }
}
