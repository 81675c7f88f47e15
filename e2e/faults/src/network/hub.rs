//! The other ends of the hosts' devices: takes packets from one and gives them to another.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::sched::{CloneFlags, unshare};
use tappers::{AddAddressV4, Interface, Tun};

use super::Host;
use super::links::{Link, Links};

/// The network that the hosts think they are in; it is nowhere else.
const NETWORK: [u8; 3] = [10, 77, 0];
/// Longest packet: more than the devices' MTU.
const LONGEST: usize = 65_536;
/// What the end of the hub is told by; hosts have smaller numbers.
const STOP: Token = Token(usize::MAX);

/// Forwards until it is dropped.
pub(super) struct Hub {
    stop: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Hub {
    fn drop(&mut self) {
        // Only a hub that has ended cannot be woken.
        let _ = self.stop.wake();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say but that it has panicked, which it has said.
            let _ = thread.join();
        }
    }
}

impl Hub {
    /// Makes hosts and begins to forward, on a thread of its own, because making a namespace moves the thread there.
    pub(super) fn start(count: u8, links: Arc<Links>) -> Result<(Self, Vec<Host>)> {
        let poll = Poll::new()?;
        let stop = Arc::new(Waker::new(poll.registry(), STOP)?);
        let (made, hosts) = mpsc::channel();
        let thread = std::thread::Builder::new().name("hub".to_owned());
        let thread = thread.spawn(move || match make(count) {
            Ok((devices, hosts)) => {
                let _ = made.send(Ok(hosts));
                let mut forwarder = Forwarder::new(devices, links);
                // Without it the hosts are cut off from each other, which no test survives.
                forwarder.run(poll).expect("devices of living hosts work");
            }
            Err(error) => {
                let _ = made.send(Err(error));
            }
        })?;
        let hub = Self {
            stop,
            thread: Some(thread),
        };
        let hosts = hosts.recv().context("the hub has panicked")??;
        Ok((hub, hosts))
    }
}

fn make(count: u8) -> Result<(Vec<Tun>, Vec<Host>)> {
    let made: Result<Vec<_>> = (1..=count).map(host).collect();
    Ok(made?.into_iter().unzip())
}

/// A namespace with a device. The calling thread is left in it.
fn host(number: u8) -> Result<(Tun, Host)> {
    let [a, b, c] = NETWORK;
    let address = Ipv4Addr::new(a, b, c, number);
    unshare(CloneFlags::CLONE_NEWNET).context("network namespace")?;
    let namespace = File::open("/proc/thread-self/ns/net").context("network namespace")?;
    let mut device = Tun::new_named(Interface::new("eth0")?).context("TUN device")?;
    device.set_nonblocking(true).context("TUN device")?;
    let mut with_mask = AddAddressV4::new(address);
    with_mask.set_netmask(24);
    device.add_addr(with_mask).context("address of a device")?;
    device.set_up().context("TUN device")?;
    let host = Host {
        address,
        namespace: Some(Arc::new(namespace)),
    };
    Ok((device, host))
}

/// A packet on a slow link.
struct Late {
    due: Instant,
    to: usize,
    packet: Vec<u8>,
}

/// Takes and gives packets.
struct Forwarder {
    devices: Vec<Tun>,
    links: Arc<Links>,
    /// By sender. In the order in which they came, which is the one in which they arrive as long as a sender's slow links
    /// are equally slow.
    late: Vec<VecDeque<Late>>,
}

impl Forwarder {
    fn new(devices: Vec<Tun>, links: Arc<Links>) -> Self {
        Self {
            late: devices.iter().map(|_| VecDeque::new()).collect(),
            devices,
            links,
        }
    }

    fn run(&mut self, mut poll: Poll) -> io::Result<()> {
        for (number, device) in self.devices.iter().enumerate() {
            let descriptor = device.as_raw_fd();
            let mut source = SourceFd(&descriptor);
            let registry = poll.registry();
            registry.register(&mut source, Token(number), Interest::READABLE)?;
        }
        let mut events = Events::with_capacity(64);
        let mut buffer = vec![0; LONGEST];
        loop {
            match poll.poll(&mut events, self.next_due()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                match event.token() {
                    STOP => return Ok(()),
                    Token(from) => self.take(from, &mut buffer)?,
                }
            }
            self.deliver_late();
        }
    }

    fn next_due(&self) -> Option<Duration> {
        let first = self.late.iter().filter_map(|late| late.front());
        let due = first.map(|late| late.due).min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    /// Takes everything that a host has sent.
    fn take(&mut self, from: usize, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            match self.devices[from].recv(buffer) {
                Ok(length) => self.forward(from, &buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn forward(&mut self, from: usize, packet: &[u8]) {
        let Some(to) = destination(packet).filter(|to| *to < self.devices.len()) else {
            return;
        };
        match self.links.get((from, to)) {
            Link::Open => self.deliver(to, packet),
            Link::Cut => {}
            Link::Lossy(probability) => {
                if !rand::random_bool(probability) {
                    self.deliver(to, packet);
                }
            }
            Link::Slow(delay) => self.late[from].push_back(Late {
                due: Instant::now() + delay,
                to,
                packet: packet.to_vec(),
            }),
        }
    }

    fn deliver_late(&mut self) {
        let now = Instant::now();
        for from in 0..self.late.len() {
            while let Some(late) = self.late[from].pop_front_if(|late| late.due <= now) {
                self.deliver(late.to, &late.packet);
            }
        }
    }

    fn deliver(&self, to: usize, packet: &[u8]) {
        // What a host cannot take is lost, as on any network.
        let _ = self.devices[to].send(packet);
    }
}

/// The number of the host that an IPv4 packet is meant for; `None` for all other packets (IPv6's neighbour discovery).
fn destination(packet: &[u8]) -> Option<usize> {
    let version = packet.first()? >> 4;
    let [network @ .., number] = packet.get(16..20)? else {
        return None;
    };
    if version != 4 || network != NETWORK {
        return None;
    }
    usize::from(*number).checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_for_the_host_that_they_name() {
        let mut packet = [0; 20];
        packet[0] = 0x45;
        packet[16..].copy_from_slice(&[10, 77, 0, 3]);
        assert_eq!(destination(&packet), Some(2));
        packet[19] = 0;
        assert_eq!(destination(&packet), None);
        packet[16..].copy_from_slice(&[10, 78, 0, 3]);
        assert_eq!(destination(&packet), None);
        packet[0] = 0x60;
        assert_eq!(destination(&packet), None);
        assert_eq!(destination(&packet[..19]), None);
    }
}
