//! The operator as the nodes meet it: it asks all nodes that it reaches what they see, may take a while over that, and then does what
//! the real one does for each member that has ended or is gone (`operator/src/plan`).

use super::*;
use crate::topology::Shard;

/// What one node answered.
#[derive(Clone)]
struct Seen {
    id: NodeId,
    incarnation: u64,
    topology: Arc<Topology>,
    quorum: bool,
    status: LocalStatus,
}

/// What the operator knows of all machines at one moment: what their nodes answered, and whether there is a process.
#[derive(Clone, Default)]
pub(super) struct Picture {
    answers: Vec<Option<Seen>>,
    /// The node that each machine has on its disk, and whether it runs.
    pods: Vec<(Option<NodeId>, bool)>,
}

/// How a member is (`operator/src/plan/picture.rs`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Answers(usize),
    Silent,
    Ended,
    Gone,
}

/// What it asks of a node.
enum Step {
    Request(usize, Request),
    Meet(usize, usize),
}

impl Simulation {
    /// Looks at all nodes; some do not answer in time.
    pub(super) fn picture(&mut self) -> Picture {
        let mut picture = Picture::default();
        for node in 0..self.machines.len() {
            let asked = self.rng.random_bool(0.9);
            let machine = &self.machines[node];
            let answers = asked && machine.stopped_until <= self.now;
            let seen = machine.bus.as_ref().filter(|_| answers).map(|bus| Seen {
                id: bus.myself(),
                incarnation: bus.incarnation(),
                topology: bus.topology().clone(),
                quorum: bus.liveness(self.local(node)).quorum,
                status: machine.status,
            });
            picture.answers.push(seen);
            let disk = machine.disk.as_ref().map(|disk| disk.node);
            picture.pods.push((disk, machine.bus.is_some()));
        }
        picture
    }

    /// Asks for what that picture calls for. What has come of it shows in the next one.
    pub(super) fn operate(&mut self, picture: &Picture) {
        for step in picture.steps() {
            match step {
                Step::Request(node, request) => {
                    if self.machines[node].bus.is_some() {
                        self.request(node, request);
                    }
                }
                Step::Meet(node, other) => {
                    let Address { ip, bus_port, .. } = self.address(other);
                    if self.machines[node].bus.is_some() {
                        self.request(node, Request::Meet { ip, bus_port });
                    }
                }
            }
        }
    }
}

impl Picture {
    fn answering(&self) -> impl Iterator<Item = (usize, &Seen)> {
        let answers = self.answers.iter().enumerate();
        answers.filter_map(|(node, seen)| Some((node, seen.as_ref()?)))
    }

    /// Shards belong to machines: `n` and `n + shards` are of one.
    fn place(&self, node: usize) -> usize {
        node % (self.pods.len() / 2)
    }

    fn health(&self, id: NodeId) -> Health {
        if let Some((node, _)) = self.answering().find(|(_, seen)| seen.id == id) {
            return Health::Answers(node);
        }
        match self.pods.iter().find(|(node, _)| *node == Some(id)) {
            Some((_, true)) => Health::Silent,
            Some((_, false)) => Health::Ended,
            None => Health::Gone,
        }
    }

    fn steps(&self) -> Vec<Step> {
        let members = self.answering().filter(|(_, seen)| {
            let topology = &seen.topology;
            topology.members.len() > 1 && topology.members.contains_key(&seen.id)
        });
        let Some((speaker, established)) = members.max_by_key(|(_, seen)| seen.topology.version())
        else {
            return Vec::new();
        };
        let topology = &established.topology;
        if !self.answering().any(|(_, seen)| seen.quorum) {
            return self.takeover(topology).into_iter().collect();
        }
        let mut steps = Vec::new();
        for (id, shard) in &topology.shards {
            let promoted = self.promotion(topology, *id, shard);
            steps.extend(promoted.map(|(node, command)| Step::Request(node, command)));
        }
        for (node, seen) in self.answering() {
            steps.extend(self.newcomer(node, seen, speaker, topology));
        }
        for id in topology.members.keys() {
            let bound = topology.is_primary(*id)
                && topology
                    .shard_of(*id)
                    .is_some_and(|(_, shard)| !shard.slots.is_empty());
            if self.health(*id) == Health::Gone && !bound {
                let remove = TopologyCommand::RemoveMember { node: *id };
                steps.push(Step::Request(speaker, Request::Propose(remove)));
            }
        }
        steps
    }

