//! Clusters of real processes.

use std::collections::BTreeMap;

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;

use crate::processes::{PATIENCE, Process, eventually};

/// Arguments of every member.
const ARGS: [&str; 6] = [
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    "2000",
    "--cluster-secret",
    "known to the nodes of this test",
];

/// A cluster; its processes are killed when it is dropped. Shard `i` has node `i` as its first primary; replicas come behind the primaries.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Process>,
    pub(crate) ids: Vec<String>,
}

/// One entry of `CLUSTER GETSLOTMIGRATIONS`.
pub(crate) type Job = BTreeMap<String, String>;

impl Cluster {
    /// A cluster of `shards` primaries with all slots spread evenly, or all at the first when `spread` is false. `replicas` names the
    /// primaries that get a replica.
    pub(crate) async fn start(shards: usize, replicas: &[usize], spread: bool) -> Self {
        Self::start_with(shards, replicas, spread, &[]).await
    }

    /// The same with these further arguments for every node.
    pub(crate) async fn start_with(
        shards: usize,
        replicas: &[usize],
        spread: bool,
        args: &[&str],
    ) -> Self {
        let mut nodes = Vec::new();
        let mut ids = Vec::new();
        for _ in 0..shards + replicas.len() {
            let node = Process::start(&[&ARGS[..], args].concat()).await;
            let id: String = ask(&mut node.connect().await, "CLUSTER MYID").await;
            nodes.push(node);
            ids.push(id);
        }
        let cluster = Self { nodes, ids };
        cluster.meet().await;
        for shard in 0..shards {
            let (first, last) = if spread {
                (shard * 16384 / shards, (shard + 1) * 16384 / shards - 1)
            } else {
                (0, 16383)
            };
            if spread || shard == 0 {
                let add = format!("CLUSTER ADDSLOTSRANGE {first} {last}");
                cluster.insist(shard, &add).await;
            }
        }
        for (number, primary) in replicas.iter().enumerate() {
            let command = format!("CLUSTER REPLICATE {}", cluster.ids[*primary]);
            cluster.insist(shards + number, &command).await;
            cluster.wait_for_link(shards + number).await;
        }
        cluster.wait_for_slots().await;
        cluster
    }

    async fn meet(&self) {
        for node in &self.nodes[1..] {
            let command = format!("CLUSTER MEET 127.0.0.1 {}", node.port());
            self.insist(0, &command).await;
        }
        for number in 0..self.nodes.len() {
            let mut connection = self.nodes[number].connect().await;
            eventually("every node knows every other", async || {
                let nodes: String = ask(&mut connection, "CLUSTER NODES").await;
                nodes.lines().count() == self.nodes.len()
            })
            .await;
        }
    }

