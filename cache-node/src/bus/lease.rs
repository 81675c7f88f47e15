//! Leases: how long a primary may take writes without hearing from a leader, and when another one may follow it.
//!
//! A primary asks the leader, and its lease counts from the moment it asked. The leader answers when a majority of the voters has
//! confirmed, after the question came, that it still leads. So whoever leads later was elected after the lease began, and both it and the
//! one that answered know when the lease must be over: a node timeout after the last question, or after the own election, or after the voters
//! confirmed for its shard to a former leader last (`former`). No clocks are compared; they must only run at the same speed, but for [`DRIFT`].
//!
//! Source: leader leases as in Gray and Cheriton, "Leases" (SOSP 1989), with the read index of Ongaro's Raft thesis (section 6.4).

use std::collections::BTreeMap;

use super::audience::Part;
use super::confirmation::{Confirmation, ShardTag};
use super::consensus::Consensus;
use super::former::Former;
use super::message::Body;
use super::{Bus, Published};
use crate::topology::{NodeId, ShardId, TopologyCommand};

/// A lease is shorter than what others wait for, by one part in this many: so much faster or slower may one clock run than another.
pub(super) const DRIFT: u64 = 16;

/// A primary asks so often within a lease.
const ASKS: u64 = 4;

/// A primary without a lease asks again so soon: the question, the answer, or the leader may be lost. In ms.
const ASK_AGAIN_MS: u64 = 2 * super::TICK_MS;

/// Most questions that wait for a confirmation; whoever is not among them asks again.
const MOST_ASKS: usize = 4096;

/// Most confirmations that are waited for.
const MOST_CONFIRMATIONS: usize = 64;

/// In a big cluster, where somebody asks at any moment, confirmations are so far apart. In ms.
const CONFIRMATION_MS: u64 = 20;

/// A forced promotion that waits for the end of a lease is asked for again within this time, or it is given up. In ms.
const HELD: u64 = 3 * super::RETRY_MS;

/// After so many node timeouts a primary that was given up, and that nobody has followed, may have leases again.
const GIVEN_UP: u64 = 4;

/// This node's own lease.
#[derive(Default)]
pub(super) struct Lease {
    /// When it ends, in ms of this node's clock.
    until: u64,
    next_ask: u64,
    /// Who was asked last.
    asked: Option<NodeId>,
}

/// What a leader has promised.
#[derive(Default)]
pub(super) struct Grants {
    /// The term in which this node leads, and since when, in ms of its clock.
    pub(super) leads: Option<(u64, u64)>,
    /// What former leaders may have granted.
    pub(super) former: Former,
    /// Questions that no confirmation was asked for yet.
    waiting: Vec<Ask>,
    /// Questions by the confirmation that they wait for, and when that was asked for.
    asked: BTreeMap<u64, (u64, Vec<Ask>)>,
    /// Confirmed questions in shards for which a promotion is in the log; whose they are is known when that is applied.
    early: Vec<Ask>,
    /// Counts confirmations.
    last: u64,
    /// When the last confirmation was asked for.
    last_at: u64,
    /// When each primary asked last.
    heard: BTreeMap<NodeId, u64>,
    /// For shards, the primary that gets no lease until then, because somebody wants to replace it.
    held: BTreeMap<ShardId, (NodeId, u64)>,
    /// Primaries that are heard and get no lease, and since when.
    starving: BTreeMap<NodeId, u64>,
}

/// A primary's question.
#[derive(Clone, Copy, Debug)]
struct Ask {
    node: NodeId,
    incarnation: u64,
    /// Whose primary it is, or wants to be.
    shard: ShardId,
    /// The moment by its own clock.
    stamp: u64,
}

impl Grants {
    /// Asks for a confirmation at `now` for the questions that wait.
    fn next_confirmation(&mut self, now: u64) -> Confirmation {
        self.last_at = now;
        self.last += 1;
        let waiting = std::mem::take(&mut self.waiting);
        self.asked.insert(self.last, (now, waiting));
        while self.asked.len() > MOST_CONFIRMATIONS {
            self.asked.pop_first();
        }
        let asks = self.asked.values().flat_map(|(_, asks)| asks);
        Confirmation {
            number: self.last,
            shards: asks.map(|ask| ShardTag::of(ask.shard)).collect(),
        }
    }
}

impl Bus {
    /// When this node's lease ends, in ms of its clock. Without a lease, a primary takes no writes.
    pub fn lease_until(&self) -> u64 {
        self.lease.until
    }

    /// The end of the lease as it may be shown where `published` is what is seen, and `shown` the end that was shown last. A role of which nobody
    /// knows there yet gets leases that are not for the one that is seen.
    pub fn lease_under(&self, published: &Published, shown: u64) -> u64 {
        match published.role() == self.published().role() {
            true => self.lease.until,
            false => self.lease.until.min(shown),
        }
    }

