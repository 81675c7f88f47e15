//! What is checked of every node, at every publication and after every event.

use super::super::consensus::Consensus;
use super::*;

impl Simulation {
    /// Whether the node takes writes of its shard at this moment.
    pub(super) fn takes_writes(&self, node: usize) -> bool {
        let machine = &self.machines[node];
        let shown = machine.shown.as_ref().filter(|_| machine.bus.is_some());
        let Some((published, lease)) = shown.filter(|_| machine.paused.is_none()) else {
            return false;
        };
        let shard = published.topology.shard_of(published.node);
        *lease > self.local(node)
            && shard.is_some_and(|(_, shard)| {
                let life = (published.node, published.incarnation);
                (shard.primary, shard.primary_incarnation) == life
            })
    }

    /// Nobody else takes writes of the shard of which this node does.
    pub(super) fn check_writer(&mut self, node: usize) {
        let shard = self.home(node).filter(|_| self.takes_writes(node));
        let shard = shard.map(|shard| (self.topology(node).cluster, shard));
        self.note_writer(node, shard);
        self.check_told(node, shard);
        let Some(shard) = shard.filter(|(_, shard)| self.torn != Some(*shard)) else {
            return;
        };
        let mut others = self.writers[&shard].iter().copied();
        let other = others.find(|other| *other != node && self.takes_writes(*other));
        assert_eq!(
            other, None,
            "takes writes beside node {node} at {}, seed {}",
            self.now, self.seed
        );
    }

    /// Whoever takes writes has all that clients were told.
    fn check_told(&self, node: usize, shard: Option<(u64, ShardId)>) {
        let told = shard.and_then(|shard| self.told.get(&shard));
        let Some(told) = told else {
            return;
        };
        let offset = self.machines[node].status.offset;
        assert!(
            offset >= *told,
            "node {node} is primary at offset {offset}, and clients were told of {told}, at {}, seed {}",
            self.now,
            self.seed
        );
    }

    /// Only what happens to a node makes it take writes, so whoever takes writes of a shard is among those that are noted here.
    fn note_writer(&mut self, node: usize, shard: Option<(u64, ShardId)>) {
        let before = std::mem::replace(&mut self.machines[node].writes, shard);
        if before == shard {
            return;
        }
        if let Some(writers) = before.and_then(|before| self.writers.get_mut(&before)) {
            writers.remove(&node);
        }
        if let Some(shard) = shard {
            self.writers.entry(shard).or_default().insert(node);
        }
    }

    /// The shard that a node belongs to.
    pub(super) fn home(&self, node: usize) -> Option<ShardId> {
        let machine = &self.machines[node];
        let (published, _) = machine.shown.as_ref().filter(|_| machine.bus.is_some())?;
        let shard = published.topology.shard_of(published.node);
        shard.map(|(id, _)| id)
    }

    /// What a seat remembers to have confirmed is of its own group, and not of a former one, whose terms are others.
    fn check_memory(&self, node: usize) {
        let bus = self.bus(node);
        let term = bus.consensus.as_ref().map_or(0, Consensus::term);
        let confirmed = bus.confirmations.newest_term();
        assert!(
            confirmed <= term,
            "node {node} confirmed in term {confirmed} and is in {term}, seed {}",
            self.seed
        );
    }

    /// Answers what is published, with the one copy of its topology.
    pub(super) fn check_publication(&mut self, node: usize, mut published: Published) -> Published {
        self.check_memory(node);
        let topology = published.topology.clone();
        let version = topology.version();
        let seen = self
            .seen
            .entry((topology.cluster, version))
            .or_insert_with(|| topology.clone());
        assert_eq!(
            *seen, topology,
            "two topologies at {version:?}, seed {}",
            self.seed
        );
        let seen = seen.clone();
        let machine = &mut self.machines[node];
        // One copy for all: a thousand of a thousand members do not fit into memory.
        if let Some(bus) = &mut machine.bus
            && bus.topology.version() == version
            && bus.topology.cluster == seen.cluster
        {
            bus.topology = seen.clone();
        }
        published.topology = seen;
        if let Some((cluster, before)) = machine.published
            && cluster == topology.cluster
        {
            assert!(version >= before, "went back in time, seed {}", self.seed);
        }
        machine.published = Some((topology.cluster, version));
        published
    }
}
