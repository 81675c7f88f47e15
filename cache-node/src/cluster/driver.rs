//! Runs the bus: feeds it messages, ticks and requests, and does what it says. One task on the control runtime.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::accept::{Reception, Told};
use super::disk::Disk;
use super::file::{FileError, NodesFile};
use super::link::{Dialing, Link, Loss};
use super::secret::{Secret, SecretError};
use super::{
    Cluster, HandMove, HandMoved, LinkReport, Local, Order, Ours, Record, RecordError, Shared, View,
};
use crate::bus::{
    Action, Bus, Config, Destination, Event, Held, Message, Published, RequestError, TICK_MS,
};
use crate::topology::{Address, NodeId, Topology};

/// Messages that wait for the bus.
const INBOX: usize = 4096;

/// What the edge is told at its start.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// Where the nodes file is.
    pub dir: PathBuf,
    /// Addresses to listen on.
    pub bind: Vec<IpAddr>,
    /// Port to listen on.
    pub bus_port: u16,
    /// What this node announces.
    pub address: Address,
    /// Silence after which a node is suspected, in ms.
    pub node_timeout: u64,
    /// What all nodes know and others must not; `None`: whoever reaches the bus port can speak there.
    pub secret: Option<Secret>,
}

/// Why the bus cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The nodes file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no telling the secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// What the bus must find again cannot be kept or read.
    #[error("cannot keep the record of the cluster bus: {0}")]
    Record(#[source] RecordError),
    /// Another process speaks for this node now.
    #[error("the record of the cluster bus may be another process's by now")]
    NotOurs,
    /// The bus port cannot be listened on.
    #[error("cannot listen on {address} for the cluster bus: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
}

/// The task that runs the bus. It does nothing before [`Driver::run`].
pub struct Driver {
    bus: Bus,
    held: Held,
    disk: Disk,
    ours: Ours,
    /// What the rest of the process sees.
    published: Published,
    shared: Arc<Shared>,
    orders: mpsc::UnboundedReceiver<Order>,
    listeners: Vec<std::net::TcpListener>,
    address: Address,
    tokens: u64,
    answers: BTreeMap<u64, oneshot::Sender<Result<u64, RequestError>>>,
    links: BTreeMap<Peer, Link>,
    dialing: Dialing,
    losses: mpsc::UnboundedReceiver<Loss>,
    /// The bus wants to know this node's state at once.
    wants_status: bool,
}

/// What a driver begins with.
pub(super) struct Opening {
    pub(super) bus: Bus,
    pub(super) record: Box<dyn Record>,
    pub(super) listeners: Vec<std::net::TcpListener>,
    pub(super) address: Address,
    pub(super) secret: Option<Secret>,
}

impl Opening {
    pub(super) fn open(self) -> (Cluster, Driver) {
        let (sender, orders) = mpsc::unbounded_channel();
        let view = View::new(
            self.bus.myself(),
            self.bus.incarnation(),
            self.address.clone(),
            self.bus.topology().clone(),
            Arc::default(),
        );
        let cluster = Cluster::new(view, sender);
        cluster.shared.show_lease(0);
        let (lost, losses) = mpsc::unbounded_channel();
        let dialing = Dialing {
            lost,
            secret: self.secret,
            refusals: cluster.shared.refusals.clone(),
        };
        let driver = Driver {
            published: self.bus.published(),
            bus: self.bus,
            held: Held::default(),
            ours: self.record.ours(),
            disk: Disk::Idle(self.record),
            shared: cluster.shared.clone(),
            orders,
            listeners: self.listeners,
            address: self.address,
            tokens: 0,
            answers: BTreeMap::new(),
            links: BTreeMap::new(),
            dialing,
            losses,
            wants_status: false,
        };
        (cluster, driver)
    }
}

/// Whom a link goes to: a node, or whoever is at an address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Peer {
    Node(NodeId),
    Address(String, u16),
}

impl Cluster {
    /// The cluster side of a process in cluster mode: reads the nodes file and listens on the bus port. Nothing moves before
    /// the driver runs.
    ///
    /// # Errors
    ///
    /// When the file or the port cannot be used.
    pub fn open(config: ClusterConfig) -> Result<(Cluster, Driver), DriverError> {
        let mut file = NodesFile::open(&config.dir)?;
        let persisted = file.read()?;
        let listeners = config
            .bind
            .iter()
            .map(|ip| listen(SocketAddr::new(*ip, config.bus_port)))
            .collect::<Result<Vec<_>, _>>()?;
        let bus_config = Config {
            address: config.address.clone(),
            node_timeout: config.node_timeout,
        };
        let bus = Bus::new(bus_config, persisted, 0, rand::random())
            .map_err(|error| file.damaged(error))?;
        let opening = Opening {
            bus,
            record: Box::new(file),
            listeners,
            address: config.address,
            secret: config.secret,
        };
        Ok(opening.open())
    }
}

