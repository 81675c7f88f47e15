//! Addresses of services.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::store::Store;

/// Gives a service its cluster address, unless it is headless, external or has one.
pub(super) fn allocate(store: &Store, service: &mut Value) {
    let spec = &mut service["spec"];
    let has_address = !spec["clusterIP"].as_str().unwrap_or_default().is_empty();
    if spec.is_object() && spec["type"] != "ExternalName" && !has_address {
        spec["clusterIP"] = free_address(store).into();
    }
}

/// The lowest address of 10.96.0.0/12 that no service has; the first ten are the cluster's own.
fn free_address(store: &Store) -> String {
    let services = store.list(&"services".into(), None);
    let used: BTreeSet<&str> = services
        .filter_map(|(_, service)| service["spec"]["clusterIP"].as_str())
        .collect();
    let address = |number: u32| {
        format!(
            "10.{}.{}.{}",
            96 + (number >> 16),
            (number >> 8) & 255,
            number & 255
        )
    };
    (11..=0x000f_ffff)
        .map(address)
        .find(|address| !used.contains(address.as_str()))
        .unwrap_or_default()
}
