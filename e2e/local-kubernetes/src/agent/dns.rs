//! The cluster's name server: names of Services and of pods behind them, as CoreDNS has them in a real cluster.
//!
//! It follows Services and EndpointSlices through the API, answers for the cluster's domain and refuses everything else.

mod zone;

use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::select;
use hickory_server::Server;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneHandler, ZoneType};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

pub use zone::DOMAIN;

/// The only port that a `resolv.conf` can lead to.
pub(super) const PORT: u16 = 53;
/// A TCP connection without a question for this long is closed.
const IDLE: Duration = Duration::from_secs(10);
/// Answers that wait for a slow TCP client.
const ANSWERS: usize = 32;

/// A name server that listens.
pub(super) struct NameServer {
    zone: Arc<InMemoryZoneHandler>,
    /// Answers until it is dropped.
    _server: Server<Catalog>,
}

impl NameServer {
    /// Listens on a port over UDP and TCP, and knows no name yet. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The port cannot be had: [`PORT`] takes `CAP_NET_BIND_SERVICE`.
    pub(super) fn listen(address: SocketAddrV4) -> io::Result<Self> {
        let udp = std::net::UdpSocket::bind(address)?;
        let tcp = std::net::TcpListener::bind(address)?;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        let origin = zone::origin();
        let zone = Arc::new(InMemoryZoneHandler::empty(
            origin.clone(),
            ZoneType::Primary,
            AxfrPolicy::Deny,
        ));
        let mut catalog = Catalog::new();
        catalog.upsert(origin.into(), vec![zone.clone() as Arc<dyn ZoneHandler>]);
        let mut server = Server::new(catalog);
        server.register_socket(UdpSocket::from_std(udp)?);
        server.register_listener(TcpListener::from_std(tcp)?, IDLE, ANSWERS);
        Ok(Self {
            zone,
            _server: server,
        })
    }

    /// Follows the cluster until `stop`.
    pub(super) async fn run(self, client: Client, stop: CancellationToken) {
        let (services, services_writer) = reflector::store::<Service>();
        let (slices, slices_writer) = reflector::store::<EndpointSlice>();
        let config = watcher::Config::default;
        let service_changes = watcher(Api::<Service>::all(client.clone()), config())
            .default_backoff()
            .reflect(services_writer)
            .map(drop);
        let slice_changes = watcher(Api::<EndpointSlice>::all(client), config())
            .default_backoff()
            .reflect(slices_writer)
            .map(drop);
        let mut changes = select(service_changes.boxed(), slice_changes.boxed()).ready_chunks(64);
        loop {
            let (services, slices) = (services.state(), slices.state());
            let records = zone::records(
                services.iter().map(AsRef::as_ref),
                slices.iter().map(AsRef::as_ref),
            );
            *self.zone.records_mut().await = records;
            tokio::select! {
                () = stop.cancelled() => return,
                change = changes.next() => if change.is_none() { return },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_server::proto::op::{Message, Query, ResponseCode};
    use hickory_server::proto::rr::{Name, RecordType};
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    /// A port of 127.0.0.1 that is free over UDP and TCP at this moment.
    fn free() -> SocketAddrV4 {
        loop {
            let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
            let std::net::SocketAddr::V4(address) = udp.local_addr().expect("an address") else {
                panic!("not IPv4");
            };
            if std::net::TcpListener::bind(address).is_ok() {
                return address;
            }
        }
    }

    /// A server that knows a headless Service with this many endpoints.
    async fn server(endpoints: usize) -> (NameServer, SocketAddrV4) {
        let address = free();
        let server = NameServer::listen(address).expect("a server");
        let service: Service = serde_json::from_value(
            json!({"metadata": {"name": "db", "namespace": "t"}, "spec": {"clusterIP": "None"}}),
        )
        .expect("a Service");
        let endpoints: Vec<_> = (0..endpoints)
            .map(|number| json!({"addresses": [format!("127.64.1.{number}")], "hostname": format!("db-{number}")}))
            .collect();
        let slice: EndpointSlice = serde_json::from_value(json!({"metadata": {"name": "db-x", "namespace": "t", "labels": {"kubernetes.io/service-name": "db"}}, "addressType": "IPv4", "endpoints": endpoints})).expect("an EndpointSlice");
        *server.zone.records_mut().await =
            zone::records([&service].into_iter(), [&slice].into_iter());
        (server, address)
    }

    fn question(name: &str, kind: RecordType) -> Vec<u8> {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
        message.to_vec().expect("a message")
    }

    async fn ask_udp(address: SocketAddrV4, name: &str, kind: RecordType) -> Message {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        socket.connect(address).await.expect("connected");
        socket.send(&question(name, kind)).await.expect("sent");
        let mut answer = [0; 4096];
        let length = socket.recv(&mut answer).await.expect("an answer");
        Message::from_vec(&answer[..length]).expect("a message")
    }

    async fn ask_tcp(address: SocketAddrV4, name: &str, kind: RecordType) -> Message {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        let question = question(name, kind);
        stream
            .write_u16(u16::try_from(question.len()).expect("short"))
            .await
            .expect("sent");
        stream.write_all(&question).await.expect("sent");
        let mut answer = vec![0; usize::from(stream.read_u16().await.expect("a length"))];
        stream.read_exact(&mut answer).await.expect("an answer");
        Message::from_vec(&answer).expect("a message")
    }

    #[tokio::test]
    async fn known_unknown_and_foreign_names_are_told_apart() {
        let (_server, address) = server(2).await;
        for (name, kind, code, answers) in [
            (
                "db.t.svc.cluster.local.",
                RecordType::A,
                ResponseCode::NoError,
                2,
            ),
            (
                "DB-1.db.t.svc.cluster.local.",
                RecordType::A,
                ResponseCode::NoError,
                1,
            ),
            (
                "db-1.db.t.svc.cluster.local.",
                RecordType::AAAA,
                ResponseCode::NoError,
                0,
            ),
            (
                "t.svc.cluster.local.",
                RecordType::A,
                ResponseCode::NoError,
                0,
            ),
            (
                "db-2.db.t.svc.cluster.local.",
                RecordType::A,
                ResponseCode::NXDomain,
                0,
            ),
            ("db.t.svc.", RecordType::A, ResponseCode::Refused, 0),
        ] {
            for answer in [
                ask_udp(address, name, kind).await,
                ask_tcp(address, name, kind).await,
            ] {
                assert_eq!(
                    (answer.metadata.response_code, answer.answers.len()),
                    (code, answers),
                    "{name} {kind}"
                );
                assert_eq!(
                    answer.metadata.authoritative,
                    code != ResponseCode::Refused,
                    "{name}"
                );
            }
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_for_udp_says_so_and_comes_whole_over_tcp() {
        let (_server, address) = server(100).await;
        let (name, kind) = ("db.t.svc.cluster.local.", RecordType::A);
        assert!(ask_udp(address, name, kind).await.metadata.truncation);
        let whole = ask_tcp(address, name, kind).await;
        assert_eq!(
            (whole.metadata.truncation, whole.answers.len()),
            (false, 100)
        );
    }
}
