//! `CLIENT PAUSE`: commands are kept back for a while.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::{self, Millis};
use crate::command::Flags;

/// Whether commands are kept back.
#[derive(Debug, Default)]
pub struct Pause {
    until: AtomicU64,
    writes_only: AtomicBool,
    changed: Notify,
}

impl Pause {
    /// Keeps commands back until `until`, or only those that write. A pause that is there is never shortened, and never weakened.
    pub fn begin(&self, until: Millis, writes_only: bool) {
        let active = self.until.load(SeqCst) > clock::now();
        let keep_all = active && !self.writes_only.load(SeqCst);
        self.writes_only.store(writes_only && !keep_all, SeqCst);
        self.until.fetch_max(until, SeqCst);
        self.changed.notify_waiters();
    }

    /// Lets commands go on.
    pub fn end(&self) {
        self.until.store(0, SeqCst);
        self.changed.notify_waiters();
    }

    /// Whether a command with these properties is kept back.
    pub fn holds(&self, flags: Flags) -> bool {
        let until = self.until.load(SeqCst);
        if until == 0 || flags.has(Flags::UNPAUSED) {
            return false;
        }
        if until <= clock::now() {
            return false;
        }
        !self.writes_only.load(SeqCst) || flags.has(Flags::WRITE)
    }

    /// Whether nothing may change the data set now: neither clients, nor expiry and eviction.
    pub fn is_on(&self) -> bool {
        self.until.load(SeqCst) > clock::now()
    }

    /// Resolves when the pause has ended or changed.
    pub async fn over(&self) {
        let changed = self.changed.notified();
        let left = self.until.load(SeqCst).saturating_sub(clock::now());
        if left > 0 {
            // Either end is right.
            let _ = tokio::time::timeout(Duration::from_millis(left), changed).await;
        }
    }
}
