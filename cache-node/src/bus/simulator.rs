//! Many buses in virtual time on a network that loses, delays, repeats, reorders and partitions, with crashes and disks.
//!
//! Everything follows from one seed. Checked at every publication: what a process publishes never gets older, and two topologies with the
//! same cluster and version are equal. Checked after every event: no two nodes take writes of one shard at the same moment of true time.

mod checks;
mod faults;
mod handover;
mod operator;
mod ready;
mod tests;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{
    Action, Bus, Config, Event, Held, LocalStatus, Message, Persisted, Published, Request,
    RequestError, TICK_MS,
};
use crate::topology::{Address, NodeId, ShardId, Topology, TopologyCommand, Version};
use handover::Paused;
use traffic::Traffic;

/// What the network does to messages.
#[derive(Clone, Copy)]
struct Network {
    /// Share of messages that are lost.
    loss: f64,
    /// Share of messages that come twice.
    repeat: f64,
    /// Longest delay, in ms.
    delay: u64,
}

const CALM: Network = Network {
    loss: 0.0,
    repeat: 0.0,
    delay: 3,
};
const ROUGH: Network = Network {
    loss: 0.05,
    repeat: 0.02,
    delay: 40,
};

enum Happening {
    Tick {
        node: usize,
        life: u64,
    },
    Delivery {
        node: usize,
        message: Box<Message>,
    },
    Refused {
        node: usize,
        peer: NodeId,
    },
    /// What the process wrote is on its disk.
    Written {
        node: usize,
        life: u64,
    },
    /// The system of a crashed process has closed its connection to `node`, and refuses the next one.
    Gone {
        node: usize,
        peer: NodeId,
        life: u64,
        of: usize,
    },
}

#[derive(Default)]
struct Machine {
    bus: Option<Bus>,
    /// What runs there is a witness.
    witness: bool,
    hostname: String,
    disk: Option<Persisted>,
    /// What waits for the disk.
    held: Held,
    /// What is on its way to the disk.
    writing: Option<Persisted>,
    /// A write takes up to so many ms.
    slow_disk: u64,
    /// What the rest of the process sees, and until when it sees a lease, by its clock.
    shown: Option<(Published, u64)>,
    /// Counts starts, so that ticks of an earlier life are told.
    life: u64,
    port: u16,
    /// The process is stopped until then, and nothing happens in it.
    stopped_until: u64,
    /// Its clock: what it shows at the start, and by how many parts in a thousand it is fast or slow.
    clock: (u64, i64),
    status: LocalStatus,
    /// Nothing of this node reaches it.
    deaf_to: Option<usize>,
    /// Nothing that it sends reaches these.
    cut: BTreeSet<usize>,
    /// What it sends to these takes up to so many ms longer.
    slow: BTreeMap<usize, u64>,
    /// It has paused its shard for a hand-over.
    paused: Option<Paused>,
    /// Which side of a partition it is on.
    side: u8,
    published: Option<(u64, Version)>,
    /// The shard, with its cluster, of which it took writes when something happened to it last.
    writes: Option<(u64, ShardId)>,
}

struct Simulation {
    seed: u64,
    rng: SmallRng,
    now: u64,
    network: Network,
    queue: BTreeMap<(u64, u64), Happening>,
    scheduled: u64,
    machines: Vec<Machine>,
    /// Whose id is whose, also of earlier lives.
    places: BTreeMap<NodeId, usize>,
    /// So many replicas have what clients are told.
    synchronous: u8,
    /// The greatest offset of each shard of which clients were told so.
    told: BTreeMap<(u64, ShardId), u64>,
    /// Who took writes of a shard when something happened to it last.
    writers: BTreeMap<(u64, ShardId), BTreeSet<usize>>,
    seen: BTreeMap<(u64, Version), Arc<Topology>>,
    tokens: u64,
    /// The shard of a node that has taken over by force: it may have two primaries, by order.
    torn: Option<ShardId>,
    replies: BTreeMap<u64, Result<u64, RequestError>>,
    /// Everything that was sent, hashed in order; only if asked for.
    trace: Option<crc32fast::Hasher>,
    /// What was sent, weighed; only if asked for.
    traffic: Option<Traffic>,
}

impl Simulation {
    fn new(seed: u64, nodes: usize, network: Network) -> Self {
        let mut simulation = Self::empty(seed, nodes, network);
        (0..nodes).for_each(|node| simulation.start(node));
        simulation
    }

