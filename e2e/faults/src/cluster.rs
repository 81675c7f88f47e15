//! A cluster of [`Node`]s: how it is formed, and what its members say of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cache_node::slot::{SLOT_COUNT, SlotId};
use e2e::nodes;
use e2e::programs::{self, Programs};
use parking_lot::RwLock;
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, Value};

use crate::client::{self, Seeds};
use crate::network::Network;
use crate::node::{Node, Sight};
use crate::wait::{PATIENCE, until};

/// Milliseconds of silence after which nodes of these clusters are suspected.
pub const NODE_TIMEOUT_MS: u64 = 2000;
/// How long a node may take to answer the harness.
const ADMIN_WITHIN: Duration = Duration::from_secs(5);

/// What a cluster consists of.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Shards; the slots are spread evenly over them.
    pub shards: usize,
    /// Replicas of each shard. Node `i` is the first primary of shard `i`; replicas come behind the primaries.
    pub replicas: usize,
    /// Members without slots at the end.
    pub spare: usize,
    /// Whether nodes have hosts of their own, whose links can be changed.
    pub virtual_hosts: bool,
    /// Further arguments of every node.
    pub arguments: Vec<String>,
    /// Whether nodes announce host names, and find each other by these.
    pub names: bool,
    /// Bytes of each node's disk, where it is a small one.
    pub disk: Option<u64>,
}

impl Shape {
    /// Shards with so many replicas each, on loopback.
    #[must_use]
    pub fn new(shards: usize, replicas: usize) -> Self {
        Self {
            shards,
            replicas,
            spare: 0,
            virtual_hosts: false,
            arguments: vec![],
            names: false,
            disk: None,
        }
    }

    /// Number of nodes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.shards * (1 + self.replicas) + self.spare
    }

    /// Number of nodes that vote.
    #[must_use]
    pub fn voters(&self) -> usize {
        self.nodes().min(5)
    }

    /// The network for it: a host a node, and then `clients` for clients.
    ///
    /// # Errors
    /// If there can be no virtual hosts.
    pub fn network(&self, clients: usize) -> Result<Network> {
        let hosts = u8::try_from(self.nodes() + clients).context("number of hosts")?;
        if self.virtual_hosts {
            Network::virtual_hosts(hosts)
        } else {
            Ok(Network::loopback(hosts))
        }
    }

    /// A slot of a shard, the first.
    #[must_use]
    pub fn slot(&self, shard: usize) -> SlotId {
        let (first, _) = self.range(shard);
        SlotId::new(first).expect("a shard's first slot is one")
    }

    fn range(&self, shard: usize) -> (u16, u16) {
        let at = |shard: usize| shard * SLOT_COUNT / self.shards;
        let slot = |number: usize| u16::try_from(number).expect("there are 16384");
        (slot(at(shard)), slot(at(shard + 1) - 1))
    }

    /// The number of the shard that owns `slot` at first.
    #[must_use]
    pub fn shard_of(&self, slot: SlotId) -> usize {
        (0..self.shards)
            .find(|shard| self.range(*shard).1 >= slot.number())
            .unwrap_or_default()
    }
}

/// A cluster; its processes are killed when it is dropped.
pub struct Cluster {
    /// Its nodes. Who is primary of what changes.
    pub nodes: Vec<Node>,
    /// The ids of the nodes.
    pub ids: Vec<String>,
    /// What it was made as.
    pub shape: Shape,
    /// Hosts of the nodes, and behind them those of clients.
    pub network: Network,
    /// Where clients look for nodes.
    pub seeds: Seeds,
    hosts_file: PathBuf,
    _programs: Programs,
}

impl Cluster {
    /// Starts and forms a cluster. `executable` is one that is the node when called `cache-node`, and the janitor of
    /// [`Programs`]. To be called on a host of the network.
    ///
    /// # Errors
    /// If a node cannot be started, or the cluster does not form.
    pub async fn start(executable: &Path, shape: Shape, network: Network) -> Result<Self> {
        let programs = Programs::new(executable, None)?;
        let directory = |number: usize| programs.directory().join(format!("node-{number}"));
        let hosts_file = programs.directory().join("hosts");
        std::fs::write(&hosts_file, "").context("file of hosts")?;
        let sight = match shape.disk {
            Some(bytes) => Some(Sight::SmallDisk(bytes)),
            None => shape.names.then(|| Sight::Hosts(hosts_file.clone())),
        };
        let nodes = (0..shape.nodes())
            .map(|number| {
                let host = network.host(number).clone();
                let arguments = arguments(&shape, number);
                let program = programs.path(programs::NODE);
                Node::new(
                    &program,
                    &directory(number),
                    host,
                    &arguments,
                    sight.as_ref(),
                )
            })
            .collect::<Result<Vec<Node>>>()?;
        let seeds = nodes.iter().map(Node::address).collect();
        let mut cluster = Self {
            ids: vec![],
            seeds: Arc::new(RwLock::new(seeds)),
            nodes,
            shape,
            network,
            hosts_file,
            _programs: programs,
        };
        cluster.write_hosts()?;
        for node in &mut cluster.nodes {
            node.start()?;
        }
        cluster.form().await?;
        Ok(cluster)
    }

