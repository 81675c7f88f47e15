//! Moving slots between shards while they are written, over the same walk and stream as replication.
//!
//! A slot changes owner by a committed topology entry only; this module must never change ownership by itself.

pub mod driver;
mod export;
pub mod import;
pub mod job;
pub mod metrics;
pub mod request;
pub mod tracker;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};

use crate::slot::{SlotId, SlotSet};
use crate::topology::MigrationId;

use import::Arrival;
use metrics::Metrics;
use tracker::{Subject, Tracker, Trackers};

/// This node's part in slot migrations.
#[derive(Default)]
pub struct Migrations {
    /// What `CLUSTER GETSLOTMIGRATIONS` shows.
    pub trackers: Trackers,
    /// Counters for `/metrics`.
    pub metrics: Metrics,
    /// Migrations that this node is about to propose, or has.
    announced: Mutex<BTreeMap<MigrationId, Announced>>,
    /// Migrations of which a client was told that they do not begin. When they do after all, they are to be aborted.
    withdrawn: Mutex<BTreeSet<MigrationId>>,
    exports: Mutex<BTreeMap<MigrationId, Running>>,
    staging: Mutex<BTreeMap<MigrationId, Staged>>,
    /// Wakes the driver when there may be stray data.
    sweep: Notify,
}

impl Migrations {
    /// A migration is about to be proposed by this node. It is listed from now on.
    pub fn announce(&self, subject: Subject) {
        let id = subject.id;
        let announced = self.announcement(subject);
        self.announced.lock().insert(id, announced);
    }

    fn announcement(&self, subject: Subject) -> Announced {
        let (cancel, cancelled) = watch::channel(false);
        Announced {
            tracker: self.trackers.begin(subject, "connecting"),
            cancel,
            cancelled,
        }
    }

    /// The migration will not begin, or should not if it `may_come` all the same.
    pub fn withdraw(&self, id: MigrationId, may_come: bool) {
        if may_come {
            self.withdrawn.lock().insert(id);
        }
        if self.announced.lock().remove(&id).is_some() {
            self.trackers.forget(id);
        }
    }

    fn is_withdrawn(&self, id: MigrationId) -> bool {
        self.withdrawn.lock().contains(&id)
    }

    /// Asks every export of this node to stop, also those that are about to begin; answers how many there were.
    pub fn cancel_all(&self) -> usize {
        let announced = self.announced.lock();
        let exports = self.exports.lock();
        let beginning = announced.values().map(|announced| &announced.cancel);
        let running = exports.values().map(|running| &running.cancel);
        beginning.chain(running).for_each(|cancel| {
            cancel.send_replace(true);
        });
        announced.len() + exports.len()
    }

    /// Whether `slot` is being received, so that its keys are not to be seen, expired or evicted here.
    pub fn is_staged(&self, slot: SlotId) -> bool {
        self.staging
            .lock()
            .values()
            .any(|staged| staged.slots.contains(slot))
    }

    /// Begins to receive a migration's slots, which ends when the answer is dropped; `None` when they are being received already, and that
    /// task gets the connection.
    fn stage(self: &Arc<Self>, slots: &SlotSet, arrival: Arrival) -> Option<Staging> {
        let id = arrival.offer.id;
        let mut staging = self.staging.lock();
        let arrival = match staging.get(&id) {
            Some(staged) => staged.connections.send(arrival).err()?.0,
            None => arrival,
        };
        let (connections, arrivals) = mpsc::unbounded_channel();
        let slots = slots.clone();
        // The receiver is here.
        let _ = connections.send(arrival);
        staging.insert(id, Staged { slots, connections });
        Some(Staging {
            migrations: self.clone(),
            id,
            arrivals,
        })
    }

    /// Begins an export, under the tracker with which it was announced or a new one; it ends when the answer is dropped.
    fn begin_export(self: &Arc<Self>, subject: Subject) -> Exporting {
        let id = subject.id;
        let mut all_announced = self.announced.lock();
        let announced = all_announced.remove(&id);
        let announced = announced.unwrap_or_else(|| self.announcement(subject));
        let running = Running {
            cancel: announced.cancel,
            slots: announced.tracker.subject.slots.clone(),
        };
        self.exports.lock().insert(id, running);
        Exporting {
            migrations: self.clone(),
            id,
            cancelled: announced.cancelled,
            tracker: announced.tracker,
        }
    }

    /// Whether an export of `slot` runs. Until it has ended, the target may follow what is done to the slot here.
    fn is_leaving(&self, slot: SlotId) -> bool {
        self.exports
            .lock()
            .values()
            .any(|running| running.slots.contains(slot))
    }

    fn is_exporting(&self, id: MigrationId) -> bool {
        self.exports.lock().contains_key(&id)
    }
}

/// An export that begins when the topology lists it.
struct Announced {
    tracker: Arc<Tracker>,
    cancel: watch::Sender<bool>,
    cancelled: watch::Receiver<bool>,
}

/// An export that runs, as others see it.
struct Running {
    cancel: watch::Sender<bool>,
    slots: SlotSet,
}

/// Slots that are being received, as others see it.
struct Staged {
    slots: SlotSet,
    /// Where further connections of the same migration go.
    connections: mpsc::UnboundedSender<Arrival>,
}

/// Slots that are being received, as their task has it.
struct Staging {
    migrations: Arc<Migrations>,
    id: MigrationId,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.migrations.staging.lock().remove(&self.id);
        self.migrations.sweep.notify_one();
    }
}

/// An export that runs, as its task has it.
struct Exporting {
    migrations: Arc<Migrations>,
    id: MigrationId,
    cancelled: watch::Receiver<bool>,
    tracker: Arc<Tracker>,
}

impl Drop for Exporting {
    fn drop(&mut self) {
        self.migrations.exports.lock().remove(&self.id);
        self.migrations.sweep.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::NodeId;
    use tracker::Operation;

    #[test]
    fn a_migration_that_is_about_to_begin_can_be_cancelled() {
        let migrations = Arc::new(Migrations::default());
        let id = MigrationId::random();
        let subject = Subject {
            id,
            operation: Operation::Export,
            slots: SlotSet::full(),
            source: NodeId::new([1; 20]),
            target: NodeId::new([2; 20]),
        };
        migrations.announce(subject.clone());
        assert_eq!(migrations.cancel_all(), 1);
        let exporting = migrations.begin_export(subject);
        assert_eq!(migrations.trackers.list().len(), 1);
        assert!(exporting.cancelled.has_changed().expect("not gone"));
        assert_eq!(migrations.cancel_all(), 1);
        drop(exporting);
        assert_eq!(migrations.cancel_all(), 0);
    }
}