    /// Executes a command on a node until it is done: leaders change while a cluster forms.
    pub(crate) async fn insist(&self, node: usize, command: &str) {
        let mut connection = self.nodes[node].connect().await;
        let mut last = String::new();
        let deadline = std::time::Instant::now() + PATIENCE;
        while std::time::Instant::now() < deadline {
            match parsed(command)
                .query_async::<redis::Value>(&mut connection)
                .await
            {
                Ok(_) => return,
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("{command}: {last}");
    }

    pub(crate) async fn wait_for_link(&self, replica: usize) {
        let mut connection = self.nodes[replica].connect().await;
        eventually("the replica's link is up", async || {
            let role = redis::cmd("ROLE").query_async(&mut connection).await;
            role.is_ok_and(|role: (String, String, u16, String, u64)| role.3 == "connected")
        })
        .await;
    }

    async fn wait_for_slots(&self) {
        let voters = self.nodes.len().min(5);
        for node in &self.nodes {
            let mut connection = node.connect().await;
            eventually(
                "every node sees all slots served and all voters",
                async || {
                    let info: String = ask(&mut connection, "CLUSTER INFO").await;
                    let line = info
                        .lines()
                        .find_map(|line| line.strip_prefix("cluster_voters:"));
                    info.contains("cluster_slots_ok:16384")
                        && info.contains("cluster_state:ok")
                        && line.is_some_and(|line| line.split(',').count() == voters)
                },
            )
            .await;
        }
    }

    /// A cluster client.
    pub(crate) async fn client(&self) -> ClusterConnection {
        let urls: Vec<String> = self.nodes.iter().map(Process::url).collect();
        ClusterClientBuilder::new(urls)
            .retries(32)
            .min_retry_wait(5)
            .max_retry_wait(100)
            .build()
            .expect("valid addresses")
            .get_async_connection()
            .await
            .expect("the cluster answers")
    }

    pub(crate) async fn connect(&self, node: usize) -> MultiplexedConnection {
        self.nodes[node].connect().await
    }

    /// Starts a migration of `first` to `last` from node to node.
    pub(crate) async fn migrate(&self, from: usize, to: usize, first: u16, last: u16) {
        let command = format!(
            "CLUSTER MIGRATESLOTS SLOTSRANGE {first} {last} NODE {}",
            self.ids[to]
        );
        self.insist(from, &command).await;
    }

    /// The jobs that a node lists, the newest first.
    pub(crate) async fn jobs(&self, node: usize) -> Vec<Job> {
        let value: redis::Value =
            ask(&mut self.connect(node).await, "CLUSTER GETSLOTMIGRATIONS").await;
        let redis::Value::Array(jobs) = value else {
            panic!("an array, not {value:?}");
        };
        jobs.into_iter()
            .map(|job| redis::from_redis_value(job).expect("fields with values"))
            .collect()
    }

    /// Waits until the newest job of a node is in `state`.
    pub(crate) async fn wait_for_job(&self, node: usize, state: &str) {
        let mut seen = String::new();
        let deadline = std::time::Instant::now() + PATIENCE;
        while std::time::Instant::now() < deadline {
            let jobs = self.jobs(node).await;
            if let Some(job) = jobs.first() {
                if job["state"] == state {
                    return;
                }
                seen = format!("{}: {}", job["state"], job["message"]);
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("the job should be {state}, is {seen}");
    }

    /// The id of the primary that owns `slot`, as a node sees it; empty when nobody owns it.
    pub(crate) async fn owners_at(&self, node: usize, slot: u16) -> String {
        type Shard = (u16, u16, redis::Value);
        let ranges: Vec<redis::Value> = ask(&mut self.connect(node).await, "CLUSTER SLOTS").await;
        for range in ranges {
            let redis::Value::Array(mut fields) = range else {
                panic!("a range");
            };
            fields.truncate(3);
            let (first, last, primary): Shard =
                redis::from_redis_value(redis::Value::Array(fields)).expect("a range");
            if (first..=last).contains(&slot) {
                let redis::Value::Array(primary) = primary else {
                    panic!("a node");
                };
                return redis::from_redis_value(primary[2].clone()).expect("an id");
            }
        }
        String::new()
    }

    /// Waits until a node sees that `owner` owns `slot`.
    pub(crate) async fn wait_for_owner_at(&self, node: usize, slot: u16, owner: usize) {
        eventually("the node sees the owner", async || {
            self.owners_at(node, slot).await == self.ids[owner]
        })
        .await;
    }

    /// Waits until all nodes agree that `node` owns `slot`.
    pub(crate) async fn wait_for_owner(&self, slot: u16, node: usize) {
        for viewer in 0..self.nodes.len() {
            self.wait_for_owner_at(viewer, slot, node).await;
        }
    }

    /// Number of keys that a node holds in `first` to `last`, shown or not.
    pub(crate) async fn keys_in(&self, node: usize, first: u16, last: u16) -> usize {
        let mut connection = self.connect(node).await;
        let mut pipe = redis::pipe();
        for slot in first..=last {
            pipe.cmd("CLUSTER").arg("COUNTKEYSINSLOT").arg(slot);
        }
        let counts: Vec<usize> = pipe.query_async(&mut connection).await.expect("counts");
        counts.iter().sum()
    }
}

fn parsed(command: &str) -> redis::Cmd {
    let mut words = command.split(' ');
    let mut cmd = redis::cmd(words.next().expect("a name"));
    words.for_each(|word| {
        cmd.arg(word);
    });
    cmd
}

/// Executes a command that must succeed.
pub(crate) async fn ask<T: redis::FromRedisValue>(
    connection: &mut MultiplexedConnection,
    command: &str,
) -> T {
    match parsed(command).query_async(connection).await {
        Ok(value) => value,
        Err(error) => panic!("{command}: {error}"),
    }
}
