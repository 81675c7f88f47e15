//! Giving up the leadership before the process ends: the voters then need not notice its end first, nor hold an election.

use super::consensus::Consensus;
use super::seats::SeatChange;
use super::{Bus, RequestError};
use crate::topology::NodeId;

/// How long a successor is looked for, in ms. Without one, the others elect somebody afterwards.
const RESIGN_MS: u64 = 1_000;

/// A leader that wants to be none any more.
pub(super) struct Resigning {
    token: u64,
    deadline: u64,
}

impl Bus {
    /// Hands the leadership over, if this node has it. The answer comes when it has not.
    pub(super) fn begin_resigning(&mut self, token: u64) {
        self.resigning = Some(Resigning {
            token,
            deadline: self.now + RESIGN_MS,
        });
        self.tick_resigning();
    }

    /// Offers the leadership to somebody. Once a tick, because an offer may be lost.
    pub(super) fn tick_resigning(&mut self) {
        if self.resigning.is_none() {
            return;
        }
        let heir = self.heir();
        if let (Some(heir), Some(consensus)) = (heir, self.consensus.as_mut()) {
            consensus.change_seat(SeatChange::Transfer(heir));
        }
    }

    /// Answers when this node does not lead any more, or when nobody has taken that over in time.
    pub(super) fn finish_resigning(&mut self) {
        let leads = self.consensus.as_ref().is_some_and(Consensus::is_leader);
        let Some(resigning) = &self.resigning else {
            return;
        };
        let token = resigning.token;
        let result = if !leads || self.is_alone() {
            Ok(self.topology.index)
        } else if resigning.deadline <= self.now {
            Err(RequestError::TimedOut(RESIGN_MS))
        } else {
            return;
        };
        self.resigning = None;
        self.reply(token, result);
    }

    /// A voter that has all that is committed and seems to be alive; a member before the witness.
    fn heir(&self) -> Option<NodeId> {
        let consensus = self.consensus.as_ref().filter(|it| it.is_leader())?;
        let voters = self.topology.voters.iter().copied();
        voters
            .filter(|node| *node != self.me && consensus.has_caught_up(*node))
            .filter(|node| !self.peers.suspected(*node, self.now))
            .max_by_key(|node| self.topology.members.contains_key(node))
    }
}
