//! The edge round the bus: sockets, timers, persistence, and the [`View`] that the rest of the node reads.

mod view;

pub use view::{Access, Route, View};
