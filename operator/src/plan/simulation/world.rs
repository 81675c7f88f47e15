//! The model: pods, nodes with their data, and topologies that nodes commit to and gossip about.

mod execution;
mod kubernetes;
mod nodes;
mod observation;
mod topology;

use std::collections::{BTreeMap, BTreeSet};

use crate::names::PodPlace;
use crate::observe::{
    Member, Migration, MigrationState, NodeId, NodeState, NodeView, Observed, Pod, Vote, Witness,
};
use crate::plan::{Desired, Plan, Promotion, Step};
use crate::slots::SlotSet;
use observation::state;
use topology::{Shard, Topology, end_migration, remove_member, replicate, set_primary};

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
}
