//! The edge with real sockets and files, several nodes in one process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::accept::MOST_HALF_OPEN;
use super::driver::{Opening, listen};
use super::file::NodesFile;
use super::hello::Hello;
use super::*;
use crate::bus::{Bus, Config, Persisted};
use crate::slot::SlotId;
use crate::topology::Address;

struct Idle;

impl Local for Idle {
    fn status(&self) -> LocalStatus {
        LocalStatus {
            healthy: true,
            ..LocalStatus::default()
        }
    }
}

struct Running {
    cluster: Cluster,
    stop: CancellationToken,
    task: JoinHandle<Result<(), DriverError>>,
}

impl Running {
    fn start(dir: &Path, bus_port: u16) -> Self {
        Self::start_with(dir, Ipv4Addr::LOCALHOST, bus_port, "", None)
    }

    fn start_at(dir: &Path, ip: Ipv4Addr, bus_port: u16, hostname: &str) -> Self {
        Self::start_with(dir, ip, bus_port, hostname, None)
    }

    fn with_secret(dir: &Path, bus_port: u16, secret: Option<&str>) -> Self {
        Self::start_with(dir, Ipv4Addr::LOCALHOST, bus_port, "", secret)
    }

    fn start_with(
        dir: &Path,
        ip: Ipv4Addr,
        bus_port: u16,
        hostname: &str,
        secret: Option<&str>,
    ) -> Self {
        let config = ClusterConfig {
            dir: dir.to_owned(),
            bind: vec![IpAddr::V4(ip)],
            bus_port,
            address: Address {
                ip: ip.to_string(),
                port: 1,
                bus_port,
                hostname: hostname.to_owned(),
            },
            node_timeout: 2_000,
            secret: secret.map(|text| Secret::new(text.as_bytes())),
        };
        Self::run(Cluster::open(config).unwrap())
    }

    fn run((cluster, driver): (Cluster, Driver)) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(driver.run(Arc::new(Idle), stop.clone()));
        Self {
            cluster,
            stop,
            task,
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    async fn meet(&self, bus_port: u16) -> Result<u64, String> {
        let meet = Request::Meet {
            ip: "127.0.0.1".to_owned(),
            bus_port,
        };
        let met = timeout(Duration::from_secs(20), self.cluster.request(meet)).await;
        met.unwrap().map_err(|error| error.to_string())
    }

    fn refused(&self, reason: &str) -> u64 {
        let mut counts = self.cluster.refusals();
        counts.find(|(label, _)| *label == reason).unwrap().1
    }

    async fn until(&self, what: &str, done: impl Fn(&View) -> bool) {
        let mut changes = self.cluster.changes();
        let wait = changes.wait_for(|view| done(view));
        let waited = timeout(Duration::from_secs(20), wait).await;
        assert!(waited.is_ok(), "not in time: {what}");
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A disk that may stand still.
struct Still {
    record: Box<dyn Record>,
    works: watch::Receiver<bool>,
}

impl Record for Still {
    fn write(mut self: Box<Self>, persisted: Box<Persisted>) -> Writing {
        Box::pin(async move {
            self.works.wait_for(|works| *works).await?;
            let record = self.record.write(persisted).await?;
            let works = self.works;
            Ok(Box::new(Self { record, works }) as Box<dyn Record>)
        })
    }

    fn ours(&self) -> Ours {
        self.record.ours()
    }
}

impl Running {
    /// On a disk that stands still as long as `works` says so.
    fn start_on(dir: &Path, bus_port: u16, works: watch::Receiver<bool>) -> Self {
        let address = Address {
            ip: Ipv4Addr::LOCALHOST.to_string(),
            port: 1,
            bus_port,
            hostname: String::new(),
        };
        let config = Config {
            address: address.clone(),
            node_timeout: 2_000,
        };
        let record = Box::new(NodesFile::open(dir).unwrap());
        let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, bus_port)));
        let opening = Opening {
            bus: Bus::new(config, None, 0, 1).unwrap(),
            record: Box::new(Still { record, works }),
            listeners: vec![listener.unwrap()],
            address,
            secret: None,
        };
        Self::run(opening.open())
    }
}

