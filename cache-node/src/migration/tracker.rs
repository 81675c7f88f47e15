//! What is known of running and finished migrations, for `CLUSTER GETSLOTMIGRATIONS`, logs and metrics.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::clock;
use crate::slot::SlotSet;
use crate::topology::{MigrationId, NodeId};

/// Finished migrations stay listed up to this many.
const HISTORY: usize = 1000;

/// Which side of a migration this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The slots come here.
    Import,
    /// The slots leave.
    Export,
}

impl Operation {
    /// Valkey's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Import => "IMPORT",
            Self::Export => "EXPORT",
        }
    }
}

/// The part of a migration that never changes.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The migration.
    pub id: MigrationId,
    /// This node's side.
    pub operation: Operation,
    /// The slots.
    pub slots: SlotSet,
    /// The primary that gives them away.
    pub source: NodeId,
    /// The primary that gets them.
    pub target: NodeId,
}

/// The part that changes. Times are in milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// When it began.
    pub created: u64,
    /// When the state changed last.
    pub updated: u64,
    /// When the other side was heard last.
    pub heard: u64,
    /// The state's name.
    pub state: &'static str,
    /// Why it failed, or empty.
    pub message: String,
    /// Bytes of changes that the target has not acknowledged.
    pub remaining: u64,
    /// Slots sent or received whole.
    pub slots: usize,
    /// Keys sent with their slots.
    pub keys: u64,
    /// Bytes of content and changes sent or received.
    pub bytes: u64,
    /// Milliseconds for which the slots were paused at the end.
    pub paused_ms: u64,
}

/// One migration.
#[derive(Debug)]
pub struct Tracker {
    /// What moves where.
    pub subject: Subject,
    status: Mutex<Status>,
}

impl Tracker {
    /// A copy of the changing part.
    pub fn status(&self) -> Status {
        self.status.lock().clone()
    }

    /// Changes the changing part; a change of state is noted with its time.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        let mut status = self.status.lock();
        let before = status.state;
        change(&mut status);
        if status.state != before {
            status.updated = clock::now();
        }
    }

    /// Something was heard from the other side.
    pub fn heard(&self) {
        self.status.lock().heard = clock::now();
    }

    /// Whether it is over.
    pub fn has_ended(&self) -> bool {
        matches!(self.status.lock().state, "success" | "failed" | "cancelled")
    }

    /// Average speed in bytes a second, up to now or up to its end.
    pub fn bytes_per_second(&self) -> u64 {
        let ended = self.has_ended();
        let status = self.status.lock();
        let until = if ended { status.updated } else { clock::now() };
        let elapsed = until.saturating_sub(status.created).max(1);
        status.bytes.saturating_mul(1000) / elapsed
    }
}

/// Running migrations and the latest finished ones.
#[derive(Debug, Default)]
pub struct Trackers(Mutex<VecDeque<Arc<Tracker>>>);

impl Trackers {
    /// Adds a migration that begins.
    pub fn begin(&self, subject: Subject, state: &'static str) -> Arc<Tracker> {
        let now = clock::now();
        let tracker = Arc::new(Tracker {
            subject,
            status: Mutex::new(Status {
                created: now,
                updated: now,
                heard: now,
                state,
                message: String::new(),
                remaining: 0,
                slots: 0,
                keys: 0,
                bytes: 0,
                paused_ms: 0,
            }),
        });
        let mut all = self.0.lock();
        all.push_front(tracker.clone());
        while all.len() > HISTORY {
            let Some(oldest) = all.iter().rposition(|tracker| tracker.has_ended()) else {
                break;
            };
            all.remove(oldest);
        }
        tracker
    }

    /// Takes a migration off the list that has not come about.
    pub fn forget(&self, id: MigrationId) {
        self.0.lock().retain(|tracker| tracker.subject.id != id);
    }

    /// All of them, the newest first.
    pub fn list(&self) -> Vec<Arc<Tracker>> {
        self.0.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_is_bounded_and_running_jobs_stay() {
        let trackers = Trackers::default();
        let subject = Subject {
            id: MigrationId::new([1; 20]),
            operation: Operation::Export,
            slots: SlotSet::new(),
            source: NodeId::new([1; 20]),
            target: NodeId::new([2; 20]),
        };
        let running = trackers.begin(subject.clone(), "connecting");
        for _ in 0..HISTORY + 10 {
            trackers.begin(subject.clone(), "success");
        }
        let list = trackers.list();
        assert_eq!(list.len(), HISTORY);
        assert!(list.iter().any(|tracker| Arc::ptr_eq(tracker, &running)));
    }
}
