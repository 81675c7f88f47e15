//! Applying what arrives to this node's data set, as long as this node still has the right to.

use std::sync::Arc;

use super::FlowError;
use super::link::Upstream;
use crate::command::Replayer;
use crate::log::Scope;
use crate::node::Node;
use crate::resp::encode_request;
use crate::slot::{SlotId, SlotSet};
use crate::topology::MigrationId;

/// By what right data is applied.
enum Right {
    /// This node is a replica of this primary.
    Copies(Upstream),
    /// This node is the target of this migration.
    Imports {
        migration: MigrationId,
        /// [`crate::migration::Migrations::flushes`] when it began: a flush of this node would take staged keys along.
        flushes: u64,
    },
}

/// Where received data goes.
pub(crate) struct Target {
    node: Arc<Node>,
    replayer: Replayer,
    right: Right,
}

impl Target {
    /// The data set of a node that copies `upstream`.
    pub(crate) fn replica(node: Arc<Node>, upstream: Upstream) -> Self {
        Self::new(node, Right::Copies(upstream))
    }

    /// The slots of a migration to this node.
    pub(crate) fn import(node: Arc<Node>, migration: MigrationId) -> Self {
        let flushes = node.migrations.flushes();
        Self::new(node, Right::Imports { migration, flushes })
    }

    fn new(node: Arc<Node>, right: Right) -> Self {
        Self {
            replayer: Replayer::new(&node),
            node,
            right,
        }
    }

    /// Executes effects on a slot as one step, and appends them to this node's log.
    pub(crate) fn execute(&mut self, slot: SlotId, effects: &[u8]) -> Result<(), FlowError> {
        let (node, right) = (&self.node, &self.right);
        // Asked under the slot's lock: a client's write that was routed here by a newer topology is never followed by an old effect.
        match self.replayer.replay_if(slot, effects, || right.holds(node)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(right.lost()),
            Err(error) => Err(FlowError::Replay(error)),
        }
    }

    /// Empties slots.
    pub(crate) async fn clear(&self, slots: &SlotSet) -> Result<(), FlowError> {
        for slot in slots.iter() {
            if !empty_if(&self.node, slot, || self.right.holds(&self.node)).await {
                return Err(self.right.lost());
            }
        }
        Ok(())
    }
}

impl Right {
    fn holds(&self, node: &Node) -> bool {
        match self {
            Self::Copies(upstream) => node.replication.upstream(node).as_ref() == Some(upstream),
            Self::Imports { migration, flushes } => {
                *flushes == node.migrations.flushes()
                    && node
                        .cluster
                        .peek()
                        .topology
                        .migrations
                        .contains_key(migration)
            }
        }
    }

    fn lost(&self) -> FlowError {
        FlowError::Role(match self {
            Self::Copies(_) => "this node copies another node now, or none".to_owned(),
            Self::Imports { .. } => "the migration has ended, or this node was flushed".to_owned(),
        })
    }
}

/// Empties a slot if `allowed`, which is asked under the slot's lock; the log is told so that replicas do the same. Answers what it said.
pub(crate) async fn empty_if(node: &Node, slot: SlotId, allowed: impl Fn() -> bool) -> bool {
    if node.store.keys_in(slot) == 0 {
        return allowed();
    }
    let mut guard = node.store.lock(slot).await;
    if !allowed() {
        return false;
    }
    guard.clear();
    node.log.append(Scope::Emptied(slot), &emptied(slot));
    true
}

/// What the log holds for an emptied slot: readable, and never without bytes, since records are told apart by their offsets.
fn emptied(slot: SlotId) -> Vec<u8> {
    let mut effect = Vec::new();
    let number = slot.to_string();
    encode_request(
        &mut effect,
        [b"CLUSTER".as_slice(), b"FLUSHSLOT", number.as_bytes()].into_iter(),
    );
    effect
}
