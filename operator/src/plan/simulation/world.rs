//! The model: pods, nodes with their data, and topologies that nodes commit to and gossip about.

use std::collections::{BTreeMap, BTreeSet};

use crate::names::PodPlace;
use crate::observe::{
    Member, Migration, MigrationState, NodeId, NodeState, NodeView, Observed, Pod, Vote, Witness,
};
use crate::plan::{Desired, Plan, Promotion, Step};
use crate::slots::SlotSet;

#[derive(Clone, Debug, Default)]
struct Shard {
    primary: NodeId,
    incarnation: u64,
    slots: SlotSet,
}

/// A topology as a node knows it.
/// The operator's vote.
fn own_witness() -> Witness {
    Witness {
        id: "witness".to_owned(),
        ip: "10.0.1.1".to_owned(),
        port: 16_400,
    }
}

#[derive(Clone, Debug, Default)]
struct Topology {
    cluster: u64,
    generation: u64,
    index: u64,
    /// Member -> its pod, its address and the key of its shard.
    members: BTreeMap<NodeId, (PodPlace, String, NodeId)>,
    /// Shards by the node that brought them.
    shards: BTreeMap<NodeId, Shard>,
    voters: Vec<NodeId>,
    /// Its vote is not part of the model.
    witness: Option<Witness>,
    migrations: BTreeMap<String, Migration>,
}

#[derive(Clone, Debug)]
struct Node {
    id: NodeId,
    incarnation: u64,
    topology: Topology,
    data: SlotSet,
    offset: u64,
    link_up: bool,
    history: Vec<Migration>,
}

#[derive(Clone, Debug)]
struct SimPod {
    ip: String,
    running: bool,
    stopped: bool,
    node: Node,
}

impl SimPod {
    fn answers(&self) -> bool {
        self.running && !self.stopped
    }
}

/// Kubernetes and the data plane.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) desired: Desired,
    sets: BTreeMap<u32, i32>,
    pods: BTreeMap<PodPlace, SimPod>,
    drawn: u64,
    /// Slots whose data was lost because every copy was destroyed by faults.
    pub(super) excused: SlotSet,
    pub(super) moved: u32,
    pub(super) violations: Vec<String>,
    formed: bool,
    latest: Option<Topology>,
}

