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

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::slot::{SlotId, SlotSet};
use crate::topology::MigrationId;

use metrics::Metrics;
use tracker::{Subject, Tracker, Trackers};

/// This node's part in slot migrations.
#[derive(Default)]
pub struct Migrations {
    /// What `CLUSTER GETSLOTMIGRATIONS` shows.
    pub trackers: Trackers,
    /// Counters for `/metrics`.
    pub metrics: Metrics,
    /// Migrations that this node has announced or is about to; one that the topology lists without being here is nobody's.
    announced: Mutex<BTreeMap<MigrationId, Announced>>,
    exports: Mutex<BTreeMap<MigrationId, Running>>,
    staging: Mutex<BTreeMap<MigrationId, SlotSet>>,
    /// Wakes the driver when there may be stray data.
    sweep: Notify,
}

impl Migrations {
    /// A migration is about to be proposed by this node. It is listed from now on.
    pub fn announce(&self, subject: Subject) {
        let id = subject.id;
        let (cancel, cancelled) = watch::channel(false);
        let announced = Announced {
            tracker: self.trackers.begin(subject, "connecting"),
            cancel,
            cancelled,
        };
        self.announced.lock().insert(id, announced);
    }

    /// The migration will not begin.
    pub fn withdraw(&self, id: MigrationId) {
        if self.announced.lock().remove(&id).is_some() {
            self.trackers.forget(id);
        }
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
            .any(|slots| slots.contains(slot))
    }

    /// Begins to receive a migration's slots; ends when the answer is dropped.
    fn stage(self: &Arc<Self>, id: MigrationId, slots: SlotSet) -> Staging {
        self.staging.lock().insert(id, slots);
        Staging {
            migrations: self.clone(),
            id,
        }
    }

    /// Begins an export that was announced; it ends when the answer is dropped.
    fn begin_export(self: &Arc<Self>, id: MigrationId) -> Option<Exporting> {
        let mut all_announced = self.announced.lock();
        let announced = all_announced.remove(&id)?;
        let running = Running {
            cancel: announced.cancel,
            slots: announced.tracker.subject.slots.clone(),
        };
        self.exports.lock().insert(id, running);
        Some(Exporting {
            migrations: self.clone(),
            id,
            cancelled: announced.cancelled,
            tracker: announced.tracker,
        })
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

/// Slots that are being received.
struct Staging {
    migrations: Arc<Migrations>,
    id: MigrationId,
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
        migrations.announce(Subject {
            id,
            operation: Operation::Export,
            slots: SlotSet::full(),
            source: NodeId::new([1; 20]),
            target: NodeId::new([2; 20]),
        });
        assert_eq!(migrations.cancel_all(), 1);
        let exporting = migrations.begin_export(id).expect("announced");
        assert!(exporting.cancelled.has_changed().expect("not gone"));
        assert_eq!(migrations.cancel_all(), 1);
        drop(exporting);
        assert_eq!(migrations.cancel_all(), 0);
    }
}