pub(super) fn listen(address: SocketAddr) -> Result<std::net::TcpListener, DriverError> {
    let open = || -> io::Result<std::net::TcpListener> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(512)?;
        Ok(socket.into())
    };
    open().map_err(|source| DriverError::Listen { address, source })
}

impl Driver {
    /// Runs the bus until `stop`. The process must not go on without it.
    ///
    /// # Errors
    ///
    /// When the nodes file can no longer be written, or a listener not be used.
    pub async fn run(
        mut self,
        local: Arc<dyn Local>,
        stop: CancellationToken,
    ) -> Result<(), DriverError> {
        let (inbox, mut messages) = mpsc::channel(INBOX);
        self.accept(&inbox, &stop)?;
        let mut ticks = tokio::time::interval(Duration::from_millis(TICK_MS));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if std::mem::take(&mut self.wants_status) {
                self.tell_status(&*local)?;
            }
            let event = tokio::select! {
                () = stop.cancelled() => return self.finish().await,
                written = self.disk.written() => {
                    self.go_on(written)?;
                    continue;
                }
                _ = ticks.tick() => {
                    self.tell_status(&*local)?;
                    self.handle(Event::Tick)?;
                    self.report();
                    continue;
                }
                Some(message) = messages.recv() => Event::Receive(Box::new(message)),
                Some(loss) = self.losses.recv() => self.loss(loss),
                Some(order) = self.orders.recv() => match self.order(order) {
                    Some(event) => event,
                    None => continue,
                },
            };
            self.handle(event)?;
        }
    }

    /// Waits for what is being written.
    async fn finish(&mut self) -> Result<(), DriverError> {
        while self.disk.is_busy() {
            let written = self.disk.written().await;
            self.go_on(written)?;
        }
        Ok(())
    }

    fn tell_status(&mut self, local: &dyn Local) -> Result<(), DriverError> {
        let status = local.status();
        self.shared.status.store(Arc::new(status));
        self.handle(Event::Status(status))
    }

    /// Starts to take in connections.
    fn accept(
        &mut self,
        inbox: &mpsc::Sender<Message>,
        stop: &CancellationToken,
    ) -> Result<(), DriverError> {
        let Dialing {
            secret, refusals, ..
        } = self.dialing.clone();
        let told = Told {
            inbox: inbox.clone(),
            lost: self.dialing.lost.clone(),
        };
        let reception = Reception::new(told, self.shared.clone(), secret, refusals, stop.clone());
        for listener in self.listeners.drain(..) {
            let address = listener
                .local_addr()
                .unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
            let listener = TcpListener::from_std(listener)
                .map_err(|source| DriverError::Listen { address, source })?;
            tokio::spawn(reception.clone().accept_all(listener));
        }
        Ok(())
    }

    fn now(&self) -> u64 {
        self.shared.started.elapsed().as_millis() as u64
    }

    fn loss(&self, loss: Loss) -> Event {
        match loss {
            Loss::Broken(node) => Event::PeerLost(node),
            Loss::Gone { node, at } => {
                if !self.bus.knows_end_of(node) {
                    tracing::warn!(%node, "the process of another node has ended");
                }
                let at = at
                    .saturating_duration_since(self.shared.started)
                    .as_millis() as u64;
                Event::PeerGone { node, at }
            }
            Loss::Refused { address, reason } => Event::AddressRefused { address, reason },
        }
    }

    fn order(&mut self, order: Order) -> Option<Event> {
        match order {
            Order::Request { request, answer } => {
                self.tokens += 1;
                self.answers.insert(self.tokens, answer);
                Some(Event::Request {
                    token: self.tokens,
                    request,
                })
            }
            Order::MoveByHand {
                slots,
                hand_move,
                done,
            } => {
                let view = self.shared.view.load_full();
                let mut moved = (*view.hand_moved).clone();
                for slot in slots.iter() {
                    moved.migrating.remove(&slot);
                    moved.importing.remove(&slot);
                    match hand_move {
                        HandMove::Migrating(node) => moved.migrating.insert(slot, node),
                        HandMove::Importing(node) => moved.importing.insert(slot, node),
                        HandMove::Stable => None,
                    };
                }
                self.show(moved);
                // The client may have gone.
                let _ = done.send(());
                None
            }
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), DriverError> {
        let now = self.now();
        // After that look at the clock, so that nothing is taken in at a later time than it is asked for.
        if !(self.ours)() {
            return Err(DriverError::NotOurs);
        }
        let actions = self.bus.handle(event, now);
        let actions = self.held.take(actions);
        self.perform(actions);
        Ok(())
    }

    /// What was to be written is, or is not.
    fn go_on(&mut self, written: Result<(), RecordError>) -> Result<(), DriverError> {
        written.map_err(|error| {
            tracing::error!(%error, "the cluster bus cannot go on");
            DriverError::Record(error)
        })?;
        let actions = self.held.written();
        self.perform(actions);
        Ok(())
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { to, message } => self.send(to, *message),
                Action::Persist(persisted) => self.disk.begin(persisted),
                Action::Publish(published) => {
                    self.published = published;
                    // Before the view that makes this node a primary is seen.
                    self.show_lease();
                    let moved = self.shared.view.load().hand_moved.clone();
                    self.show((*moved).clone());
                }
                Action::Report => self.wants_status = true,
                Action::Reply { token, result } => {
                    if let Some(answer) = self.answers.remove(&token) {
                        // The client may have gone.
                        let _ = answer.send(result);
                    }
                }
            }
        }
        self.show_lease();
    }

    fn show_lease(&self) {
        let shown = self.shared.lease.load(Relaxed);
        let until = self.bus.lease_under(&self.published, shown);
        self.shared.show_lease(until);
    }

    fn send(&mut self, to: Destination, message: Message) {
        let peer = match to.node {
            Some(node) => Peer::Node(node),
            None => Peer::Address(to.address.ip.clone(), to.address.bus_port),
        };
        let usable = |link: &&Link| link.address == to.address && !link.is_over();
        if let Some(link) = self.links.get(&peer).filter(usable) {
            link.send(message);
            return;
        }
        let link = Link::start(to.node, to.address, self.dialing.clone());
        link.send(message);
        self.links.insert(peer, link);
    }

    fn show(&self, mut moved: HandMoved) {
        let old = self.shared.view.load_full();
        let topology = self.published.topology.clone();
        let me = self.published.node;
        let mine = |slot| {
            topology
                .owner(slot)
                .is_some_and(|(_, shard)| shard.primary == me)
        };
        // What has changed hands is no longer on its way.
        moved.migrating.retain(|slot, _| mine(*slot));
        moved.importing.retain(|slot, _| !mine(*slot));
        let gone = old.topology.members.keys().copied();
        let gone = gone.filter(|node| !topology.members.contains_key(node));
        self.shared.forgotten.lock().extend(gone);
        tracing::debug!(version = ?topology.version(), "new topology");
        tell_primaries(&old.topology, &topology);
        self.shared.show(View::new(
            me,
            self.published.incarnation,
            self.address.clone(),
            topology,
            Arc::new(moved),
        ));
    }

    /// Tells the rest of the process what is known of the peers.
    fn report(&mut self) {
        let liveness = self.bus.liveness(self.now());
        let leader = liveness.leader;
        if self.shared.liveness.load().leader != leader {
            let name = leader.map_or_else(|| "nobody".to_owned(), |node| node.to_string());
            tracing::info!(leader = name, "the leader of the voters is another one");
        }
        self.shared.liveness.store(Arc::new(liveness));
        self.links.retain(|_, link| !link.is_over());
        let links = self.links.iter().filter_map(|(peer, link)| match peer {
            Peer::Node(node) => Some(LinkReport {
                node: *node,
                created: link.created,
                waiting: link.waiting(),
            }),
            Peer::Address(..) => None,
        });
        self.shared.links.store(Arc::new(links.collect()));
    }
}

/// Says who has become primary, for whoever wants to know when that was.
fn tell_primaries(before: &Topology, after: &Topology) {
    for (id, shard) in &after.shards {
        let former = before.shards.get(id).map(|shard| shard.primary);
        if let Some(former) = former.filter(|former| *former != shard.primary) {
            tracing::info!(shard = %id, %former, primary = %shard.primary, index = after.index, "a shard has another primary");
        }
    }
}
