//! The life of one slot migration at its source, as a pure state machine: events in, actions out.
//!
//! Invariants (the tests name them too):
//!  - the slots are paused from `Pause` until `Resume`, and every `Pause` is followed by exactly one `Resume`;
//!  - the completion is proposed only while paused and when the target has acknowledged the final offset;
//!  - once it has been proposed, only the topology decides: the slots stay paused until it says whether they moved, or that they cannot
//!    move any more as proposed;
//!  - a transfer that breaks goes on over another connection, a bounded number of times;
//!  - the slots' data is dropped only after the topology has given the slots away.

use std::collections::VecDeque;
use std::time::Duration;

/// The slots are paused when the target is at most this many bytes of log behind.
pub const PAUSE_BELOW: u64 = 64 * 1024;

/// A job is given up when its transfer breaks more often: over a minute after the first time when the target cannot be reached.
pub const MOST_FAILURES: u32 = 24;

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The target is being reached, for the first time or again.
    Connecting,
    /// The slots' content is being sent.
    Snapshotting,
    /// Everything was sent once; changes are passed on until the target is close.
    Replicating,
    /// The slots are being paused.
    Pausing,
    /// The slots are paused; the target is to acknowledge the final offset.
    Paused,
    /// The completion has been proposed; the topology is to say whether the slots moved.
    Committing,
    /// The slots moved; the target is to confirm that it serves them.
    Confirming,
    /// The job failed or was cancelled; the topology is to forget the migration.
    Aborting,
    /// The end.
    Ended(Outcome),
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The slots moved.
    Success,
    /// They did not; the job's message says why.
    Failed,
    /// They did not because somebody said so.
    Cancelled,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The target awaits the slots.
    Accepted,
    /// The whole content was sent.
    Synced,
    /// The target has not acknowledged this many bytes of log.
    Behind(u64),
    /// No command runs on the slots any more; the log's end is this.
    Paused(u64),
    /// The target has applied everything up to this offset.
    Acknowledged(u64),
    /// The topology no longer lists the migration.
    Ended {
        /// Whether the slots belong to the target now.
        moved: bool,
    },
    /// The topology has another primary for the target's shard than the one that the slots are sent to.
    Replaced,
    /// The topology has another primary for this node's shard.
    Deposed,
    /// The target has applied the topology in which it owns the slots.
    Owned,
    /// The transfer cannot go on, for this reason.
    Failed(String),
    /// Somebody wants the migration cancelled.
    Cancelled,
    /// The state lasted longer than [`Job::patience`].
    Late,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Park every command on the slots; answer with [`Event::Paused`].
    Pause,
    /// Propose `CompleteMigration`.
    ProposeComplete,
    /// Propose `AbortMigration`.
    ProposeAbort,
    /// Reach the target again, after a while.
    Reconnect,
    /// Let the parked commands run; they are routed anew.
    Resume,
    /// Close the connection to the target.
    Close,
    /// Drop the slots' data here.
    Drop,
}

/// One migration at its source.
#[derive(Debug)]
pub struct Job {
    state: State,
    message: String,
    failures: u32,
    cancelled: bool,
    paused: bool,
    final_offset: u64,
    acknowledged: u64,
    actions: VecDeque<Action>,
}