    async fn form(&mut self) -> Result<()> {
        for node in &self.nodes {
            let mut connection = patient_connection(node.address()).await?;
            let id = parsed("CLUSTER MYID").query_async(&mut connection).await;
            self.ids.push(id.context("CLUSTER MYID")?);
        }
        for node in &self.nodes[1..] {
            let (ip, port) = (node.address().ip(), node.address().port());
            self.insist(0, &format!("CLUSTER MEET {ip} {port}")).await?;
        }
        self.wait_for_members().await?;
        let shards = self.shape.shards;
        for shard in 0..shards {
            let (first, last) = self.shape.range(shard);
            let add = format!("CLUSTER ADDSLOTSRANGE {first} {last}");
            self.insist(shard, &add).await?;
        }
        for replica in 0..shards * self.shape.replicas {
            let replicate = format!("CLUSTER REPLICATE {}", self.ids[replica % shards]);
            self.insist(shards + replica, &replicate).await?;
        }
        self.wait_until_whole().await?;
        Ok(())
    }

    async fn wait_for_members(&self) -> Result<()> {
        for number in 0..self.nodes.len() {
            until("every node knows every other", async || {
                let nodes = self.ask::<String>(number, "CLUSTER NODES").await;
                let known = nodes.map_or(0, |nodes| nodes.lines().count());
                equal(known, self.nodes.len())
            })
            .await?;
        }
        Ok(())
    }

    /// Sends a command, whose words are separated by spaces, to a node, on a new connection.
    ///
    /// # Errors
    /// If there is no connection or no answer within seconds, or an error is answered.
    pub async fn ask<T: FromRedisValue>(&self, node: usize, command: &str) -> Result<T> {
        let mut connection = client::connect(self.nodes[node].address(), ADMIN_WITHIN).await?;
        let answer = parsed(command).query_async(&mut connection).await;
        answer.with_context(|| format!("node {node}: {command}"))
    }

    /// The same, until it is done: leaders change while a cluster forms.
    ///
    /// # Errors
    /// If it is not done in time.
    pub async fn insist(&self, node: usize, command: &str) -> Result<()> {
        until(command, async || {
            let answer = self.ask::<Value>(node, command).await;
            answer.map(drop).map_err(|error| format!("{error:#}"))
        })
        .await?;
        Ok(())
    }

    /// Who owns `slot`, as a node sees it.
    ///
    /// # Errors
    /// If it does not answer, or says that nobody does.
    pub async fn owner_at(&self, node: usize, slot: SlotId) -> Result<usize> {
        let ranges: Vec<Vec<Value>> = self.ask(node, "CLUSTER SLOTS").await?;
        for range in &ranges {
            let [first, last, primary, ..] = range.as_slice() else {
                bail!("CLUSTER SLOTS answered {range:?}");
            };
            let bounds = u16::from_redis_value_ref(first)?..=u16::from_redis_value_ref(last)?;
            if bounds.contains(&slot.number()) {
                let named = primary.as_sequence().context("CLUSTER SLOTS: a node")?;
                let id =
                    String::from_redis_value_ref(named.get(2).context("CLUSTER SLOTS: an id")?)?;
                let number = self.ids.iter().position(|one| *one == id);
                return number.with_context(|| format!("nobody has the id {id}"));
            }
        }
        bail!("node {node}: nobody owns slot {slot:?}")
    }

    /// Who owns `slot`, in the eyes of all of these nodes.
    ///
    /// # Errors
    /// If one does not answer, or they do not agree yet.
    pub async fn owner(&self, viewers: &[usize], slot: SlotId) -> Result<usize> {
        let looks = viewers.iter().map(|viewer| self.owner_at(*viewer, slot));
        let owners = futures::future::try_join_all(looks).await?;
        let first = *owners.first().context("no viewers")?;
        ensure!(
            owners.iter().all(|owner| *owner == first),
            "owners: {owners:?}"
        );
        Ok(first)
    }

    /// The primary of a shard, when all running nodes agree.
    ///
    /// # Errors
    /// If they do not in time.
    pub async fn primary(&self, shard: usize) -> Result<usize> {
        let mut primary = 0;
        until("all agree on a primary", async || {
            let owner = self.owner(&self.all(), self.shape.slot(shard)).await;
            primary = owner.map_err(|error| format!("{error:#}"))?;
            Ok(())
        })
        .await?;
        Ok(primary)
    }

