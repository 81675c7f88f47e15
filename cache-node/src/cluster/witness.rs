//! The bus of a witness ([`Topology::witness`](crate::topology::Topology::witness)) in a process that is no node.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::driver::{DriverError, Opening, listen};
use super::{Driver, Local, Record, Secret};
use crate::bus::{Bus, Config, LocalStatus, Persisted};
use crate::topology::{Address, NodeId};

/// What a witness is told at its start.
#[derive(Clone, Debug)]
pub struct WitnessConfig {
    /// Where it listens, and what it announces.
    pub ip: IpAddr,
    /// It listens on the first of these ports that is free; on one that the system chooses if that is 0.
    pub ports: RangeInclusive<u16>,
    /// Silence after which a node is suspected, in ms: that of the nodes.
    pub node_timeout: u64,
    /// The secret of the nodes.
    pub secret: Option<Secret>,
}

/// A witness. It does nothing before [`Witness::run`].
pub struct Witness {
    driver: Driver,
    id: NodeId,
    address: Address,
}

/// A witness owns nothing.
struct Nothing;

impl Local for Nothing {
    fn status(&self) -> LocalStatus {
        LocalStatus::default()
    }
}

impl Witness {
    /// A witness that goes on with what an earlier process has left in its record, if any; without that it is another one.
    ///
    /// # Errors
    ///
    /// When none of the ports can be listened on, or what is left contradicts itself.
    pub fn open(
        config: WitnessConfig,
        persisted: Option<Persisted>,
        record: Box<dyn Record>,
    ) -> Result<Self, DriverError> {
        let (listener, bus_port) = listen_on_first(config.ip, config.ports)?;
        let address = Address {
            ip: config.ip.to_string(),
            port: 0,
            bus_port,
            hostname: String::new(),
        };
        let bus_config = Config {
            address: address.clone(),
            node_timeout: config.node_timeout,
        };
        let bus = Bus::witness(bus_config, persisted, 0, rand::random())
            .map_err(|error| DriverError::Record(error.into()))?;
        let id = bus.myself();
        let opening = Opening {
            bus,
            record,
            listeners: vec![listener],
            address: address.clone(),
            secret: config.secret,
        };
        let (_, driver) = opening.open();
        Ok(Self {
            driver,
            id,
            address,
        })
    }

    /// Its id.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Votes until `stop`.
    ///
    /// # Errors
    ///
    /// As soon as its record cannot be written, or is not its own any more: nothing is said that depends on it.
    pub async fn run(self, stop: CancellationToken) -> Result<(), DriverError> {
        // Nobody is let in any more when it ends by itself.
        let until = stop.child_token();
        let _ended = until.clone().drop_guard();
        self.driver.run(Arc::new(Nothing), until).await
    }
}

fn listen_on_first(
    ip: IpAddr,
    ports: RangeInclusive<u16>,
) -> Result<(std::net::TcpListener, u16), DriverError> {
    let mut last = *ports.start();
    for port in ports {
        last = port;
        let Ok(listener) = listen(SocketAddr::new(ip, port)) else {
            continue;
        };
        if let Ok(address) = listener.local_addr() {
            return Ok((listener, address.port()));
        }
    }
    // What is wrong with the last one, for the log.
    let address = SocketAddr::new(ip, last);
    let listener = listen(address)?;
    Ok((listener, last))
}
