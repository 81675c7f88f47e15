//! Addresses of services.

use serde_json::{Value, json};

use crate::store::Store;

/// Gives a service its cluster address, unless it is headless or has one.
pub(super) fn allocate(store: &Store, service: &mut Value) {
    let spec = &mut service["spec"];
    if spec["type"] == "ExternalName" {
        return;
    }
    if spec["clusterIP"].as_str().unwrap_or_default().is_empty() {
        spec["clusterIP"] = free_address(store).into();
    }
    spec["clusterIPs"] = json!([spec["clusterIP"]]);
    for (field, value) in [
        ("ipFamilies", json!(["IPv4"])),
        ("ipFamilyPolicy", json!("SingleStack")),
    ] {
        if spec[field].is_null() {
            spec[field] = value;
        }
    }
}

/// The lowest address of 10.96.0.0/12 that no service has; the first ten are the cluster's own.
fn free_address(store: &Store) -> String {
    let used: std::collections::BTreeSet<&str> = store
        .list(&"services".into(), None)
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

/// A writer that leaves the allocated fields out keeps them.
pub(super) fn keep(live: &Value, new: &mut Value) {
    if live["spec"]["type"] == "ExternalName"
        || new["spec"]["type"] == "ExternalName"
        || !new["spec"].is_object()
    {
        return;
    }
    let wants_address = new["spec"]["clusterIP"]
        .as_str()
        .is_some_and(|address| !address.is_empty());
    if !wants_address {
        new["spec"]["clusterIP"] = live["spec"]["clusterIP"].clone();
        new["spec"]["clusterIPs"] = live["spec"]["clusterIPs"].clone();
    } else if new["spec"]["clusterIP"] != live["spec"]["clusterIP"]
        || new["spec"]["clusterIPs"].is_null()
    {
        new["spec"]["clusterIPs"] = json!([new["spec"]["clusterIP"]]);
    }
    for field in ["ipFamilies", "ipFamilyPolicy"] {
        if new["spec"][field].is_null() && !live["spec"][field].is_null() {
            new["spec"][field] = live["spec"][field].clone();
        }
    }
}
