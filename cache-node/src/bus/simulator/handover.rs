//! Planned hand-overs, as `replication/handover.rs` makes them: the primary pauses, the replica has everything and asks to take over, and the
//! primary goes on only when it is certain that it still is one.

use super::*;

/// How long a hand-over may take before the primary wants to go on, in ms.
const LIMIT: u64 = 1_000;

/// A primary that takes no writes because a replica takes over.
pub(super) struct Paused {
    until: u64,
    /// The request that makes it certain that no promotion follows.
    confirmation: Option<u64>,
}

impl Simulation {
    /// `node` takes over from its primary, if both are fit for that; the token of its request.
    pub(super) fn hand_over_to(&mut self, node: usize) -> Option<u64> {
        let bus = self.machines[node].bus.as_ref()?;
        let (id, incarnation) = (bus.myself(), bus.incarnation());
        let (_, shard) = self.topology(node).shard_of(id)?;
        let (former, epoch) = ((shard.primary, shard.primary_incarnation), shard.epoch);
        let primary = *self.places.get(&former.0)?;
        let fit = former.0 != id
            && self.machines[node].status.copied == Some(former)
            && self.takes_writes(primary)
            && self.reaches(primary, node)
            && self.reaches(node, primary);
        let theirs = self.machines[primary].bus.as_ref()?;
        if !fit || (theirs.myself(), theirs.incarnation()) != former {
            return None;
        }
        self.machines[primary].paused = Some(Paused {
            until: self.now + LIMIT,
            confirmation: None,
        });
        let LocalStatus { offset, keys, .. } = self.machines[primary].status;
        let status = &mut self.machines[node].status;
        (status.offset, status.keys) = (offset, keys);
        let command = TopologyCommand::HandOver {
            node: id,
            incarnation,
            epoch,
        };
        Some(self.request(node, Request::Propose(command)))
    }

    /// Lets a paused primary go on when it may.
    pub(super) fn settle_hand_over(&mut self, node: usize) {
        let Some(paused) = &self.machines[node].paused else {
            return;
        };
        let (until, confirmation) = (paused.until, paused.confirmation);
        let bus = self.bus(node);
        let (id, incarnation) = (bus.myself(), bus.incarnation());
        let shard = self.topology(node).shard_of(id).map(|(_, shard)| shard);
        let epoch = shard.filter(|it| (it.primary, it.primary_incarnation) == (id, incarnation));
        let Some(epoch) = epoch.map(|shard| shard.epoch) else {
            self.machines[node].paused = None;
            return;
        };
        let reply = confirmation.and_then(|token| self.replies.get(&token));
        let confirmation = match reply {
            Some(Ok(_)) => {
                self.machines[node].paused = None;
                return;
            }
            None if confirmation.is_some() || self.now < until => return,
            _ => self.request(
                node,
                Request::Propose(TopologyCommand::HandOver {
                    node: id,
                    incarnation,
                    epoch,
                }),
            ),
        };
        if let Some(paused) = &mut self.machines[node].paused {
            paused.confirmation = Some(confirmation);
        }
    }
}
