//! Keys that connections watch (`WATCH`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};

/// Set when a key that a connection watches has changed; one flag a connection and `WATCH`.
#[derive(Debug, Default)]
pub struct Touched(AtomicBool);

impl Touched {
    /// Whether a watched key has changed.
    pub fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }

    fn set(&self) {
        self.0.store(true, Relaxed);
    }
}

#[derive(Debug)]
struct Watcher {
    touched: Weak<Touched>,
    /// The key had expired, but was still stored, when the watch began: its removal is no change.
    expired: bool,
}

/// The watched keys of a slot.
#[derive(Debug, Default)]
pub(super) struct Watches(HashMap<Box<[u8]>, Vec<Watcher>>);

impl Watches {
    pub(super) fn add(&mut self, key: &[u8], touched: &Arc<Touched>, expired: bool) {
        self.0.retain(|_, watchers| {
            watchers.retain(|watcher| watcher.touched.strong_count() > 0);
            !watchers.is_empty()
        });
        self.0.entry(key.into()).or_default().push(Watcher {
            touched: Arc::downgrade(touched),
            expired,
        });
    }

    /// The key has changed.
    pub(super) fn touch(&mut self, key: &[u8]) {
        for watcher in self.0.remove(key).into_iter().flatten() {
            if let Some(touched) = watcher.touched.upgrade() {
                touched.set();
            }
        }
    }

    /// The key was removed because it had expired.
    pub(super) fn expire(&mut self, key: &[u8]) {
        let Some(watchers) = self.0.get_mut(key) else {
            return;
        };
        for watcher in watchers {
            if std::mem::take(&mut watcher.expired) {
                continue;
            }
            if let Some(touched) = watcher.touched.upgrade() {
                touched.set();
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
