//! A big cluster that is there already: all nodes begin with the same topology on their disks, and with the incarnations that it names.
//! Thousands of meetings would take longer than what is to be seen.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::machine::Machine as Replicated;
use super::super::storage::Storage;
use super::*;
use crate::slot::{SLOT_COUNT, SlotId, SlotSet};
use crate::topology::Member;

/// All begin in this one.
const INCARNATION: u64 = 1 << 31;
/// Members that vote: the primaries of the first shards.
const VOTERS: usize = 5;

impl Simulation {
    /// So many shards of two nodes that have shared out all slots: node `n` is the primary of a shard, and node `n + shards` its replica.
    pub(super) fn ready(seed: u64, shards: usize, network: Network) -> Self {
        let mut simulation = Self::empty(seed, 2 * shards, network);
        for node in 0..2 * shards {
            let (shard, ordinal) = (node % shards, node / shards);
            simulation.machines[node].hostname =
                format!("cache-s{shard}-{ordinal}.cache-nodes.default.svc.cluster.local");
        }
        let topology = simulation.shared_out(shards);
        for node in 0..2 * shards {
            let id = node_id(node);
            let seat = topology.voters.contains(&id);
            simulation.machines[node].disk = Some(Persisted {
                node: id,
                incarnation: INCARNATION,
                topology: topology.clone(),
                consensus: seat.then(|| {
                    let state = Replicated::new((*topology).clone());
                    Storage::founding(state).record()
                }),
            });
            simulation.start(node);
            // Nobody has restarted: the processes are those that the topology names.
            if let Some(bus) = &mut simulation.machines[node].bus {
                bus.incarnation = INCARNATION;
            }
        }
        simulation
    }

    fn shared_out(&mut self, shards: usize) -> Arc<Topology> {
        let member = |simulation: &Self, node: usize| Member {
            id: node_id(node),
            address: simulation.address(node),
            shard: ShardId::new(*node_id(node % shards).bytes()),
        };
        let mut topology = Topology::single(self.rng.random(), member(self, 0), INCARNATION);
        let slot = |shard: usize| shard * SLOT_COUNT / shards;
        for shard in 0..shards {
            let primary = Topology::single(0, member(self, shard), INCARNATION);
            topology.shards.extend(primary.shards);
            let slots = (slot(shard)..slot(shard + 1)).filter_map(|slot| SlotId::new(slot as u16));
            let id = ShardId::new(*node_id(shard).bytes());
            if let Some(shard) = topology.shards.get_mut(&id) {
                shard.slots = slots.collect::<SlotSet>();
            }
        }
        let members = (0..2 * shards).map(|node| member(self, node));
        topology.members = members.map(|member| (member.id, member)).collect();
        topology.voters = (0..VOTERS.min(shards))
            .map(node_id)
            .collect::<BTreeSet<_>>();
        Arc::new(topology)
    }
}

/// Random to look at, so that ids do not share their first bytes, but the same in every run.
fn node_id(node: usize) -> NodeId {
    NodeId::new(SmallRng::seed_from_u64(node as u64).random())
}
