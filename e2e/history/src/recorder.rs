//! Writing a history down while many tasks make it.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::log::History;
use crate::operation::{Command, Operation, Outcome, Reply};

/// Records the operations of many clients at once. A clone records into the same history.
///
/// ```
/// use std::time::Instant;
/// use history::{Command, Recorder, Reply};
///
/// let start = Instant::now();
/// let recorder = Recorder::new(move || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
/// let pending = recorder.begin(1, "key", Command::set(7));
/// // ... the command is sent, and answered:
/// pending.ok(Reply::Stored(true));
/// assert_eq!(recorder.history().operations().len(), 1);
/// ```
#[derive(Clone)]
pub struct Recorder(Arc<Shared>);

struct Shared {
    clock: Box<dyn Fn() -> u64 + Send + Sync>,
    operations: Mutex<Vec<Operation>>,
}

impl Recorder {
    /// A recorder without operations. `clock` says nanoseconds, is the same for all clients, and never goes back.
    #[must_use]
    pub fn new(clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared {
            clock: Box::new(clock),
            operations: Mutex::new(vec![]),
        }))
    }

    /// Notes that `client` is about to send `command`. Until the outcome is known it counts as unknown.
    #[must_use = "an operation whose outcome is never told is unknown"]
    pub fn begin(&self, client: u32, key: impl Into<Arc<str>>, command: Command) -> Pending {
        let key = key.into();
        let mut operations = self.0.operations.lock();
        // Read under the lock, so that waiting for it does not count as part of the operation.
        let invoked = (self.0.clock)();
        operations.push(Operation {
            client,
            key,
            invoked,
            command,
            outcome: Outcome::Unknown,
        });
        Pending {
            index: operations.len() - 1,
            shared: Arc::clone(&self.0),
        }
    }

    /// What was recorded up to now. Operations that are still under way are unknown in it.
    #[must_use]
    pub fn history(&self) -> History {
        let operations = self.0.operations.lock().clone();
        History::new(operations).expect("`Pending::ok` has checked the reply and the clock")
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Recorder")
            .field("operations", &self.0.operations.lock().len())
            .finish_non_exhaustive()
    }
}

/// An operation under way. Dropped, its outcome stays unknown.
#[must_use = "an operation whose outcome is never told is unknown"]
pub struct Pending {
    shared: Arc<Shared>,
    index: usize,
}

impl Pending {
    /// It was answered, just now.
    ///
    /// # Panics
    /// If no server can answer its command with `reply`, or if the clock went back.
    pub fn ok(self, reply: Reply) {
        let completed = (self.shared.clock)();
        let operation = &mut self.shared.operations.lock()[self.index];
        assert!(
            reply.answers(operation.command),
            "{} is not answered by {reply:?}",
            operation.command
        );
        assert!(
            completed >= operation.invoked,
            "the clock went back from {} to {completed}",
            operation.invoked
        );
        operation.outcome = Outcome::Ok { reply, completed };
    }

    /// It was refused: certainly not done, now or later.
    pub fn failed(self) {
        self.shared.operations.lock()[self.index].outcome = Outcome::Failed;
    }

    /// It may have happened, and may still. The same as dropping this.
    pub fn unknown(self) {}
}

impl fmt::Debug for Pending {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Pending")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    fn ticking() -> Recorder {
        let ticks = AtomicU64::new(0);
        Recorder::new(move || ticks.fetch_add(1, Ordering::SeqCst))
    }

    #[test]
    fn each_outcome_is_kept_and_a_dropped_operation_is_unknown() {
        let recorder = ticking();
        recorder
            .begin(1, "k", Command::set(1))
            .ok(Reply::Stored(true));
        recorder.begin(2, "k", Command::set(2)).failed();
        recorder.begin(3, "k", Command::set(3)).unknown();
        drop(recorder.begin(4, "k", Command::set(4)));
        let under_way = recorder.begin(5, "k", Command::Get);
        let seen: Vec<(u32, u64, Outcome)> = recorder
            .history()
            .operations()
            .iter()
            .map(|one| (one.client, one.invoked, one.outcome))
            .collect();
        let answered = Outcome::Ok {
            reply: Reply::Stored(true),
            completed: 1,
        };
        assert_eq!(
            seen,
            [
                (1, 0, answered),
                (2, 2, Outcome::Failed),
                (3, 3, Outcome::Unknown),
                (4, 4, Outcome::Unknown),
                (5, 5, Outcome::Unknown),
            ]
        );
        under_way.ok(Reply::Value(None));
        assert_eq!(recorder.history().operations()[4].completed(), Some(6));
    }

    #[test]
    #[should_panic(expected = "GET is not answered by Stored(true)")]
    fn a_reply_of_another_command_is_refused() {
        ticking()
            .begin(1, "k", Command::Get)
            .ok(Reply::Stored(true));
    }

    #[test]
    fn threads_record_into_one_history() {
        let recorder = ticking();
        thread::scope(|scope| {
            for client in 0..4 {
                let recorder = recorder.clone();
                scope.spawn(move || {
                    for _ in 0..1000 {
                        recorder
                            .begin(client, "k", Command::Get)
                            .ok(Reply::Value(None));
                    }
                });
            }
        });
        let history = recorder.history();
        let of = |client| {
            let mine = history.operations().iter();
            mine.filter(|one| one.client == client && one.completed() > Some(one.invoked))
                .count()
        };
        assert_eq!([of(0), of(1), of(2), of(3)], [1000; 4]);
    }
}