    /// How long a lease lasts, by the clock of its holder, from the question on.
    fn lease_ms(&self) -> u64 {
        self.config.node_timeout - self.config.node_timeout / DRIFT
    }

    /// This process is a shard's primary, as far as it knows.
    pub(super) fn is_primary(&self) -> bool {
        self.topology.shard_of(self.me).is_some_and(|(_, shard)| {
            shard.primary == self.me && shard.primary_incarnation == self.incarnation
        })
    }

    /// This process is a primary, and has had no lease for a node timeout.
    pub(super) fn is_starved(&self) -> bool {
        self.is_primary() && self.now > self.lease.until + self.config.node_timeout
    }

    /// Looks after primaries that this leader hears and that get no lease all the same: nothing reaches them from here. When that lasts,
    /// they get none any more, so that others can follow them.
    pub(super) fn watch_starving(&mut self) {
        let starving: BTreeMap<ShardId, NodeId> = self
            .topology
            .shards
            .iter()
            .map(|(id, shard)| (*id, shard.primary))
            .filter(|(_, primary)| self.peers.is_starved(*primary, self.now))
            .collect();
        let known = &mut self.grants.starving;
        known.retain(|node, _| starving.values().any(|other| other == node));
        for (id, primary) in starving {
            let since = known.entry(primary).or_insert(self.now);
            // Nobody could follow it in that time: it is better than nobody.
            if self.now > *since + GIVEN_UP * self.config.node_timeout {
                *since = self.now;
            }
            if self.now > *since + self.config.node_timeout {
                self.grants.held.insert(id, (primary, self.now + HELD));
            }
        }
    }

    /// Whether this primary gets no lease any more because none has reached it for long.
    pub(super) fn is_given_up(&self, primary: NodeId) -> bool {
        let since = self.grants.starving.get(&primary);
        since.is_some_and(|since| self.now > since + self.config.node_timeout)
    }

    /// Asks for a lease when it is time.
    pub(super) fn ask_for_lease(&mut self) {
        if !self.is_primary() {
            // So that it asks at once when it becomes one.
            self.lease.next_ask = 0;
            return;
        }
        let Some(leader) = self.leader() else {
            return;
        };
        // Another leader is asked at once: the former one may have died a while ago.
        if self.now < self.lease.next_ask && self.lease.asked == Some(leader) {
            return;
        }
        self.lease.asked = Some(leader);
        let usual = self.lease_ms() / ASKS;
        let until_next = match self.lease.until > self.now {
            true => usual,
            false => usual.min(ASK_AGAIN_MS),
        };
        self.lease.next_ask = self.now + until_next;
        self.ask(leader);
    }

    fn ask(&mut self, leader: NodeId) {
        if leader == self.me {
            self.receive_ask(self.me, self.incarnation, self.now);
        } else {
            self.send(leader, Body::AskLease { stamp: self.now });
        }
    }

    /// Asks for the lease that this node needs when a proposal that was just made has made it a primary, so that no time passes between the
    /// two.
    pub(super) fn ask_for_lease_with(&mut self, command: &TopologyCommand) {
        let leader = self.leader();
        if let Some(leader) = leader.filter(|_| command.promoted() == Some(self.me)) {
            self.ask(leader);
        }
    }

    /// What was granted to an earlier life is of no use to this one.
    pub(super) fn forget_lease(&mut self) {
        self.lease = Lease::default();
    }

    /// The leader has granted a lease that was asked for at `stamp`.
    pub(super) fn receive_lease(&mut self, incarnation: u64, stamp: u64) {
        if incarnation == self.incarnation && stamp <= self.now {
            self.lease.until = self.lease.until.max(stamp + self.lease_ms());
        }
    }

    /// A primary asks for a lease, or somebody who has proposed to become one.
    pub(super) fn receive_ask(&mut self, node: NodeId, incarnation: u64, stamp: u64) {
        let leads = self.consensus.as_ref().is_some_and(Consensus::is_leader);
        let Some(member) = self.topology.members.get(&node) else {
            return;
        };
        if !leads || self.grants.waiting.len() >= MOST_ASKS || self.is_held(member.shard, node) {
            return;
        }
        // From here on, although it may not be granted in the end.
        self.grants.heard.insert(node, self.now);
        self.grants.waiting.push(Ask {
            node,
            incarnation,
            shard: member.shard,
            stamp,
        });
    }

    /// Has the voters confirm for the questions that wait that this node leads.
    pub(super) fn confirm_leadership(&mut self) {
        let Some(consensus) = self.consensus.as_ref() else {
            return;
        };
        if self.grants.waiting.is_empty() || !consensus.is_settled_leader() {
            return;
        }
        // One at a time, unless an answer is lost: each is a message to every voter.
        let newest = self.grants.asked.last_key_value();
        if newest.is_some_and(|(_, (at, _))| self.now < at + super::TICK_MS) {
            return;
        }
        let last = self.grants.last_at;
        if self.part() != Part::Equal && self.now < last + CONFIRMATION_MS {
            return;
        }
        let confirmation = self.grants.next_confirmation(self.now);
        self.note_confirmed(&confirmation.shards);
        if let Some(consensus) = &mut self.consensus {
            consensus.confirm(&confirmation);
        }
    }

