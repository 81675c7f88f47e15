//! Which node a pod goes to, or why none suits, in Kubernetes's words. Pure.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{Node, Pod, PodAffinityTerm};
use kube::ResourceExt;

use super::affinity::{concerns, domain, matches_node, matches_term, spread, tolerates_all};
use crate::controllers::pods;
use crate::quantity;

/// No node suits: how many nodes there are, and how many each reason excludes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unschedulable {
    nodes: usize,
    reasons: BTreeMap<&'static str, usize>,
}

impl fmt::Display for Unschedulable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return out.write_str("no nodes available to schedule pods");
        }
        let mut reasons: Vec<_> = self
            .reasons
            .iter()
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        reasons.sort();
        let all = self.nodes;
        write!(out, "0/{all} nodes are available: {}. ", reasons.join(", "))?;
        write!(
            out,
            "preemption: 0/{all} nodes are available: {all} Preemption is not helpful for scheduling."
        )
    }
}

/// The best node for the pod among those that suit it. `pods` are all pods of the cluster.
pub fn pick(pod: &Pod, nodes: &[Node], pods: &[Pod]) -> Result<String, Unschedulable> {
    let by_name: BTreeMap<_, _> = nodes.iter().map(|node| (node.name_any(), node)).collect();
    let node_of = |pod: &Pod| {
        pod.spec
            .as_ref()
            .and_then(|spec| spec.node_name.as_ref())
            .and_then(|name| by_name.get(name).copied())
    };
    let placed: Vec<_> = pods
        .iter()
        .filter(|pod| !pods::is_finished(pod))
        .filter_map(|pod| Some((pod, node_of(pod)?)))
        .collect();
    let view = View {
        pod,
        nodes: nodes.iter().collect(),
        placed,
    };
    let mut reasons = BTreeMap::new();
    let mut suitable = Vec::new();
    for node in nodes {
        let obstacles = view.obstacles(node);
        if obstacles.is_empty() {
            suitable.push(node);
        }
        for obstacle in obstacles {
            *reasons.entry(obstacle).or_default() += 1;
        }
    }
    let best = suitable
        .into_iter()
        .max_by_key(|node| (view.score(node), std::cmp::Reverse(node.name_any())));
    best.map(ResourceExt::name_any).ok_or(Unschedulable {
        nodes: nodes.len(),
        reasons,
    })
}

struct View<'a> {
    pod: &'a Pod,
    nodes: Vec<&'a Node>,
    placed: Vec<(&'a Pod, &'a Node)>,
}

