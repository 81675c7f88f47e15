//! Applying what arrives to this node's data set, as long as this node still has the right to.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::FlowError;
use super::history::History;
use super::link::Upstream;
use super::receive::Todo;
use crate::cluster::View;
use crate::command::{EXEC, MULTI, ReplayError, Replayer, Wait, no_room};
use crate::log::Scope;
use crate::node::Node;
use crate::resp::encode_request;
use crate::slot::{SlotId, SlotSet};
use crate::store::Store;
use crate::topology::{MigrationId, NodeId};

/// How long what arrives waits for a slow disk at a time.
const MOST_WAIT: Duration = Duration::from_secs(1);

/// How long replicas may take to have what has come from another shard, while its slots are paused there.
const SECURE: Duration = Duration::from_secs(1);

/// By what right data is applied.
enum Right {
    /// This node is a replica of this primary.
    Copies(Upstream),
    /// This node is the target of this migration, and has the history with which it began to be.
    Imports(MigrationId, NodeId),
}

/// Where received data goes.
pub(crate) struct Target {
    node: Arc<Node>,
    replayer: Replayer,
    right: Right,
    proof: Proof,
    /// The copy that is being received, until it is whole.
    copy: Option<Copy>,
    /// The records since `MULTI`: they take effect together, when `EXEC` comes.
    group: Vec<(Scope, Bytes)>,
}

/// A data set on its way.
struct Copy {
    history: History,
    /// Where it is put together; `None`: in the node's own place, which was emptied for it.
    beside: Option<Arc<Store>>,
}

/// For which view, and which word of an administrator, the right was found to hold: while these are the same, so is the right.
#[derive(Default)]
struct Proof {
    view: Option<Arc<View>>,
    orders: u64,
}

impl Target {
    /// The data set of a node that copies `upstream`, and goes on from where it is.
    pub(crate) fn replica(node: Arc<Node>, upstream: Upstream) -> Self {
        Self::new(node, Right::Copies(upstream))
    }

    /// The slots of a migration to this node, as long as it has this history.
    pub(crate) fn import(node: Arc<Node>, migration: MigrationId, history: NodeId) -> Self {
        Self::new(node, Right::Imports(migration, history))
    }

    fn new(node: Arc<Node>, right: Right) -> Self {
        Self {
            replayer: Replayer::new(&node),
            node,
            right,
            proof: Proof::default(),
            copy: None,
            group: Vec::new(),
        }
    }

    /// Resolves when what keeps what is applied here has room for more: the disk or a walk is given up to a second. A file that cannot be
    /// written at all holds nobody up.
    pub(crate) async fn has_room(&self) {
        let node = &self.node;
        if let Some(wait) = no_room(node)
            && (wait != Wait::Aof || node.persistence.aof.trouble().is_none())
        {
            // What the sender has sent waits in the connection meanwhile, which must not look dead to it.
            let _ = tokio::time::timeout(MOST_WAIT, wait.over(node)).await;
        }
    }

    /// The offset up to which what a primary has sent is on this node's disk; `None` when it has no append-only file.
    pub(crate) fn synced_to(&self) -> Option<u64> {
        if self.copy.is_some() || !matches!(self.right, Right::Copies(_)) {
            return None;
        }
        self.node.persistence.aof.synced_to()
    }

    /// Whether what comes is acknowledged only when it has been secured.
    pub(crate) fn must_secure(&self) -> bool {
        self.node.synchronous() > 0 && matches!(self.right, Right::Imports(..))
    }

    /// Slots that come from another shard are to be at as many replicas as `synchronous-replicas` says before this node has them: what their
    /// former owner told of them is told for good.
    ///
    /// # Errors
    ///
    /// When that takes too long.
    pub(crate) async fn secure(&self) -> Result<(), FlowError> {
        if !self.must_secure() {
            return Ok(());
        }
        let wanted = self.node.synchronous();
        let end = self.node.log.end();
        let replicas = &self.node.replication.replicas;
        if replicas.wait(wanted, end, Some(SECURE)).await < wanted {
            let why = format!("not {wanted} replicas of this node have the slots in time");
            return Err(FlowError::Role(why));
        }
        Ok(())
    }

    /// Resolves when that is beyond `offset`.
    pub(crate) async fn synced_beyond(&self, offset: u64) {
        self.node.persistence.aof.synced_beyond(offset).await;
    }

