//! What goes wrong, on purpose.

use super::*;

impl Simulation {
    pub(super) fn crash(&mut self, node: usize) {
        let Some(bus) = self.machines[node].bus.take() else {
            return;
        };
        let (peer, life) = (bus.myself(), self.machines[node].life);
        // What was on its way to the disk may have come there.
        let written = self.machines[node].writing.take();
        if let Some(disk) = written.filter(|_| self.rng.random_bool(0.5)) {
            self.machines[node].disk = Some(disk);
        }
        if let Some(traffic) = &mut self.traffic {
            traffic.disconnect(node);
        }
        // Most of the others have a connection to it, and one at least.
        let mut nobody = true;
        for other in 0..self.machines.len() {
            let reached = other != node && self.reaches(node, other);
            if reached && (nobody || self.rng.random_bool(0.8)) {
                nobody &= self.machines[other].bus.is_none();
                let delay = self.rng.random_range(1..5);
                let gone = Happening::Gone {
                    node: other,
                    peer,
                    life,
                    of: node,
                };
                self.schedule(delay, gone);
            }
        }
    }

    /// What stands between the two sides of a partition resets all connections, and refuses new ones.
    pub(super) fn reset_connections(&mut self) {
        let nodes = 0..self.machines.len();
        let pairs = nodes
            .clone()
            .flat_map(|node| nodes.clone().map(move |peer| (node, peer)));
        for (node, peer) in pairs.collect::<Vec<_>>() {
            let (from, to) = (&self.machines[node], &self.machines[peer]);
            if let Some(bus) = to.bus.as_ref().filter(|_| from.side != to.side) {
                let peer = bus.myself();
                self.schedule(1, Happening::Refused { node, peer });
            }
        }
    }

    /// Nothing happens in the process for a while; what comes for it waits.
    pub(super) fn stop(&mut self, node: usize, ms: u64) {
        self.machines[node].stopped_until = self.now + ms;
    }

    /// The process ends, and its disk with it: the next one is another node.
    pub(super) fn lose_disk(&mut self, node: usize) {
        self.crash(node);
        self.machines[node].disk = None;
    }

    /// Cuts some of the ways from one node to another, each in one direction.
    pub(super) fn cut_some(&mut self, share: f64) {
        let nodes = self.machines.len();
        for (node, peer) in (0..nodes * nodes).map(|pair| (pair / nodes, pair % nodes)) {
            if node != peer && self.rng.random_bool(share) {
                self.machines[node].cut.insert(peer);
            }
        }
    }

    /// Makes some of the ways from one node to another slow, each in one direction, by up to so many ms.
    pub(super) fn slow_some(&mut self, share: f64, most: u64) {
        let nodes = self.machines.len();
        for (node, peer) in (0..nodes * nodes).map(|pair| (pair / nodes, pair % nodes)) {
            if node != peer && self.rng.random_bool(share) {
                let slowness = self.rng.random_range(1..=most);
                self.machines[node].slow.insert(peer, slowness);
            }
        }
    }

    /// Whether something that `node` sends can reach `peer`.
    pub(super) fn reaches(&self, node: usize, peer: usize) -> bool {
        let (from, to) = (&self.machines[node], &self.machines[peer]);
        from.side == to.side && to.deaf_to != Some(node) && !from.cut.contains(&peer)
    }

    /// By how many ms longer what `node` sends to `peer` may take.
    pub(super) fn slowness(&self, node: usize, peer: usize) -> u64 {
        self.machines[node].slow.get(&peer).copied().unwrap_or(0)
    }
}
