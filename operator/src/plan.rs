//! Planning: a pure function from what is observed and desired to the next steps and to what the status says.
//!
//! No I/O and no clock. Nothing is remembered between two plans: whatever was half done is seen again and goes on from there.
//! Invariants, which the property tests name:
//! - slots are only assigned while nobody owns them; otherwise they move, so none ever loses its last owner;
//! - a shard is only deleted when a majority of the other members sees it without slots and its node holds no key;
//! - nobody is promoted beside a primary that answers as serving, or that may still run;
//! - a converged state plans nothing.

mod findings;
mod layout;
mod membership;
mod moves;
mod picture;
mod repair;
mod shards;
#[cfg(test)]
mod simulation;
mod witness;

use std::collections::BTreeMap;
use std::fmt;

use crate::names::PodPlace;
use crate::observe::{NodeId, Observed, Vote, Witness};
use crate::slots::SlotSet;

pub use findings::{Findings, ShardFinding};
pub use layout::targets;
use picture::Picture;

/// What is wanted, as far as the topology is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Number of shards.
    pub shards: u32,
    /// Replicas of each shard's primary.
    pub replicas: u32,
}

/// How a replica becomes primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promotion {
    /// The primary hands over.
    Planned,
    /// The primary is lost; the consensus group decides.
    Force,
    /// The consensus group is lost too and is formed anew round this node.
    Takeover,
}

/// One step: a command to one node, or one change in Kubernetes. Each is safe to repeat.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// `at` lets `node` join.
    Meet {
        /// Who executes.
        at: PodPlace,
        /// Who joins.
        node: PodPlace,
    },
    /// `at` removes `node` from the cluster.
    Forget {
        /// Who executes.
        at: PodPlace,
        /// Who leaves.
        node: NodeId,
    },
    /// `at` becomes a replica of `primary`.
    Replicate {
        /// Who executes and becomes a replica.
        at: PodPlace,
        /// Whom it follows.
        primary: NodeId,
    },
    /// The shard of `at` gets slots that nobody owns.
    AddSlots {
        /// Who executes.
        at: PodPlace,
        /// The slots.
        slots: SlotSet,
    },
    /// `at` becomes the primary of its shard.
    Promote {
        /// Who executes and becomes primary.
        at: PodPlace,
        /// How.
        how: Promotion,
    },
    /// `at` begins to move slots to the shard of `target`.
    Migrate {
        /// The primary that owns the slots.
        at: PodPlace,
        /// The primary that gets them.
        target: NodeId,
        /// The slots.
        slots: SlotSet,
    },
    /// `at` stops giving slots away.
    CancelMigrations {
        /// Who executes.
        at: PodPlace,
    },
    /// The cluster gets a witness, in place of another one if there is one.
    SetWitness {
        /// Who executes.
        at: PodPlace,
        /// The witness.
        witness: Witness,
    },
    /// The cluster has no witness any more.
    RemoveWitness {
        /// Who executes.
        at: PodPlace,
    },
    /// `at` forgets the cluster it once was in.
    Reset {
        /// Who executes.
        at: PodPlace,
    },
    /// Kubernetes replaces the pod.
    DeletePod {
        /// The pod.
        place: PodPlace,
    },
    /// Kubernetes removes a shard's objects.
    DeleteShard {
        /// The shard's index.
        index: u32,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meet { node, .. } => write!(f, "{node} joins"),
            Self::Forget { node, .. } => write!(f, "node {node} leaves"),
            Self::Replicate { at, primary } => write!(f, "{at} follows node {primary}"),
            Self::AddSlots { at, slots } => write!(f, "{at} gets slots {slots}"),
            Self::Promote { at, how } => write!(f, "{at} becomes primary ({how:?})"),
            Self::Migrate { at, target, slots } => {
                write!(f, "{at} gives {} slots to node {target}", slots.len())
            }
            Self::CancelMigrations { at } => write!(f, "{at} cancels its migrations"),
            Self::SetWitness { witness, .. } => {
                write!(f, "{} at {} is the witness", witness.id, witness.ip)
            }
            Self::RemoveWitness { .. } => f.write_str("there is no witness any more"),
            Self::Reset { at } => write!(f, "{at} forgets its former cluster"),
            Self::DeletePod { place } => write!(f, "pod {place} is replaced"),
            Self::DeleteShard { index } => write!(f, "shard {index} is deleted"),
        }
    }
}

/// What to do next, and what the status says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Number of pods that each shard's StatefulSet asks for. Shards that are not named have no objects.
    pub pods: BTreeMap<u32, i32>,
    /// The steps. Those of different shards do not depend on each other.
    pub steps: Vec<Step>,
    /// Whether the operator should vote as the cluster's witness.
    pub votes: bool,
    /// What was found.
    pub findings: Findings,
}

/// Plans the next steps.
pub fn plan(desired: &Desired, observed: &Observed) -> Plan {
    let Some(picture) = Picture::new(desired, observed) else {
        return Plan {
            pods: shards::pods(desired, observed, None),
            steps: shards::delete_unformed(desired, observed, None),
            votes: witness::is_wanted(desired) || matches!(observed.vote, Vote::Ready(_)),
            findings: findings::without_topology(desired, observed),
        };
    };
    let mut waiting = Vec::new();
    let mut steps = membership::steps(&picture, &mut waiting);
    steps.extend(repair::steps(&picture, &mut waiting));
    steps.extend(witness::step(&picture));
    let rebalance = moves::rebalance(&picture, &mut waiting);
    steps.extend(rebalance.steps.iter().cloned());
    steps.extend(shards::deletions(&picture, &mut waiting));
    steps.extend(shards::delete_unformed(desired, observed, Some(&picture)));
    Plan {
        pods: shards::pods(desired, observed, Some(&picture)),
        votes: witness::is_wanted(desired) || picture.view.witness.is_some(),
        findings: findings::findings(&picture, &rebalance, waiting),
        steps,
    }
}
