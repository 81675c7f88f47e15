//! What the operator sees.

use super::*;

/// The operator's vote.
fn own_witness() -> Witness {
    Witness {
        id: "witness".to_owned(),
        ip: "10.0.1.1".to_owned(),
        port: 16_400,
    }
}

impl World {
    pub(in super::super) fn observe(&self) -> Observed {
        let pods = self.pods.iter().map(|(place, pod)| {
            let seen = Pod {
                ip: Some(pod.ip.clone()),
                running: pod.running,
                node: pod.answers().then(|| self.view(&pod.node)),
                ..Pod::default()
            };
            (*place, seen)
        });
        Observed {
            pods: pods.collect(),
            shards: self.sets.clone(),
            vote: Vote::Ready(own_witness()),
        }
    }

    pub(super) fn view(&self, node: &Node) -> NodeView {
        let topology = &node.topology;
        let members = topology.members.iter().map(|(id, (place, ip, key))| {
            let shard = &topology.shards[key];
            let leads = shard.primary == *id;
            let member = Member {
                place: Some(*place),
                ip: ip.clone(),
                primary: (!leads).then(|| shard.primary.clone()),
                slots: if leads {
                    shard.slots.clone()
                } else {
                    SlotSet::new()
                },
                failed: self.node(id).is_none(),
            };
            (id.clone(), member)
        });
        NodeView {
            id: node.id.clone(),
            state: state(node),
            generation: topology.generation,
            epoch: topology.index,
            quorum: self.has_quorum(topology),
            voters: topology.voters.clone(),
            witness: topology.witness.clone(),
            members: members.collect(),
            offset: node.offset,
            link_up: node.link_up,
            keys: u64::from(node.data.len()),
            migrations: topology
                .migrations
                .values()
                .filter(|migration| migration.source == node.id || migration.target == node.id)
                .cloned()
                .chain(node.history.clone())
                .collect(),
        }
    }
}

pub(super) fn state(node: &Node) -> NodeState {
    let topology = &node.topology;
    let shard = &topology.shards[&topology.members[&node.id].2];
    if shard.primary != node.id {
        NodeState::Replica
    } else if topology.members.len() == 1 && shard.slots.is_empty() {
        NodeState::Fresh
    } else if shard.incarnation == node.incarnation {
        NodeState::Primary
    } else {
        NodeState::Quarantined
    }
}
