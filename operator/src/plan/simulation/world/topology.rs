//! A topology as a node knows it, and its changes.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Shard {
    pub(super) primary: NodeId,
    pub(super) incarnation: u64,
    pub(super) slots: SlotSet,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Topology {
    pub(super) cluster: u64,
    pub(super) generation: u64,
    pub(super) index: u64,
    /// Member -> its pod, its address and the key of its shard.
    pub(super) members: BTreeMap<NodeId, (PodPlace, String, NodeId)>,
    /// Shards by the node that brought them.
    pub(super) shards: BTreeMap<NodeId, Shard>,
    pub(super) voters: Vec<NodeId>,
    /// Its vote is not part of the model.
    pub(super) witness: Option<Witness>,
    pub(super) migrations: BTreeMap<String, Migration>,
}

/// The new primary goes on with the shard's migrations.
pub(super) fn set_primary(topology: &mut Topology, id: &NodeId, incarnation: u64) -> bool {
    let key = topology.members[id].2.clone();
    let Some(shard) = topology.shards.get_mut(&key) else {
        return false;
    };
    if shard.primary == *id && shard.incarnation == incarnation {
        return true;
    }
    let before = std::mem::replace(&mut shard.primary, id.clone());
    shard.incarnation = incarnation;
    for migration in topology.migrations.values_mut() {
        for side in [&mut migration.source, &mut migration.target] {
            if *side == before {
                side.clone_from(id);
            }
        }
    }
    true
}

fn abort_migrations(topology: &mut Topology, key: &str) {
    let members = topology.members.clone();
    let inside = |id: &NodeId| members.get(id).is_none_or(|member| member.2 == key);
    topology
        .migrations
        .retain(|_, migration| !inside(&migration.source) && !inside(&migration.target));
}

pub(super) fn remove_member(topology: &mut Topology, id: &NodeId) -> bool {
    let Some((_, _, key)) = topology.members.get(id).cloned() else {
        return false;
    };
    if topology.shards[&key].primary == *id {
        let alone = topology
            .members
            .values()
            .filter(|member| member.2 == key)
            .count()
            == 1;
        if !alone || !topology.shards[&key].slots.is_empty() {
            return false;
        }
        abort_migrations(topology, &key);
        topology.shards.remove(&key);
    }
    topology.members.remove(id);
    true
}

pub(super) fn replicate(topology: &mut Topology, id: &NodeId, primary: &NodeId) -> bool {
    let Some(key) = topology.members.get(primary).map(|member| member.2.clone()) else {
        return false;
    };
    let old = topology.members[id].2.clone();
    if topology.shards[&old].primary == *id {
        if !topology.shards[&old].slots.is_empty() || old == key {
            return false;
        }
        abort_migrations(topology, &old);
        topology.shards.remove(&old);
    }
    if let Some(member) = topology.members.get_mut(id) {
        member.2 = key;
    }
    true
}

pub(super) fn end_migration(topology: &mut Topology, migration: &Migration, success: bool) -> bool {
    if topology.migrations.remove(&migration.name).is_none() {
        return false;
    }
    if success {
        let key_of = |id: &NodeId| topology.members.get(id).map(|member| member.2.clone());
        let (Some(source), Some(target)) = (key_of(&migration.source), key_of(&migration.target))
        else {
            return false;
        };
        if let Some(shard) = topology.shards.get_mut(&source) {
            shard.slots.subtract(&migration.slots);
        }
        if let Some(shard) = topology.shards.get_mut(&target) {
            shard.slots.add(&migration.slots);
        }
    }
    true
}
