//! Plans are carried out, and checked: nothing may be lost by a step.

use super::*;

impl World {
    /// Carries out the first `steps` of a plan, checking each against the invariants first.
    pub(in super::super) fn execute(&mut self, plan: &Plan, steps: usize) {
        self.sets.retain(|index, _| plan.pods.contains_key(index));
        self.sets.extend(&plan.pods);
        for step in plan.steps.iter().take(steps) {
            self.check(step);
            self.carry_out(step);
        }
    }

    pub(super) fn carry_out(&mut self, step: &Step) {
        match step {
            Step::Meet { at, node } => self.meet(*at, *node),
            Step::Forget { at, node } => {
                let mut lost = self.held();
                self.commit(*at, |topology| remove_member(topology, node));
                lost.subtract(&self.held());
                if !lost.is_empty() {
                    self.violations
                        .push(format!("{step}: it was the last holder of {lost}"));
                }
            }
            Step::Replicate { at, primary } => {
                let Some(id) = self.pods.get(at).map(|pod| pod.node.id.clone()) else {
                    return;
                };
                if self.commit(*at, |topology| replicate(topology, &id, primary)) {
                    // It has no position in its new primary's stream yet.
                    if let Some(pod) = self.pods.get_mut(at) {
                        (pod.node.offset, pod.node.link_up) = (0, false);
                    }
                }
            }
            Step::AddSlots { at, slots } => {
                let Some(id) = self.pods.get(at).map(|pod| pod.node.id.clone()) else {
                    return;
                };
                self.commit(*at, |topology| {
                    let key = topology.members[&id].2.clone();
                    topology.shards.get_mut(&key).is_some_and(|shard| {
                        shard.slots.add(slots);
                        true
                    })
                });
            }
            Step::Promote {
                at,
                how: Promotion::Takeover,
            } => self.take_over(*at),
            Step::Promote { at, .. } => {
                self.promote(*at);
            }
            Step::Migrate { at, target, slots } => self.migrate(*at, target, slots),
            Step::CancelMigrations { at } => {
                let Some(id) = self.pods.get(at).map(|pod| pod.node.id.clone()) else {
                    return;
                };
                self.commit(*at, |topology| {
                    topology
                        .migrations
                        .retain(|_, migration| migration.source != id);
                    true
                });
            }
            Step::SetWitness { at, witness } => {
                self.commit(*at, |topology| {
                    topology.witness = Some(witness.clone());
                    true
                });
            }
            Step::RemoveWitness { at } => {
                self.commit(*at, |topology| topology.witness.take().is_some());
            }
            Step::Reset { at } => {
                let fresh = self.new_pod(*at);
                if let Some(pod) = self.pods.get_mut(at).filter(|pod| pod.answers()) {
                    pod.node = Node {
                        id: fresh.node.id.clone(),
                        ..fresh.node
                    };
                    let member = (*at, pod.ip.clone(), pod.node.id.clone());
                    pod.node
                        .topology
                        .members
                        .insert(pod.node.id.clone(), member);
                }
            }
            Step::DeletePod { place } => self.remove_by_plan(*place),
            Step::DeleteShard { index } => {
                self.sets.remove(index);
            }
        }
    }

    pub(super) fn meet(&mut self, at: PodPlace, node: PodPlace) {
        let Some(joining) = self.pods.get(&node).filter(|pod| pod.answers()).cloned() else {
            return;
        };
        let id = joining.node.id.clone();
        if joining.node.topology.members.len() != 1 {
            return;
        }
        let key = self.draw();
        let joined = self.commit(at, |topology| {
            let key = format!("{id}-{key}");
            if !topology.members.contains_key(&id) {
                let shard = Shard {
                    primary: id.clone(),
                    incarnation: joining.node.incarnation,
                    slots: SlotSet::new(),
                };
                topology
                    .members
                    .insert(id.clone(), (node, joining.ip.clone(), key.clone()));
                topology.shards.insert(key, shard);
            }
            true
        });
        let topology = self.pods.get(&at).map(|pod| pod.node.topology.clone());
        if let (true, Some(topology), Some(pod)) = (joined, topology, self.pods.get_mut(&node)) {
            pod.node.topology = topology;
        }
    }

