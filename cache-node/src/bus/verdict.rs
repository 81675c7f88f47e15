//! What the leader of a big cluster tells everybody: whom it does not hear, and whom the voters have given up. Few others hear everybody.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::topology::{NodeId, Topology};

/// Some of the members of the topology that the sender knows: one bit each, in the order of their ids. As short as the last of them allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marks(Vec<u64>);

impl Marks {
    /// Marks those of `nodes`, which are in ascending order, that are members.
    pub(crate) fn of(topology: &Topology, nodes: &[NodeId]) -> Self {
        let mut words = Vec::new();
        if nodes.is_empty() {
            return Self(words);
        }
        for (at, node) in topology.members.keys().enumerate() {
            if nodes.binary_search(node).is_ok() {
                words.resize(at / 64 + 1, 0);
                words[at / 64] |= 1 << (at % 64);
            }
        }
        Self(words)
    }

    /// Whom they mean, to somebody who knows the same topology.
    pub(crate) fn nodes(&self, topology: &Topology) -> BTreeSet<NodeId> {
        let members = topology.members.keys().enumerate();
        let marked = |at: usize| {
            self.0
                .get(at / 64)
                .is_some_and(|word| word >> (at % 64) & 1 == 1)
        };
        let nodes = members.filter(|(at, _)| marked(*at));
        nodes.map(|(_, node)| *node).collect()
    }
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Whom the leader suspects.
    pub(crate) suspected: Marks,
    /// Whom a majority of the voters suspects.
    pub(crate) failed: Marks,
}

/// The last verdict that was heard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// Who gave it, and in which term.
    from: Option<(u64, NodeId)>,
    pub(crate) suspected: BTreeSet<NodeId>,
    pub(crate) failed: BTreeSet<NodeId>,
}

impl Heard {
    /// Takes in what `leader` says, which knows the topology with the version of `topology` if `same`. Otherwise its marks mean nothing
    /// here, and what was heard before stands.
    pub(crate) fn take(
        &mut self,
        verdict: &Verdict,
        leader: (u64, NodeId),
        topology: &Topology,
        same: bool,
    ) {
        if self.from.is_some_and(|(term, _)| term > leader.0) {
            return;
        }
        self.from = Some(leader);
        if same {
            self.suspected = verdict.suspected.nodes(topology);
            self.failed = verdict.failed.nodes(topology);
        }
    }

    pub(crate) fn is_from(&self, node: NodeId) -> bool {
        self.from.is_some_and(|(_, from)| from == node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Address, Member, ShardId};

    fn topology(members: u8) -> Topology {
        let member = |number: u8| Member {
            id: NodeId::new([number; 20]),
            address: Address {
                ip: String::new(),
                port: 0,
                bus_port: 0,
                hostname: String::new(),
            },
            shard: ShardId::new([number; 20]),
        };
        let mut topology = Topology::single(1, member(0), 1);
        let members = (0..members).map(member);
        topology.members = members.map(|member| (member.id, member)).collect();
        topology
    }

    #[test]
    fn marks_mean_whom_they_were_made_for() {
        let topology = topology(200);
        for numbers in [vec![], vec![0], vec![3, 64, 199]] {
            let nodes: Vec<NodeId> = numbers.iter().map(|n| NodeId::new([*n; 20])).collect();
            let marks = Marks::of(&topology, &nodes);
            assert_eq!(marks.nodes(&topology), nodes.into_iter().collect());
        }
        let stranger = NodeId::new([255; 20]);
        assert_eq!(Marks::of(&topology, &[stranger]), Marks::default());
    }

    #[test]
    fn a_verdict_of_another_topology_or_a_former_leader_leaves_what_is_known() {
        let topology = topology(3);
        let [one, two, three] = [0, 1, 2].map(|n| NodeId::new([n; 20]));
        let verdict = |node| Verdict {
            suspected: Marks::of(&topology, &[node]),
            failed: Marks::default(),
        };
        let mut heard = Heard::default();
        heard.take(&verdict(two), (5, one), &topology, true);
        heard.take(&verdict(three), (5, one), &topology, false);
        heard.take(&verdict(three), (4, two), &topology, true);
        assert_eq!(heard.suspected, BTreeSet::from([two]));
        assert!(heard.is_from(one) && !heard.is_from(two));
    }
}
