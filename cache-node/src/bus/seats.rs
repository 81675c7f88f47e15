//! Who gets a vote: which seat of the consensus group the leader changes next. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::topology::{Member, NodeId, ShardId, Topology};

/// Most voters. More of them make every change slower and tolerate hardly more.
const MOST_VOTERS: usize = 5;

/// What a node has sent in its seat has come by so long after it lost that. In ms.
const DELAYED: u64 = 1_000;

/// Who has lost a seat just now, as a leader sees it. Such a node gets no seat yet: what it said of the log that it has thrown away would be
/// taken for its new log, and it would never be sent what it lacks. A later leader need not know, since it does not listen to an earlier term.
#[derive(Default)]
pub(crate) struct Vacated {
    seated: BTreeSet<NodeId>,
    since: BTreeMap<NodeId, u64>,
}

impl Vacated {
    /// Takes note of the seats that there are at `now`.
    pub(crate) fn look(&mut self, topology: &Topology, now: u64) {
        let seats = topology.voters.union(&topology.learners).copied();
        let seats = seats.collect::<BTreeSet<_>>();
        let lost = self.seated.difference(&seats);
        self.since.extend(lost.map(|node| (*node, now)));
        self.since.retain(|_, since| now < *since + DELAYED);
        self.seated = seats;
    }

    /// Whether something that `node` said in a former seat may still be on its way.
    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.since.contains_key(&node)
    }
}

/// One change of the consensus group; they are made one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeatChange {
    /// The node begins to catch up.
    AddLearner(NodeId),
    /// The node has caught up and votes from now on.
    Promote(NodeId),
    /// The node loses its seat.
    Remove(NodeId),
    /// The node becomes leader.
    Transfer(NodeId),
}

/// The next change that `leader` should make, if any. `alive` and `caught_up` are its knowledge of the others.
pub(crate) fn next(
    topology: &Topology,
    leader: NodeId,
    alive: impl Fn(NodeId) -> bool,
    caught_up: impl Fn(NodeId) -> bool,
) -> Option<SeatChange> {
    let member = |node: &NodeId| topology.members.contains_key(node);
    let seats = topology.voters.iter().chain(&topology.learners);
    let gone = seats.copied().find(|node| !member(node) && *node != leader);
    if let Some(node) = gone {
        return Some(SeatChange::Remove(node));
    }
    let wanted = MOST_VOTERS.min(topology.members.len());
    let voters = topology.voters.iter().filter(|node| member(node)).count();
    if let Some(learner) = topology.learners.first().copied() {
        if voters >= wanted || !alive(learner) {
            return Some(SeatChange::Remove(learner));
        }
        return caught_up(learner).then_some(SeatChange::Promote(learner));
    }
    if !member(&leader) {
        let heir = topology.voters.iter().copied();
        let heir = heir
            .filter(|node| *node != leader && alive(*node))
            .find(|node| caught_up(*node));
        if let Some(node) = heir {
            return Some(SeatChange::Transfer(node));
        }
    }
    let homes: Vec<ShardId> = topology
        .voters
        .iter()
        .filter_map(|node| Some(topology.members.get(node)?.shard))
        .collect();
    let voters_in = |shard: ShardId| homes.iter().filter(|home| **home == shard).count();
    let candidate = topology
        .members
        .values()
        .filter(|member| !topology.voters.contains(&member.id) && alive(member.id))
        .min_by_key(|member| (voters_in(member.shard), member.id))?;
    if voters < wanted {
        return Some(SeatChange::AddLearner(candidate.id));
    }
    spread(topology, leader, candidate, voters_in).map(SeatChange::Remove)
}