impl World {
    pub(super) fn new(desired: Desired) -> Self {
        Self {
            desired,
            sets: BTreeMap::new(),
            pods: BTreeMap::new(),
            drawn: 0,
            excused: SlotSet::new(),
            moved: 0,
            violations: Vec::new(),
            formed: false,
            latest: None,
        }
    }

    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }

    pub(super) fn places(&self) -> Vec<PodPlace> {
        self.pods.keys().copied().collect()
    }

    pub(super) fn sets(&self) -> &BTreeMap<u32, i32> {
        &self.sets
    }

    fn node(&self, id: &str) -> Option<&Node> {
        let mut pods = self.pods.values().filter(|pod| pod.answers());
        pods.find(|pod| pod.node.id == id).map(|pod| &pod.node)
    }

    // ---- faults -------------------------------------------------------------------------------------------------

    /// The pod is deleted; Kubernetes makes a new one with an empty volume.
    pub(super) fn kill_pod(&mut self, place: PodPlace) {
        self.pods.remove(&place);
        self.excuse();
    }

    /// The process is killed; Kubernetes restarts it in the same pod, without the data in memory.
    pub(super) fn kill_process(&mut self, place: PodPlace) {
        if let Some(pod) = self.pods.get_mut(&place) {
            pod.running = false;
            pod.stopped = false;
            pod.node.data = SlotSet::new();
        }
        self.excuse();
    }

    pub(super) fn stop_process(&mut self, place: PodPlace) {
        if let Some(pod) = self.pods.get_mut(&place) {
            pod.stopped = pod.running;
        }
    }

    pub(super) fn continue_all(&mut self) {
        self.pods.values_mut().for_each(|pod| pod.stopped = false);
    }

    /// What the members of the newest topology hold. A node that left the cluster may hold leftovers, which count for nothing.
    fn held(&self) -> SlotSet {
        let newest = self.newest().unwrap_or_default();
        let mut held = SlotSet::new();
        for pod in self.pods.values() {
            if newest.members.contains_key(&pod.node.id) {
                held.add(&pod.node.data);
            }
        }
        held
    }

    /// What nobody holds after a fault is lost by that fault, not by a plan.
    fn excuse(&mut self) {
        if self.formed {
            let mut lost = SlotSet::full();
            lost.subtract(&self.held());
            self.excused.add(&lost);
        }
    }

    // ---- time ---------------------------------------------------------------------------------------------------

    /// Everything that happens by itself: pods come and go, topologies spread, replicas sync, moves end (or fail when `luck` is odd).
    pub(super) fn tick(&mut self, luck: u64) {
        self.run_kubernetes();
        self.gossip();
        self.reinstate_lone_members();
        self.sync_replicas();
        self.finish_migrations(luck);
        self.gossip();
        if self.held() == SlotSet::full() {
            self.formed = true;
        }
    }

    fn run_kubernetes(&mut self) {
        let sets = self.sets.clone();
        let leaving: Vec<PodPlace> = self
            .pods
            .keys()
            .filter(|place| {
                i64::from(place.ordinal)
                    >= sets.get(&place.shard).map_or(0, |count| i64::from(*count))
            })
            .copied()
            .collect();
        for place in leaving {
            self.remove_by_plan(place);
        }
        for (shard, count) in sets {
            for ordinal in 0..u32::try_from(count).unwrap_or(0) {
                let place = PodPlace { shard, ordinal };
                if !self.pods.contains_key(&place) {
                    let pod = self.new_pod(place);
                    self.pods.insert(place, pod);
                }
            }
        }
        let restarted: Vec<PodPlace> = self
            .pods
            .iter()
            .filter(|(_, pod)| !pod.running)
            .map(|(place, _)| *place)
            .collect();
        for place in restarted {
            let incarnation = self.draw();
            if let Some(pod) = self.pods.get_mut(&place) {
                pod.running = true;
                pod.node.incarnation = incarnation;
                pod.node.offset = 0;
                pod.node.link_up = false;
            }
        }
    }

    /// A pod that goes because a plan said so must not be the last holder of anything, nor a member that owns slots.
    fn remove_by_plan(&mut self, place: PodPlace) {
        let before = self.held();
        if let Some(pod) = self.pods.remove(&place) {
            let mut lost = before;
            lost.subtract(&self.held());
            if !lost.is_empty() {
                self.violations.push(format!(
                    "the plan removed {place}, the last holder of {lost}"
                ));
            }
            let newest = self.newest().unwrap_or_default();
            if newest
                .shards
                .values()
                .any(|shard| shard.primary == pod.node.id && !shard.slots.is_empty())
            {
                self.violations
                    .push(format!("the plan removed {place}, which owns slots"));
            }
        }
    }

    fn new_pod(&mut self, place: PodPlace) -> SimPod {
        let number = self.draw();
        let (id, ip) = (format!("node{number:04}"), format!("10.0.0.{number}"));
        let topology = Topology {
            cluster: number,
            index: 1,
            members: BTreeMap::from([(id.clone(), (place, ip.clone(), id.clone()))]),
            shards: BTreeMap::from([(
                id.clone(),
                Shard {
                    primary: id.clone(),
                    incarnation: number,
                    slots: SlotSet::new(),
                },
            )]),
            voters: vec![id.clone()],
            ..Topology::default()
        };
        SimPod {
            ip,
            running: true,
            stopped: false,
            node: Node {
                id,
                incarnation: number,
                topology,
                data: SlotSet::new(),
                offset: 0,
                link_up: false,
                history: Vec::new(),
            },
        }
    }

    fn gossip(&mut self) {
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
    fn newest(&self) -> Option<Topology> {
        let latest = self.latest.as_ref()?;
        let mut pods = self.pods.values();
        pods.any(|pod| latest.members.contains_key(&pod.node.id))
            .then(|| latest.clone())
    }

    fn note(&mut self, topology: &Topology) {
        if topology
            .shards
            .values()
            .any(|shard| !shard.slots.is_empty())
        {
            self.latest = Some(topology.clone());
        }
    }

    fn reinstate_lone_members(&mut self) {
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

    fn sync_replicas(&mut self) {
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

    fn finish_migrations(&mut self, luck: u64) {
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

    fn hand_over(&mut self, migration: &Migration) {
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

    // ---- consensus ----------------------------------------------------------------------------------------------

    /// Whether a majority of the voters follows: they answer and know nothing newer (a node that was removed has an older topology).
    fn has_quorum(&self, topology: &Topology) -> bool {
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
    fn commit(&mut self, place: PodPlace, change: impl FnOnce(&mut Topology) -> bool) -> bool {
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

    fn elect_voters(&self, topology: &mut Topology) {
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

    fn promote(&mut self, place: PodPlace) -> bool {
        let Some(pod) = self.pods.get(&place) else {
            return false;
        };
        let (id, incarnation) = (pod.node.id.clone(), pod.node.incarnation);
        self.commit(place, |topology| set_primary(topology, &id, incarnation))
    }

    // ---- what the operator sees and does --------------------------------------------------------------------------

    pub(super) fn observe(&self) -> Observed {
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

    fn view(&self, node: &Node) -> NodeView {
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

    /// Carries out the first `steps` of a plan, checking each against the invariants first.
    pub(super) fn execute(&mut self, plan: &Plan, steps: usize) {
        self.sets.retain(|index, _| plan.pods.contains_key(index));
        self.sets.extend(&plan.pods);
        for step in plan.steps.iter().take(steps) {
            self.check(step);
            self.carry_out(step);
        }
    }

    fn carry_out(&mut self, step: &Step) {
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

    fn meet(&mut self, at: PodPlace, node: PodPlace) {
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

    fn migrate(&mut self, at: PodPlace, target: &NodeId, slots: &SlotSet) {
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
            topology.migrations.insert(name, migration).is_none()
        });
    }

    fn take_over(&mut self, at: PodPlace) {
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

    // ---- invariants -----------------------------------------------------------------------------------------------

    fn check(&mut self, step: &Step) {
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

    fn promotion_violation(&self, at: PodPlace) -> Option<&'static str> {
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

fn state(node: &Node) -> NodeState {
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

/// The new primary goes on with the shard's migrations.
fn set_primary(topology: &mut Topology, id: &NodeId, incarnation: u64) -> bool {
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

fn remove_member(topology: &mut Topology, id: &NodeId) -> bool {
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

fn replicate(topology: &mut Topology, id: &NodeId, primary: &NodeId) -> bool {
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

fn end_migration(topology: &mut Topology, migration: &Migration, success: bool) -> bool {
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
