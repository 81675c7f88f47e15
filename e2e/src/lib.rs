//! The playground and what the end-to-end tests share.

pub mod chart;
pub mod ledger;
pub mod load;
