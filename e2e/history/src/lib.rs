//! Checks histories of operations by concurrent clients, for fault tests of a cache cluster. No I/O and no clock.
//!
//! A test gives each command to a [`Recorder`] before it sends it, and tells how it ended: answered, refused, or unknown.
//! The [`History`] of all that is then judged:
//!
//! | check | what must hold |
//! |---|---|
//! | [`check`] | each key behaved as if its operations had happened one at a time, between invocation and answer: linearizability |
//! | [`bounded_loss`] | no read finds what nobody wrote; one goes back only across a declared failover, by a bounded number of writes |
//! | [`no_lost_acknowledged`] | at the end each key has its last acknowledged write, or an unknown one that may have come after it |
//!
//! # Linearizability
//!
//! The search is that of Wing and Gong ("Testing and verifying concurrent objects", 1993), with Lowe's memory of
//! configurations that lead nowhere ("Testing for linearizability", 2017) and key by key (Horn and Kroening, "Faster
//! linearizability checking via P-compositionality", 2015), on the data structures of Porcupine (Athalye, "Porcupine: a
//! fast linearizability checker in Go", 2017). To these it adds rules that keep unknown operations and many concurrent
//! writers from multiplying the search; they are named in `linearizable.rs`, and why they are safe is said at each.
//! A test compares the verdict with the definition, which is every order of every choice of unknown operations, on tens
//! of thousands of small histories.
//!
//! A test should write each value only once: then what was read says which write it saw, the check is sharp and fast, and
//! unknown writes cost nothing. With values written several times or many unknown DELs among concurrent SETs it may come
//! to [`Verdict::Undecided`].
//!
//! # Why not a crate
//!
//! - `porcupine-rs` 0.3 bounds the search by time only, not by steps; when that time is over and diagnostics are wanted,
//!   it says that the history is illegal; it starts a thread a key, and brings in criterion, rand and regex.
//! - `todc-utils` 0.1 has no bound, no unknown outcomes, no explanation, and a list that is searched for each step.
//! - `stateright` 0.31 has a tester for its own model checking: without memory of configurations, copying the history in
//!   each step, and with one unknown operation a client at most.

mod evidence;
mod final_reads;
mod linearizable;
mod log;
mod loss;
mod operation;
mod recorder;
mod transition;

pub use final_reads::{Reason, Unexplained, no_lost_acknowledged};
pub use linearizable::{DEFAULT_STEPS, Verdict, Violation, check};
pub use log::{History, Malformed};
pub use loss::{Failover, Loss, LossReason, NotIncreasing, bounded_loss};
pub use operation::{Command, Condition, Operation, Outcome, Reply};
pub use recorder::{Pending, Recorder};
