//! The playground and what the end-to-end tests share.

pub mod apart;
pub mod caches;
pub mod chart;
pub mod cli;
pub mod demo;
pub mod faults;
pub mod hints;
pub mod install;
pub mod ledger;
pub mod load;
pub mod local;
pub mod nodes;
pub mod platform;
pub mod programs;
