//! What the nodes do by themselves: they spread topologies, commit to changes, copy data and end moves.

use super::*;

impl World {
    pub(super) fn gossip(&mut self) {
        let known: Vec<Topology> = self
            .pods
            .values()
            .filter(|pod| pod.answers())
            .map(|pod| pod.node.topology.clone())
            .collect();
        for pod in self.pods.values_mut().filter(|pod| pod.answers()) {
            let node = &mut pod.node;
            let newest = known
                .iter()
                .filter(|other| {
                    other.cluster == node.topology.cluster && other.members.contains_key(&node.id)
                })
                .max_by_key(|other| (other.generation, other.index));
            let version = |topology: &Topology| (topology.generation, topology.index);
            if let Some(newest) = newest.filter(|newest| version(newest) > version(&node.topology))
            {
                node.topology = newest.clone();
            }
        }
    }

    /// The newest topology with slots, as long as one of its members is left.
    pub(super) fn newest(&self) -> Option<Topology> {
        let latest = self.latest.as_ref()?;
        let mut pods = self.pods.values();
        pods.any(|pod| latest.members.contains_key(&pod.node.id))
            .then(|| latest.clone())
    }

    pub(super) fn note(&mut self, topology: &Topology) {
        if topology
            .shards
            .values()
            .any(|shard| !shard.slots.is_empty())
        {
            self.latest = Some(topology.clone());
        }
    }

    pub(super) fn reinstate_lone_members(&mut self) {
        for place in self.places() {
            let pod = &self.pods[&place];
            if !pod.answers() || state(&pod.node) != NodeState::Quarantined {
                continue;
            }
            let node = &pod.node;
            let key = &node.topology.members[&node.id].2;
            if node
                .topology
                .members
                .values()
                .filter(|member| member.2 == *key)
                .count()
                == 1
            {
                self.promote(place);
            }
        }
    }

    pub(super) fn sync_replicas(&mut self) {
        for pod in self.pods.values_mut().filter(|pod| pod.answers()) {
            if state(&pod.node) == NodeState::Primary {
                pod.node.offset += 1;
                // Clients write to every slot that is served; what has no key now gets one.
                let shard = &pod.node.topology.shards[&pod.node.topology.members[&pod.node.id].2];
                pod.node.data = shard.slots.clone();
            }
        }
        for place in self.places() {
            let pod = &self.pods[&place];
            let node = &pod.node;
            if !pod.answers() || state(node) != NodeState::Replica {
                continue;
            }
            let shard = &node.topology.shards[&node.topology.members[&node.id].2];
            let source = self
                .node(&shard.primary)
                .filter(|primary| state(primary) == NodeState::Primary);
            let synced = source.map(|primary| (primary.data.clone(), primary.offset + 1));
            if let Some(pod) = self.pods.get_mut(&place) {
                pod.node.link_up = synced.is_some();
                if let Some((data, offset)) = synced {
                    (pod.node.data, pod.node.offset) = (data, offset);
                }
            }
        }
    }

    pub(super) fn finish_migrations(&mut self, luck: u64) {
        for place in self.places() {
            let pod = &self.pods[&place];
            if !pod.answers() {
                continue;
            }
            let id = pod.node.id.clone();
            let own = pod
                .node
                .topology
                .migrations
                .values()
                .filter(|migration| migration.source == id);
            for mut migration in own.cloned().collect::<Vec<_>>() {
                let target = self
                    .node(&migration.target)
                    .is_some_and(|node| state(node) == NodeState::Primary);
                let fails = luck % 5 == 4
                    || !target
                    || state(&self.pods[&place].node) != NodeState::Primary;
                if luck.is_multiple_of(3) && !fails {
                    continue;
                }
                migration.state = if fails {
                    MigrationState::Failed("bad luck".to_owned())
                } else {
                    MigrationState::Succeeded
                };
                let done = self.commit(place, |topology| {
                    end_migration(topology, &migration, !fails)
                });
                if done {
                    if !fails {
                        self.hand_over(&migration);
                    }
                    if let Some(pod) = self.pods.get_mut(&place) {
                        pod.node.history.insert(0, migration);
                    }
                }
            }
        }
    }

    pub(super) fn hand_over(&mut self, migration: &Migration) {
        self.moved += migration.slots.len();
        for pod in self.pods.values_mut() {
            if pod.node.id == migration.source {
                pod.node.data.subtract(&migration.slots);
            }
            if pod.node.id == migration.target {
                pod.node.data.add(&migration.slots);
            }
        }
    }

    /// Whether a majority of the voters follows: they answer and know nothing newer (a node that was removed has an older topology).
    pub(super) fn has_quorum(&self, topology: &Topology) -> bool {
        let version = (topology.generation, topology.index);
        let follows = |id: &&NodeId| {
            self.node(id).is_some_and(|node| {
                let known = &node.topology;
                known.cluster == topology.cluster && (known.generation, known.index) <= version
            })
        };
        2 * topology.voters.iter().filter(follows).count() > topology.voters.len()
    }

    /// Commits a change at the node in `place` if there is a quorum; the voters know it at once, the others by gossip.
    pub(super) fn commit(
        &mut self,
        place: PodPlace,
        change: impl FnOnce(&mut Topology) -> bool,
    ) -> bool {
        self.gossip();
        let Some(pod) = self.pods.get(&place).filter(|pod| pod.answers()) else {
            return false;
        };
        let mut topology = pod.node.topology.clone();
        if !self.has_quorum(&topology) || !change(&mut topology) {
            return false;
        }
        topology.index += 1;
        self.elect_voters(&mut topology);
        self.note(&topology);
        for (other, pod) in self.pods.iter_mut().filter(|(_, pod)| pod.answers()) {
            let told = *other == place || topology.voters.contains(&pod.node.id);
            let same = pod.node.topology.cluster == topology.cluster;
            if same && told && topology.members.contains_key(&pod.node.id) {
                pod.node.topology = topology.clone();
            }
        }
        true
    }

    pub(super) fn elect_voters(&self, topology: &mut Topology) {
        topology
            .voters
            .retain(|id| topology.members.contains_key(id));
        let live: Vec<NodeId> = topology
            .members
            .keys()
            .filter(|id| self.node(id).is_some())
            .cloned()
            .collect();
        for id in live {
            if topology.voters.len() < 5 && !topology.voters.contains(&id) {
                topology.voters.push(id);
            }
        }
    }

    pub(super) fn promote(&mut self, place: PodPlace) -> bool {
        let Some(pod) = self.pods.get(&place) else {
            return false;
        };
        let (id, incarnation) = (pod.node.id.clone(), pod.node.incarnation);
        self.commit(place, |topology| set_primary(topology, &id, incarnation))
    }
}
