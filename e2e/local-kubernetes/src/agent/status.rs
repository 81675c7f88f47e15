//! A pod's status from its machine, in the shape that a kubelet writes. Pure.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::images::image_id;
use super::machine::{Container, Ended, Machine, Phase};
use crate::moment::whole_second;
use crate::quantity;

/// The conditions that a node agent owns; all others are left as they are.
const OWN: [&str; 5] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
];

/// Where the pod is.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The node's.
    pub host: Ipv4Addr,
    /// The pod's.
    pub pod: Ipv4Addr,
}

fn time(moment: Timestamp) -> Time {
    Time(whole_second(moment))
}

/// The status to write, given the one that is stored with the pod.
pub fn build(pod: &Pod, machine: &Machine, addresses: Addresses, now: Timestamp) -> PodStatus {
    let old = pod.status.clone().unwrap_or_default();
    let phase = machine.phase();
    let shown = machine.containers.iter().any(|one| {
        !matches!(one.phase, Phase::Waiting { .. } | Phase::Starting) || one.last.is_some()
    });
    let ip = Some(addresses.pod.to_string()).filter(|_| shown);
    let statuses = |init: bool| {
        let list: Vec<_> = machine
            .containers
            .iter()
            .filter(|one| one.init == init)
            .map(container_status)
            .collect();
        Some(list).filter(|list| !list.is_empty())
    };
    PodStatus {
        phase: Some(phase.into()),
        conditions: Some(conditions(pod, machine, phase, now)),
        container_statuses: statuses(false),
        init_container_statuses: statuses(true),
        host_ip: Some(addresses.host.to_string()),
        host_ips: Some(vec![HostIP {
            ip: addresses.host.to_string(),
        }]),
        pod_ips: ip.clone().map(|ip| vec![PodIP { ip }]),
        pod_ip: ip,
        qos_class: old
            .qos_class
            .clone()
            .or_else(|| Some(qos_class(pod).into())),
        start_time: old.start_time.clone().or_else(|| Some(time(now))),
        observed_generation: pod.metadata.generation,
        message: None,
        reason: None,
        ..old
    }
}

fn conditions(pod: &Pod, machine: &Machine, phase: &str, now: Timestamp) -> Vec<PodCondition> {
    let old = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let unready: Vec<_> = machine
        .containers
        .iter()
        .filter(|one| !one.init && !one.ready)
        .map(|one| one.spec.name.as_str())
        .collect();
    let not_ready = format!("containers with unready status: [{}]", unready.join(" "));
    let ready = match phase {
        "Succeeded" => ("False", Some("PodCompleted"), None),
        "Failed" => ("False", Some("PodFailed"), None),
        _ if unready.is_empty() => ("True", None, None),
        _ => ("False", Some("ContainersNotReady"), Some(not_ready)),
    };
    let incomplete: Vec<_> = machine
        .containers
        .iter()
        .filter(|one| {
            one.init && !matches!(&one.phase, Phase::Ended(ended) if ended.exit_code == 0)
        })
        .map(|one| one.spec.name.as_str())
        .collect();
    let initialized = match phase {
        "Succeeded" => ("True", Some("PodCompleted"), None),
        _ if incomplete.is_empty() => ("True", None, None),
        _ => (
            "False",
            Some("ContainersNotInitialized"),
            Some(format!(
                "containers with incomplete status: [{}]",
                incomplete.join(" ")
            )),
        ),
    };
    let sandbox = machine.is_prepared() && !machine.is_finished();
    let readiness = (ready.0, ready.1, ready.2.clone());
    let verdicts = [
        (if sandbox { "True" } else { "False" }, None, None),
        initialized,
        readiness,
        ready,
        ("True", None, None),
    ];
    let mut conditions: Vec<_> = old
        .iter()
        .filter(|condition| !OWN.contains(&condition.type_.as_str()))
        .cloned()
        .collect();
    for (type_, (status, reason, message)) in OWN.into_iter().zip(verdicts) {
        let since = old
            .iter()
            .find(|before| before.type_ == type_ && before.status == status)
            .and_then(|before| before.last_transition_time.clone());
        conditions.push(PodCondition {
            type_: type_.into(),
            status: status.into(),
            reason: reason.map(str::to_string),
            message,
            last_transition_time: since.or_else(|| Some(time(now))),
            observed_generation: pod.metadata.generation,
            last_probe_time: None,
        });
    }
    conditions
}

fn container_status(container: &Container) -> ContainerStatus {
    let image = container.spec.image.clone().unwrap_or_default();
    let (state, id) = match &container.phase {
        Phase::Waiting {
            reason, message, ..
        } => (
            waiting(reason, message.clone()),
            container.last.as_ref().map(|last| last.id.clone()),
        ),
        // Between two runs the old one still is what there is to see.
        Phase::Starting => match &container.last {
            Some(last) => (terminated(last), Some(last.id.clone())),
            None => (
                waiting(
                    if container.init {
                        "PodInitializing"
                    } else {
                        "ContainerCreating"
                    },
                    None,
                ),
                None,
            ),
        },
        Phase::Running { id, since } => (
            ContainerState {
                running: Some(ContainerStateRunning {
                    started_at: Some(time(*since)),
                }),
                ..ContainerState::default()
            },
            Some(id.clone()),
        ),
        Phase::Ended(ended) => (terminated(ended), Some(ended.id.clone())),
    };
    let id = id.filter(|id| !id.is_empty());
    ContainerStatus {
        name: container.spec.name.clone(),
        image_id: id.as_ref().map(|_| image_id(&image)).unwrap_or_default(),
        image,
        container_id: id,
        state: Some(state),
        last_state: Some(container.last.as_ref().map(terminated).unwrap_or_default()),
        ready: if container.init {
            matches!(&container.phase, Phase::Ended(ended) if ended.exit_code == 0)
        } else {
            container.ready
        },
        started: Some(container.started && container.is_running()),
        restart_count: container.restarts,
        resources: container.spec.resources.clone(),
        ..ContainerStatus::default()
    }
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.into()),
            message,
        }),
        ..ContainerState::default()
    }
}