/// A voter that should make room because its shard has more than one while the candidate's has none.
fn spread(
    topology: &Topology,
    leader: NodeId,
    candidate: &Member,
    voters_in: impl Fn(ShardId) -> usize,
) -> Option<NodeId> {
    if voters_in(candidate.shard) > 0 {
        return None;
    }
    topology.voters.iter().copied().find(|node| {
        *node != leader
            && topology
                .shard_of(*node)
                .is_some_and(|(shard, _)| voters_in(shard) > 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Address;

    fn node(number: u8) -> NodeId {
        NodeId::new([number; 20])
    }

    /// Members 1, 2, ... in the given shards, all of them voters as far as `voters` goes.
    fn topology(shards: &[u8], voters: &[u8]) -> Topology {
        let member = |number: usize, shard: u8| Member {
            id: node(number as u8 + 1),
            address: Address {
                ip: String::new(),
                port: 0,
                bus_port: 0,
                hostname: String::new(),
            },
            shard: ShardId::new([shard; 20]),
        };
        let mut topology = Topology::single(1, member(0, shards[0]), 1);
        for (number, shard) in shards.iter().enumerate() {
            let member = member(number, *shard);
            topology.members.insert(member.id, member);
        }
        topology.voters = voters.iter().copied().map(node).collect();
        topology
    }

    #[test]
    fn five_voters_are_seated_one_after_another_and_spread_over_shards() {
        let mut topology = topology(&[1, 1, 1, 2, 2, 2, 3, 3, 3], &[1]);
        for _ in 0..4 {
            let change = next(&topology, node(1), |_| true, |_| true).unwrap();
            let SeatChange::AddLearner(learner) = change else {
                panic!("{change:?}");
            };
            topology.learners.insert(learner);
            let change = next(&topology, node(1), |_| true, |_| true).unwrap();
            assert_eq!(change, SeatChange::Promote(learner));
            topology.learners.clear();
            topology.voters.insert(learner);
        }
        for shard in 1..=3 {
            let members = topology.members_of(ShardId::new([shard; 20]));
            let voters = members.filter(|member| topology.voters.contains(&member.id));
            let voters = voters.count();
            assert!((1..=2).contains(&voters), "{:?}", topology.voters);
        }
        assert_eq!(next(&topology, node(1), |_| true, |_| true), None);
    }

    #[test]
    fn who_has_lost_a_seat_gets_none_for_a_while() {
        let mut vacated = Vacated::default();
        vacated.look(&topology(&[1, 2, 3], &[1, 2, 3]), 10);
        let later = topology(&[1, 2, 3], &[1, 2]);
        vacated.look(&later, 20);
        for now in [20, 19 + DELAYED] {
            vacated.look(&later, now);
            assert!(vacated.contains(node(3)) && !vacated.contains(node(2)));
        }
        vacated.look(&later, 20 + DELAYED);
        assert!(!vacated.contains(node(3)));
    }

    #[test]
    fn a_learner_is_promoted_only_when_it_has_caught_up_and_dropped_when_it_dies() {
        let mut topology = topology(&[1, 2], &[1]);
        topology.learners.insert(node(2));
        assert_eq!(next(&topology, node(1), |_| true, |_| false), None);
        assert_eq!(
            next(&topology, node(1), |n| n == node(1), |_| false),
            Some(SeatChange::Remove(node(2)))
        );
    }

    #[test]
    fn a_voter_that_left_the_cluster_loses_its_seat_and_a_leader_that_left_hands_over() {
        let mut topology = topology(&[1, 2, 3], &[1, 2, 3]);
        topology.members.remove(&node(3));
        assert_eq!(
            next(&topology, node(1), |_| true, |_| true),
            Some(SeatChange::Remove(node(3)))
        );
        assert_eq!(
            next(&topology, node(3), |_| true, |_| true),
            Some(SeatChange::Transfer(node(1)))
        );
    }

    #[test]
    fn a_crowded_shard_makes_room_for_a_shard_without_voter() {
        let topology = topology(&[1, 1, 2, 2, 3, 4], &[1, 2, 3, 4, 5]);
        assert_eq!(
            next(&topology, node(1), |_| true, |_| true),
            Some(SeatChange::Remove(node(2)))
        );
    }
}