    /// Machines on which nothing runs yet.
    fn empty(seed: u64, nodes: usize, network: Network) -> Self {
        Self {
            seed,
            rng: SmallRng::seed_from_u64(seed),
            now: 0,
            network,
            queue: BTreeMap::new(),
            scheduled: 0,
            machines: (0..nodes).map(|_| Machine::default()).collect(),
            places: BTreeMap::new(),
            synchronous: 0,
            told: BTreeMap::new(),
            writers: BTreeMap::new(),
            torn: None,
            seen: BTreeMap::new(),
            tokens: 0,
            replies: BTreeMap::new(),
            trace: None,
            traffic: None,
        }
    }

    fn address(&self, node: usize) -> Address {
        Address {
            ip: format!("10.0.0.{node}"),
            port: 6379 + self.machines[node].port,
            bus_port: 16379,
            hostname: self.machines[node].hostname.clone(),
        }
    }

    /// Starts a process with what is on its disk.
    fn start(&mut self, node: usize) {
        let config = Config {
            address: self.address(node),
            node_timeout: 2_000,
        };
        let disk = self.machines[node].disk.clone();
        // What is on disk is read back through its encoding, unless that takes long.
        let disk = disk.map(|disk| match disk.topology.members.len() {
            0..=16 => Persisted::decode(&disk.encode()).unwrap(),
            _ => disk,
        });
        let seed = self.rng.random();
        let clock = (
            self.rng.random_range(0..1_000_000),
            self.rng.random_range(-20..=20),
        );
        self.machines[node].clock = clock;
        self.machines[node].stopped_until = 0;
        self.machines[node].status = LocalStatus {
            healthy: true,
            synchronous: self.synchronous,
            ..LocalStatus::default()
        };
        let begin = match self.machines[node].witness {
            true => Bus::witness,
            false => Bus::new,
        };
        let bus = begin(config, disk, self.local(node), seed).unwrap();
        self.places.insert(bus.myself(), node);
        let machine = &mut self.machines[node];
        machine.shown = Some((bus.published(), 0));
        machine.held = Held::default();
        machine.bus = Some(bus);
        machine.life += 1;
        machine.published = None;
        machine.paused = None;
        let life = machine.life;
        let first = self.rng.random_range(0..TICK_MS);
        self.schedule(first, Happening::Tick { node, life });
    }

    /// The time by a node's own clock.
    fn local(&self, node: usize) -> u64 {
        let (start, drift) = self.machines[node].clock;
        start + self.now * (1000 + drift) as u64 / 1000
    }

    fn schedule(&mut self, delay: u64, happening: Happening) {
        self.scheduled += 1;
        self.queue
            .insert((self.now + delay, self.scheduled), happening);
    }

    fn bus(&self, node: usize) -> &Bus {
        self.machines[node].bus.as_ref().expect("the node is up")
    }

    fn id(&self, node: usize) -> NodeId {
        self.bus(node).myself()
    }

    /// As it is seen by the rest of the process.
    fn topology(&self, node: usize) -> &Topology {
        let (published, _) = self.machines[node].shown.as_ref().expect("the node is up");
        &published.topology
    }

    /// Lets the next thing happen.
    fn step(&mut self) {
        let Some(((time, _), happening)) = self.queue.pop_first() else {
            return;
        };
        self.now = time;
        if let Some(until) = self.stopped(&happening) {
            self.schedule(until - time, happening);
            return;
        }
        match happening {
            Happening::Tick { node, life } => {
                if self.machines[node].bus.is_some() && self.machines[node].life == life {
                    self.schedule(TICK_MS, Happening::Tick { node, life });
                    self.copy(node);
                    let status = self.machines[node].status;
                    self.handle(node, Event::Status(status));
                    self.handle(node, Event::Tick);
                    self.settle_hand_over(node);
                }
            }
            Happening::Delivery { node, message } => self.handle(node, Event::Receive(message)),
            Happening::Refused { node, peer } => self.handle(node, Event::PeerLost(peer)),
            Happening::Written { node, life } => {
                if self.machines[node].bus.is_some() && self.machines[node].life == life {
                    self.machines[node].disk = self.machines[node].writing.take();
                    let actions = self.machines[node].held.written();
                    self.perform(node, actions);
                    self.check_writer(node);
                }
            }
            Happening::Gone {
                node,
                peer,
                life,
                of,
            } => {
                // Whoever looks when another process is there already is not refused.
                if self.machines[of].bus.is_none() && self.machines[of].life == life {
                    let at = self.local(node);
                    self.handle(node, Event::PeerGone { node: peer, at });
                }
            }
        }
    }

