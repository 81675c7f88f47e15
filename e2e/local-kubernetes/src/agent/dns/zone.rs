//! The records of the cluster's domain, after the specification that CoreDNS follows (Kubernetes DNS-Based Service Discovery).
//! Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use hickory_server::proto::ProtoError;
use hickory_server::proto::rr::rdata::{A, CNAME, SOA, SRV};
use hickory_server::proto::rr::{Name, RData, RecordSet, RrKey};
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::ResourceExt;

use crate::controllers::endpoints::build::SERVICE_LABEL;

/// The domain of everything in the cluster.
pub const DOMAIN: &str = "cluster.local";
/// How long an answer may be kept, also that there is none, in seconds: CoreDNS's.
const TTL: u32 = 5;

/// Record sets by name and type.
pub(super) type Records = BTreeMap<RrKey, Arc<RecordSet>>;

/// The name of the whole zone.
pub(super) fn origin() -> Name {
    Name::from_ascii(format!("{DOMAIN}.")).unwrap_or_default()
}

/// The records of these Services. A slice belongs to the Service that its label names.
pub(super) fn records<'a>(
    services: impl Iterator<Item = &'a Service>,
    slices: impl Iterator<Item = &'a EndpointSlice>,
) -> Records {
    let mut slices_of: BTreeMap<(String, &str), Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in slices.filter(|slice| slice.address_type == "IPv4") {
        if let Some(service) = slice.labels().get(SERVICE_LABEL) {
            let key = (slice.namespace().unwrap_or_default(), service.as_str());
            slices_of.entry(key).or_default().push(slice);
        }
    }
    let mut zone = Zone::default();
    if let Err(error) = zone.add_authority() {
        tracing::debug!(%error, "the domain has no authority");
    }
    for service in services {
        let name = service.name_any();
        let key = (service.namespace().unwrap_or_default(), name.as_str());
        let slices = slices_of.get(&key).map(Vec::as_slice).unwrap_or_default();
        // A name that DNS cannot have is nobody's.
        if let Err(error) = zone.add_service(service, slices) {
            tracing::debug!(%error, service = name, "a Service has no name");
        }
    }
    let shared = |(key, set)| (key, Arc::new(set));
    zone.sets.into_iter().map(shared).collect()
}

#[derive(Default)]
struct Zone {
    sets: BTreeMap<RrKey, RecordSet>,
}

impl Zone {
    fn add(&mut self, name: &Name, data: RData) {
        let kind = data.record_type();
        let set = || RecordSet::with_ttl(name.clone(), kind, TTL);
        let key = RrKey::new(name.into(), kind);
        self.sets.entry(key).or_insert_with(set).add_rdata(data);
    }

    /// What answers that there is no such name come with, as from CoreDNS.
    fn add_authority(&mut self) -> Result<(), ProtoError> {
        let origin = origin();
        let of = |label: &str| Name::from_ascii(label)?.append_domain(&origin);
        let serial = 1;
        let (server, contact) = (of("ns.dns")?, of("hostmaster")?);
        let soa = SOA::new(server, contact, serial, 7200, 1800, 86400, TTL);
        self.add(&origin, RData::SOA(soa));
        Ok(())
    }

    fn add_service(
        &mut self,
        service: &Service,
        slices: &[&EndpointSlice],
    ) -> Result<(), ProtoError> {
        let Some(spec) = &service.spec else {
            return Ok(());
        };
        let namespace = service.namespace().unwrap_or_default();
        let name = Name::from_ascii(format!("{}.{namespace}.svc.{DOMAIN}.", service.name_any()))?;
        if spec.type_.as_deref() == Some("ExternalName") {
            let other = Name::from_ascii(spec.external_name.as_deref().unwrap_or_default())?;
            self.add(
                &name,
                RData::CNAME(CNAME(other.append_domain(&Name::root())?)),
            );
            return Ok(());
        }
        let address = spec.cluster_ip.as_deref();
        if let Some(address) = address.and_then(|ip| ip.parse::<Ipv4Addr>().ok()) {
            self.add(&name, RData::A(A(address)));
            self.add_ports(&name, spec)?;
        }
        let headless = address == Some("None");
        for slice in slices {
            for endpoint in slice.endpoints.iter().flatten().filter(is_published) {
                self.add_endpoint(&name, headless, slice, endpoint)?;
            }
        }
        Ok(())
    }

    fn add_ports(&mut self, service: &Name, spec: &ServiceSpec) -> Result<(), ProtoError> {
        for port in spec.ports.iter().flatten() {
            let protocol = port.protocol.as_deref();
            self.add_port(service, port.name.as_deref(), protocol, port.port, service)?;
        }
        Ok(())
    }

