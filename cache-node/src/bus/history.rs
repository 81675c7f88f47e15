//! The latest changes of the topology, for those who know a topology that is only a little older: a whole one of a thousand members is 150 KB.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::topology::{NodeId, Topology, TopologyCommand};

/// Most changes that are remembered.
const MOST_CHANGES: usize = 256;

/// What one entry of the log has made of the topology, beside its index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// It was refused, or it was a repetition, or a leader's first entry.
    Nothing,
    /// It was applied.
    Command(TopologyCommand),
    /// Seats of the consensus group were given or taken; these have one now.
    Seats {
        voters: BTreeSet<NodeId>,
        learners: BTreeSet<NodeId>,
    },
}

/// Successive changes of one consensus group's topology.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Steps {
    /// Index of the entry that made the first change.
    pub(crate) first: u64,
    pub(crate) changes: Vec<Change>,
}

impl Steps {
    /// Index of the topology after the last change.
    pub(crate) fn last(&self) -> u64 {
        (self.first + self.changes.len() as u64).saturating_sub(1)
    }

    /// The changes that `topology`, of the same group, has not seen, and what they make of it. `None` when there are none, when others are
    /// missing before them, or when they do not fit.
    pub(crate) fn apply(self, topology: &Topology) -> Option<(Topology, Vec<(u64, Change)>)> {
        if self.first > topology.index + 1 || self.last() <= topology.index {
            return None;
        }
        let mut topology = topology.clone();
        let seen = topology.index;
        let unseen: Vec<(u64, Change)> = (self.first..)
            .zip(self.changes)
            .filter(|(index, _)| *index > seen)
            .collect();
        for (index, change) in &unseen {
            change.apply(*index, &mut topology)?;
        }
        Some((topology, unseen))
    }
}

impl Change {
    fn apply(&self, index: u64, topology: &mut Topology) -> Option<()> {
        topology.index = index;
        match self {
            Self::Nothing => {}
            Self::Command(command) => topology.apply(index, command).ok()?,
            Self::Seats { voters, learners } => {
                topology.voters.clone_from(voters);
                topology.learners.clone_from(learners);
            }
        }
        Some(())
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct History {
    /// Index of the entry that made the last change.
    last: u64,
    changes: VecDeque<Change>,
}

impl History {
    /// Index of the topology that the changes lead to.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// How the topology became the one at `index` is not known.
    pub(crate) fn forget(&mut self, index: u64) {
        self.last = index;
        self.changes.clear();
    }

    /// Notes what the entry at `index` did, unless that is known.
    pub(crate) fn note(&mut self, index: u64, change: Change) {
        if index <= self.last {
            return;
        }
        if index != self.last + 1 {
            self.changes.clear();
        }
        self.last = index;
        self.changes.push_back(change);
        if self.changes.len() > MOST_CHANGES {
            self.changes.pop_front();
        }
    }

    /// The changes after `index`, if there are any and all of them are known.
    pub(crate) fn since(&self, index: u64) -> Option<Steps> {
        let missing = self.last.checked_sub(index)? as usize;
        let known = self.changes.len().checked_sub(missing)?;
        (missing > 0).then(|| Steps {
            first: index + 1,
            changes: self.changes.iter().skip(known).cloned().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::{SlotId, SlotSet};
    use crate::topology::{Address, Member, ShardId};

    fn topology() -> Topology {
        let member = Member {
            id: NodeId::new([1; 20]),
            address: Address {
                ip: String::new(),
                port: 0,
                bus_port: 0,
                hostname: String::new(),
            },
            shard: ShardId::new([1; 20]),
        };
        Topology::single(1, member, 1)
    }

    /// Gives slot `index` to the only member.
    fn add(index: u64) -> Change {
        Change::Command(TopologyCommand::AddSlots {
            node: NodeId::new([1; 20]),
            slots: SlotId::new(index as u16).into_iter().collect::<SlotSet>(),
        })
    }

    #[test]
    fn steps_lead_from_every_topology_that_they_reach_back_to() {
        let mut history = History::default();
        history.forget(1);
        (2..=9).for_each(|index| history.note(index, add(index)));
        let (newest, unseen) = history.since(1).unwrap().apply(&topology()).unwrap();
        assert_eq!((newest.index, unseen.len()), (9, 8));
        assert_eq!(newest.assigned().to_string(), "2-9");
        let (older, _) = Steps {
            first: 2,
            changes: (2..=5).map(add).collect(),
        }
        .apply(&topology())
        .unwrap();
        for known in 1..5 {
            let steps = history.since(known).unwrap();
            assert_eq!(steps.apply(&older).unwrap().0, newest);
        }
        assert_eq!(history.since(6).unwrap().apply(&older), None, "a gap");
        assert_eq!(
            history.since(7).unwrap().apply(&newest),
            None,
            "nothing new"
        );
        assert_eq!(
            (history.since(9), history.since(10), history.since(0)),
            (None, None, None)
        );
    }

    #[test]
    fn what_is_not_known_without_a_gap_is_not_told() {
        let mut history = History::default();
        history.note(2, add(2));
        history.note(2, Change::Nothing);
        history.note(4, add(4));
        assert_eq!(history.since(2), None);
        let steps = history.since(3).unwrap();
        assert_eq!(steps.changes, [add(4)]);
        (5..=4 + MOST_CHANGES as u64).for_each(|index| history.note(index, add(index)));
        assert_eq!((history.since(3), history.since(4).is_some()), (None, true));
    }

    #[test]
    fn a_change_that_does_not_fit_changes_nothing() {
        let steps = Steps {
            first: 2,
            changes: vec![add(2), add(2)],
        };
        assert_eq!(steps.apply(&topology()), None);
    }
}