    /// Until when the process to which this would happen is stopped.
    fn stopped(&self, happening: &Happening) -> Option<u64> {
        let node = match happening {
            Happening::Tick { node, .. }
            | Happening::Delivery { node, .. }
            | Happening::Refused { node, .. }
            | Happening::Written { node, .. }
            | Happening::Gone { node, .. } => *node,
        };
        let until = self.machines[node].stopped_until;
        (until > self.now).then_some(until)
    }

    /// Data travel: a primary that takes writes has more with every tick, and a replica that reaches it has all of that.
    fn copy(&mut self, node: usize) {
        let id = self.id(node);
        let topology = self.topology(node);
        let Some((home, shard)) = topology.shard_of(id) else {
            return;
        };
        let primary = (shard.primary, shard.primary_incarnation);
        // Whoever has keys cannot be reset, which only lonely nodes are here.
        let copied = self.topology(node).members_of(home).count() > 1;
        if primary.0 == id {
            if self.takes_writes(node) {
                self.machines[node].status.offset += 10;
                self.machines[node].status.keys += u64::from(copied);
            }
            self.machines[node].status.healthy = true;
            return;
        }
        let source = self.places.get(&primary.0).copied();
        let source = source.filter(|source| {
            let machine = &self.machines[*source];
            let bus = machine.bus.as_ref();
            bus.is_some_and(|bus| (bus.myself(), bus.incarnation()) == primary)
                && self.reaches(*source, node)
                && self.reaches(node, *source)
                && machine.stopped_until <= self.now
        });
        if let Some(source) = source {
            let shard = (self.topology(source).cluster, home);
            let LocalStatus { offset, keys, .. } = self.machines[source].status;
            let status = &mut self.machines[node].status;
            (status.offset, status.keys) = (offset, keys);
            status.copied = Some(primary);
            status.healthy = true;
            // The replica's word reaches the primary, which answers its clients.
            if self.synchronous == 1 && self.takes_writes(source) {
                let told = self.told.entry(shard).or_default();
                *told = (*told).max(offset);
            }
        }
    }

    fn handle(&mut self, node: usize, event: Event) {
        let now = self.local(node);
        let Some(bus) = self.machines[node].bus.as_mut() else {
            return;
        };
        let before = bus.myself();
        let began = self.traffic.as_ref().and_then(Traffic::begin);
        let actions = bus.handle(event, now);
        if let Some((traffic, began)) = self.traffic.as_mut().zip(began) {
            traffic.end(node, began);
        }
        if bus.myself() != before {
            self.places.insert(bus.myself(), node);
        }
        let actions = self.machines[node].held.take(actions);
        self.perform(node, actions);
        self.check_writer(node);
    }