    /// A majority has confirmed that this node led after confirmation `number` was asked for.
    pub(super) fn confirmed(&mut self, number: u64) {
        let Some((_, asks)) = self.grants.asked.remove(&number) else {
            return;
        };
        let leads = self
            .consensus
            .as_ref()
            .is_some_and(Consensus::is_settled_leader);
        for ask in asks.into_iter().filter(|_| leads) {
            self.grant(ask);
        }
    }

    /// Grants what was confirmed before it was certain who is primary.
    pub(super) fn grant_early(&mut self) {
        for ask in std::mem::take(&mut self.grants.early) {
            self.grant(ask);
        }
    }

    /// Grants a lease to who asked, if it is a primary; if it is about to become one, then.
    fn grant(&mut self, ask: Ask) {
        if self.is_held(ask.shard, ask.node) {
            return;
        }
        if self.is_promoting(ask.shard, ask.node) {
            // That may come to nothing, as what a former primary proposes to make certain that it is none any more.
            self.grant_later(ask);
            return;
        }
        let shard = self.topology.shards.get(&ask.shard);
        let primary = shard.is_some_and(|shard| {
            shard.primary == ask.node && shard.primary_incarnation == ask.incarnation
        });
        let (incarnation, stamp) = (ask.incarnation, ask.stamp);
        if !primary {
            if self.is_promoted(ask.node) {
                self.grant_later(ask);
            }
        } else if ask.node == self.me {
            self.receive_lease(incarnation, stamp);
        } else {
            self.send(ask.node, Body::Lease { incarnation, stamp });
        }
    }

    fn grant_later(&mut self, ask: Ask) {
        if self.grants.early.len() < MOST_ASKS {
            self.grants.early.push(ask);
        }
    }

    /// Notes since when this node leads, and forgets what it has promised when it does not.
    pub(super) fn follow_leadership(&mut self) {
        let term = self
            .consensus
            .as_ref()
            .filter(|consensus| consensus.is_leader())
            .map(Consensus::term);
        if self.grants.leads.map(|(term, _)| term) != term {
            self.grants = Grants {
                leads: term.map(|term| (term, self.now)),
                former: Former::of(&self.topology.voters),
                last: self.grants.last,
                ..Grants::default()
            };
        }
    }

    /// Whether the lease of `primary` may go on: it asked this leader within a node timeout, or an earlier leader may have granted one.
    pub(super) fn may_hold_lease(&self, primary: NodeId) -> bool {
        let since = self.former_lease(primary);
        let heard = self.grants.heard.get(&primary).copied().unwrap_or(0);
        self.now <= since.max(heard) + self.config.node_timeout
    }

    /// Whether a forced promotion must wait because the present primary may take writes. It gets no further lease meanwhile.
    pub(super) fn must_wait_for_lease(&mut self, command: &TopologyCommand) -> bool {
        let TopologyCommand::Promote { node, .. } = command else {
            return false;
        };
        let Some((id, shard)) = self.topology.shard_of(*node) else {
            return false;
        };
        // Whom it replaces is known when everything in the log is applied.
        let consensus = self.consensus.as_ref();
        if !consensus.is_some_and(Consensus::is_settled_leader) || self.is_promoting(id, *node) {
            return true;
        }
        let primary = shard.primary;
        if primary == *node || self.is_dead(shard) || !self.may_hold_lease(primary) {
            return false;
        }
        self.grants.held.insert(id, (primary, self.now + HELD));
        true
    }

    /// Whether there is to be no new lease for the shard's primary, because somebody wants to replace it.
    fn is_held(&self, shard: ShardId, primary: NodeId) -> bool {
        let held = self.grants.held.get(&shard);
        held.is_some_and(|(node, until)| *node == primary && self.now <= *until)
    }

    /// Whether the log has a promotion of this node that is not applied yet.
    fn is_promoted(&self, node: NodeId) -> bool {
        let consensus = self.consensus.as_ref();
        consensus.is_some_and(|consensus| consensus.promotions().any(|it| it == node))
    }

    /// Whether the log has a promotion in this shard that is not applied yet, of another node than this one.
    fn is_promoting(&self, shard: ShardId, but: NodeId) -> bool {
        let home = |node: NodeId| self.topology.members.get(&node).map(|it| it.shard);
        self.consensus.as_ref().is_some_and(|consensus| {
            consensus
                .promotions()
                .any(|node| node != but && home(node) == Some(shard))
        })
    }
}
