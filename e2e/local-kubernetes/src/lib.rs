//! A small local Kubernetes for tests and the playground: API server, controllers and a process node agent.

pub mod schema;
pub mod validation;