impl Job {
    /// A job whose migration has just been committed.
    pub fn new() -> Self {
        Self {
            state: State::Connecting,
            message: String::new(),
            failures: 0,
            cancelled: false,
            paused: false,
            final_offset: 0,
            acknowledged: 0,
            actions: VecDeque::new(),
        }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it failed, or its transfer broke; empty when there is nothing to say.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The state's name in `CLUSTER GETSLOTMIGRATIONS` (Valkey's words).
    pub fn state_name(&self) -> &'static str {
        match self.state {
            State::Connecting => "connecting",
            State::Snapshotting => "snapshotting",
            State::Replicating => "replicating",
            State::Pausing => "waiting-to-pause",
            State::Paused => "failover-paused",
            State::Committing | State::Confirming => "failover-granted",
            State::Aborting => "cleaning-up",
            State::Ended(Outcome::Success) => "success",
            State::Ended(Outcome::Failed) => "failed",
            State::Ended(Outcome::Cancelled) => "cancelled",
        }
    }

    /// Whether the job has ended.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended(_))
    }

    /// How long the present state may last before [`Event::Late`]; `None` when its end is watched otherwise.
    pub fn patience(&self) -> Option<Duration> {
        match self.state {
            State::Connecting => Some(Duration::from_secs(10)),
            State::Snapshotting | State::Ended(_) => None,
            State::Replicating => Some(Duration::from_secs(5)),
            State::Pausing | State::Paused | State::Committing => Some(Duration::from_secs(5)),
            State::Confirming | State::Aborting => Some(Duration::from_secs(2)),
        }
    }

    /// The next thing to do.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Takes note of what happened.
    pub fn handle(&mut self, event: Event) {
        match (self.state, event) {
            (State::Ended(_), _) => {}
            (_, Event::Ended { moved: true }) => self.moved(),
            (_, Event::Ended { moved: false }) => self.forgotten(),
            (_, Event::Deposed) => self.depose(),
            (State::Connecting, Event::Accepted) => self.state = State::Snapshotting,
            (State::Snapshotting, Event::Synced) => {
                self.state = State::Replicating;
                self.message.clear();
            }
            (State::Replicating, Event::Behind(bytes)) if bytes <= PAUSE_BELOW => self.pause(),
            // A writer that outruns the target would keep it behind for ever: a longer pause ends that.
            (State::Replicating, Event::Late) => self.pause(),
            (State::Pausing, Event::Paused(offset)) => {
                self.state = State::Paused;
                self.final_offset = offset;
                self.commit_when_acknowledged();
            }
            (_, Event::Acknowledged(offset)) => {
                self.acknowledged = self.acknowledged.max(offset);
                self.commit_when_acknowledged();
            }
            (State::Committing, Event::Failed(_) | Event::Cancelled | Event::Late) => {
                // Whichever of the two entries is committed first wins.
                self.actions.push_back(Action::ProposeAbort);
            }
            // What was proposed is void then, so that writers need not wait for it.
            (State::Confirming | State::Aborting, Event::Replaced) => {}
            (_, Event::Replaced) => {
                self.retry("the target shard has another primary now".to_owned());
            }
            (State::Confirming, Event::Owned | Event::Failed(_) | Event::Late) => self.succeed(),
            (State::Aborting, Event::Late) => self.actions.push_back(Action::ProposeAbort),
            (State::Confirming | State::Aborting, _) => {}
            (_, Event::Cancelled) => {
                self.cancelled = true;
                self.abort("cancelled on request".to_owned());
            }
            (_, Event::Failed(reason)) => self.retry(reason),
            (State::Connecting, Event::Late) => self.retry(doing_too_long(State::Connecting)),
            (state, Event::Late) => self.abort(doing_too_long(state)),
            _ => {}
        }
    }

    fn pause(&mut self) {
        self.state = State::Pausing;
        self.paused = true;
        self.actions.push_back(Action::Pause);
    }

    fn commit_when_acknowledged(&mut self) {
        if self.state == State::Paused && self.acknowledged >= self.final_offset {
            self.state = State::Committing;
            self.actions.push_back(Action::ProposeComplete);
        }
    }

    fn retry(&mut self, reason: String) {
        self.failures += 1;
        if self.failures > MOST_FAILURES {
            return self.abort(format!(
                "{reason} (given up after {MOST_FAILURES} attempts)"
            ));
        }
        self.message = reason;
        self.state = State::Connecting;
        // The next one may begin anew.
        self.acknowledged = 0;
        self.actions.push_back(Action::Close);
        self.resume();
        self.actions.push_back(Action::Reconnect);
    }

    /// The successor goes on with it.
    fn depose(&mut self) {
        self.message = "this node is not the primary of the source shard any more".to_owned();
        self.state = State::Ended(Outcome::Failed);
        self.actions.push_back(Action::Close);
        self.resume();
    }

    fn abort(&mut self, reason: String) {
        self.message = reason;
        self.state = State::Aborting;
        self.actions.push_back(Action::Close);
        self.resume();
        self.actions.push_back(Action::ProposeAbort);
    }

    fn resume(&mut self) {
        if std::mem::take(&mut self.paused) {
            self.actions.push_back(Action::Resume);
        }
    }

    fn moved(&mut self) {
        if self.state == State::Committing {
            self.state = State::Confirming;
        } else if self.state != State::Confirming {
            // Not by our proposal (an administrator forced the owner): nothing to wait for.
            self.succeed();
        }
    }

    fn succeed(&mut self) {
        self.state = State::Ended(Outcome::Success);
        self.message.clear();
        self.resume();
        self.actions.push_back(Action::Close);
        self.actions.push_back(Action::Drop);
    }

    fn forgotten(&mut self) {
        if self.message.is_empty() {
            self.message = "the migration was aborted by the cluster".to_owned();
        }
        self.state = State::Ended(if self.cancelled {
            Outcome::Cancelled
        } else {
            Outcome::Failed
        });
        self.resume();
        self.actions.push_back(Action::Close);
    }
}

impl Default for Job {
    fn default() -> Self {
        Self::new()
    }
}

fn doing_too_long(state: State) -> String {
    let doing = match state {
        State::Connecting => "connecting to the target",
        State::Pausing => "pausing the slots",
        State::Paused => "waiting for the target to catch up with the paused slots",
        _ => "moving the slots",
    };
    format!("timed out while {doing}")
}

#[cfg(test)]
mod tests;
