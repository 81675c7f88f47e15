//! A pod's `resolv.conf`, as a kubelet writes it. Pure.

use std::fmt::{self, Display};
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Pod, PodDNSConfig};
use kube::ResourceExt;

use super::dns::DOMAIN;

/// Where a process asks for names, and for which.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ResolvConf {
    nameservers: Vec<String>,
    searches: Vec<String>,
    /// `name` or `name:value`.
    options: Vec<String>,
}

/// What the pod's processes see as `/etc/resolv.conf`; nothing when that is the machine's own, whose text is `machine`.
///
/// Unlike a kubelet, this does not append the machine's search domains: the cluster's name server forwards nothing.
#[must_use]
pub fn resolv_conf(pod: &Pod, server: Ipv4Addr, machine: &str) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let mut conf = match policy {
        "None" => ResolvConf::default(),
        "ClusterFirst" if spec.host_network == Some(true) => ResolvConf::parse(machine),
        "Default" => ResolvConf::parse(machine),
        _ => ResolvConf::of_cluster(server, &pod.namespace().unwrap_or_default()),
    };
    let before = conf.clone();
    if let Some(config) = &spec.dns_config {
        conf.merge(config);
    }
    let unchanged = conf == before && conf == ResolvConf::parse(machine);
    (!unchanged).then(|| conf.to_string())
}

impl ResolvConf {
    fn of_cluster(server: Ipv4Addr, namespace: &str) -> Self {
        Self {
            nameservers: vec![server.to_string()],
            searches: vec![
                format!("{namespace}.svc.{DOMAIN}"),
                format!("svc.{DOMAIN}"),
                DOMAIN.to_owned(),
            ],
            options: vec!["ndots:5".to_owned()],
        }
    }

    fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => conf.nameservers.extend(words.take(1)),
                // The last one counts.
                Some("search") => conf.searches = words.collect(),
                Some("options") => conf.options.extend(words),
                _ => {}
            }
        }
        conf
    }

    /// Adds what the pod says; of options with one name, the pod's counts.
    fn merge(&mut self, config: &PodDNSConfig) {
        let add = |list: &mut Vec<String>, more: &Option<Vec<String>>| {
            for entry in more.iter().flatten() {
                if !list.contains(entry) {
                    list.push(entry.clone());
                }
            }
        };
        add(&mut self.nameservers, &config.nameservers);
        add(&mut self.searches, &config.searches);
        for option in config.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            self.options
                .retain(|known| known.split(':').next() != Some(name));
            self.options.push(
                option
                    .value
                    .as_ref()
                    .map_or_else(|| name.clone(), |value| format!("{name}:{value}")),
            );
        }
    }
}

impl Display for ResolvConf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.searches.is_empty() {
            writeln!(f, "search {}", self.searches.join(" "))?;
        }
        for server in &self.nameservers {
            writeln!(f, "nameserver {server}")?;
        }
        if !self.options.is_empty() {
            writeln!(f, "options {}", self.options.join(" "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const MACHINE: &str = "# its own\nsearch office\nnameserver 10.0.0.1\noptions edns0\n";

    #[expect(
        clippy::needless_pass_by_value,
        reason = "literals read better by value"
    )]
    fn of(spec: Value) -> Option<String> {
        let mut pod =
            json!({"metadata": {"name": "p", "namespace": "t"}, "spec": {"containers": []}});
        pod["spec"]
            .as_object_mut()
            .expect("an object")
            .extend(spec.as_object().expect("an object").clone());
        let pod: Pod = serde_json::from_value(pod).expect("a Pod");
        resolv_conf(&pod, Ipv4Addr::new(127, 64, 250, 10), MACHINE)
    }

    #[test]
    fn the_cluster_is_asked_first_unless_the_policy_says_otherwise() {
        let cluster = "search t.svc.cluster.local svc.cluster.local cluster.local\nnameserver 127.64.250.10\noptions ndots:5\n";
        for spec in [
            json!({}),
            json!({"dnsPolicy": "ClusterFirst"}),
            json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true}),
        ] {
            assert_eq!(of(spec.clone()).as_deref(), Some(cluster), "{spec}");
        }
        for spec in [
            json!({"dnsPolicy": "Default"}),
            json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true}),
        ] {
            assert_eq!(of(spec.clone()), None, "{spec}");
        }
    }

    #[test]
    fn what_the_pod_says_is_added_or_stands_alone() {
        let config = json!({"nameservers": ["10.9.9.9"], "searches": ["example.org", "cluster.local"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "rotate"}]});
        assert_eq!(
            of(json!({"dnsConfig": config})).as_deref(),
            Some(
                "search t.svc.cluster.local svc.cluster.local cluster.local example.org\nnameserver 127.64.250.10\nnameserver 10.9.9.9\noptions ndots:2 rotate\n"
            )
        );
        assert_eq!(
            of(json!({"dnsPolicy": "None", "dnsConfig": config})).as_deref(),
            Some("search example.org cluster.local\nnameserver 10.9.9.9\noptions ndots:2 rotate\n")
        );
        assert_eq!(
            of(json!({"dnsPolicy": "Default", "dnsConfig": {"options": [{"name": "rotate"}]}}))
                .as_deref(),
            Some("search office\nnameserver 10.0.0.1\noptions edns0 rotate\n")
        );
    }
}
