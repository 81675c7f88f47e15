//! Addresses of services.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{server::AddressRange, store::Store};

/// Gives a service its cluster address, unless it is headless, external or has one.
pub(super) fn allocate(store: &Store, addresses: AddressRange, service: &mut Value) {
    let spec = &mut service["spec"];
    let has_address = !spec["clusterIP"].as_str().unwrap_or_default().is_empty();
    if spec.is_object() && spec["type"] != "ExternalName" && !has_address {
        spec["clusterIP"] = free_address(store, addresses).into();
    }
}

/// The lowest address of the range that no service has.
fn free_address(store: &Store, addresses: AddressRange) -> String {
    let services = store.list(&"services".into(), None);
    let used: BTreeSet<&str> = services
        .filter_map(|(_, service)| service["spec"]["clusterIP"].as_str())
        .collect();
    addresses
        .iter()
        .map(|address| address.to_string())
        .find(|address| !used.contains(address.as_str()))
        .unwrap_or_default()
}
