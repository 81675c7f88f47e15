//! Who gets a vote: which seat of the consensus group the leader changes next. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::topology::{Member, NodeId, ShardId, Topology};

/// Most voters. More of them make every change slower and tolerate hardly more.
const MOST_VOTERS: usize = 5;

/// With so many members as voters there is a majority when one dies, and no witness is wanted.
const ENOUGH_VOTERS: usize = 3;

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
    let voters = topology.voters.iter().filter(|node| member(node)).count();
    let witness = wanted_witness(topology, voters);
    let seats = || topology.voters.iter().chain(&topology.learners).copied();
    let gone = seats().filter(|node| !member(node) && Some(*node) != witness && *node != leader);
    // The dead first: the others may be needed for that.
    if let Some(node) = gone.min_by_key(|node| alive(*node)) {
        return Some(SeatChange::Remove(node));
    }
    let wanted = MOST_VOTERS.min(topology.members.len());
    let mut learners = topology.learners.iter().copied();
    let useless = |node: &NodeId| !alive(*node) || (voters >= wanted && Some(*node) != witness);
    if let Some(learner) = learners.clone().find(useless) {
        return Some(SeatChange::Remove(learner));
    }
    // Two voters need each other, which is worse than one: with a witness, the second and the third vote follow one right after the other.
    let both = topology.voters.len() == 1 && witness.is_some();
    let waits = both && !(topology.learners.len() > 1 && learners.clone().all(&caught_up));
    if let Some(learner) = learners.find(|node| !waits && caught_up(*node)) {
        return Some(SeatChange::Promote(learner));
    }
    let observer = witness.filter(|node| alive(*node) && seats().all(|seat| seat != *node));
    if let Some(node) = observer {
        return Some(SeatChange::AddLearner(node));
    }
    if topology.learners.iter().any(member) {
        return None;
    }
    if !member(&leader) {
        let heir = topology.voters.iter().copied();
        let heir = heir
            .filter(|node| *node != leader && member(node) && alive(*node))
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

/// The witness, while its vote is wanted: with two members, and when there are more until three of them vote.
fn wanted_witness(topology: &Topology, voters: usize) -> Option<NodeId> {
    let node = topology.witness.as_ref()?.id;
    let wanted = match topology.members.len() {
        0 | 1 => false,
        2 => true,
        _ => topology.voters.contains(&node) && voters < ENOUGH_VOTERS,
    };
    wanted.then_some(node)
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

    /// With witness 9.
    fn witnessed(shards: &[u8], voters: &[u8], learners: &[u8]) -> Topology {
        let mut topology = topology(shards, voters);
        topology.learners = learners.iter().copied().map(node).collect();
        let address = topology.members[&node(1)].address.clone();
        topology.witness = Some(crate::topology::Witness {
            id: node(9),
            address,
        });
        topology
    }

    fn change(topology: &Topology, leader: u8, dead: u8) -> Option<SeatChange> {
        next(topology, node(leader), |it| it != node(dead), |_| true)
    }

    #[test]
    fn a_witness_gets_its_vote_with_the_second_member_and_not_without() {
        use SeatChange::{AddLearner, Promote, Remove, Transfer};
        let next = |topology: &Topology| change(topology, 1, 0);
        assert_eq!(next(&witnessed(&[1], &[1], &[])), None);
        assert_eq!(next(&witnessed(&[1], &[1, 9], &[])), Some(Remove(node(9))));
        assert_eq!(
            change(&witnessed(&[1], &[1, 9], &[]), 9, 0),
            Some(Transfer(node(1)))
        );
        let two = |voters, learners| witnessed(&[1, 1], voters, learners);
        assert_eq!(next(&two(&[1], &[])), Some(AddLearner(node(9))));
        assert_eq!(next(&two(&[1], &[9])), Some(AddLearner(node(2))));
        assert_eq!(next(&two(&[1], &[2, 9])), Some(Promote(node(2))));
        assert_eq!(next(&two(&[1, 2], &[9])), Some(Promote(node(9))));
        assert_eq!(next(&two(&[1, 2, 9], &[])), None);
        assert_eq!(change(&two(&[1, 2, 9], &[]), 9, 0), Some(Transfer(node(1))));
    }

    #[test]
    fn without_the_witness_the_second_member_waits_rather_than_being_needed() {
        let two = |voters, learners| witnessed(&[1, 1], voters, learners);
        assert_eq!(
            change(&two(&[1], &[]), 1, 9),
            Some(SeatChange::AddLearner(node(2)))
        );
        assert_eq!(change(&two(&[1], &[2]), 1, 9), None);
        assert_eq!(change(&two(&[1, 2], &[]), 1, 9), None);
    }

    #[test]
    fn a_witness_goes_when_three_members_vote_and_the_dead_go_first() {
        let remove = |number| Some(SeatChange::Remove(node(number)));
        let three = |voters, learners| witnessed(&[1, 1, 2], voters, learners);
        assert_eq!(
            change(&three(&[1, 2, 9], &[]), 1, 0),
            Some(SeatChange::AddLearner(node(3)))
        );
        assert_eq!(change(&three(&[1, 2, 9], &[]), 1, 3), None);
        assert_eq!(change(&three(&[1, 2, 3, 9], &[]), 1, 0), remove(9));
        assert_eq!(change(&three(&[1, 2, 3], &[9]), 1, 0), remove(9));
        // Node 2 has left: whoever is alive may be needed for the removal of the other.
        let left = witnessed(&[1], &[1, 2, 9], &[]);
        assert_eq!(change(&left, 1, 2), remove(2));
        assert_eq!(change(&left, 1, 9), remove(9));
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
