//! The operator as the third voter of a cluster of two nodes.

use super::picture::Picture;
use super::{Desired, Step};
use crate::observe::Vote;

/// With so many nodes there is no majority when one dies. A single one needs nobody, and three have a majority without a witness.
const NODES: u64 = 2;

/// Whether a cluster of the desired size has a witness.
pub(super) fn is_wanted(desired: &Desired) -> bool {
    u64::from(desired.shards) * (u64::from(desired.replicas) + 1) == NODES
}

/// Names the witness where one is wanted, and takes it away where the nodes do not need its vote any more.
pub(super) fn step(picture: &Picture<'_>) -> Option<Step> {
    let view = picture.view;
    // Before there are others or slots, the cluster may be none.
    if !picture.quorum || !(view.has_company() || picture.has_slots()) {
        return None;
    }
    let at = picture.executor(None)?;
    let named = view.witness.as_ref();
    match &picture.observed.vote {
        Vote::Ready(witness) if is_wanted(picture.desired) => {
            (named != Some(witness)).then(|| Step::SetWitness {
                at,
                witness: witness.clone(),
            })
        }
        Vote::Off => named.map(|_| Step::RemoveWitness { at }),
        // The nodes give its seat to others as soon as those can take it.
        _ => {
            let named =
                named.filter(|it| !is_wanted(picture.desired) && !view.voters.contains(&it.id));
            named.map(|_| Step::RemoveWitness { at })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::names::PodPlace;
    use crate::observe::{Member, NodeState, NodeView, Observed, Pod, Witness};
    use crate::plan::plan;
    use crate::slots::SlotSet;

    fn witness(id: &str) -> Witness {
        Witness {
            id: id.to_owned(),
            ip: "10.0.0.9".to_owned(),
            port: 16_400,
        }
    }

    fn place(ordinal: u32) -> PodPlace {
        PodPlace { shard: 0, ordinal }
    }

    /// A shard of so many nodes, all of which vote, and this witness if any, which votes too.
    fn observed(nodes: u32, named: Option<&str>, vote: Vote) -> Observed {
        let id = |ordinal: u32| format!("node-{ordinal}");
        let member = |ordinal: u32| Member {
            place: Some(place(ordinal)),
            ip: format!("10.0.0.{ordinal}"),
            primary: (ordinal > 0).then(|| id(0)),
            slots: if ordinal == 0 {
                SlotSet::full()
            } else {
                SlotSet::new()
            },
            failed: false,
        };
        let members: BTreeMap<_, _> = (0..nodes).map(|it| (id(it), member(it))).collect();
        let voters = members.keys().cloned().chain(named.map(ToOwned::to_owned));
        let voters: Vec<_> = voters.collect();
        let pod = |ordinal: u32| Pod {
            ip: Some(format!("10.0.0.{ordinal}")),
            running: true,
            node: Some(NodeView {
                id: id(ordinal),
                state: if ordinal == 0 {
                    NodeState::Primary
                } else {
                    NodeState::Replica
                },
                generation: 1,
                epoch: 9,
                quorum: true,
                voters: voters.clone(),
                witness: named.map(witness),
                members: members.clone(),
                offset: 5,
                link_up: ordinal > 0,
                keys: 1,
                migrations: Vec::new(),
            }),
            ..Pod::default()
        };
        Observed {
            pods: (0..nodes).map(|it| (place(it), pod(it))).collect(),
            shards: BTreeMap::from([(0, i32::try_from(nodes).unwrap())]),
            vote,
        }
    }

    fn steps(replicas: u32, observed: &Observed) -> Vec<Step> {
        let desired = Desired {
            shards: 1,
            replicas,
        };
        plan(&desired, observed).steps
    }

    #[test]
    fn two_nodes_get_the_operator_as_witness_and_keep_it() {
        let ready = || Vote::Ready(witness("me"));
        let set = [Step::SetWitness {
            at: place(0),
            witness: witness("me"),
        }];
        assert_eq!(steps(1, &observed(2, None, ready())), set);
        assert_eq!(steps(1, &observed(2, Some("lost"), ready())), set);
        for vote in [ready(), Vote::Starting] {
            assert_eq!(steps(1, &observed(2, Some("me"), vote)), []);
        }
    }

    #[test]
    fn it_goes_when_its_vote_is_not_needed_or_there_is_none() {
        let ready = || Vote::Ready(witness("me"));
        let remove = [Step::RemoveWitness { at: place(0) }];
        let mut three = observed(3, Some("me"), ready());
        assert_eq!(steps(2, &three), [], "it votes still");
        for pod in three.pods.values_mut() {
            pod.node.as_mut().unwrap().voters.pop();
        }
        assert_eq!(steps(2, &three), remove);
        assert_eq!(steps(1, &observed(2, Some("me"), Vote::Off)), remove);
        assert_eq!(steps(2, &observed(3, None, ready())), []);
        assert_eq!(steps(0, &observed(1, None, ready())), []);
    }

    #[test]
    fn it_votes_for_as_long_as_the_nodes_may_need_it() {
        let votes = |replicas, observed: &Observed| {
            let desired = Desired {
                shards: 1,
                replicas,
            };
            plan(&desired, observed).votes
        };
        let ready = || Vote::Ready(witness("me"));
        assert!(votes(1, &observed(2, None, Vote::Starting)));
        assert!(votes(2, &observed(2, Some("me"), Vote::Starting)));
        assert!(votes(2, &observed(0, None, ready())), "no node answers");
        assert!(!votes(2, &observed(3, None, ready())));
    }

    /// The witness is no member, and yet no voter that is gone.
    #[test]
    fn the_group_is_not_formed_anew_while_the_witness_may_vote() {
        let lost = |vote| {
            let mut observed = observed(2, Some("me"), vote);
            observed.pods.remove(&place(0));
            let survivor = observed.pods.get_mut(&place(1)).unwrap();
            survivor.node.as_mut().unwrap().quorum = false;
            steps(1, &observed)
        };
        let takeover = [Step::Promote {
            at: place(1),
            how: crate::plan::Promotion::Takeover,
        }];
        assert_eq!(lost(Vote::Ready(witness("me"))), []);
        assert_eq!(lost(Vote::Starting), []);
        assert_eq!(lost(Vote::Ready(witness("another"))), takeover);
        assert_eq!(lost(Vote::Off), takeover);
    }
}
