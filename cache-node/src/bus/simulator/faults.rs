//! What goes wrong, on purpose.

use super::*;

impl Simulation {
    pub(super) fn crash(&mut self, node: usize) {
        let Some(bus) = self.machines[node].bus.take() else {
            return;
        };
        let (peer, life) = (bus.myself(), self.machines[node].life);
        if let Some(traffic) = &mut self.traffic {
            traffic.disconnect(node);
        }
        // Most of the others have a connection to it.
        for other in 0..self.machines.len() {
            if other != node
                && self.machines[other].side == self.machines[node].side
                && self.rng.random_bool(0.8)
            {
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
}
