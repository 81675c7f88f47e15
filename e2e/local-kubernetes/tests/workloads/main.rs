//! Workloads on a whole local cluster: real, small processes under the controllers and the node agent.

mod containers;
mod names;
mod nodes;
mod objects;
mod services;
mod sets;
mod support;