    fn add_endpoint(
        &mut self,
        service: &Name,
        headless: bool,
        slice: &EndpointSlice,
        endpoint: &Endpoint,
    ) -> Result<(), ProtoError> {
        let addresses = endpoint.addresses.iter();
        for address in addresses.filter_map(|ip| ip.parse::<Ipv4Addr>().ok()) {
            let dashed = || address.to_string().replace('.', "-");
            let host = endpoint.hostname.clone().unwrap_or_else(dashed);
            let host = service.prepend_label(host)?;
            self.add(&host, RData::A(A(address)));
            if !headless {
                continue;
            }
            self.add(service, RData::A(A(address)));
            for port in slice.ports.iter().flatten() {
                let (name, protocol) = (port.name.as_deref(), port.protocol.as_deref());
                self.add_port(service, name, protocol, port.port.unwrap_or(0), &host)?;
            }
        }
        Ok(())
    }

    /// `_name._protocol` below the Service leads to a host and port; a port without name has no such record.
    fn add_port(
        &mut self,
        service: &Name,
        name: Option<&str>,
        protocol: Option<&str>,
        port: i32,
        host: &Name,
    ) -> Result<(), ProtoError> {
        let (Some(name), Ok(port)) = (name.filter(|name| !name.is_empty()), u16::try_from(port))
        else {
            return Ok(());
        };
        let protocol = protocol.unwrap_or("TCP").to_ascii_lowercase();
        let owner = service
            .prepend_label(format!("_{protocol}"))?
            .prepend_label(format!("_{name}"))?;
        self.add(&owner, RData::SRV(SRV::new(0, 100, port, host.clone())));
        Ok(())
    }
}

/// Whether an endpoint has a name: it is ready, or its Service publishes those that are not, of which slices say that they are.
fn is_published(endpoint: &&Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    conditions.and_then(|conditions| conditions.ready) != Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[expect(
        clippy::needless_pass_by_value,
        reason = "literals read better by value"
    )]
    fn service(name: &str, spec: Value) -> Service {
        let value = json!({"metadata": {"name": name, "namespace": "t"}, "spec": spec});
        serde_json::from_value(value).expect("a Service")
    }

    fn slice(service: &str) -> EndpointSlice {
        let endpoint = |ip: &str, host: Option<&str>, ready: bool| json!({"addresses": [ip], "hostname": host, "conditions": {"ready": ready}});
        let value = json!({
            "metadata": {"name": format!("{service}-x"), "namespace": "t", "labels": {SERVICE_LABEL: service}},
            "addressType": "IPv4",
            "endpoints": [endpoint("127.64.1.1", Some("db-0"), true), endpoint("127.64.1.2", Some("db-1"), false), endpoint("127.64.1.3", None, true)],
            "ports": [{"name": "redis", "port": 6379, "protocol": "TCP"}],
        });
        serde_json::from_value(value).expect("an EndpointSlice")
    }

    /// `name type data` of every record but the domain's own, in order of name and type.
    fn lines(services: &[Service], slices: &[EndpointSlice]) -> Vec<String> {
        let records = records(services.iter(), slices.iter());
        let sets = records
            .values()
            .flat_map(|set| set.records_without_rrsigs());
        let line = |record: &hickory_server::proto::rr::Record| {
            assert_eq!(record.ttl, TTL);
            format!("{} {} {}", record.name, record.record_type(), record.data)
        };
        let mut lines: Vec<_> = sets.map(line).collect();
        lines.retain(|line| !line.contains(" SOA "));
        lines.sort();
        lines
    }

    #[test]
    fn a_headless_service_is_its_ready_endpoints_and_each_has_a_name() {
        let services = [service("db", json!({"clusterIP": "None"}))];
        assert_eq!(
            lines(&services, &[slice("db"), slice("other")]),
            [
                "127-64-1-3.db.t.svc.cluster.local. A 127.64.1.3",
                "_redis._tcp.db.t.svc.cluster.local. SRV 0 100 6379 127-64-1-3.db.t.svc.cluster.local.",
                "_redis._tcp.db.t.svc.cluster.local. SRV 0 100 6379 db-0.db.t.svc.cluster.local.",
                "db-0.db.t.svc.cluster.local. A 127.64.1.1",
                "db.t.svc.cluster.local. A 127.64.1.1",
                "db.t.svc.cluster.local. A 127.64.1.3",
            ]
        );
        assert_eq!(lines(&services, &[]), Vec::<String>::new());
    }

    #[test]
    fn other_services_are_one_address_or_another_name() {
        let services = [
            service(
                "web",
                json!({"clusterIP": "127.64.200.1", "ports": [{"name": "http", "port": 80}, {"port": 81}]}),
            ),
            service(
                "far",
                json!({"type": "ExternalName", "externalName": "example.org"}),
            ),
        ];
        assert_eq!(
            lines(&services, &[slice("web")]),
            [
                "127-64-1-3.web.t.svc.cluster.local. A 127.64.1.3",
                "_http._tcp.web.t.svc.cluster.local. SRV 0 100 80 web.t.svc.cluster.local.",
                "db-0.web.t.svc.cluster.local. A 127.64.1.1",
                "far.t.svc.cluster.local. CNAME example.org.",
                "web.t.svc.cluster.local. A 127.64.200.1",
            ]
        );
    }
}
