//! A model of Kubernetes and the data plane, in which plans are carried out, interrupted and disturbed: the planner's property tests.

mod properties;
mod world;
