//! How long what a former leader has granted may last.
//!
//! A leader grants a lease when a majority of the voters has confirmed, after the question came, that it leads (`lease`), and the voters know
//! for which shards. A voter confirms nothing to a former leader once it is in a later term. So when a majority of the voters has told a new
//! leader, in its term, when each of them confirmed last for a shard to a former leader, then at least one of them has confirmed each lease
//! of that shard that there may be, and none counts from a later moment than the last of these. So a primary that has fallen silent is followed
//! when its own last lease is over, however often the leader changes meanwhile.
//!
//! That is so for leases that a majority of the present voters has confirmed. Those that others have confirmed began before the voters became
//! the present ones, since a leader grants nothing while that is on its way; so they began before the new leader has seen it.
//!
//! Moments are told as times ago, since clocks are not compared, and a part of that is taken away because clocks do not run equally fast.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Bus;
use super::confirmation::ShardTag;
use super::consensus::Consensus;
use super::lease::DRIFT;
use super::message::Body;
use crate::topology::NodeId;

/// When a seat confirmed for a shard, in ms of its node's clock.
#[derive(Clone, Copy, Debug)]
struct Confirmed {
    /// The newest term in which it did, and when that was last.
    newest: (u64, u64),
    /// When it did in an earlier term last, at most.
    earlier: u64,
}

impl Confirmed {
    fn note(&mut self, term: u64, now: u64) {
        let (newest, at) = &mut self.newest;
        if term > *newest {
            self.earlier = *at;
            *newest = term;
        }
        *at = now;
    }

    /// When it did in a term before `term` last, at most.
    fn before(&self, term: u64) -> u64 {
        let (newest, at) = self.newest;
        if newest < term { at } else { self.earlier }
    }
}

/// What this node's seat has confirmed; a leader confirms to itself.
#[derive(Debug)]
pub(super) struct Confirmations {
    shards: BTreeMap<ShardTag, Confirmed>,
    /// When it confirmed for any other shard last, at most.
    others: u64,
    /// When the present voters became the voters, at most.
    seated: u64,
}

impl Confirmations {
    /// Of a seat that is new at `now`: this node may have confirmed anything until then, in a former one or as a former process.
    pub(super) fn since(now: u64) -> Self {
        Self {
            shards: BTreeMap::new(),
            others: now,
            seated: now,
        }
    }

    /// The newest term in which it confirmed anything that is remembered.
    #[cfg(test)]
    pub(super) fn newest_term(&self) -> u64 {
        let terms = self.shards.values().map(|it| it.newest.0);
        terms.max().unwrap_or(0)
    }

    /// Other voters are seen at `now`.
    pub(super) fn reseat(&mut self, now: u64) {
        self.seated = now;
    }

    /// Takes note of what was confirmed in `term` at `now`, and forgets what is older than `kept` ms.
    pub(super) fn note(&mut self, shards: &BTreeSet<ShardTag>, term: u64, now: u64, kept: u64) {
        for shard in shards {
            let unknown = Confirmed {
                newest: (0, self.others),
                earlier: self.others,
            };
            self.shards.entry(*shard).or_insert(unknown).note(term, now);
        }
        let others = &mut self.others;
        self.shards.retain(|_, confirmed| {
            let (_, at) = confirmed.newest;
            let keep = now <= at + kept;
            if !keep {
                *others = at.max(*others);
            }
            keep
        });
    }

    /// When it confirmed last in terms before `term`, at most.
    fn before(&self, term: u64) -> Times {
        let shards = self.shards.iter();
        Times {
            shards: shards.map(|(tag, it)| (*tag, it.before(term))).collect(),
            others: self.others,
        }
    }
}

/// Times that belong to shards, in ms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Times {
    shards: BTreeMap<ShardTag, u64>,
    /// Of all other shards.
    others: u64,
}

impl Times {
    fn of(&self, shard: ShardTag) -> u64 {
        self.shards.get(&shard).copied().unwrap_or(self.others)
    }

    fn map(&self, to: impl Fn(u64) -> u64) -> Self {
        let shards = self.shards.iter();
        Self {
            shards: shards.map(|(tag, time)| (*tag, to(*time))).collect(),
            others: to(self.others),
        }
    }
}

/// What a leader knows of the leases of its predecessors.
#[derive(Default)]
pub(super) struct Former {
    /// The voters when it was elected.
    voters: BTreeSet<NodeId>,
    /// When each of them confirmed to a former leader last, at most, in ms of this node's clock.
    answered: BTreeMap<NodeId, Times>,
}

impl Former {
    pub(super) fn of(voters: &BTreeSet<NodeId>) -> Self {
        Self {
            voters: voters.clone(),
            answered: BTreeMap::new(),
        }
    }

    /// The latest moment at which a former leader's lease for a shard can have begun, if a majority has answered. It must be of the voters of
    /// both leaders: of `voters` now, too, since then no seat has changed hands in between.
    fn latest(&self, shard: ShardTag, voters: &BTreeSet<NodeId>) -> Option<u64> {
        let answered = self.answered.values();
        let mut answered: Vec<u64> = answered.map(|times| times.of(shard)).collect();
        answered.sort_unstable();
        let majority = self.voters.len() / 2;
        answered
            .get(majority)
            .copied()
            .filter(|_| self.voters == *voters)
    }
}