#[tokio::test]
async fn a_node_whose_disk_stands_still_is_heard_and_promises_nothing() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let (disk, works) = watch::channel(true);
    let still = Running::start_on(dirs[0].path(), ports[0], works);
    let others = [1, 2].map(|n: usize| Running::start(dirs[n].path(), ports[n]));
    for port in &ports[1..] {
        still.meet(*port).await.unwrap();
    }
    for node in [&still, &others[0], &others[1]] {
        node.until("three voters", |view| view.topology.voters.len() == 3)
            .await;
    }
    let id = still.cluster.myself();
    disk.send_replace(false);
    let seen = still.cluster.peek().topology.index;
    // Two of three are enough, as soon as one of them leads.
    let slots = std::iter::once(SlotId::new(7).unwrap()).collect();
    let node = others[0].cluster.myself();
    let add = TopologyCommand::AddSlots { node, slots };
    let added = timeout(Duration::from_secs(20), others[0].cluster.propose(add)).await;
    added.unwrap().unwrap();
    // For longer than the silence after which it would be given up.
    let end = tokio::time::Instant::now() + Duration::from_secs(3);
    while tokio::time::Instant::now() < end {
        for other in &others {
            let report = other.cluster.liveness().peers[&id].clone();
            assert!(!report.suspected && !report.failed, "{report:?}");
        }
        assert_eq!(still.cluster.peek().topology.index, seen);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    disk.send_replace(true);
    still
        .until("the change is seen", |view| view.topology.index > seen)
        .await;
    still.stop().await;
    for other in others {
        other.stop().await;
    }
}

#[tokio::test]
async fn nodes_meet_agree_and_come_back_after_a_restart() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let mut nodes: Vec<Running> = (0..3)
        .map(|n| Running::start(dirs[n].path(), ports[n]))
        .collect();
    for port in &ports[1..] {
        nodes[0].meet(*port).await.unwrap();
    }
    let last = nodes[2].cluster.myself();
    let add = TopologyCommand::AddSlots {
        node: last,
        slots: SlotSet::full(),
    };
    let index = nodes[0].cluster.propose(add.clone()).await.unwrap();
    assert!(nodes[0].cluster.peek().topology.index >= index);
    assert_eq!(
        nodes[1]
            .cluster
            .propose(add)
            .await
            .map_err(|e| e.to_string()),
        Err("Slot 0 is already busy".to_owned())
    );
    nodes[1]
        .until("three voters", |view| view.topology.voters.len() == 3)
        .await;
    let slot = SlotId::of(b"key");
    let access = Access {
        write: true,
        readonly: false,
        asking: false,
    };
    nodes[2].until("slots", View::is_serving_primary).await;
    assert_eq!(nodes[2].cluster.peek().route(slot, access), Route::Serve);
    assert!(matches!(
        nodes[1].cluster.peek().route(slot, access),
        Route::Moved(address) if address.bus_port == ports[2]
    ));

    let before = nodes[2].cluster.view().incarnation;
    let stopped = nodes.pop().unwrap();
    stopped.stop().await;
    let back = Running::start(dirs[2].path(), ports[2]);
    assert_eq!(back.cluster.myself(), last);
    assert!(back.cluster.view().incarnation > before);
    assert!(back.cluster.view().is_quarantined());
    back.until("reinstated", View::is_serving_primary).await;
    back.stop().await;
    for node in nodes {
        node.stop().await;
    }
}

/// At every address that is known there is another member: nobody refuses a connection, and only names lead on.
#[tokio::test]
async fn nodes_that_come_back_at_each_others_addresses_find_each_other_by_name() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let bus_port = free_port();
    let ip = |place: usize| Ipv4Addr::new(127, 0, 0, 1 + (place % 3) as u8);
    // A node's name leads to where it will be.
    let start = |turn: usize| -> Vec<Running> {
        let names = (0..3).map(|node| ip(node + 1).to_string());
        names
            .enumerate()
            .map(|(node, name)| {
                Running::start_at(dirs[node].path(), ip(node + turn), bus_port, &name)
            })
            .collect()
    };
    let nodes = start(0);
    for place in 1..3 {
        let meet = Request::Meet {
            ip: ip(place).to_string(),
            bus_port,
        };
        nodes[0].cluster.request(meet).await.unwrap();
    }
    for node in &nodes {
        node.until("three voters", |view| view.topology.voters.len() == 3)
            .await;
    }
    let ids: Vec<_> = nodes.iter().map(|node| node.cluster.myself()).collect();
    for node in nodes {
        node.stop().await;
    }
    let nodes = start(1);
    for node in &nodes {
        node.until("all where they are now", |view| {
            let members = &view.topology.members;
            let at = |(number, id)| members[id].address.ip == ip(number + 1).to_string();
            ids.iter().enumerate().all(at)
        })
        .await;
    }
    for node in nodes {
        node.stop().await;
    }
}
const SECRET: &str = "what only nodes of this cluster know";