fn terminated(ended: &Ended) -> ContainerState {
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            container_id: Some(ended.id.clone()).filter(|id| !id.is_empty()),
            exit_code: ended.exit_code,
            signal: None,
            reason: Some(ended.reason.into()),
            message: ended.message.clone(),
            started_at: ended.started.map(time),
            finished_at: Some(time(ended.finished)),
        }),
        ..ContainerState::default()
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`, by the containers' requests and limits.
pub fn qos_class(pod: &Pod) -> &'static str {
    let spec = pod.spec.clone().unwrap_or_default();
    let containers: Vec<_> = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .collect();
    let value = |container: &k8s_openapi::api::core::v1::Container, limits: bool, name: &str| {
        let resources = container.resources.as_ref()?;
        let all = if limits {
            resources.limits.as_ref()
        } else {
            resources.requests.as_ref()
        }?;
        all.get(name)
            .and_then(quantity::milli)
            .filter(|amount| *amount > 0)
    };
    let names = ["cpu", "memory"];
    if containers.iter().all(|one| {
        names
            .iter()
            .all(|name| value(one, true, name).is_none() && value(one, false, name).is_none())
    }) {
        return "BestEffort";
    }
    let guaranteed = containers.iter().all(|one| {
        names.iter().all(|name| {
            value(one, true, name)
                .is_some_and(|limit| value(one, false, name).is_none_or(|request| request == limit))
        })
    });
    if guaranteed {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::backoff::BackoffPolicy;
    use serde_json::json;

    #[expect(
        clippy::needless_pass_by_value,
        reason = "literals read better by value"
    )]
    fn pod(spec: serde_json::Value) -> Pod {
        let status = json!({"conditions": [{"type": "example.com/gate", "status": "True"}, {"type": "PodScheduled", "status": "True", "lastTransitionTime": "1970-01-01T00:00:01Z"}]});
        serde_json::from_value(json!({"metadata": {"name": "db-0", "namespace": "t", "uid": "u", "generation": 1}, "spec": spec, "status": status})).expect("a Pod")
    }

    fn addresses() -> Addresses {
        Addresses {
            host: Ipv4Addr::new(127, 64, 0, 1),
            pod: Ipv4Addr::new(127, 64, 1, 1),
        }
    }

    fn shown(status: &PodStatus) -> Vec<(&str, &str, Option<&str>)> {
        status
            .conditions
            .iter()
            .flatten()
            .map(|condition| {
                (
                    condition.type_.as_str(),
                    condition.status.as_str(),
                    condition.reason.as_deref(),
                )
            })
            .collect()
    }

    #[test]
    fn a_pod_goes_through_the_recorded_states() {
        let mut pod = pod(json!({"containers": [{"name": "c", "image": "pause"}]}));
        let at = |second| Timestamp::from_second(second).expect("in range");
        let mut machine = Machine::new(&pod, BackoffPolicy::default());
        let status = build(&pod, &machine, addresses(), at(2));
        assert_eq!(
            (status.phase.as_deref(), status.pod_ip.as_deref()),
            (Some("Pending"), None)
        );
        let not_ready = Some("ContainersNotReady");
        let expected = [
            ("example.com/gate", "True", None),
            ("PodReadyToStartContainers", "False", None),
            ("Initialized", "True", None),
            ("Ready", "False", not_ready),
            ("ContainersReady", "False", not_ready),
            ("PodScheduled", "True", None),
        ];
        assert_eq!(shown(&status), expected);
        assert_eq!(
            status.conditions.as_ref().expect("conditions")[5].last_transition_time,
            Some(Time(at(1)))
        );
        pod.status = Some(status);
        machine.prepared();
        machine.started(0, "local://x".into(), at(3));
        let status = build(&pod, &machine, addresses(), at(3));
        assert_eq!(
            (
                status.phase.as_deref(),
                status.pod_ip.as_deref(),
                status.qos_class.as_deref()
            ),
            (Some("Running"), Some("127.64.1.1"), Some("BestEffort"))
        );
        assert!(
            shown(&status)
                .iter()
                .all(|(_, status, reason)| *status == "True" && reason.is_none())
        );
        pod.status = Some(status.clone());
        assert_eq!(
            build(&pod, &machine, addresses(), at(9)),
            status,
            "nothing to write when nothing changed"
        );
        machine.stop(1, at(10));
        machine.exited(
            0,
            Ended {
                id: "local://x".into(),
                exit_code: 0,
                reason: "Completed",
                message: None,
                started: Some(at(3)),
                finished: at(11),
            },
        );
        let status = build(&pod, &machine, addresses(), at(11));
        assert_eq!(status.phase.as_deref(), Some("Succeeded"));
        assert_eq!(
            shown(&status)[1..4],
            [
                ("PodReadyToStartContainers", "False", None),
                ("Initialized", "True", Some("PodCompleted")),
                ("Ready", "False", Some("PodCompleted"))
            ]
        );
    }

    #[test]
    fn the_quality_of_service_follows_requests_and_limits() {
        let class = |resources: serde_json::Value| {
            qos_class(&pod(
                json!({"containers": [{"name": "c", "resources": resources}]}),
            ))
        };
        assert_eq!(class(json!({})), "BestEffort");
        assert_eq!(class(json!({"requests": {"cpu": "1"}})), "Burstable");
        assert_eq!(
            class(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m"}})),
            "Guaranteed"
        );
    }
}
