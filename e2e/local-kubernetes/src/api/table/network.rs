//! Columns of services and their endpoints.

use serde_json::Value;

use super::{Columns, column, items, joined, named, string, text, text_or};

pub(super) fn services() -> Columns {
    let headings = vec![
        column("Type", "type determines how the Service is exposed."),
        column(
            "Cluster-IP",
            "clusterIP is the IP address of the service and is usually assigned randomly.",
        ),
        column(
            "External-IP",
            "externalIPs is a list of IP addresses for which nodes in the cluster will also accept traffic for this service.",
        ),
        column(
            "Port(s)",
            "The list of ports that are exposed by this service.",
        ),
        column(
            "Selector",
            "Route service traffic to pods with label keys and values matching this selector.",
        )
        .wide(),
    ];
    named(headings, |service| {
        vec![
            text(service, ".spec.type"),
            text_or(service, ".spec.clusterIP", "<none>"),
            external_ip(service).into(),
            ports(service).into(),
            pairs(&service["spec"]["selector"]).into(),
        ]
    })
}

fn external_ip(service: &Value) -> String {
    let listed: Vec<&str> = items(service, ".spec.externalIPs")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    match (string(service, ".spec.type").as_str(), listed.is_empty()) {
        ("ExternalName", _) => string(service, ".spec.externalName"),
        ("LoadBalancer", true) => {
            match joined(items(service, ".status.loadBalancer.ingress"), "ip") {
                none if none.is_empty() => "<pending>".into(),
                addresses => addresses,
            }
        }
        (_, true) => "<none>".into(),
        (_, false) => listed.join(","),
    }
}

fn ports(service: &Value) -> String {
    let texts: Vec<String> = items(service, ".spec.ports")
        .iter()
        .map(|port| match port["nodePort"].as_i64() {
            Some(node_port) if node_port > 0 => {
                format!("{}:{node_port}/{}", port["port"], string(port, ".protocol"))
            }
            _ => format!("{}/{}", port["port"], string(port, ".protocol")),
        })
        .collect();
    if texts.is_empty() {
        "<none>".into()
    } else {
        texts.join(",")
    }
}

/// `a=b,c=d`, or `<none>`.
pub(super) fn pairs(map: &Value) -> String {
    let entries = map.as_object().into_iter().flatten();
    let texts: Vec<String> = entries
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if texts.is_empty() {
        "<none>".into()
    } else {
        texts.join(",")
    }
}

pub(super) fn endpoints() -> Columns {
    named(
        vec![column(
            "Endpoints",
            "The set of all endpoints is the union of all subsets.",
        )],
        |endpoints| {
            let addresses = items(endpoints, ".subsets").iter().flat_map(|subset| {
                let ports: Vec<String> = items(subset, ".ports")
                    .iter()
                    .map(|port| format!(":{}", port["port"]))
                    .collect();
                let ports = if ports.is_empty() {
                    vec![String::new()]
                } else {
                    ports
                };
                let ips: Vec<String> = items(subset, ".addresses")
                    .iter()
                    .map(|address| string(address, ".ip"))
                    .collect();
                ports.into_iter().flat_map(move |port| {
                    ips.clone().into_iter().map(move |ip| format!("{ip}{port}"))
                })
            });
            vec![shortened(&addresses.collect::<Vec<_>>()).into()]
        },
    )
}

pub(super) fn endpoint_slices() -> Columns {
    let headings = vec![
        column(
            "AddressType",
            "addressType specifies the type of address carried by this EndpointSlice.",
        ),
        column(
            "Ports",
            "ports specifies the list of network ports exposed by each endpoint in this slice.",
        ),
        column(
            "Endpoints",
            "endpoints is a list of unique endpoints in this slice.",
        ),
    ];
    named(headings, |slice| {
        let ports = items(slice, ".ports")
            .iter()
            .map(|port| match &port["port"] {
                Value::Null => "*".to_owned(),
                port => port.to_string(),
            });
        let ports = match items(slice, ".ports").is_empty() {
            true => "<unset>".to_owned(),
            false => shortened(&ports.collect::<Vec<_>>()),
        };
        let addresses = items(slice, ".endpoints")
            .iter()
            .flat_map(|endpoint| items(endpoint, ".addresses"));
        let addresses: Vec<String> = addresses
            .filter_map(Value::as_str)
            .map(String::from)
            .collect();
        let addresses = if addresses.is_empty() {
            "<unset>".to_owned()
        } else {
            shortened(&addresses)
        };
        vec![text(slice, ".addressType"), ports.into(), addresses.into()]
    })
}

/// The first three, and how many more there are.
fn shortened(texts: &[String]) -> String {
    match texts.len() {
        0 => "<none>".into(),
        1..=3 => texts.join(","),
        more => format!("{} + {} more...", texts[..3].join(","), more - 3),
    }
}
