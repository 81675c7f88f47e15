//! A model of the data plane behind the operator's [`Nodes`] trait: one topology that every command changes at once.

use std::collections::BTreeMap;

use cache_operator::names;
use cache_operator::observe::{Member, NodeError, NodeState, NodeView, Nodes, ParseError};
use cache_operator::slots::SlotSet;
use futures::future::BoxFuture;
use parking_lot::Mutex;

/// The nodes of all pods, by address.
#[derive(Default)]
pub(crate) struct Model(Mutex<State>);

#[derive(Default)]
struct State {
    epoch: u64,
    /// Who is in the cluster.
    members: BTreeMap<String, Node>,
    /// Host names are the pods' names, which the test tells the model.
    pods: BTreeMap<String, String>,
}

#[derive(Clone, Default)]
struct Node {
    primary: Option<String>,
    slots: SlotSet,
}

impl Model {
    /// Tells the model which pod has an address.
    pub(crate) fn place(&self, ip: &str, pod: &str) {
        self.0.lock().pods.insert(ip.to_owned(), pod.to_owned());
    }

    /// Slots by the pod of their primary.
    pub(crate) fn slots(&self) -> BTreeMap<String, u32> {
        let state = self.0.lock();
        let primaries = state
            .members
            .iter()
            .filter(|(_, node)| node.primary.is_none());
        primaries
            .map(|(ip, node)| {
                (
                    state.pods.get(ip).cloned().unwrap_or_default(),
                    node.slots.len(),
                )
            })
            .collect()
    }
}

impl State {
    fn view(&self, cluster: &str, ip: &str) -> NodeView {
        let alone = !self.members.contains_key(ip);
        let me = BTreeMap::from([(ip.to_owned(), Node::default())]);
        let members = if alone { &me } else { &self.members };
        let node = &members[ip];
        NodeView {
            id: ip.to_owned(),
            state: match node.primary {
                Some(_) => NodeState::Replica,
                None if members.len() == 1 && node.slots.is_empty() => NodeState::Fresh,
                None => NodeState::Primary,
            },
            generation: 0,
            epoch: if alone { 0 } else { self.epoch },
            quorum: true,
            voters: members.keys().take(5).cloned().collect(),
            witness: None,
            members: members
                .iter()
                .map(|(other, node)| (other.clone(), self.member(cluster, other, node)))
                .collect(),
            offset: 1,
            link_up: node
                .primary
                .as_ref()
                .is_some_and(|primary| self.pods.contains_key(primary)),
            keys: 0,
            migrations: Vec::new(),
        }
    }

    fn member(&self, cluster: &str, ip: &str, node: &Node) -> Member {
        let pod = self.pods.get(ip);
        Member {
            place: pod.and_then(|pod| names::pod_place(cluster, pod)),
            ip: ip.to_owned(),
            primary: node.primary.clone(),
            slots: node.slots.clone(),
            failed: pod.is_none(),
        }
    }

    fn command(&mut self, ip: &str, words: &[&str]) {
        self.epoch += 1;
        match words {
            ["CLUSTER", "MEET", other, _] => {
                for node in [ip, other] {
                    self.members.entry(node.to_owned()).or_default();
                }
            }
            ["CLUSTER", "FORGET", node] => {
                self.members.remove(*node);
            }
            ["CLUSTER", "REPLICATE", primary] => {
                self.members.entry(ip.to_owned()).or_default().primary =
                    Some((*primary).to_owned());
            }
            ["CLUSTER", "ADDSLOTSRANGE", bounds @ ..] => {
                self.members
                    .entry(ip.to_owned())
                    .or_default()
                    .slots
                    .add(&slots(bounds));
            }
            [
                "CLUSTER",
                "MIGRATESLOTS",
                "SLOTSRANGE",
                bounds @ ..,
                "NODE",
                target,
            ] => {
                let moved = slots(bounds);
                self.members
                    .entry(ip.to_owned())
                    .or_default()
                    .slots
                    .subtract(&moved);
                self.members
                    .entry((*target).to_owned())
                    .or_default()
                    .slots
                    .add(&moved);
            }
            ["CLUSTER", "FAILOVER", ..] => self.promote(ip),
            other => panic!("the model does not know {other:?}"),
        }
    }

    fn promote(&mut self, ip: &str) {
        let Some(old) = self.members.get(ip).and_then(|node| node.primary.clone()) else {
            return;
        };
        let slots = std::mem::take(&mut self.members.entry(old.clone()).or_default().slots);
        for (other, node) in &mut self.members {
            if other == ip {
                *node = Node {
                    primary: None,
                    slots: slots.clone(),
                };
            } else if *other == old || node.primary.as_ref() == Some(&old) {
                node.primary = Some(ip.to_owned());
            }
        }
    }
}

fn slots(bounds: &[&str]) -> SlotSet {
    let ranges = bounds
        .chunks(2)
        .map(|pair| format!("{}-{}", pair[0], pair[1]));
    ranges
        .collect::<Vec<_>>()
        .join(" ")
        .parse()
        .expect("the operator sends ranges")
}

impl Nodes for Model {
    fn view<'a>(
        &'a self,
        cluster: &'a str,
        ip: &'a str,
    ) -> BoxFuture<'a, Result<NodeView, NodeError>> {
        let state = self.0.lock();
        let known = state.pods.contains_key(ip);
        let view = known.then(|| state.view(cluster, ip));
        Box::pin(async move { view.ok_or(NodeError::Parse(ParseError::Info("nobody there"))) })
    }

    fn command<'a>(
        &'a self,
        ip: &'a str,
        words: &'a [String],
    ) -> BoxFuture<'a, Result<(), NodeError>> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.0.lock().command(ip, &words);
        Box::pin(async { Ok(()) })
    }
}
