//! The control plane of Evenkeel: reconciles [`api::CacheCluster`] resources.
//!
//! Data flows one way through a pass: [`observe`] -> [`plan`] -> [`act`] -> [`status`]. The [`plan`] is pure; what it needs to know is
//! observed anew each time, so that an operator that is killed at any instant is continued by the next one.

pub mod act;
pub mod api;
pub mod args;
pub mod controller;
pub mod http;
pub mod lease;
pub mod metrics;
pub mod names;
pub mod observe;
pub mod plan;
pub mod resources;
mod run;
pub mod slots;
pub mod status;
pub mod stores;
pub mod witness;

pub use run::run;
