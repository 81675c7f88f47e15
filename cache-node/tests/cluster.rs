//! Clusters of real processes on loopback: formation, redirection, promotion, quarantine, leaving, takeover.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests fail like the tests themselves"
)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::FromRedisValue;
use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use tempfile::TempDir;

#[path = "common/ports.rs"]
mod ports;

const LIMIT: Duration = Duration::from_secs(20);

/// A process and its directory, which outlives restarts.
struct Server {
    port: u16,
    bus_port: u16,
    dir: TempDir,
    process: Option<Child>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    async fn start() -> Self {
        let (port, bus_port) = (ports::free_port(), ports::free_port());
        let mut server = Self {
            port,
            bus_port,
            dir: tempfile::tempdir().unwrap(),
            process: None,
        };
        server.restart().await;
        server
    }

    /// Starts the process again, with what is in its directory.
    async fn restart(&mut self) {
        self.kill();
        let process = Command::new(env!("CARGO_BIN_EXE_cache-node"))
            .args(["--port", &self.port.to_string()])
            .args(["--cluster-port", &self.bus_port.to_string()])
            .args(["--bind", "127.0.0.1", "--threads", "1"])
            .args(["--cluster-enabled", "yes", "--dir"])
            .arg(self.dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        let end = Instant::now() + LIMIT;
        while self.try_connect().await.is_none() {
            assert!(Instant::now() < end, "the process does not answer");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    async fn try_connect(&self) -> Option<MultiplexedConnection> {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.ok()
    }

    async fn try_ask<T: FromRedisValue>(&self, command: &str) -> Result<T, String> {
        let Some(mut connection) = self.try_connect().await else {
            return Err("not connected".to_owned());
        };
        let mut words = command.split(' ');
        let mut request = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            request.arg(word);
        });
        let answer = request.query_async(&mut connection).await;
        answer.map_err(|error: redis::RedisError| error.to_string())
    }

    async fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        let answer = self.try_ask(command).await;
        answer.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    async fn id(&self) -> String {
        self.ask("CLUSTER MYID").await
    }

    /// A line of `CLUSTER INFO`.
    async fn info(&self, name: &str) -> String {
        let text: String = self.ask("CLUSTER INFO").await;
        let line = text
            .lines()
            .find_map(|line| line.split_once(':').filter(|l| l.0 == name));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .1
            .to_owned()
    }

    /// The fields of a node's line in `CLUSTER NODES`.
    async fn line(&self, id: &str) -> Option<Vec<String>> {
        let text: String = self.ask("CLUSTER NODES").await;
        let line = text.lines().find(|line| line.starts_with(id))?;
        Some(line.split(' ').map(str::to_owned).collect())
    }

    async fn wait_info(&self, name: &str, wanted: &str) {
        let end = Instant::now() + LIMIT;
        loop {
            let found = self.info(name).await;
            if found == wanted {
                return;
            }
            assert!(Instant::now() < end, "{name} stays {found}, not {wanted}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the replica's copy is complete.
    async fn wait_synced(&self, key: &str, value: &str) {
        let end = Instant::now() + LIMIT;
        loop {
            let mut connection = self.try_connect().await.expect("the process is up");
            let _: () = redis::cmd("READONLY")
                .query_async(&mut connection)
                .await
                .unwrap();
            let found: Result<Option<String>, _> = redis::cmd("GET")
                .arg(key)
                .query_async(&mut connection)
                .await;
            if found
                .as_ref()
                .is_ok_and(|found| found.as_deref() == Some(value))
            {
                return;
            }
            assert!(Instant::now() < end, "the replica has {found:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// As many nodes in one cluster; the first ones own equal shares of the slots, the others none.
async fn form(nodes: usize, owners: usize) -> Vec<Server> {
    let mut servers = Vec::new();
    for number in 0..nodes {
        let server = Server::start().await;
        if number < owners {
            let first = 16384 * number / owners;
            let last = 16384 * (number + 1) / owners - 1;
            let add = format!("CLUSTER ADDSLOTSRANGE {first} {last}");
            let _: () = server.ask(&add).await;
        }
        servers.push(server);
        if number > 0 {
            let (first, last) = (&servers[0], &servers[number]);
            let meet = format!("CLUSTER MEET 127.0.0.1 {} {}", first.port, first.bus_port);
            let _: () = last.ask(&meet).await;
        }
    }
    for server in &servers {
        server
            .wait_info("cluster_known_nodes", &nodes.to_string())
            .await;
        server.wait_info("cluster_state", "ok").await;
        let voters = |text: String| text.split(',').count();
        let end = Instant::now() + LIMIT;
        while voters(server.info("cluster_voters").await) < nodes.min(5) {
            assert!(Instant::now() < end, "the voters are not seated");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    servers
}

#[tokio::test]
async fn three_nodes_form_a_cluster_that_clients_use() {
    let servers = form(3, 3).await;
    // `foo` is in slot 12182, which the third node owns.
    let moved = servers[0].try_ask::<String>("GET foo").await.unwrap_err();
    assert!(moved.to_lowercase().contains("moved"), "{moved}");
    let client = ClusterClient::new(vec![servers[0].url()]).unwrap();
    let mut connection = client.get_async_connection().await.unwrap();
    for number in 0..200 {
        let key = format!("key:{number}");
        let _: () = redis::cmd("SET")
            .arg(&key)
            .arg(number)
            .query_async(&mut connection)
            .await
            .unwrap();
        let back: u32 = redis::cmd("GET")
            .arg(&key)
            .query_async(&mut connection)
            .await
            .unwrap();
        assert_eq!(back, number);
    }
    let again = format!(
        "CLUSTER MEET 127.0.0.1 {} {}",
        servers[1].port, servers[1].bus_port
    );
    let _: () = servers[0].ask(&again).await;
}

#[tokio::test]
async fn errors_have_the_words_of_redis() {
    let server = Server::start().await;
    for (command, error) in [
        ("CLUSTER ADDSLOTS 16384", "Invalid or out of range slot"),
        ("CLUSTER ADDSLOTS 1 1", "Slot 1 specified multiple times"),
        (
            "CLUSTER ADDSLOTSRANGE 5 1",
            "start slot number 5 is greater than end slot number 1",
        ),
        ("CLUSTER DELSLOTS 1", "Slot 1 is already unassigned"),
        ("CLUSTER FORGET nobody", "Unknown node nobody"),
        (
            "CLUSTER MEET 127.0.0.1 0",
            "Invalid node address specified: 127.0.0.1:0",
        ),
        (
            "CLUSTER FAILOVER",
            "You should send CLUSTER FAILOVER to a replica",
        ),
        (
            "CLUSTER SETSLOT 1 NONSENSE",
            "Invalid CLUSTER SETSLOT action or number of arguments",
        ),
        (
            "CLUSTER NONSENSE",
            "unknown subcommand 'NONSENSE'. Try CLUSTER HELP.",
        ),
        ("CLUSTER COUNTKEYSINSLOT 16384", "Invalid slot"),
        ("GET foo", "Hash slot not served"),
    ] {
        let answer = server.try_ask::<redis::Value>(command).await;
        let text = answer.expect_err(command);
        assert!(text.contains(error), "{command}: {text}");
    }
    assert_eq!(server.ask::<u16>("CLUSTER KEYSLOT foo").await, 12182);
    assert_eq!(server.info("node_state").await, "fresh");
}

#[tokio::test]
async fn a_replica_is_promoted_when_its_primary_is_gone_and_the_old_one_comes_back_as_replica() {
    let mut servers = form(4, 3).await;
    let (primary, replica) = (servers[2].id().await, servers[3].id().await);
    let _: () = servers[3]
        .ask(&format!("CLUSTER REPLICATE {primary}"))
        .await;
    let _: () = servers[2].ask("SET foo bar").await;
    servers[3].wait_synced("foo", "bar").await;

    servers[2].kill();
    let _: () = servers[3].ask("CLUSTER FAILOVER FORCE").await;
    assert_eq!(servers[3].ask::<String>("GET foo").await, "bar");
    servers[0].wait_info("cluster_state", "ok").await;
    let line = servers[0].line(&replica).await.unwrap();
    assert_eq!(line[2], "master");

    servers[2].restart().await;
    assert_eq!(servers[2].id().await, primary);
    servers[2].wait_info("node_state", "replica").await;
    servers[2].wait_synced("foo", "bar").await;
    // Planned, with nothing lost.
    let _: () = servers[2].ask("CLUSTER FAILOVER").await;
    assert_eq!(servers[2].ask::<String>("GET foo").await, "bar");
    servers[3].wait_info("node_state", "replica").await;
}

#[tokio::test]
async fn a_primary_that_restarts_with_replicas_is_quarantined_until_it_is_reinstated() {
    let mut servers = form(4, 3).await;
    let primary = servers[2].id().await;
    let _: () = servers[3]
        .ask(&format!("CLUSTER REPLICATE {primary}"))
        .await;
    // Its replica may have its data, or more on its disk, and cannot be asked.
    servers[3].kill();
    servers[2].restart().await;
    servers[2].wait_info("cluster_quorum", "yes").await;
    assert_eq!(servers[2].info("node_state").await, "quarantined");
    let refused = servers[2].try_ask::<String>("GET foo").await.unwrap_err();
    assert!(refused.contains("restarted without its data"), "{refused}");
    let _: () = servers[2].ask("CLUSTER FAILOVER FORCE").await;
    assert_eq!(servers[2].info("node_state").await, "primary");

    // Nobody has the data of a primary without replicas: it serves again by itself.
    servers[1].restart().await;
    servers[1].wait_info("node_state", "primary").await;
}

#[tokio::test]
async fn nodes_leave_by_forget_and_by_reset_and_can_come_back() {
    let servers = form(4, 3).await;
    let gone = servers[3].id().await;
    let refused = format!("CLUSTER FORGET {}", servers[1].id().await);
    let refused = servers[0].try_ask::<()>(&refused).await.unwrap_err();
    assert!(
        refused.contains("primary of a shard with slots"),
        "{refused}"
    );
    for server in &servers[..3] {
        // redis-cli tells every node; all but the first have heard it already.
        let known = if server.port == servers[0].port {
            "4"
        } else {
            "3"
        };
        server.wait_info("cluster_known_nodes", known).await;
        let _: () = server.ask(&format!("CLUSTER FORGET {gone}")).await;
        assert!(server.line(&gone).await.is_none());
    }
    servers[3].wait_info("node_state", "fresh").await;
    let _: () = servers[3].ask("CLUSTER RESET HARD").await;
    assert_ne!(servers[3].id().await, gone);
    let back = format!(
        "CLUSTER MEET 127.0.0.1 {} {}",
        servers[3].port, servers[3].bus_port
    );
    let _: () = servers[0].ask(&back).await;
    servers[3].wait_info("cluster_known_nodes", "4").await;

    let _: () = servers[3].ask("CLUSTER RESET").await;
    servers[3].wait_info("cluster_known_nodes", "1").await;
    servers[0].wait_info("cluster_known_nodes", "3").await;
    // Those who stayed still agree.
    let _: () = servers[1].ask("CLUSTER DELSLOTS 0").await;
}

#[tokio::test]
async fn a_takeover_re_forms_a_cluster_that_lost_its_majority() {
    let mut servers = form(3, 3).await;
    servers[0].kill();
    servers[1].kill();
    servers[2].wait_info("cluster_quorum", "no").await;
    let _: () = servers[2].ask("CLUSTER FAILOVER TAKEOVER").await;
    assert_eq!(servers[2].info("cluster_generation").await, "2");
    let _: () = servers[2].ask("CLUSTER DELSLOTS 16383").await;
    let _: () = servers[2].ask("CLUSTER ADDSLOTS 16383").await;
    servers[0].restart().await;
    servers[0].wait_info("cluster_generation", "2").await;
    servers[0].wait_info("node_state", "primary").await;
}