    pub(super) fn migrate(&mut self, at: PodPlace, target: &NodeId, slots: &SlotSet) {
        let Some(source) = self.pods.get(&at).map(|pod| pod.node.id.clone()) else {
            return;
        };
        let name = format!("move{}", self.draw());
        let migration = Migration {
            name: name.clone(),
            source,
            target: target.clone(),
            slots: slots.clone(),
            state: MigrationState::Active,
        };
        self.commit(at, |topology| {
            // Who is no primary any more owns nothing.
            let owner = topology
                .shards
                .values()
                .find(|shard| shard.primary == migration.source);
            let owns = |slot| owner.is_some_and(|shard| shard.slots.contains(slot));
            migration.slots.iter().all(owns)
                && topology.migrations.insert(name, migration).is_none()
        });
    }

    pub(super) fn take_over(&mut self, at: PodPlace) {
        let Some(pod) = self.pods.get_mut(&at).filter(|pod| pod.answers()) else {
            return;
        };
        let (id, incarnation) = (pod.node.id.clone(), pod.node.incarnation);
        let topology = &mut pod.node.topology;
        topology.generation += 1;
        topology.index += 1;
        topology.voters = vec![id.clone()];
        set_primary(topology, &id, incarnation);
        let formed_anew = topology.clone();
        self.note(&formed_anew);
        self.gossip();
    }

    pub(super) fn check(&mut self, step: &Step) {
        let newest = self.newest().unwrap_or_default();
        let violation = match step {
            Step::AddSlots { slots, .. } => {
                let mut owned = SlotSet::new();
                newest
                    .shards
                    .values()
                    .for_each(|shard| owned.add(&shard.slots));
                slots
                    .iter()
                    .any(|slot| owned.contains(slot))
                    .then_some("assigns slots that have an owner")
            }
            Step::DeleteShard { index } => newest
                .shards
                .values()
                .filter(|shard| !shard.slots.is_empty())
                .any(|shard| {
                    newest
                        .members
                        .get(&shard.primary)
                        .is_some_and(|member| member.0.shard == *index)
                })
                .then_some("deletes a shard that owns slots"),
            Step::Promote {
                at,
                how: Promotion::Force | Promotion::Takeover,
            } => self.promotion_violation(*at),
            Step::Forget { node, .. } => newest
                .shards
                .values()
                .any(|shard| shard.primary == *node && !shard.slots.is_empty())
                .then_some("removes the owner of slots"),
            Step::Migrate { slots, .. } => {
                let mut moving = newest
                    .migrations
                    .values()
                    .flat_map(|migration| migration.slots.iter().collect::<BTreeSet<_>>());
                moving
                    .any(|slot| slots.contains(slot))
                    .then_some("moves slots that move already")
            }
            _ => None,
        };
        if let Some(violation) = violation {
            self.violations.push(format!("{step}: {violation}"));
        }
    }

    pub(super) fn promotion_violation(&self, at: PodPlace) -> Option<&'static str> {
        let node = &self.pods.get(&at)?.node;
        let (topology, key) = (&node.topology, &node.topology.members.get(&node.id)?.2);
        let shard = &topology.shards[key];
        let beside = self.pods.values().any(|pod| {
            let primary = pod.node.id == shard.primary && pod.node.id != node.id;
            primary && pod.running && pod.node.incarnation == shard.incarnation
        });
        let better = self.pods.values().any(|pod| {
            let sibling = topology
                .members
                .get(&pod.node.id)
                .is_some_and(|member| member.2 == *key);
            sibling
                && pod.running
                && !pod.node.data.is_empty()
                && node.data.is_empty()
                && state(node) == NodeState::Replica
        });
        match (beside, better) {
            (true, _) => Some("promotes beside a primary that may serve"),
            (_, true) => Some("promotes an empty node although a sibling has data"),
            _ => None,
        }
    }
}
