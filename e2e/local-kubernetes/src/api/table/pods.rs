//! Columns of pods: what kubectl calls their status is computed from phase, containers and deletion.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Columns, age, age_column, column, duration, items, name_column, number, string, text, text_or,
};

pub(super) fn columns() -> Columns {
    let headings = vec![
        name_column(),
        column("Ready", "The aggregate readiness state of this pod for accepting traffic."),
        column("Status", "The aggregate status of the containers in this pod."),
        column("Restarts", "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted."),
        age_column(),
        column("IP", "podIP address allocated to the pod. Routable at least within the cluster. Empty if not yet allocated.").wide(),
        column("Node", "NodeName indicates in which node this pod is scheduled. If empty, this pod is a candidate for scheduling by the scheduler defined in schedulerName. Once this field is set, the kubelet for this node becomes responsible for the lifecycle of this pod. This field should not be used to express a desire for the pod to be scheduled on a specific node. https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#nodename").wide(),
        column("Nominated Node", "nominatedNodeName is set only when this pod preempts other pods on the node, but it cannot be scheduled right away as preemption victims receive their graceful termination periods. This field does not guarantee that the pod will be scheduled on this node. Scheduler may decide to place the pod elsewhere if other nodes become available sooner. Scheduler may also decide to give the resources on this node to a higher priority pod that is created after preemption. As a result, this field may be different than PodSpec.nodeName when the pod is scheduled.").wide(),
        column("Readiness Gates", "If specified, all readiness gates will be evaluated for pod readiness. A pod is ready when all its containers are ready AND all conditions specified in the readiness gates have status equal to \"True\" More info: https://git.k8s.io/enhancements/keps/sig-network/580-pod-readiness-gates").wide(),
    ];
    Columns {
        headings,
        cells: Box::new(cells),
    }
}

fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let statuses = items(pod, ".status.containerStatuses");
    let ready = statuses
        .iter()
        .filter(|status| status["ready"] == true && status["state"]["running"].is_object())
        .count();
    vec![
        text(pod, ".metadata.name"),
        format!("{ready}/{}", items(pod, ".spec.containers").len()).into(),
        status(pod).into(),
        restarts(statuses, now).into(),
        age(pod, now),
        text_or(pod, ".status.podIP", "<none>"),
        text_or(pod, ".spec.nodeName", "<none>"),
        text_or(pod, ".status.nominatedNodeName", "<none>"),
        readiness_gates(pod).into(),
    ]
}

fn status(pod: &Value) -> String {
    let phase = string(pod, ".status.phase");
    let ended = matches!(phase.as_str(), "Succeeded" | "Failed");
    if pod["metadata"]["deletionTimestamp"].is_string() {
        if pod["status"]["reason"] == "NodeLost" {
            return "Unknown".into();
        }
        if !ended {
            return "Terminating".into();
        }
    }
    let reason = match string(pod, ".status.reason") {
        reason if reason.is_empty() => phase,
        reason => reason,
    };
    init_status(pod).unwrap_or_else(|| container_status(pod, reason))
}

/// `Init:0/1` and the like while init containers have not finished.
fn init_status(pod: &Value) -> Option<String> {
    let statuses = items(pod, ".status.initContainerStatuses");
    let total = items(pod, ".spec.initContainers").len();
    let (index, unfinished) = statuses
        .iter()
        .enumerate()
        .find(|(_, status)| status["state"]["terminated"]["exitCode"] != 0)?;
    let state = &unfinished["state"];
    if state["running"].is_object() && unfinished["started"] == true {
        return None;
    }
    let reason = |kind: &str| {
        state[kind]["reason"]
            .as_str()
            .filter(|reason| !reason.is_empty())
    };
    Some(
        match (
            state["terminated"].is_object(),
            reason("terminated"),
            reason("waiting"),
        ) {
            (true, Some(reason), _) => format!("Init:{reason}"),
            (true, None, _) => format!("Init:ExitCode:{}", state["terminated"]["exitCode"]),
            (false, _, Some(reason)) if reason != "PodInitializing" => format!("Init:{reason}"),
            _ => format!("Init:{index}/{total}"),
        },
    )
}

fn container_status(pod: &Value, mut reason: String) -> String {
    let mut has_running = false;
    for status in items(pod, ".status.containerStatuses").iter().rev() {
        let (waiting, terminated) = (&status["state"]["waiting"], &status["state"]["terminated"]);
        let named = |state: &Value| {
            state["reason"]
                .as_str()
                .filter(|text| !text.is_empty())
                .map(String::from)
        };
        if let Some(waiting) = named(waiting) {
            reason = waiting;
        } else if let Some(terminated) = named(terminated) {
            reason = terminated;
        } else if terminated.is_object() {
            reason = match terminated["signal"].as_i64().unwrap_or_default() {
                0 => format!("ExitCode:{}", number(terminated, ".exitCode")),
                signal => format!("Signal:{signal}"),
            };
        } else if status["ready"] == true && status["state"]["running"].is_object() {
            has_running = true;
        }
    }
    if reason == "Completed" && has_running {
        let is_ready = items(pod, ".status.conditions")
            .iter()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
        return if is_ready {
            "Running".into()
        } else {
            "NotReady".into()
        };
    }
    reason
}

fn restarts(statuses: &[Value], now: Timestamp) -> String {
    let count: i64 = statuses
        .iter()
        .map(|status| number(status, ".restartCount"))
        .sum();
    let ends = statuses
        .iter()
        .filter_map(|status| status["lastState"]["terminated"]["finishedAt"].as_str());
    let last = ends.filter_map(|end| end.parse::<Timestamp>().ok()).max();
    match last {
        Some(last) if count > 0 => format!(
            "{count} ({} ago)",
            duration::human(now.duration_since(last))
        ),
        _ => count.to_string(),
    }
}

fn readiness_gates(pod: &Value) -> String {
    let gates = items(pod, ".spec.readinessGates");
    if gates.is_empty() {
        return "<none>".into();
    }
    let conditions = items(pod, ".status.conditions");
    let holds = |gate: &&Value| {
        conditions.iter().any(|condition| {
            condition["type"] == gate["conditionType"] && condition["status"] == "True"
        })
    };
    format!("{}/{}", gates.iter().filter(holds).count(), gates.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_crashing_container_gives_the_pod_its_status() {
        let pod = json!({"status": {"phase": "Running", "containerStatuses": [
            {"ready": false, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
        ]}});
        assert_eq!(status(&pod), "CrashLoopBackOff");
        let pod = json!({"status": {"phase": "Failed", "containerStatuses": [
            {"state": {"terminated": {"exitCode": 3}}},
        ]}});
        assert_eq!(status(&pod), "ExitCode:3");
    }

    #[test]
    fn a_deleted_pod_is_terminating() {
        let pod = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running"}});
        assert_eq!(status(&pod), "Terminating");
    }

    #[test]
    fn init_containers_come_first() {
        let pod = json!({
            "spec": {"initContainers": [{}, {}]},
            "status": {"phase": "Pending", "initContainerStatuses": [
                {"state": {"terminated": {"exitCode": 0}}},
                {"state": {"waiting": {"reason": "PodInitializing"}}},
            ]},
        });
        assert_eq!(status(&pod), "Init:1/2");
    }
}
