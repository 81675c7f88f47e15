//! Forwards cluster IPs on the loopback network to ready endpoints: TCP only, from this machine only.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::select;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use kube::api::Api;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, ResourceExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// Connections of one Service port at a time; further ones wait.
const MAX_CONNECTIONS: usize = 1024;
/// How long one endpoint may take to accept.
const CONNECT: Duration = Duration::from_secs(2);

/// Where each listening address leads.
pub type Routes = BTreeMap<SocketAddrV4, Vec<SocketAddrV4>>;

/// The routes of these Services: every TCP port of a loopback cluster IP to its ready addresses.
pub fn routes<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    endpoints: impl Fn(&Service) -> Option<Arc<Endpoints>>,
) -> Routes {
    let mut routes = Routes::new();
    for service in services {
        let Some(spec) = &service.spec else { continue };
        let Some(ip) = spec
            .cluster_ip
            .as_ref()
            .and_then(|ip| ip.parse::<Ipv4Addr>().ok())
            .filter(Ipv4Addr::is_loopback)
        else {
            continue;
        };
        let endpoints = endpoints(service);
        for port in spec
            .ports
            .iter()
            .flatten()
            .filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP")
        {
            let Ok(number) = u16::try_from(port.port) else {
                continue;
            };
            let mut targets = Vec::new();
            for subset in endpoints
                .iter()
                .flat_map(|endpoints| endpoints.subsets.iter().flatten())
            {
                let target = subset
                    .ports
                    .iter()
                    .flatten()
                    .find(|target| target.name == port.name)
                    .and_then(|target| u16::try_from(target.port).ok());
                let ips = subset
                    .addresses
                    .iter()
                    .flatten()
                    .filter_map(|address| address.ip.parse::<Ipv4Addr>().ok());
                targets.extend(ips.filter_map(|ip| Some(SocketAddrV4::new(ip, target?))));
            }
            routes.insert(SocketAddrV4::new(ip, number), targets);
        }
    }
    routes
}

/// Runs until `stop`.
pub(super) async fn run(client: Client, stop: CancellationToken) {
    let (services, services_writer) = reflector::store::<Service>();
    let (endpoints, endpoints_writer) = reflector::store::<Endpoints>();
    let config = watcher::Config::default;
    let service_changes = watcher(Api::<Service>::all(client.clone()), config())
        .default_backoff()
        .reflect(services_writer)
        .map(drop);
    let endpoint_changes = watcher(Api::<Endpoints>::all(client), config())
        .default_backoff()
        .reflect(endpoints_writer)
        .map(drop);
    let mut changes = select(service_changes.boxed(), endpoint_changes.boxed()).ready_chunks(64);
    let mut listeners: HashMap<SocketAddrV4, Listener> = HashMap::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            change = changes.next() => if change.is_none() { return },
        }
        let all = services.state();
        let of = |service: &Service| {
            endpoints.get(
                &reflector::ObjectRef::new(&service.name_any())
                    .within(&service.namespace().unwrap_or_default()),
            )
        };
        let routes = routes(all.iter().map(AsRef::as_ref), of);
        listeners.retain(|address, _| routes.contains_key(address));
        for (address, targets) in routes {
            if let Some(listener) = listeners.get(&address) {
                listener.targets.send_replace(targets);
                continue;
            }
            match Listener::open(address, targets).await {
                Ok(listener) => drop(listeners.insert(address, listener)),
                Err(error) => tracing::debug!(%error, %address, "could not listen for a service"),
            }
        }
    }
}

/// A listening port; dropping it closes the port and its connections.
struct Listener {
    targets: watch::Sender<Vec<SocketAddrV4>>,
    open: CancellationToken,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.open.cancel();
    }
}

impl Listener {
    async fn open(address: SocketAddrV4, targets: Vec<SocketAddrV4>) -> std::io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let (targets, receiver) = watch::channel(targets);
        let open = CancellationToken::new();
        tokio::spawn(open.clone().run_until_cancelled_owned(accept(
            socket,
            receiver,
            open.clone(),
        )));
        Ok(Self { targets, open })
    }
}

async fn accept(
    socket: TcpListener,
    targets: watch::Receiver<Vec<SocketAddrV4>>,
    open: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut turn: usize = 0;
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let client = match socket.accept().await {
            Ok((client, _)) => client,
            Err(error) => {
                tracing::debug!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let targets = targets.borrow().clone();
        turn = turn.wrapping_add(1);
        let forwarded = async move {
            forward(client, &targets, turn).await;
            drop(place);
        };
        tokio::spawn(open.clone().run_until_cancelled_owned(forwarded));
    }
}

/// Connects to the first endpoint that accepts, beginning with the one whose turn it is; a client without any is closed.
async fn forward(mut client: TcpStream, targets: &[SocketAddrV4], turn: usize) {
    for step in 0..targets.len() {
        let target = targets[(turn + step) % targets.len()];
        if let Ok(Ok(mut server)) = tokio::time::timeout(CONNECT, TcpStream::connect(target)).await
        {
            // Either side may end the conversation; how it does is theirs to know.
            drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_loopback_cluster_ips_are_routed_to_ready_addresses() {
        let service = |name: &str, ip: &str| -> Service {
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": "t"}, "spec": {"clusterIP": ip, "ports": [{"name": "redis", "port": 6379}, {"name": "u", "port": 53, "protocol": "UDP"}]}})).expect("a Service")
        };
        let endpoints: Endpoints = serde_json::from_value(json!({"subsets": [{"addresses": [{"ip": "127.1.1.1"}], "notReadyAddresses": [{"ip": "127.1.1.2"}], "ports": [{"name": "redis", "port": 7000}]}]})).expect("Endpoints");
        let endpoints = Arc::new(endpoints);
        let services = [
            service("a", "127.1.200.1"),
            service("b", "None"),
            service("c", "10.0.0.1"),
        ];
        let routes = routes(&services, |_| Some(endpoints.clone()));
        let expected: Routes = [(
            "127.1.200.1:6379".parse().expect("an address"),
            vec!["127.1.1.1:7000".parse().expect("an address")],
        )]
        .into();
        assert_eq!(routes, expected);
    }
}
