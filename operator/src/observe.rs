//! Observing a cluster: Kubernetes's objects and every node's own view.
//!
//! Reads only. What it saw is plain data; judging it is the planner's work.

mod state;

pub use state::{Member, Migration, MigrationState, NodeId, NodeState, NodeView, Observed, Pod};
