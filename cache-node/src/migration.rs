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
    announced: Mutex<BTreeMap<MigrationId, Arc<Tracker>>>,
    exports: Mutex<BTreeMap<MigrationId, Running>>,
    staging: Mutex<BTreeMap<MigrationId, SlotSet>>,
    /// Wakes the driver when there may be stray data.
    sweep: Notify,
}

impl Migrations {
    /// A migration is about to be proposed by this node. It is listed from now on.
    pub fn announce(&self, subject: Subject) {
        let id = subject.id;
        let tracker = self.trackers.begin(subject, "connecting");
        self.announced.lock().insert(id, tracker);
    }

    /// The migration will not begin.
    pub fn withdraw(&self, id: MigrationId) {
        if self.announced.lock().remove(&id).is_some() {
            self.trackers.forget(id);
        }
    }

    /// Asks every export of this node to stop; answers how many there were.
    pub fn cancel_all(&self) -> usize {
        let exports = self.exports.lock();
        exports.values().for_each(|running| {
            running.cancel.send_replace(true);
        });
        exports.len()
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

    fn begin_export(self: &Arc<Self>, id: MigrationId, tracker: Arc<Tracker>) -> Exporting {
        let (cancel, cancelled) = watch::channel(false);
        let slots = tracker.subject.slots.clone();
        self.exports.lock().insert(id, Running { cancel, slots });
        Exporting {
            migrations: self.clone(),
            id,
            cancelled,
            tracker,
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
