//! A small local Kubernetes for tests and the playground.
//!
//! Three layers: the pure [`store`], the `api` on top of it, and clients of that API (built-in controllers and a node
//! agent). [`Server`] is the handle: it gives in-process clients and serves kubectl over TLS.

pub mod agent;
mod api;
pub mod audit;
mod bootstrap;
pub mod cel;
pub mod clock;
pub mod cluster;
pub mod controllers;
pub mod crd;
mod custom;
pub mod event_recorder;
pub mod faults;
pub mod fields;
pub mod jsonpath;
pub mod kinds;
pub mod logs;
pub mod moment;
pub mod object;
pub mod openapi;
pub mod quantity;
pub mod registry;
pub mod schema;
pub mod selector;
pub mod server;
mod state;
pub mod store;
pub mod strategic;
pub mod tls;
pub mod user;
pub mod validation;

pub use crate::{
    server::{AddressRange, Options, Server},
    user::User,
};
