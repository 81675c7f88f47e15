//! The control plane of Evenkeel: reconciles [`api::CacheCluster`] resources.
//!
//! Data flows one way through a pass: `observe` -> `plan` -> `act` -> `status`.

pub mod api;
pub mod names;
pub mod observe;
pub mod plan;
pub mod resources;
pub mod slots;
