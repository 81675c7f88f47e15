//! A cluster client that makes one attempt at a time and says how it ended, as histories need it; no command is ever repeated behind
//! the caller's back. Between attempts it does what a good client does: follows `MOVED`, and asks another node for the
//! slots as soon as one is not there.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_node::slot::{SLOT_COUNT, SlotId};
use parking_lot::RwLock;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, RedisError, Value};

/// How long a client waits for a connection or for an answer.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(250);
/// Between two questions for the slots, while nobody knows better.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// Refusals after which a command is certainly not executed.
const REFUSALS: [&str; 7] = [
    "MOVED",
    "ASK",
    "CLUSTERDOWN",
    "READONLY",
    "TRYAGAIN",
    "LOADING",
    "MASTERDOWN",
];

/// Where a cluster's nodes are: what a client would be configured with, or find by a name.
pub type Seeds = Arc<RwLock<Vec<SocketAddr>>>;

/// How an attempt ended.
#[derive(Debug)]
pub enum Attempt {
    /// Executed.
    Answered {
        /// The answer.
        value: Value,
        /// Who gave it.
        by: SocketAddr,
    },
    /// Certainly not executed.
    Refused(String),
    /// There was no answer.
    Unknown(String),
}

/// A client.
pub struct Client {
    seeds: Seeds,
    owners: Vec<Option<SocketAddr>>,
    connections: HashMap<SocketAddr, MultiplexedConnection>,
    next_seed: usize,
}

impl Client {
    /// A client that knows no slots yet.
    #[must_use]
    pub fn new(seeds: Seeds) -> Self {
        Self {
            seeds,
            owners: vec![None; SLOT_COUNT],
            connections: HashMap::new(),
            next_seed: 0,
        }
    }

    /// Sends a command for `slot` to who owns that as far as is known, once.
    pub async fn attempt(&mut self, slot: SlotId, command: &Cmd) -> Attempt {
        let Some(owner) = self.owners[slot.index()] else {
            self.learn(slot, None).await;
            return Attempt::Refused("no owner is known".to_owned());
        };
        let mut connection = match self.connection(owner).await {
            Ok(connection) => connection,
            Err(error) => {
                self.learn(slot, Some(owner)).await;
                return Attempt::Refused(format!("no connection: {error}"));
            }
        };
        match command.query_async::<Value>(&mut connection).await {
            Ok(value) => Attempt::Answered { value, by: owner },
            Err(error) => self.not_executed(slot, owner, &error).await,
        }
    }

    /// Repeats what is certainly not executed, until it is or `patience` is over.
    pub async fn insist(&mut self, slot: SlotId, command: &Cmd, patience: Duration) -> Attempt {
        let began = Instant::now();
        loop {
            match self.attempt(slot, command).await {
                Attempt::Refused(_) if began.elapsed() < patience => {}
                attempt => return attempt,
            }
        }
    }

    async fn not_executed(
        &mut self,
        slot: SlotId,
        owner: SocketAddr,
        error: &RedisError,
    ) -> Attempt {
        let code = error.code().filter(|code| REFUSALS.contains(code));
        let Some(code) = code else {
            self.connections.remove(&owner);
            self.learn(slot, Some(owner)).await;
            return Attempt::Unknown(error.to_string());
        };
        let redirect = error.redirect_node().filter(|_| code == "MOVED");
        match redirect.and_then(|(address, _)| address.parse().ok()) {
            Some(address) => self.owners[slot.index()] = Some(address),
            None => self.learn(slot, None).await,
        }
        Attempt::Refused(code.to_owned())
    }

    /// Asks for the slots, until somebody says that another than `suspect` owns `slot`, or an answer's time is over:
    /// then the suspect may be asked again.
    async fn learn(&mut self, slot: SlotId, suspect: Option<SocketAddr>) {
        let began = Instant::now();
        if let Some(suspect) = suspect {
            self.connections.remove(&suspect);
        }
        while began.elapsed() < ANSWER_WITHIN {
            let seeds = self.seeds.read().clone();
            self.next_seed += 1;
            let seed = seeds[self.next_seed % seeds.len()];
            if Some(seed) == suspect && seeds.len() > 1 {
                continue;
            }
            if let Ok(owners) = self.owners_seen_by(seed).await {
                let owner = owners[slot.index()];
                self.owners = owners;
                if owner.is_some() && owner != suspect {
                    // A refusal repeated at once would only keep both busy.
                    if suspect.is_none() {
                        tokio::time::sleep(ASK_EVERY).await;
                    }
                    return;
                }
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    async fn owners_seen_by(
        &mut self,
        seed: SocketAddr,
    ) -> Result<Vec<Option<SocketAddr>>, RedisError> {
        let mut connection = self.connection(seed).await?;
        let answer = redis::cmd("CLUSTER")
            .arg("SLOTS")
            .query_async(&mut connection)
            .await;
        if answer.is_err() {
            self.connections.remove(&seed);
        }
        let ranges: Vec<Vec<Value>> = answer?;
        let mut owners = vec![None; SLOT_COUNT];
        for range in ranges {
            if let [first, last, primary, ..] = range.as_slice() {
                let first = usize::from_redis_value_ref(first)?;
                let last = usize::from_redis_value_ref(last)?;
                let named = primary.as_sequence().unwrap_or_default();
                let [host, port, ..] = named else { continue };
                let host = String::from_redis_value_ref(host)?;
                let port = u16::from_redis_value_ref(port)?;
                let owner = host.parse().ok().map(|ip| SocketAddr::new(ip, port));
                owners[first..=last].fill(owner);
            }
        }
        Ok(owners)
    }

    async fn connection(&mut self, to: SocketAddr) -> Result<MultiplexedConnection, RedisError> {
        if let Some(connection) = self.connections.get(&to) {
            return Ok(connection.clone());
        }
        let connection = connect(to, ANSWER_WITHIN).await?;
        self.connections.insert(to, connection.clone());
        Ok(connection)
    }
}

/// A connection to one node; whatever takes longer than `patience` is given up.
///
/// # Errors
/// If there is none in this time.
pub async fn connect(
    to: SocketAddr,
    patience: Duration,
) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(patience))
        .set_response_timeout(Some(patience));
    redis::Client::open(format!("redis://{to}/"))?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}