    /// The replicas of a shard whose primary is `primary`, as that says.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn replicas(&self, primary: usize) -> Result<Vec<usize>> {
        let lines: Vec<String> = self
            .ask(primary, &format!("CLUSTER REPLICAS {}", self.ids[primary]))
            .await?;
        let ids = lines.iter().filter_map(|line| line.split(' ').next());
        Ok(ids
            .filter_map(|id| self.ids.iter().position(|one| one == id))
            .collect())
    }

    /// The node that leads the voters, as most say.
    ///
    /// # Errors
    /// If nobody says so in time.
    pub async fn leader(&self, viewer: usize) -> Result<usize> {
        let mut leader = 0;
        until("there is a leader", async || {
            let info = self.ask::<String>(viewer, "CLUSTER INFO").await;
            let info = info.map_err(|error| format!("{error:#}"))?;
            let id = field(&info, "cluster_leader").unwrap_or_default();
            let number = self.ids.iter().position(|one| one == id);
            leader = number.ok_or("nobody")?;
            Ok(())
        })
        .await?;
        Ok(leader)
    }

    /// The numbers of all nodes.
    #[must_use]
    pub fn all(&self) -> Vec<usize> {
        (0..self.nodes.len()).collect()
    }

    /// The numbers of all nodes but these.
    #[must_use]
    pub fn all_but(&self, some: &[usize]) -> Vec<usize> {
        let all = self.all().into_iter();
        all.filter(|node| !some.contains(node)).collect()
    }

    /// Waits until all nodes know a primary of the shard other than `old`; `viewers` are asked.
    ///
    /// # Errors
    /// If they do not in time.
    pub async fn wait_for_successor(
        &self,
        viewers: &[usize],
        shard: usize,
        old: usize,
    ) -> Result<usize> {
        let mut successor = old;
        until("all know the new primary", async || {
            let owner = self.owner(viewers, self.shape.slot(shard)).await;
            successor = owner.map_err(|error| format!("{error:#}"))?;
            if successor == old {
                return Err(format!("it is still node {old}"));
            }
            Ok(())
        })
        .await?;
        Ok(successor)
    }

    /// Waits until every node runs, agrees with the others, every replica follows, and all seats of voters are taken.
    ///
    /// # Errors
    /// If that is not so in time.
    pub async fn wait_until_whole(&self) -> Result<()> {
        let (voters, replicas) = (self.shape.voters(), self.shape.shards * self.shape.replicas);
        let addresses = self.nodes.iter().map(|node| node.address().to_string());
        let addresses: Vec<String> = addresses.collect();
        until("the cluster is whole", async || {
            let whole = nodes::whole(&addresses, voters, replicas).await;
            whole.map_err(|error| format!("{error:#}"))
        })
        .await?;
        Ok(())
    }

    /// Lets all nodes be on other hosts when they are next started: each on that of the next one, which every name is
    /// then resolved to. Takes [`Shape::names`].
    ///
    /// # Errors
    /// If the names cannot be written down.
    pub fn move_all(&mut self) -> Result<()> {
        let hosts: Vec<_> = self.nodes.iter().map(|node| node.address().ip()).collect();
        let count = self.nodes.len();
        let find = |address| {
            let mut all = 0..count;
            all.find(|number| address == self.network.host(*number).address())
        };
        let next: Vec<usize> = hosts
            .into_iter()
            .map(|address| Ok((find(address).context("a host")? + 1) % count))
            .collect::<Result<_>>()?;
        for (node, host) in self.nodes.iter_mut().zip(next) {
            node.move_to(self.network.host(host).clone());
        }
        *self.seeds.write() = self.nodes.iter().map(Node::address).collect();
        self.write_hosts()
    }

    fn write_hosts(&self) -> Result<()> {
        let mut text = "127.0.0.1 localhost\n".to_owned();
        for (number, node) in self.nodes.iter().enumerate() {
            text.push_str(&format!("{} {}\n", node.address().ip(), name(number)));
        }
        std::fs::write(&self.hosts_file, text).context("write the names of hosts")
    }
}

/// The host name of a node.
fn name(number: usize) -> String {
    format!("node-{number}.evenkeel.test")
}

fn arguments(shape: &Shape, number: usize) -> Vec<String> {
    let timeout = NODE_TIMEOUT_MS.to_string();
    let fixed = [
        "--cluster-enabled",
        "yes",
        "--cluster-node-timeout",
        &timeout,
        "--cluster-secret",
        "known to the nodes of these clusters",
    ];
    let mut arguments: Vec<String> = fixed.map(str::to_owned).into();
    if shape.names {
        arguments.extend(["--cluster-announce-hostname".to_owned(), name(number)]);
    }
    arguments.extend(shape.arguments.iter().cloned());
    arguments
}

async fn patient_connection(address: SocketAddr) -> Result<MultiplexedConnection> {
    let began = Instant::now();
    loop {
        match client::connect(address, ADMIN_WITHIN).await {
            Ok(connection) => return Ok(connection),
            Err(error) if began.elapsed() > PATIENCE => {
                return Err(error).with_context(|| format!("connect to {address}"));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

fn equal(is: usize, wanted: usize) -> Result<(), String> {
    if is == wanted {
        Ok(())
    } else {
        Err(format!("{is} of {wanted}"))
    }
}

/// The value of a line `name:value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let lines = text.lines();
    lines
        .filter_map(|line| line.split_once(':'))
        .find_map(|(key, value)| (key == name).then_some(value.trim()))
}

fn parsed(command: &str) -> redis::Cmd {
    let mut words = command.split(' ');
    let mut cmd = redis::cmd(words.next().unwrap_or_default());
    words.for_each(|word| {
        cmd.arg(word);
    });
    cmd
}
