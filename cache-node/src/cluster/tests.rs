//! The edge with real sockets and files, several nodes in one process.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;
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
        Self::start_at(dir, Ipv4Addr::LOCALHOST, bus_port, "")
    }

    fn start_at(dir: &Path, ip: Ipv4Addr, bus_port: u16, hostname: &str) -> Self {
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
        };
        let (cluster, driver) = Cluster::open(config).unwrap();
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

#[tokio::test]
async fn nodes_meet_agree_and_come_back_after_a_restart() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let mut nodes: Vec<Running> = (0..3)
        .map(|n| Running::start(dirs[n].path(), ports[n]))
        .collect();
    for port in &ports[1..] {
        let meet = Request::Meet {
            ip: "127.0.0.1".to_owned(),
            bus_port: *port,
        };
        nodes[0].cluster.request(meet).await.unwrap();
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
