//! What a node's last heartbeat and its conditions mean: taints, unknown conditions, evictions. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::controllers::scheduler::affinity::tolerates;
use crate::moment::whole_second;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// When the node counts as lost unless it is heard of again.
pub fn lost_at(node: &Node, lease: Option<&Lease>, grace: Duration) -> Timestamp {
    let renewed = lease
        .and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref())
        .map(|time| time.0);
    let created = node.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let heard = renewed.max(created).unwrap_or(Timestamp::UNIX_EPOCH);
    heard.checked_add(signed(grace)).unwrap_or(Timestamp::MAX)
}

/// The node's `Ready` condition: `True`, `False` or `Unknown`.
pub fn readiness(node: &Node) -> &str {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")
        .map_or("Unknown", |condition| &condition.status)
}

/// The conditions of a node that is no longer heard of.
pub fn unknown_conditions(node: &Node, now: Timestamp) -> Vec<NodeCondition> {
    let mut conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.clone())
        .unwrap_or_default();
    for condition in conditions
        .iter_mut()
        .filter(|condition| condition.status != "Unknown")
    {
        condition.status = "Unknown".into();
        condition.reason = Some("NodeStatusUnknown".into());
        condition.message = Some("Kubelet stopped posting node status.".into());
        condition.last_transition_time = Some(Time(whole_second(now)));
    }
    conditions
}

/// The taints that the node should have: its own, and those that its state asks for. Times of standing taints are kept.
pub fn taints(node: &Node, now: Timestamp) -> Vec<Taint> {
    let present = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.clone())
        .unwrap_or_default();
    let mut wanted = Vec::new();
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    match readiness(node) {
        "True" => {}
        "False" => wanted.extend([(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
        _ => wanted.extend([(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
    }
    let ours =
        |taint: &Taint| [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&taint.key.as_str());
    let mut taints: Vec<_> = present
        .iter()
        .filter(|taint| !ours(taint))
        .cloned()
        .collect();
    for (key, effect) in wanted {
        let standing = present
            .iter()
            .find(|taint| taint.key == key && taint.effect == effect);
        let fresh = Taint {
            key: key.into(),
            effect: effect.into(),
            value: None,
            time_added: Some(Time(whole_second(now))),
        };
        taints.push(standing.cloned().unwrap_or(fresh));
    }
    taints
}

/// When the pod must leave its node because of `NoExecute` taints; `None` when it may stay. `cap` bounds the toleration
/// times that pods ask for.
pub fn evicted_at(pod: &Pod, node: &Node, cap: Option<Duration>) -> Option<Timestamp> {
    let tolerations = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.tolerations.as_deref())
        .unwrap_or_default();
    let taints = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.as_deref())
        .unwrap_or_default();
    let leave = |taint: &Taint| {
        let added = taint
            .time_added
            .as_ref()
            .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        let matching: Vec<_> = tolerations
            .iter()
            .filter(|toleration| tolerates(toleration, taint))
            .collect();
        if matching.is_empty() {
            return Some(added);
        }
        let seconds = matching
            .iter()
            .filter_map(|toleration| toleration.toleration_seconds)
            .min()?;
        let stay =
            SignedDuration::from_secs(seconds.max(0)).min(cap.map_or(SignedDuration::MAX, signed));
        added.checked_add(stay).ok()
    };
    taints
        .iter()
        .filter(|taint| taint.effect == "NoExecute")
        .filter_map(leave)
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[expect(
        clippy::needless_pass_by_value,
        reason = "literals read better by value"
    )]
    fn node(ready: &str, spec: serde_json::Value) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n", "creationTimestamp": "1970-01-01T00:00:10Z"}, "spec": spec,
            "status": {"conditions": [{"type": "Ready", "status": ready, "reason": "KubeletReady"}]},
        }))
        .expect("a Node")
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn keys(taints: &[Taint]) -> Vec<(&str, &str)> {
        taints
            .iter()
            .map(|taint| (taint.key.as_str(), taint.effect.as_str()))
            .collect()
    }

    #[test]
    fn a_node_is_lost_a_grace_after_its_last_renewal() {
        let grace = Duration::from_secs(5);
        let lease: Lease = serde_json::from_value(
            json!({"metadata": {}, "spec": {"renewTime": "1970-01-01T00:01:00.000000Z"}}),
        )
        .expect("a Lease");
        assert_eq!(lost_at(&node("True", json!({})), None, grace), at(15));
        assert_eq!(
            lost_at(&node("True", json!({})), Some(&lease), grace),
            at(65)
        );
        let unknown = unknown_conditions(&node("True", json!({})), at(70));
        assert_eq!(
            (unknown[0].status.as_str(), unknown[0].reason.as_deref()),
            ("Unknown", Some("NodeStatusUnknown"))
        );
    }

    #[test]
    fn taints_follow_readiness_and_cordons_and_leave_foreign_ones_alone() {
        let foreign =
            json!({"taints": [{"key": "k", "effect": "NoSchedule"}], "unschedulable": true});
        assert_eq!(
            keys(&taints(&node("True", foreign.clone()), at(1))),
            [("k", "NoSchedule"), (UNSCHEDULABLE, "NoSchedule")]
        );
        let mut lost = node("Unknown", foreign);
        let first = taints(&lost, at(1));
        assert_eq!(first.len(), 4);
        lost.spec.get_or_insert_default().taints = Some(first.clone());
        assert_eq!(
            taints(&lost, at(9)),
            first,
            "standing taints keep their time"
        );
        lost.status = node("True", json!({})).status;
        lost.spec.get_or_insert_default().unschedulable = None;
        assert_eq!(keys(&taints(&lost, at(9))), [("k", "NoSchedule")]);
    }

    #[test]
    fn pods_leave_after_their_toleration() {
        let mut lost = node("Unknown", json!({}));
        lost.spec.get_or_insert_default().taints = Some(taints(&lost, at(100)));
        let pod = |tolerations: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"spec": {"containers": [], "tolerations": tolerations}}))
                .expect("a Pod")
        };
        let default = pod(
            json!([{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]),
        );
        assert_eq!(evicted_at(&default, &lost, None), Some(at(400)));
        assert_eq!(
            evicted_at(&default, &lost, Some(Duration::from_secs(3))),
            Some(at(103))
        );
        assert_eq!(evicted_at(&pod(json!([])), &lost, None), Some(at(100)));
        assert_eq!(
            evicted_at(&pod(json!([{"operator": "Exists"}])), &lost, None),
            None
        );
        assert_eq!(
            evicted_at(&pod(json!([])), &node("True", json!({})), None),
            None
        );
    }
}