    /// A whole copy with this history follows. It is put together beside the old data, which are served meanwhile, unless it is said that
    /// there is no room.
    pub(crate) async fn begin_copy(
        &mut self,
        history: History,
        room: bool,
    ) -> Result<(), FlowError> {
        let beside = room.then(|| Arc::new(Store::new()));
        if beside.is_none() {
            self.node.replication.set_incomplete(true);
            self.clear_own().await?;
        }
        self.node.replication.set_beside(beside.clone());
        self.copy = Some(Copy { history, beside });
        Ok(())
    }

    /// Where a copy is put together beside the old data.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn beside(&self) -> Option<Arc<Store>> {
        self.copy.as_ref().and_then(|copy| copy.beside.clone())
    }

    /// Whether a transaction has begun and not ended.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn is_within_group(&self) -> bool {
        !self.group.is_empty()
    }

    /// Does what a frame asks of the data set; `offset` is the frame's.
    pub(crate) async fn apply(&mut self, todo: &Todo, offset: u64) -> Result<(), FlowError> {
        match todo {
            Todo::Clear(slots) => self.clear(slots).await,
            Todo::Execute(slot, effects) => self.execute(*slot, effects),
            Todo::Mirror(slot, record) => self.mirror(Scope::Slot(*slot), record, offset).await,
            Todo::MirrorEmptied(slot, record) => {
                self.mirror(Scope::Emptied(*slot), record, offset).await
            }
            Todo::MirrorAll(record) => self.mirror(Scope::All, record, offset).await,
            Todo::MirrorOther(record) => self.mirror(Scope::Other, record, offset).await,
            Todo::Synced => self.synced(offset),
            Todo::Nothing
            | Todo::AckNow
            | Todo::Offered { .. }
            | Todo::Final(_)
            | Todo::Resumed
            | Todo::Goodbye(_) => Ok(()),
        }
    }

    /// The copy is whole: it takes the place of the old data, and the log goes on with the sender's at `offset`.
    fn synced(&mut self, offset: u64) -> Result<(), FlowError> {
        let Some(copy) = self.copy.take() else {
            return Ok(());
        };
        let (node, right, proof) = (&self.node, &self.right, &mut self.proof);
        node.replication.set_beside(None);
        // Asked while all slots are locked, as for each effect: what a client has written since this node's role changed is never replaced.
        let mut allowed = || {
            let holds = right.holds(node, proof);
            if holds {
                node.log.restart_at(offset);
                // At the same moment: nobody sees the new log under the old history's name.
                node.replication.adopt(copy.history.clone());
            }
            holds
        };
        let whole = match &copy.beside {
            Some(beside) => node.store.replace_by(beside, allowed),
            None => allowed(),
        };
        node.replication.discard(copy.beside);
        if !whole {
            return Err(right.lost());
        }
        node.replication.set_incomplete(false);
        node.replication.set_applied(offset);
        node.persistence.history_restarted(node);
        Ok(())
    }

    /// Executes effects on a slot as one step; those of a migration are appended to this node's log.
    fn execute(&mut self, slot: SlotId, effects: &[u8]) -> Result<(), FlowError> {
        let (node, right, proof) = (&self.node, &self.right, &mut self.proof);
        // Asked under the slot's lock: a client's write that was routed here by a newer topology is never followed by an old effect.
        let allowed = || right.holds(node, proof);
        let done = match &self.copy {
            None => self.replayer.replay_if(slot, effects, allowed),
            Some(copy) => {
                let store = copy.beside.as_deref().unwrap_or(&node.store);
                self.replayer.load_if(store, slot, effects, allowed)
            }
        };
        self.check(done)
    }

    /// Does what a record says of a log that this node's log continues.
    async fn mirror(&mut self, scope: Scope, record: &Bytes, end: u64) -> Result<(), FlowError> {
        let begins = scope == Scope::Other && record == MULTI;
        if begins || !self.group.is_empty() {
            self.group.push((scope, record.clone()));
            return match scope == Scope::Other && record == EXEC {
                true => self.mirror_group(end),
                false => Ok(()),
            };
        }
        match scope {
            Scope::Slot(slot) => self.mirror_effects(slot, record, end),
            Scope::Emptied(slot) => self.mirror_emptied(Some(slot), record, end).await,
            Scope::All => self.mirror_emptied(None, record, end).await,
            Scope::Other => self.mirror_other(record, end),
        }
    }

    /// Does what the records of a transaction say, all of them at once.
    fn mirror_group(&mut self, end: u64) -> Result<(), FlowError> {
        let group = std::mem::take(&mut self.group);
        let (node, right, proof) = (&self.node, &self.right, &mut self.proof);
        let allowed = || right.holds(node, proof);
        let done = self.replayer.mirror_group_if(&group, allowed);
        self.check(done)?;
        self.mirrored(end)
    }

    fn mirror_effects(&mut self, slot: SlotId, effects: &[u8], end: u64) -> Result<(), FlowError> {
        let (node, right, proof) = (&self.node, &self.right, &mut self.proof);
        let allowed = || right.holds(node, proof);
        let done = self.replayer.mirror_if(slot, effects, allowed);
        self.check(done)?;
        self.mirrored(end)
    }

    /// A record about no slot, of a log that this node's log continues.
    fn mirror_other(&mut self, record: &[u8], end: u64) -> Result<(), FlowError> {
        let (node, right, proof) = (&self.node, &self.right, &mut self.proof);
        if !right.holds(node, proof) {
            return Err(right.lost());
        }
        node.log.append(Scope::Other, record);
        self.mirrored(end)
    }

    /// A slot, or all slots, were emptied, as a log says that this node's log continues.
    async fn mirror_emptied(
        &mut self,
        slot: Option<SlotId>,
        record: &[u8],
        end: u64,
    ) -> Result<(), FlowError> {
        match slot {
            None => {
                self.clear_own().await?;
                self.node.log.append(Scope::All, record);
            }
            Some(slot) => {
                let (node, right, proof) = (&self.node, &self.right, &mut self.proof);
                let mut guard = node.store.lock(slot).await;
                if !right.holds(node, proof) {
                    return Err(right.lost());
                }
                guard.clear();
                node.log.append(Scope::Emptied(slot), record);
            }
        }
        self.mirrored(end)
    }

    /// Empties all slots of the node without leaving an effect.
    async fn clear_own(&mut self) -> Result<(), FlowError> {
        let (node, right, proof) = (&self.node, &self.right, &mut self.proof);
        for slot in SlotId::all() {
            let mut guard = node.store.lock(slot).await;
            if !right.holds(node, proof) {
                return Err(right.lost());
            }
            guard.clear();
        }
        Ok(())
    }

    fn check(&self, done: Result<bool, ReplayError>) -> Result<(), FlowError> {
        match done {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.right.lost()),
            Err(error) => Err(FlowError::Replay(error)),
        }
    }

    fn mirrored(&self, end: u64) -> Result<(), FlowError> {
        let here = self.node.log.end();
        if here != end {
            return Err(FlowError::Diverged { here, there: end });
        }
        self.node.replication.set_applied(end);
        Ok(())
    }

    /// Something was heard, and nothing up to this offset is missing.
    pub(crate) fn applied(&self, offset: u64) {
        let is_exact = self.copy.is_none() && self.group.is_empty();
        if matches!(self.right, Right::Copies(_)) && is_exact {
            self.node.replication.set_applied(offset);
        }
    }

    /// Empties slots.
    async fn clear(&mut self, slots: &SlotSet) -> Result<(), FlowError> {
        let (node, right, proof) = (&self.node, &self.right, &mut self.proof);
        for slot in slots.iter() {
            let mut allowed = || right.holds(node, proof);
            let done = match &self.copy {
                None => empty_if(node, slot, allowed).await,
                Some(copy) => {
                    let store = copy.beside.as_deref().unwrap_or(&node.store);
                    store.lock(slot).await.clear();
                    allowed()
                }
            };
            if !done {
                return Err(right.lost());
            }
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let replication = &self.node.replication;
        if let Some(copy) = self.copy.take() {
            replication.set_beside(None);
            replication.discard(copy.beside);
        }
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
            Self::Imports(id, history) => {
                let view = node.cluster.peek();
                let migration = view.topology.migrations.get(id);
                migration.is_some_and(|migration| {
                    view.me().map(|me| me.shard) == Some(migration.target)
                        && view.is_serving_primary()
                        && node.replication.history().id == *history
                })
            }
        }
    }

    fn lost(&self) -> FlowError {
        FlowError::Role(match self {
            Self::Copies(_) => "this node copies another node now, or none".to_owned(),
            Self::Imports(..) => {
                "the migration has ended, or this node's part in its shard has changed".to_owned()
            }
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
