//! A shard's StatefulSet.
//!
//! `OnDelete`, so that Kubernetes never restarts a pod because a template changed; `Parallel`, so that a sick pod does not hold up its siblings.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy};
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource,
    EnvVar, EnvVarSource, HTTPGetAction, ObjectFieldSelector, PodAffinityTerm, PodAntiAffinity,
    PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile,
    SecretVolumeSource, SecurityContext, Volume, VolumeMount, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::config::{DIRECTORY, FILE};
use super::{metadata, secret};
use crate::api::{CacheCluster, ResourceList, ShardAntiAffinity};
use crate::names;

/// The user that the image's process runs as, as in other distroless images.
const USER: i64 = 65_532;
const DATA: &str = "/data";

pub(super) fn stateful_set(
    cluster: &CacheCluster,
    index: u32,
    pods: i32,
    config_hash: &str,
) -> StatefulSet {
    let name = cluster.name_any();
    StatefulSet {
        metadata: metadata(cluster, names::shard(&name, index), Some(index)),
        spec: Some(StatefulSetSpec {
            replicas: Some(pods),
            service_name: Some(names::nodes_service(&name)),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            selector: LabelSelector {
                match_labels: Some(names::shard_selector(&name, index)),
                ..LabelSelector::default()
            },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(names::labels(&name, Some(index))),
                    annotations: Some(BTreeMap::from([(
                        "cache.evenkeel.dev/config".to_owned(),
                        config_hash.to_owned(),
                    )])),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod_spec(cluster, index)),
            },
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

fn pod_spec(cluster: &CacheCluster, index: u32) -> PodSpec {
    PodSpec {
        affinity: affinity(cluster, index),
        automount_service_account_token: Some(false),
        containers: vec![container(cluster)],
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            fs_group: Some(USER),
            run_as_group: Some(USER),
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        termination_grace_period_seconds: Some(30),
        volumes: Some(vec![
            Volume {
                name: "data".to_owned(),
                empty_dir: Some(EmptyDirVolumeSource::default()),
                ..Volume::default()
            },
            Volume {
                name: "config".to_owned(),
                config_map: Some(ConfigMapVolumeSource {
                    name: names::config(&cluster.name_any()),
                    ..ConfigMapVolumeSource::default()
                }),
                ..Volume::default()
            },
            Volume {
                name: "secret".to_owned(),
                secret: Some(SecretVolumeSource {
                    secret_name: Some(secret::name(cluster)),
                    // With a group of the pod's own (fsGroup), Kubernetes lets that group read it too, and so the node.
                    default_mode: Some(0o400),
                    ..SecretVolumeSource::default()
                }),
                ..Volume::default()
            },
        ]),
        ..PodSpec::default()
    }
}

fn container(cluster: &CacheCluster) -> Container {
    let resources = &cluster.spec.resources;
    Container {
        name: names::CONTAINER.to_owned(),
        image: Some(cluster.spec.image.clone()),
        command: Some(vec!["cache-node".to_owned()]),
        args: Some(arguments(cluster)),
        env: Some(vec![
            from_field("POD_IP", "status.podIP"),
            from_field("POD_NAME", "metadata.name"),
        ]),
        ports: Some(vec![
            port("redis", names::CLIENT_PORT),
            port("bus", names::BUS_PORT),
            port("metrics", names::HTTP_PORT),
        ]),
        resources: Some(ResourceRequirements {
            requests: quantities(&resources.requests),
            limits: quantities(&resources.limits),
            ..ResourceRequirements::default()
        }),
        // Half a minute without an answer before a restart: a node that is only slow keeps its data.
        liveness_probe: Some(probe("/livez", 5, 3, 6)),
        readiness_probe: Some(probe("/readyz", 2, 2, 2)),
        startup_probe: Some(probe("/livez", 1, 1, 60)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Capabilities::default()
            }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![
            VolumeMount {
                name: "data".to_owned(),
                mount_path: DATA.to_owned(),
                ..VolumeMount::default()
            },
            VolumeMount {
                name: "config".to_owned(),
                mount_path: DIRECTORY.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            },
            VolumeMount {
                name: "secret".to_owned(),
                mount_path: secret::DIRECTORY.to_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            },
        ]),
        ..Container::default()
    }
}

/// The configuration file first, then what differs from pod to pod.
fn arguments(cluster: &CacheCluster) -> Vec<String> {
    let domain = format!(
        "{}.{}.svc",
        names::nodes_service(&cluster.name_any()),
        cluster.namespace().unwrap_or_default()
    );
    [
        format!("{DIRECTORY}/{FILE}"),
        "--bind".to_owned(),
        "$(POD_IP)".to_owned(),
        "--cluster-announce-ip".to_owned(),
        "$(POD_IP)".to_owned(),
        "--cluster-announce-hostname".to_owned(),
        format!("$(POD_NAME).{domain}"),
        "--dir".to_owned(),
        DATA.to_owned(),
        "--cluster-secret-file".to_owned(),
        format!("{}/{}", secret::DIRECTORY, secret::FILE),
    ]
    .to_vec()
}

fn from_field(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: path.to_owned(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, period: i32, timeout: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("metrics".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(timeout),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn quantities(list: &ResourceList) -> Option<BTreeMap<String, Quantity>> {
    let entries: BTreeMap<_, _> = [("cpu", &list.cpu), ("memory", &list.memory)]
        .into_iter()
        .filter_map(|(name, amount)| {
            Some((name.to_owned(), Quantity(amount.as_ref()?.to_string())))
        })
        .collect();
    (!entries.is_empty()).then_some(entries)
}

fn affinity(cluster: &CacheCluster, index: u32) -> Option<Affinity> {
    let term = PodAffinityTerm {
        label_selector: Some(LabelSelector {
            match_labels: Some(names::shard_selector(&cluster.name_any(), index)),
            ..LabelSelector::default()
        }),
        topology_key: "kubernetes.io/hostname".to_owned(),
        ..PodAffinityTerm::default()
    };
    let rule = match cluster.spec.placement.shard_anti_affinity {
        ShardAntiAffinity::None => return None,
        ShardAntiAffinity::Required => PodAntiAffinity {
            required_during_scheduling_ignored_during_execution: Some(vec![term]),
            ..PodAntiAffinity::default()
        },
        ShardAntiAffinity::Preferred => PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![
                WeightedPodAffinityTerm {
                    pod_affinity_term: term,
                    weight: 100,
                },
            ]),
            ..PodAntiAffinity::default()
        },
    };
    Some(Affinity {
        pod_anti_affinity: Some(rule),
        ..Affinity::default()
    })
}