impl Bus {
    /// Takes note of what the seat has just confirmed.
    pub(super) fn note_confirmed(&mut self, shards: &BTreeSet<ShardTag>) {
        let term = self.consensus.as_ref().map_or(0, Consensus::term);
        let kept = self.config.node_timeout;
        self.confirmations.note(shards, term, self.now, kept);
    }

    /// Asks the voters when they confirmed to a former leader last, as long as that matters.
    pub(super) fn ask_for_former(&mut self) {
        let Some((term, since)) = self.grants.leads else {
            return;
        };
        if self.now > since + self.config.node_timeout {
            return;
        }
        let mine = self.confirmations.before(term);
        self.grants.former.answered.insert(self.me, mine);
        let former = &self.grants.former;
        let open = former.voters.iter().copied();
        let open = open.filter(|node| !former.answered.contains_key(node));
        for node in open.collect::<Vec<_>>() {
            self.send(node, Body::AskConfirmed { term });
        }
    }

    /// The leader of this term asks.
    pub(super) fn answer_confirmed(&mut self, from: NodeId, term: u64) {
        if self.consensus.as_ref().map(Consensus::term) != Some(term) {
            // Not yet, or not any more: it asks again.
            return;
        }
        let now = self.now;
        let confirmed = self.confirmations.before(term);
        let ago = confirmed.map(|at| now - at.min(now));
        self.send(from, Body::Confirmed { term, ago });
    }

    /// A voter has answered.
    pub(super) fn receive_confirmed(&mut self, from: NodeId, term: u64, ago: &Times) {
        if self.grants.leads.map(|(term, _)| term) != Some(term) {
            return;
        }
        let former = &mut self.grants.former;
        if former.voters.contains(&from) {
            let now = self.now;
            // The first answer says the most, and none says anything wrong.
            let answer = former.answered.entry(from);
            answer.or_insert_with(|| ago.map(|ago| now.saturating_sub(ago - ago / DRIFT)));
        }
    }

    /// The latest moment at which a lease of `primary` can have begun that a former leader granted, in ms of this leader's clock.
    pub(super) fn former_lease(&self, primary: NodeId) -> u64 {
        let elected = self.grants.leads.map_or(self.now, |(_, since)| since);
        let member = self.topology.members.get(&primary);
        let shard = member.map(|member| ShardTag::of(member.shard));
        let latest = shard.and_then(|tag| self.grants.former.latest(tag, &self.topology.voters));
        let seated = self.confirmations.seated;
        latest.map_or(elected, |latest| latest.max(seated).min(elected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::ShardId;

    fn tags(ids: &[u8]) -> BTreeSet<ShardTag> {
        let ids = ids.iter().map(|id| ShardTag::of(ShardId::new([*id; 20])));
        ids.collect()
    }

    fn tag(id: u8) -> ShardTag {
        ShardTag::of(ShardId::new([id; 20]))
    }

    #[test]
    fn the_last_confirmation_in_an_earlier_term_counts() {
        let mut confirmations = Confirmations::since(5);
        let before = |it: &Confirmations, term, shard| it.before(term).of(tag(shard));
        assert_eq!(before(&confirmations, 9, 1), 5);
        for now in [10, 20] {
            confirmations.note(&tags(&[1]), 3, now, 1_000);
        }
        assert_eq!(before(&confirmations, 3, 1), 5);
        assert_eq!(before(&confirmations, 4, 1), 20);
        confirmations.note(&tags(&[1, 2]), 4, 30, 1_000);
        let times = |it: &Confirmations, term| [1, 2, 3].map(|shard| before(it, term, shard));
        assert_eq!(times(&confirmations, 4), [20, 5, 5]);
        assert_eq!(times(&confirmations, 5), [30, 30, 5]);
    }

    #[test]
    fn what_is_forgotten_is_taken_for_confirmed_as_late_as_anything_forgotten() {
        let mut confirmations = Confirmations::since(0);
        confirmations.note(&tags(&[1]), 3, 10, 100);
        confirmations.note(&tags(&[2]), 3, 20, 100);
        confirmations.note(&tags(&[3]), 3, 30, 100);
        confirmations.note(&tags(&[3]), 3, 125, 100);
        let times = [1, 2, 3, 4].map(|shard| confirmations.before(4).of(tag(shard)));
        assert_eq!(times, [20, 20, 125, 20]);
    }

    #[test]
    fn a_majority_of_the_same_voters_is_needed() {
        let ids: BTreeSet<NodeId> = (1..=5).map(|id| NodeId::new([id; 20])).collect();
        let mut former = Former::of(&ids);
        let times = |at| Times {
            shards: BTreeMap::from([(tag(1), at)]),
            others: at + 100,
        };
        for (node, at) in ids.iter().zip([40, 10, 30]) {
            assert_eq!(former.latest(tag(1), &ids), None);
            former.answered.insert(*node, times(at));
        }
        assert_eq!(former.latest(tag(1), &ids), Some(40));
        former.answered.insert(NodeId::new([4; 20]), times(20));
        // Any three will do.
        assert_eq!(former.latest(tag(1), &ids), Some(30));
        assert_eq!(former.latest(tag(2), &ids), Some(130));
        let fewer: BTreeSet<NodeId> = ids.iter().copied().skip(1).collect();
        assert_eq!(former.latest(tag(1), &fewer), None);
    }
}
