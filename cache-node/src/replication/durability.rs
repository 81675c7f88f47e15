//! Synchronous replication: a reply waits until as many replicas as `synchronous-replicas` says have what it tells.
//!
//! A write is told when the replicas have it, and a read when they have what it shows, since a failover could otherwise take back what a
//! client has seen. Neither is told by a node whose lease is over: whoever replaces it looks at what replicas have when that is over, and
//! must find all that was told (`bus::failover`). Offsets are those of this node's log within one of its terms as a primary.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::node::Node;
use crate::slot::{SLOT_COUNT, SlotId};

/// What the replies of a turn wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copies {
    /// The log's offset that the replicas must have.
    offset: u64,
    /// The term as a primary in which that was done.
    term: u64,
}

/// How far replicas must be for what is told of each slot.
#[derive(Debug)]
pub struct Durability {
    /// The log's offset behind the last change of each slot.
    written: Box<[AtomicU64]>,
    /// The same for all slots: where this term began, or all were emptied.
    floor: AtomicU64,
    /// Enough replicas have had everything up to there.
    safe: AtomicU64,
    /// The term that these offsets are of.
    term: AtomicU64,
}

impl Default for Durability {
    fn default() -> Self {
        Self {
            written: (0..SLOT_COUNT).map(|_| AtomicU64::new(0)).collect(),
            floor: AtomicU64::new(0),
            safe: AtomicU64::new(0),
            term: AtomicU64::new(u64::MAX),
        }
    }
}

impl Durability {
    /// A change of these slots (`None`: of all) stands before `end` in the log. The caller holds their locks.
    pub(crate) fn note(&self, slots: impl Iterator<Item = Option<SlotId>>, end: u64) {
        for slot in slots {
            match slot {
                Some(slot) => self.written[slot.index()].fetch_max(end, SeqCst),
                None => self.floor.fetch_max(end, SeqCst),
            };
        }
    }

    /// The offset that replicas must have for what `slot`, which is locked, shows now.
    pub(crate) fn behind(&self, node: &Node, slot: SlotId) -> u64 {
        self.begin_term(node);
        let written = self.written[slot.index()].load(SeqCst);
        // One of an earlier term may be of another history.
        let written = written.min(node.log.end());
        written.max(self.floor.load(SeqCst))
    }

    /// What was done here by this node as a replica may be on no other one.
    fn begin_term(&self, node: &Node) {
        let term = node.cluster.peek().terms;
        if self.term.load(SeqCst) != term {
            self.safe.store(0, SeqCst);
            self.floor.store(node.log.end(), SeqCst);
            self.term.store(term, SeqCst);
        }
    }

    /// What replies wait for that tell of everything up to `offset`; `None` when there is nothing to wait for.
    pub(crate) fn copies(&self, node: &Node, offset: u64) -> Option<Copies> {
        let copies = Copies {
            offset,
            term: node.cluster.peek().terms,
        };
        (!node.is_replica() && !self.may_tell(node, copies)).then_some(copies)
    }

    /// Whether enough replicas have it, and nobody else can be primary.
    fn may_tell(&self, node: &Node, copies: Copies) -> bool {
        self.is_safe(node, copies.offset) && is_primary(node, copies) && !node.cluster.lacks_lease()
    }

    fn is_safe(&self, node: &Node, offset: u64) -> bool {
        if offset <= self.safe.load(SeqCst) {
            return true;
        }
        let safe = node.replication.replicas.count_at(offset) >= node.synchronous();
        if safe {
            self.safe.fetch_max(offset, SeqCst);
        }
        safe
    }

    /// Resolves when that may be told (true), or never will be: this node is no primary any more, or was not in between.
    pub(crate) async fn reached(&self, node: &Node, copies: Copies) -> bool {
        let mut acks = node.replication.replicas.news();
        let (mut views, mut leases) = (node.cluster.changes(), node.cluster.leases());
        loop {
            if !is_primary(node, copies) {
                return false;
            }
            if self.may_tell(node, copies) {
                return true;
            }
            // What has changed is looked at in any case.
            tokio::select! {
                _ = acks.changed() => {}
                _ = views.changed() => {}
                _ = leases.changed() => {}
            }
        }
    }
}

/// Whether this node is still the primary that it was then.
fn is_primary(node: &Node, copies: Copies) -> bool {
    let view = node.cluster.peek();
    view.terms == copies.term && view.is_serving_primary() && !node.is_replica()
}
