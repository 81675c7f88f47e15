//! Applying what arrives to this node's data set, as long as this node still has the right to.

use std::sync::Arc;

use super::FlowError;
use super::link::Upstream;
use crate::cluster::View;
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
    Imports(MigrationId),
}

/// Where received data goes.
pub(crate) struct Target {
    node: Arc<Node>,
    replayer: Replayer,
    right: Right,
    proof: Proof,
}

/// For which view, and which word of an administrator, the right was found to hold: while these are the same, so is the right.
#[derive(Default)]
struct Proof {
    view: Option<Arc<View>>,
    orders: u64,
}

impl Target {
    /// The data set of a node that copies `upstream`.
    pub(crate) fn replica(node: Arc<Node>, upstream: Upstream) -> Self {
        Self::new(node, Right::Copies(upstream))
    }

    /// The slots of a migration to this node.
    pub(crate) fn import(node: Arc<Node>, migration: MigrationId) -> Self {
        Self::new(node, Right::Imports(migration))
    }

    fn new(node: Arc<Node>, right: Right) -> Self {
        Self {
            replayer: Replayer::new(&node),
            node,
            right,
            proof: Proof::default(),
        }
    }

    /// Executes effects on a slot as one step, and appends them to this node's log.
    pub(crate) fn execute(&mut self, slot: SlotId, effects: &[u8]) -> Result<(), FlowError> {
        let (node, right, proof) = (&self.node, &self.right, &mut self.proof);
        // Asked under the slot's lock: a client's write that was routed here by a newer topology is never followed by an old effect.
        match self
            .replayer
            .replay_if(slot, effects, || right.holds(node, proof))
        {
            Ok(true) => Ok(()),
            Ok(false) => Err(right.lost()),
            Err(error) => Err(FlowError::Replay(error)),
        }
    }

    /// Everything up to this offset of the sender's log is applied.
    pub(crate) fn applied(&self, offset: u64) {
        if let Right::Copies(_) = self.right {
            self.node.replication.set_applied(offset);
        }
    }

    /// Empties slots.
    pub(crate) async fn clear(&mut self, slots: &SlotSet) -> Result<(), FlowError> {
        let (node, right, proof) = (&self.node, &self.right, &mut self.proof);
        for slot in slots.iter() {
            if !empty_if(node, slot, || right.holds(node, proof)).await {
                return Err(right.lost());
            }
        }
        Ok(())
    }
}

impl Right {
    fn holds(&self, node: &Node, proof: &mut Proof) -> bool {
        let orders = node.replication.orders();
        let view = node.cluster.peek();
        let known = proof.orders == orders
            && proof
                .view
                .as_ref()
                .is_some_and(|known| Arc::ptr_eq(known, &view));
        if known {
            return true;
        }
        drop(view);
        proof.orders = orders;
        proof.view = Some(node.cluster.view());
        let holds = self.is_given(node);
        if !holds {
            proof.view = None;
        }
        holds
    }

    fn is_given(&self, node: &Node) -> bool {
        match self {
            Self::Copies(upstream) => node.replication.upstream(node).as_ref() == Some(upstream),
            Self::Imports(migration) => {
                let view = node.cluster.peek();
                view.topology.migrations.contains_key(migration)
            }
        }
    }

    fn lost(&self) -> FlowError {
        FlowError::Role(match self {
            Self::Copies(_) => "this node copies another node now, or none".to_owned(),
            Self::Imports(_) => "the migration has ended".to_owned(),
        })
    }
}

/// Empties a slot if `allowed`, which is asked under the slot's lock; the log is told so that replicas do the same. Answers what it said.
pub(crate) async fn empty_if(node: &Node, slot: SlotId, allowed: impl FnOnce() -> bool) -> bool {
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
