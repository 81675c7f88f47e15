//! The whole path against a Kubernetes: the local one, started once for all tests here and installed from the chart, or
//! the one that `E2E_KUBECONFIG` names.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod all_at_once;
mod bench;
mod hand_over;
mod healing;
mod idle;
mod kubectl;
mod manifests;
mod new_addresses;
mod operator_cut_off;
mod operator_loss;
mod python;
mod scaling;
mod witness;
