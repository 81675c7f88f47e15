//! Addresses of nodes and pods: one /16 of the loopback network for a cluster, claimed so that clusters side by side on one
//! machine do not meet.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::server::AddressRange;

/// The address and port that are listened on for as long as a network is claimed.
const CLAIM: (u8, u8, u16) = (255, 254, 20_999);
/// The second octets that are tried.
const FIRST: u8 = 64;
const COUNT: u8 = 160;
/// Third octets: nodes have 0, pods 1 to 199; services may have the rest.
const POD_BLOCKS: u32 = 199;
const HOSTS: u32 = 254;
const SERVICE_BLOCK: u8 = 200;
/// The last two octets of the name server, behind the services.
const NAME_SERVER: (u8, u8) = (250, 10);

/// A claimed loopback network. Clones share it; the last one to go releases it.
#[derive(Clone, Debug)]
pub struct Network {
    octet: u8,
    next: Arc<Mutex<u32>>,
    _claim: Arc<TcpListener>,
}

impl Network {
    /// Claims a network that no other cluster on this machine has.
    ///
    /// # Errors
    /// All are taken, or loopback addresses other than 127.0.0.1 cannot be used here.
    pub fn claim() -> std::io::Result<Self> {
        let start = u8::try_from(std::process::id() % u32::from(COUNT)).unwrap_or(0);
        let mut last = std::io::Error::other("no loopback network to claim");
        for step in 0..COUNT {
            let octet = FIRST
                + (u16::from(start) + u16::from(step))
                    .checked_rem(u16::from(COUNT))
                    .and_then(|n| u8::try_from(n).ok())
                    .unwrap_or(0);
            match TcpListener::bind((Ipv4Addr::new(127, octet, CLAIM.0, CLAIM.1), CLAIM.2)) {
                Ok(claim) => {
                    return Ok(Self {
                        octet,
                        next: Arc::default(),
                        _claim: Arc::new(claim),
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The address of the node with that index (0 to 253).
    #[must_use]
    pub fn node(&self, index: usize) -> Ipv4Addr {
        Ipv4Addr::new(
            127,
            self.octet,
            0,
            u8::try_from(index % 254).unwrap_or(0) + 1,
        )
    }

    /// Addresses for Services, which the agent's proxy listens on.
    #[must_use]
    pub fn services(&self) -> AddressRange {
        AddressRange {
            first: Ipv4Addr::new(127, self.octet, SERVICE_BLOCK, 1),
            count: 256 * 50,
        }
    }

    /// The address of the cluster's name server.
    #[must_use]
    pub fn name_server(&self) -> Ipv4Addr {
        Ipv4Addr::new(127, self.octet, NAME_SERVER.0, NAME_SERVER.1)
    }

    /// The next pod's address. An address comes again only after some 50,000 others.
    #[must_use]
    pub fn next_pod(&self) -> Ipv4Addr {
        let mut next = self.next.lock();
        let number = *next;
        *next = (number + 1) % (POD_BLOCKS * HOSTS);
        let octet = |part: u32| u8::try_from(part).unwrap_or(0) + 1;
        Ipv4Addr::new(
            127,
            self.octet,
            octet(number / HOSTS),
            octet(number % HOSTS),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clusters_have_different_networks_and_addresses_do_not_repeat_soon() {
        let (one, two) = (
            Network::claim().expect("a network"),
            Network::claim().expect("another"),
        );
        assert_ne!(one.node(0), two.node(0));
        let pods: std::collections::BTreeSet<_> = (0..1000).map(|_| one.next_pod()).collect();
        assert_eq!(pods.len(), 1000);
        assert!(pods.iter().all(|ip| ip.is_loopback()
            && ip.octets()[2] >= 1
            && ip.octets()[2] < 200
            && ip.octets()[3] != 0));
    }
}