    fn perform(&mut self, node: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { to, message } => {
                    let target = to.address.ip.rsplit('.').next().unwrap().parse().unwrap();
                    self.transmit(node, target, to.node, &message);
                }
                Action::Persist(disk) => self.write(node, *disk),
                Action::Publish(published) => self.publish(node, published),
                Action::Report => {
                    self.copy(node);
                    let status = self.machines[node].status;
                    self.handle(node, Event::Status(status));
                }
                Action::Reply { token, result } => {
                    assert!(
                        self.replies.insert(token, result).is_none(),
                        "answered twice, seed {}",
                        self.seed
                    );
                }
            }
        }
        self.show_lease(node);
    }

    fn write(&mut self, node: usize, disk: Persisted) {
        let life = self.machines[node].life;
        match self.machines[node].slow_disk {
            0 => {
                self.machines[node].disk = Some(disk);
                let actions = self.machines[node].held.written();
                self.perform(node, actions);
            }
            most => {
                self.machines[node].writing = Some(disk);
                let delay = self.rng.random_range(1..=most);
                self.schedule(delay, Happening::Written { node, life });
            }
        }
    }

    fn publish(&mut self, node: usize, published: Published) {
        let published = self.check_publication(node, published);
        if let Some((shown, _)) = &mut self.machines[node].shown {
            *shown = published;
        }
        self.show_lease(node);
    }

    fn show_lease(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        if let (Some(bus), Some((published, until))) = (&machine.bus, &mut machine.shown) {
            *until = bus.lease_under(published, *until);
        }
    }

    fn transmit(&mut self, from: usize, target: usize, peer: Option<NodeId>, message: &Message) {
        if let Some(trace) = &mut self.trace {
            trace.update(&self.now.to_le_bytes());
            trace.update(&message.encode());
        }
        if !self.reaches(from, target) {
            return;
        }
        if self.machines[target].bus.is_some()
            && let Some(traffic) = &mut self.traffic
        {
            traffic.carry(from, target, message);
        }
        if self.machines[target].bus.is_none() {
            if let Some(peer) = peer {
                self.schedule(1, Happening::Refused { node: from, peer });
            }
            return;
        }
        if self.rng.random_bool(self.network.loss) {
            return;
        }
        let copies = 1 + usize::from(self.rng.random_bool(self.network.repeat));
        for _ in 0..copies {
            let longest = self.network.delay + self.slowness(from, target);
            let delay = self.rng.random_range(1..=longest);
            let happening = Happening::Delivery {
                node: target,
                message: Box::new(message.clone()),
            };
            self.schedule(delay, happening);
        }
    }

    /// Asks something of a node; the answer will be in `replies`.
    fn request(&mut self, node: usize, request: Request) -> u64 {
        self.tokens += 1;
        let token = self.tokens;
        self.handle(node, Event::Request { token, request });
        token
    }

    /// Asks and waits for the answer.
    fn ask(&mut self, node: usize, request: Request) -> Result<u64, RequestError> {
        let token = self.request(node, request);
        let limit = self.now + 6_000;
        while self.now <= limit && !self.replies.contains_key(&token) {
            self.step();
        }
        let reply = self.replies.get(&token).cloned();
        reply.unwrap_or_else(|| panic!("no answer, seed {}", self.seed))
    }

    fn propose(&mut self, node: usize, command: TopologyCommand) -> Result<u64, RequestError> {
        self.ask(node, Request::Propose(command))
    }

    /// `node` meets `other`; repeated while the network eats the answers.
    fn meet(&mut self, node: usize, other: usize) {
        let address = self.address(other);
        let mut result = Err(RequestError::Reformed);
        for _ in 0..5 {
            let meet = Request::Meet {
                ip: address.ip.clone(),
                bus_port: address.bus_port,
            };
            result = self.ask(node, meet);
            if result.is_ok() {
                return;
            }
        }
        panic!("{result:?}, seed {}", self.seed);
    }

    fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self
            .queue
            .first_key_value()
            .is_some_and(|((at, _), _)| *at <= end)
        {
            self.step();
        }
        self.now = end;
    }

    /// Runs until `done`, at most for `limit` ms.
    fn run_until(&mut self, what: &str, limit: u64, done: impl Fn(&Self) -> bool) {
        let end = self.now + limit;
        let mut check = self.now;
        while self.now <= end {
            if self.now >= check {
                if done(self) {
                    return;
                }
                check = self.now + 20;
            }
            self.step();
        }
        panic!("not in time: {what}, seed {}", self.seed);
    }

    /// All nodes that are up know the same topology, and nothing is on its way to change it.
    fn converged(&self) -> bool {
        let mut up = self.machines.iter().filter_map(|m| m.bus.as_ref());
        let Some(first) = up.next() else {
            return true;
        };
        let leader = first.liveness(0).leader;
        leader.is_some()
            && up.all(|bus| bus.topology() == first.topology() && bus.liveness(0).leader == leader)
    }

    /// A cluster of all nodes, formed by the first, with all seats taken.
    fn form(&mut self) {
        let nodes = self.machines.len();
        (1..nodes).for_each(|node| self.meet(0, node));
        self.run_until("formation", 20_000, |s| {
            s.converged()
                && s.topology(0).members.len() == nodes
                && s.topology(0).voters.len() == nodes.min(5)
                && s.topology(0).learners.is_empty()
        });
    }

    fn leader(&self) -> Option<usize> {
        (0..self.machines.len()).find(|node| {
            let bus = self.machines[*node].bus.as_ref();
            bus.is_some_and(|bus| bus.liveness(0).leader == Some(bus.myself()))
        })
    }
}
