//! Hosts for processes, and the network between them.
//!
//! On loopback a host is an address. A virtual host is a network namespace with one TUN device, whose other end is here: what
//! a host sends is handed to the host that it is meant for, late or not at all if the [`Link`] says so. So links can be cut in one
//! direction, silently, at once, and slowed down with nothing but what every kernel has; neither a bridge, nor a
//! packet filter, nor `netem` is needed, and nothing is left when this process ends, however it does.

mod hub;
mod links;

use std::fs::File;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};

pub use links::Link;

use hub::Hub;
use links::Links;

/// A place where processes run, with one address.
#[derive(Clone, Debug)]
pub struct Host {
    address: Ipv4Addr,
    namespace: Option<Arc<File>>,
}

impl Host {
    /// Its address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Does something on this host: what is connected or started within belongs to it. Takes a thread of its own, which
    /// is what belongs to a namespace.
    ///
    /// # Errors
    /// If the thread cannot be started, may not enter the namespace, or panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().spawn_scoped(scope, || {
                self.enter()?;
                Ok(work())
            });
            let ended = thread.context("thread of a host")?.join();
            ended.unwrap_or_else(|_| bail!("the work on {} has panicked", self.address))
        })
    }

    /// Lets the calling thread belong to this host for good, and all threads and processes that it starts from now on.
    ///
    /// # Errors
    /// If it may not.
    pub fn enter(&self) -> Result<()> {
        let Some(namespace) = &self.namespace else {
            return Ok(());
        };
        setns(namespace, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("enter {}", self.address))
    }
}

/// Hosts, and what is between them.
pub struct Network {
    hosts: Vec<Host>,
    links: Option<Arc<Links>>,
    _hub: Option<Hub>,
}

impl Network {
    /// `count` loopback addresses, which others hardly use.
    #[must_use]
    pub fn loopback(count: u8) -> Self {
        let (second, third) = (rand::random_range(128..250), rand::random_range(0..250));
        let host = |number| Host {
            address: Ipv4Addr::new(127, second, third, number),
            namespace: None,
        };
        Self {
            hosts: (1..=count).map(host).collect(),
            links: None,
            _hub: None,
        }
    }

    /// `count` virtual hosts, with perfect links between them.
    ///
    /// # Errors
    /// If this process may not make network namespaces and TUN devices: that takes `CAP_SYS_ADMIN`, `CAP_NET_ADMIN` and
    /// `/dev/net/tun`.
    pub fn virtual_hosts(count: u8) -> Result<Self> {
        let links = Arc::new(Links::default());
        let (hub, hosts) = Hub::start(count, Arc::clone(&links))?;
        Ok(Self {
            hosts,
            links: Some(links),
            _hub: Some(hub),
        })
    }

    /// Why there can be no virtual hosts here; `None` if there can.
    #[must_use]
    pub fn unavailable() -> Option<String> {
        let error = Self::virtual_hosts(1).err()?;
        Some(format!(
            "needs virtual hosts (CAP_SYS_ADMIN, CAP_NET_ADMIN and /dev/net/tun): {error:#}"
        ))
    }

    /// A host by its number from 0 on.
    #[must_use]
    pub fn host(&self, number: usize) -> &Host {
        &self.hosts[number]
    }

    /// Changes what becomes of packets that `from` sends to `to`.
    ///
    /// # Errors
    /// On loopback.
    pub fn link(&self, from: usize, to: usize, link: Link) -> Result<()> {
        let links = self.links.as_ref().context("links of loopback are fixed")?;
        links.set((from, to), link);
        Ok(())
    }

    /// The same for both directions between each of `some` and each of `others`.
    ///
    /// # Errors
    /// On loopback.
    pub fn links(&self, some: &[usize], others: &[usize], link: Link) -> Result<()> {
        for from in some {
            for to in others {
                self.link(*from, *to, link)?;
                self.link(*to, *from, link)?;
            }
        }
        Ok(())
    }

    /// Makes all links perfect again.
    pub fn heal(&self) {
        if let Some(links) = &self.links {
            links.heal();
        }
    }
}
