//! The playground and what the end-to-end tests share.

pub mod caches;
pub mod chart;
pub mod demo;
pub mod faults;
pub mod install;
pub mod ledger;
pub mod load;
pub mod nodes;
pub mod programs;
