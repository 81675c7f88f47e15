//! Services, and what lists the addresses behind them.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{
    metadata, names,
    value::{fill, is_unset, items, items_mut, object, one_of, port, text},
};
use crate::validation::{FieldError, child, index};

/// Defaults of a service.
pub(super) fn default(service: &mut Value) {
    let Some(spec) = object(service, "spec") else {
        return;
    };
    fill(spec, "sessionAffinity", "None");
    fill(spec, "type", "ClusterIP");
    let kind = text(&spec["type"]).to_owned();
    if text(&spec["sessionAffinity"]) == "ClientIP" {
        fill(
            spec,
            "sessionAffinityConfig",
            json!({"clientIP": {"timeoutSeconds": 10800}}),
        );
    }
    for port in items_mut(spec, "ports") {
        fill(port, "protocol", "TCP");
        let number = port["port"].clone();
        if is_unset(&port["targetPort"]) || port["targetPort"] == 0 {
            port["targetPort"] = number;
        }
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        fill(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        fill(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", true);
    }
}

/// What a new service gets: one address family, and the list form of its address. The address itself is allocated by the server.
pub(super) fn prepare_create(service: &mut Value) {
    service["status"] = json!({"loadBalancer": {}});
    let spec = &mut service["spec"];
    if text(&spec["type"]) == "ExternalName" {
        return;
    }
    if !is_unset(&spec["clusterIP"]) && items(&spec["clusterIPs"]).next().is_none() {
        spec["clusterIPs"] = json!([spec["clusterIP"]]);
    }
    fill(spec, "ipFamilies", json!(["IPv4"]));
    fill(spec, "ipFamilyPolicy", "SingleStack");
}

/// A changed service keeps the addresses that it does not mention.
pub(super) fn prepare_update(new: &mut Value, old: &Value) {
    let (spec, before) = (&mut new["spec"], &old["spec"]);
    if text(&spec["type"]) == "ExternalName" {
        return;
    }
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if !before[field].is_null() {
            fill(spec, field, before[field].clone());
        }
    }
    let only_address_changed =
        spec["clusterIP"] != before["clusterIP"] && spec["clusterIPs"] == before["clusterIPs"];
    if only_address_changed {
        spec["clusterIPs"] = json!([spec["clusterIP"]]);
    }
}

/// What is wrong with a service.
pub(super) fn validate(service: &Value) -> Vec<FieldError> {
    let spec = &service["spec"];
    let mut errors = Vec::new();
    let kind = text(&spec["type"]);
    let is_headless = text(&spec["clusterIP"]) == "None";
    let ports: Vec<&Value> = items(&spec["ports"]).collect();
    if ports.is_empty() && !is_headless && kind != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    match kind {
        "ExternalName" if is_unset(&spec["externalName"]) => {
            errors.push(FieldError::required("spec.externalName", ""));
        }
        "LoadBalancer" | "NodePort" if is_headless => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.push(FieldError::invalid(
                "spec.clusterIPs[0]",
                &"None".into(),
                &detail,
            ));
        }
        _ => {}
    }
    for (at, port) in ports.iter().enumerate() {
        validate_port(
            port,
            &ports[..at],
            ports.len() > 1,
            &index("spec.ports", at),
            &mut errors,
        );
    }
    errors.extend(metadata::labels(&spec["selector"], "spec.selector"));
    one_of(
        &spec["sessionAffinity"],
        "spec.sessionAffinity".to_owned(),
        &["ClientIP", "None"],
        true,
        &mut errors,
    );
    let types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    one_of(
        &spec["type"],
        "spec.type".to_owned(),
        &types,
        true,
        &mut errors,
    );
    for (at, address) in items(&spec["clusterIPs"]).enumerate() {
        if text(address) != "None" && text(address).parse::<IpAddr>().is_err() {
            let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            errors.push(FieldError::invalid(
                index("spec.clusterIPs", at),
                address,
                detail,
            ));
        }
    }
    errors
}

fn validate_port(
    one: &Value,
    earlier: &[&Value],
    needs_name: bool,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let name = text(&one["name"]);
    if name.is_empty() {
        if needs_name {
            errors.push(FieldError::required(child(path, "name"), ""));
        }
    } else {
        errors.extend(
            names::dns_label(name)
                .iter()
                .map(|problem| FieldError::invalid(child(path, "name"), &one["name"], problem)),
        );
        if earlier.iter().any(|other| other["name"] == one["name"]) {
            errors.push(FieldError::duplicate(child(path, "name"), &one["name"]));
        }
    }
    port(&one["port"], child(path, "port"), errors);
    one_of(
        &one["protocol"],
        child(path, "protocol"),
        &["SCTP", "TCP", "UDP"],
        true,
        errors,
    );
    let target = &one["targetPort"];
    if target.is_string() {
        errors.extend(
            names::port_name(text(target))
                .iter()
                .map(|problem| FieldError::invalid(child(path, "targetPort"), target, problem)),
        );
    } else {
        port(target, child(path, "targetPort"), errors);
    }
    if earlier
        .iter()
        .any(|other| other["port"] == one["port"] && other["protocol"] == one["protocol"])
    {
        errors.push(FieldError::duplicate(
            path,
            &json!({"port": one["port"], "protocol": one["protocol"]}),
        ));
    }
}

/// A service keeps its address once it has one.
pub(super) fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let (spec, before) = (&new["spec"], &old["spec"]);
    let has_address =
        |spec: &Value| text(&spec["type"]) != "ExternalName" && !is_unset(&spec["clusterIPs"][0]);
    if has_address(spec) && has_address(before) && spec["clusterIPs"][0] != before["clusterIPs"][0]
    {
        return vec![FieldError::invalid(
            "spec.clusterIPs[0]",
            &spec["clusterIPs"],
            "may not change once set",
        )];
    }
    Vec::new()
}

/// Ports of an EndpointSlice have a name and a protocol.
pub(super) fn default_slice(slice: &mut Value) {
    for port in items_mut(slice, "ports") {
        if port["name"].is_null() {
            port["name"] = "".into();
        }
        fill(port, "protocol", "TCP");
    }
}

/// Ports of Endpoints have a protocol.
pub(super) fn default_endpoints(endpoints: &mut Value) {
    for subset in items_mut(endpoints, "subsets") {
        items_mut(subset, "ports").for_each(|port| fill(port, "protocol", "TCP"));
    }
}