impl View<'_> {
    /// Why the node does not suit; the first kind of obstacle hides later ones, as in Kubernetes.
    fn obstacles(&self, node: &Node) -> Vec<&'static str> {
        if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
            return vec!["node(s) were unschedulable"];
        }
        if !tolerates_all(self.pod, node) || !is_ready(node) {
            return vec!["node(s) had untolerated taint(s)"];
        }
        if !matches_node(self.pod, node) {
            return vec!["node(s) didn't match Pod's node affinity/selector"];
        }
        let lacking = self.lacking(node);
        if !lacking.is_empty() {
            return lacking;
        }
        if !self.spreads(node) {
            return vec!["node(s) didn't match pod topology spread constraints"];
        }
        let affinity = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.affinity.as_ref());
        let apart = affinity
            .and_then(|affinity| affinity.pod_anti_affinity.as_ref())
            .and_then(|rules| {
                rules
                    .required_during_scheduling_ignored_during_execution
                    .as_deref()
            });
        if apart
            .unwrap_or_default()
            .iter()
            .any(|term| self.neighbours(term, node) > 0)
        {
            return vec!["node(s) didn't match pod anti-affinity rules"];
        }
        if self.is_shunned(node) {
            return vec!["node(s) didn't satisfy existing pods anti-affinity rules"];
        }
        let together = affinity
            .and_then(|affinity| affinity.pod_affinity.as_ref())
            .and_then(|rules| {
                rules
                    .required_during_scheduling_ignored_during_execution
                    .as_deref()
            });
        if !together
            .unwrap_or_default()
            .iter()
            .all(|term| self.neighbours(term, node) > 0 || self.is_first(term))
        {
            return vec!["node(s) didn't match pod affinity rules"];
        }
        Vec::new()
    }

    /// Pods that the term is about in the node's domain.
    fn neighbours(&self, term: &PodAffinityTerm, node: &Node) -> usize {
        let Some(here) = domain(node, &term.topology_key) else {
            return 0;
        };
        self.placed
            .iter()
            .filter(|(other, at)| {
                domain(at, &term.topology_key) == Some(here) && concerns(term, self.pod, other)
            })
            .count()
    }

    /// The first of pods that want to be with their like may go anywhere.
    fn is_first(&self, term: &PodAffinityTerm) -> bool {
        concerns(term, self.pod, self.pod)
            && !self
                .placed
                .iter()
                .any(|(other, _)| concerns(term, self.pod, other))
    }

    /// Whether a pod that is there already keeps this one away.
    fn is_shunned(&self, node: &Node) -> bool {
        self.placed.iter().any(|(other, at)| {
            let rules = other
                .spec
                .as_ref()
                .and_then(|spec| spec.affinity.as_ref())
                .and_then(|affinity| affinity.pod_anti_affinity.as_ref());
            let terms = rules
                .and_then(|rules| {
                    rules
                        .required_during_scheduling_ignored_during_execution
                        .as_deref()
                })
                .unwrap_or_default();
            terms.iter().any(|term| {
                domain(at, &term.topology_key)
                    .is_some_and(|there| domain(node, &term.topology_key) == Some(there))
                    && concerns(term, other, self.pod)
            })
        })
    }

    fn spreads(&self, node: &Node) -> bool {
        let constraints = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.topology_spread_constraints.as_deref())
            .unwrap_or_default();
        let eligible: Vec<_> = self
            .nodes
            .iter()
            .copied()
            .filter(|node| matches_node(self.pod, node))
            .collect();
        constraints
            .iter()
            .filter(|constraint| constraint.when_unsatisfiable == "DoNotSchedule")
            .all(|constraint| {
                let counts = spread(constraint, self.pod, &self.placed, &eligible);
                let least = counts.values().min().copied().unwrap_or(0);
                domain(node, &constraint.topology_key)
                    .and_then(|here| counts.get(here))
                    .is_some_and(|count| count + 1 - least <= i64::from(constraint.max_skew))
            })
    }

    fn lacking(&self, node: &Node) -> Vec<&'static str> {
        let allocatable = |name: &str| {
            node.status
                .as_ref()
                .and_then(|status| status.allocatable.as_ref())
                .and_then(|all| all.get(name))
                .and_then(quantity::milli)
        };
        let here = || {
            self.placed
                .iter()
                .filter(|(_, at)| at.name_any() == node.name_any())
                .map(|(pod, _)| *pod)
        };
        let mut lacking = Vec::new();
        if allocatable("pods").is_some_and(|limit| limit < 1000 * (here().count() as i128 + 1)) {
            lacking.push("Too many pods");
        }
        for (name, message) in [
            ("cpu", "Insufficient cpu"),
            ("memory", "Insufficient memory"),
        ] {
            let used: i128 = here().map(|pod| requested(pod, name)).sum();
            let wanted = requested(self.pod, name);
            if wanted > 0 && allocatable(name).is_some_and(|limit| used + wanted > limit) {
                lacking.push(message);
            }
        }
        lacking
    }

    /// Preferences first, then as few pods of the same controller and as few pods at all as possible.
    fn score(&self, node: &Node) -> (i64, i64, i64, i64) {
        let owner = pods::controller_of(&self.pod.metadata).map(|owner| &owner.uid);
        let kin = |other: &Pod| {
            owner.is_some() && pods::controller_of(&other.metadata).map(|owner| &owner.uid) == owner
        };
        let zone = domain(node, "topology.kubernetes.io/zone");
        let count = |wanted: &dyn Fn(&Pod, &Node) -> bool| {
            i64::try_from(
                self.placed
                    .iter()
                    .filter(|(pod, at)| wanted(pod, at))
                    .count(),
            )
            .unwrap_or(i64::MAX)
        };
        let here = |at: &Node| at.name_any() == node.name_any();
        (
            self.preference(node),
            -count(&|other, at| kin(other) && here(at)),
            -count(&|other, at| {
                kin(other) && zone.is_some() && domain(at, "topology.kubernetes.io/zone") == zone
            }),
            -count(&|_, at| here(at)),
        )
    }

    fn preference(&self, node: &Node) -> i64 {
        let Some(spec) = self.pod.spec.as_ref() else {
            return 0;
        };
        let neighbours =
            |term: &PodAffinityTerm| i64::try_from(self.neighbours(term, node)).unwrap_or(i64::MAX);
        let mut score = 0;
        if let Some(affinity) = spec.affinity.as_ref() {
            let near = affinity
                .pod_affinity
                .iter()
                .filter_map(|rules| {
                    rules
                        .preferred_during_scheduling_ignored_during_execution
                        .as_ref()
                })
                .flatten();
            score += near
                .map(|term| i64::from(term.weight) * neighbours(&term.pod_affinity_term))
                .sum::<i64>();
            let far = affinity
                .pod_anti_affinity
                .iter()
                .filter_map(|rules| {
                    rules
                        .preferred_during_scheduling_ignored_during_execution
                        .as_ref()
                })
                .flatten();
            score -= far
                .map(|term| i64::from(term.weight) * neighbours(&term.pod_affinity_term))
                .sum::<i64>();
            let liked = affinity
                .node_affinity
                .iter()
                .filter_map(|rules| {
                    rules
                        .preferred_during_scheduling_ignored_during_execution
                        .as_ref()
                })
                .flatten();
            score += liked
                .filter(|term| matches_term(&term.preference, node))
                .map(|term| i64::from(term.weight))
                .sum::<i64>();
        }
        for constraint in spec
            .topology_spread_constraints
            .iter()
            .flatten()
            .filter(|constraint| constraint.when_unsatisfiable == "ScheduleAnyway")
        {
            let counts = spread(constraint, self.pod, &self.placed, &self.nodes);
            score -= domain(node, &constraint.topology_key)
                .and_then(|here| counts.get(here))
                .copied()
                .unwrap_or(0);
        }
        score
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// A pod's request in thousandths: the sum of its containers', or that of its greediest init container.
fn requested(pod: &Pod, name: &str) -> i128 {
    let Some(spec) = pod.spec.as_ref() else {
        return 0;
    };
    let of = |container: &k8s_openapi::api::core::v1::Container| {
        container
            .resources
            .as_ref()
            .and_then(|resources| resources.requests.as_ref())
            .and_then(|requests| requests.get(name))
            .and_then(quantity::milli)
            .unwrap_or(0)
    };
    let containers: i128 = spec.containers.iter().map(of).sum();
    let init = spec
        .init_containers
        .iter()
        .flatten()
        .map(of)
        .max()
        .unwrap_or(0);
    containers.max(init)
}

#[cfg(test)]
#[path = "pick_tests.rs"]
mod tests;
