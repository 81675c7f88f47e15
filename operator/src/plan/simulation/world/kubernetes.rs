//! What Kubernetes does: pods come and go.

use super::*;

impl World {
    pub(super) fn run_kubernetes(&mut self) {
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
    pub(super) fn remove_by_plan(&mut self, place: PodPlace) {
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

    pub(super) fn new_pod(&mut self, place: PodPlace) -> SimPod {
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
}