/// Two nodes with these secrets.
struct Two {
    near: Running,
    far: Running,
    far_port: u16,
    _dirs: [tempfile::TempDir; 2],
}

impl Two {
    fn start(near: Option<&str>, far: Option<&str>) -> Self {
        let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let far_port = free_port();
        Self {
            near: Running::with_secret(dirs[0].path(), free_port(), near),
            far: Running::with_secret(dirs[1].path(), far_port, far),
            far_port,
            _dirs: dirs,
        }
    }

    async fn meet(&self) -> Result<(), String> {
        self.near.meet(self.far_port).await?;
        self.far
            .until("both are members", |view| view.topology.members.len() == 2)
            .await;
        Ok(())
    }

    async fn stop(self) {
        self.near.stop().await;
        self.far.stop().await;
    }
}

#[tokio::test]
async fn nodes_with_the_same_secret_meet() {
    let two = Two::start(Some(SECRET), Some(SECRET));
    two.meet().await.unwrap();
    assert_eq!(two.near.refused("secret") + two.far.refused("secret"), 0);
    two.stop().await;
}

#[tokio::test]
async fn nodes_with_different_secrets_do_not_meet_and_say_why() {
    for (near, far, why) in [
        (Some(SECRET), Some("another one"), "the same secret"),
        (Some(SECRET), None, "the other side has none"),
        (None, Some(SECRET), "this node has none"),
    ] {
        let two = Two::start(near, far);
        let error = two.meet().await.unwrap_err();
        assert!(
            error.contains("Cannot meet the node at 127.0.0.1:"),
            "{error}"
        );
        assert!(error.contains(why), "{error}");
        assert!(two.near.refused("secret") > 0);
        for node in [&two.near, &two.far] {
            assert_eq!(node.cluster.peek().topology.members.len(), 1);
        }
        two.stop().await;
    }
}

/// What somebody sends who is no node: noise, the beginning of something right, or all that can be said without the secret.
fn strange(random: &mut StdRng) -> Vec<u8> {
    let mut bytes = Hello::new(random.random(), random.random())
        .encode()
        .to_vec();
    let mut noise = vec![0; random.random_range(0..200)];
    random.fill(noise.as_mut_slice());
    match random.random_range(0..4) {
        0 => return noise,
        1 => bytes.truncate(random.random_range(0..bytes.len())),
        2 => {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        _ => {}
    }
    bytes.extend(noise);
    bytes
}

#[tokio::test]
async fn strangers_are_refused_and_the_node_goes_on() {
    let two = Two::start(Some(SECRET), Some(SECRET));
    let mut random = StdRng::seed_from_u64(11);
    let mut sent = 0;
    for _ in 0..300 {
        let mut stream = TcpStream::connect(("127.0.0.1", two.far_port))
            .await
            .unwrap();
        let bytes = strange(&mut random);
        // It may have had enough before that.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        sent += 1;
        // Its hello, its proof, and the end: nothing else is said to somebody who has not proved anything.
        let mut heard = Vec::new();
        let _ = timeout(Duration::from_secs(20), stream.read_to_end(&mut heard))
            .await
            .unwrap();
        assert!(heard.len() <= 38 + 32, "{} bytes", heard.len());
    }
    let refused: u64 = two.far.cluster.refusals().map(|(_, count)| count).sum();
    assert_eq!(refused, sent);
    two.meet().await.unwrap();
    two.stop().await;
}

#[tokio::test]
async fn those_who_connect_and_say_nothing_keep_nobody_out_and_are_not_many() {
    let two = Two::start(Some(SECRET), Some(SECRET));
    let mut silent = Vec::new();
    for _ in 0..MOST_HALF_OPEN + 40 {
        silent.push(
            TcpStream::connect(("127.0.0.1", two.far_port))
                .await
                .unwrap(),
        );
    }
    two.meet().await.unwrap();
    assert!(two.far.refused("crowded") >= 40);
    // The others go as well when their time is over; each has heard a hello and nothing else.
    for mut stream in silent {
        let mut heard = Vec::new();
        let end = timeout(Duration::from_secs(20), stream.read_to_end(&mut heard)).await;
        end.unwrap().unwrap();
        assert!(heard.len() <= 38, "{} bytes", heard.len());
    }
    two.stop().await;
}
