//! Synchronous replication: a reply waits until as many replicas as `synchronous-replicas` says have what it tells.
//!
//! A write is told when the replicas have it, and a read when they have what it shows, since a failover could otherwise take back what a
//! client has seen. Neither is told by a node whose lease is over: whoever replaces it looks at what replicas have when that is over, and
//! must find all that was told (`bus::failover`). Offsets are those of this node's log within one of its terms as a primary.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use arc_swap::{ArcSwap, Guard};

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
    /// The log's offset behind the last change of all slots.
    emptied: AtomicU64,
    term: ArcSwap<Term>,
}

/// What is so within one of this node's terms as a primary. Each has its own, so that whoever was looking when one ended says nothing of the next.
#[derive(Debug, Default)]
struct Term {
    /// None before the first.
    number: Option<u64>,
    /// Where it began: what was done here by this node as a replica may be on no other one.
    floor: u64,
    /// Enough replicas have had everything up to there.
    safe: AtomicU64,
}

impl Default for Durability {
    fn default() -> Self {
        Self {
            written: (0..SLOT_COUNT).map(|_| AtomicU64::new(0)).collect(),
            emptied: AtomicU64::new(0),
            term: ArcSwap::default(),
        }
    }
}

impl Durability {
    /// A change of these slots (`None`: of all) stands before `end` in the log. The caller holds their locks.
    pub(crate) fn note(&self, slots: impl Iterator<Item = Option<SlotId>>, end: u64) {
        for slot in slots {
            match slot {
                Some(slot) => self.written[slot.index()].fetch_max(end, SeqCst),
                None => self.emptied.fetch_max(end, SeqCst),
            };
        }
    }

    /// The offset that replicas must have for what `slot`, which is locked, shows now.
    pub(crate) fn behind(&self, node: &Node, slot: SlotId) -> u64 {
        let term = self.term(node.cluster.peek().terms, || node.log.end());
        let written = self.written[slot.index()].load(SeqCst);
        let written = written.max(self.emptied.load(SeqCst));
        // One of an earlier term may be of another history.
        written.min(node.log.end()).max(term.floor)
    }

    /// The term of this number, which begins at the log's `end` if it is new; a later one if there is one already.
    fn term(&self, number: u64, end: impl Fn() -> u64) -> Guard<Arc<Term>> {
        loop {
            let term = self.term.load();
            if term.number >= Some(number) {
                return term;
            }
            let next = Term {
                number: Some(number),
                floor: end(),
                ..Term::default()
            };
            self.term.compare_and_swap(&term, Arc::new(next));
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
        let term = self.term(copies.term, || node.log.end());
        let has = || node.replication.replicas.count_at(copies.offset) >= node.synchronous();
        term.is_safe(copies, has) && is_primary(node, copies) && !node.cluster.lacks_lease()
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

impl Term {
    /// Whether enough replicas have what is waited for in this term: `enough` looks whether they do.
    fn is_safe(&self, copies: Copies, enough: impl FnOnce() -> bool) -> bool {
        if self.number != Some(copies.term) {
            return false;
        }
        if copies.offset <= self.safe.load(SeqCst) {
            return true;
        }
        let safe = enough();
        if safe {
            self.safe.fetch_max(copies.offset, SeqCst);
        }
        safe
    }
}

/// Whether this node is still the primary that it was then.
fn is_primary(node: &Node, copies: Copies) -> bool {
    let view = node.cluster.peek();
    view.terms == copies.term && view.is_serving_primary() && !node.is_replica()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_safe_in_a_term_is_not_known_to_be_in_the_next() {
        let durability = Durability::default();
        let copies = |term| Copies { offset: 100, term };
        let first = durability.term(1, || 50);
        // The next one begins while somebody looks.
        let safe = first.is_safe(copies(1), || {
            assert_eq!(durability.term(2, || 70).floor, 70);
            true
        });
        assert!(safe && first.is_safe(copies(1), || false));
        let second = durability.term(2, || 90);
        assert_eq!(second.floor, 70);
        assert!(!second.is_safe(copies(2), || false));
        // Whoever has not seen yet that it has begun waits for nothing more.
        let late = durability.term(1, || 90);
        assert!(!late.is_safe(copies(1), || true));
    }
}