    /// Replaces a primary that has lost its data: its process has ended, or is another one.
    fn promotion(
        &self,
        topology: &Topology,
        id: ShardId,
        shard: &Shard,
    ) -> Option<(usize, Request)> {
        let itself = match self.health(shard.primary) {
            Health::Silent => return None,
            Health::Answers(node) => {
                let seen = self.answers[node].as_ref()?;
                if seen.incarnation == shard.primary_incarnation {
                    return None;
                }
                Some(node)
            }
            Health::Ended | Health::Gone => None,
        };
        let replicas = || topology.members_of(id).filter(|it| it.id != shard.primary);
        let silent = replicas().any(|it| self.health(it.id) == Health::Silent);
        let best = replicas()
            .filter_map(|it| match self.health(it.id) {
                Health::Answers(node) => Some((self.answers[node].as_ref()?.status.offset, node)),
                _ => None,
            })
            .max();
        let node = match best {
            Some((offset, node)) if offset > 0 || !silent => node,
            _ if silent => return None,
            _ => itself?,
        };
        let seen = self.answers[node].as_ref()?;
        let promote = TopologyCommand::Promote {
            node: seen.id,
            incarnation: seen.incarnation,
        };
        Some((node, Request::Propose(promote)))
    }

    /// A node that is alone joins, and then follows the primary of its machine's shard.
    fn newcomer(
        &self,
        node: usize,
        seen: &Seen,
        speaker: usize,
        topology: &Topology,
    ) -> Option<Step> {
        let Some((_, home)) = topology.shard_of(seen.id) else {
            let fresh = seen.topology.members.len() == 1;
            return (fresh && seen.topology.assigned().is_empty())
                .then_some(Step::Meet(speaker, node));
        };
        if !home.slots.is_empty() || home.primary != seen.id {
            return None;
        }
        // The primary with slots on the other machine of the shard.
        let mut others = self.answering();
        let (_, main) = others.find(|(other, it)| {
            let home = topology.shard_of(it.id);
            *other != node
                && self.place(*other) == self.place(node)
                && home.is_some_and(|(_, shard)| shard.primary == it.id && !shard.slots.is_empty())
        })?;
        let follow = TopologyCommand::Replicate {
            node: seen.id,
            primary: main.id,
        };
        Some(Step::Request(node, Request::Propose(follow)))
    }

    /// The group is formed anew when most of its voters never come back.
    fn takeover(&self, topology: &Topology) -> Option<Step> {
        let gone = |id: &&NodeId| self.health(**id) == Health::Gone;
        let gone = topology.voters.iter().filter(gone).count();
        if topology.voters.len() - gone > topology.voters.len() / 2 {
            return None;
        }
        let members = self
            .answering()
            .filter(|(_, seen)| topology.members.contains_key(&seen.id));
        let best = members
            .filter(|(_, seen)| self.may_take_over(topology, seen))
            .max_by_key(|(_, seen)| (seen.topology.version(), seen.status.offset));
        best.map(|(node, _)| Step::Request(node, Request::Takeover))
    }

    /// Who takes over becomes the primary of its shard.
    fn may_take_over(&self, topology: &Topology, seen: &Seen) -> bool {
        let Some((id, shard)) = topology.shard_of(seen.id) else {
            return false;
        };
        let siblings: Vec<NodeId> = topology
            .members_of(id)
            .map(|member| member.id)
            .filter(|it| *it != seen.id)
            .collect();
        let silent = siblings.iter().any(|it| self.health(*it) == Health::Silent);
        if shard.primary == seen.id {
            return shard.primary_incarnation == seen.incarnation || siblings.is_empty();
        }
        let lost = match self.health(shard.primary) {
            Health::Gone | Health::Ended => true,
            Health::Silent => false,
            Health::Answers(node) => self.answers[node]
                .as_ref()
                .is_some_and(|it| it.incarnation != shard.primary_incarnation),
        };
        lost && (seen.status.offset > 0 || !silent)
    }
}
