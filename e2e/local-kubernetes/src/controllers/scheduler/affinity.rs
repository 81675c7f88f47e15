//! Whether a node suits a pod's node selector, taints, pod (anti-)affinity and spread constraints. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodAffinityTerm, Taint, Toleration,
    TopologySpreadConstraint,
};
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};

/// The domain (zone, host ...) of a node under a topology key.
pub fn domain<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.labels().get(key).map(String::as_str)
}

/// Whether a toleration covers a taint.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    let exists = toleration.operator.as_deref() == Some("Exists");
    (effect.is_empty() || effect == taint.effect)
        && ((key.is_empty() && exists) || key == taint.key)
        && (exists
            || toleration.value.as_deref().unwrap_or_default()
                == taint.value.as_deref().unwrap_or_default())
}

/// Whether the pod tolerates all taints of the node that keep pods away.
pub fn tolerates_all(pod: &Pod, node: &Node) -> bool {
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
    let hard = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    taints.iter().filter(hard).all(|taint| {
        tolerations
            .iter()
            .any(|toleration| tolerates(toleration, taint))
    })
}

/// Whether the node has the labels that `nodeSelector` and required node affinity ask for.
pub fn matches_node(pod: &Pod, node: &Node) -> bool {
    let Some(spec) = pod.spec.as_ref() else {
        return true;
    };
    let labels = node.labels();
    let selected = spec
        .node_selector
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| {
            affinity
                .required_during_scheduling_ignored_during_execution
                .as_ref()
        });
    selected
        && required.is_none_or(|selector| {
            selector
                .node_selector_terms
                .iter()
                .any(|term| matches_term(term, node))
        })
}

/// Whether a node matches one term of node affinity.
pub fn matches_term(term: &NodeSelectorTerm, node: &Node) -> bool {
    let name: BTreeMap<String, String> = [("metadata.name".to_string(), node.name_any())].into();
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let empty = expressions.is_empty() && fields.is_empty();
    !empty
        && expressions
            .iter()
            .all(|one| matches_requirement(one, node.labels()))
        && fields.iter().all(|one| matches_requirement(one, &name))
}

fn matches_requirement(
    requirement: &NodeSelectorRequirement,
    labels: &BTreeMap<String, String>,
) -> bool {
    let value = labels.get(&requirement.key);
    let values = requirement.values.as_deref().unwrap_or_default();
    let number = |text: &String| text.parse::<i64>().ok();
    let compare = |order: fn(&i64, &i64) -> bool| match (
        value.and_then(number),
        values.first().and_then(number),
    ) {
        (Some(have), Some(limit)) => order(&have, &limit),
        _ => false,
    };
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|value| values.contains(value)),
        "NotIn" => value.is_none_or(|value| !values.contains(value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(i64::gt),
        "Lt" => compare(i64::lt),
        _ => false,
    }
}

/// Whether a term of a pod's (anti-)affinity is about that other pod.
pub fn concerns(term: &PodAffinityTerm, of: &Pod, other: &Pod) -> bool {
    let everywhere = term.namespace_selector.is_some();
    let namespaces = term.namespaces.as_deref().unwrap_or_default();
    let namespace = other.namespace().unwrap_or_default();
    let here = if namespaces.is_empty() {
        everywhere || of.namespace().unwrap_or_default() == namespace
    } else {
        namespaces.contains(&namespace)
    };
    let selector = term.label_selector.clone().map(Selector::try_from);
    here && matches!(selector, Some(Ok(selector)) if selector.matches(other.labels()))
}

/// How many pods matching the constraint each domain of its key has: domains of all given nodes, even empty ones.
pub fn spread(
    constraint: &TopologySpreadConstraint,
    pod: &Pod,
    placed: &[(&Pod, &Node)],
    nodes: &[&Node],
) -> BTreeMap<String, i64> {
    let mut counts: BTreeMap<String, i64> = nodes
        .iter()
        .filter_map(|node| domain(node, &constraint.topology_key))
        .map(|name| (name.to_string(), 0))
        .collect();
    let Ok(selector) = Selector::try_from(constraint.label_selector.clone().unwrap_or_default())
    else {
        return counts;
    };
    for (other, node) in placed {
        let same = other.namespace() == pod.namespace() && selector.matches(other.labels());
        if let Some(count) = domain(node, &constraint.topology_key)
            .filter(|_| same)
            .and_then(|name| counts.get_mut(name))
        {
            *count += 1;
        }
    }
    counts
}
