//! What Kubernetes says about a pod.

use k8s_openapi::api::core::v1 as core;

use super::Pod;
use crate::names;

/// The pod as Kubernetes sees it; its node was not asked yet.
pub(super) fn pod(pod: &core::Pod) -> Pod {
    let status = pod.status.as_ref();
    Pod {
        ip: status
            .and_then(|status| status.pod_ip.clone())
            .filter(|ip| !ip.is_empty()),
        running: status.is_some_and(is_running),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        unschedulable: status.is_some_and(is_unschedulable),
        node: None,
    }
}

fn is_running(status: &core::PodStatus) -> bool {
    let mut containers = status.container_statuses.iter().flatten();
    containers
        .find(|container| container.name == names::CONTAINER)
        .and_then(|container| container.state.as_ref())
        .is_some_and(|state| state.running.is_some())
}

fn is_unschedulable(status: &core::PodStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(status: &serde_json::Value) -> Pod {
        let object = json!({"metadata": {"name": "a-s0-0"}, "status": status});
        pod(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn a_running_pod_is_told_from_one_whose_process_ended() {
        let state = |state| {
            json!({"podIP": "10.0.0.1", "containerStatuses": [{
            "name": "cache-node", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state}]})
        };
        assert!(read(&state(json!({"running": {}}))).running);
        assert!(!read(&state(json!({"terminated": {"exitCode": 137}}))).running);
        assert!(!read(&state(json!({"waiting": {"reason": "CrashLoopBackOff"}}))).running);
    }

    #[test]
    fn a_pod_that_finds_no_place_is_noticed() {
        let pod = read(
            &json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}),
        );
        assert!(pod.unschedulable);
        assert_eq!(pod.ip, None);
    }
}
