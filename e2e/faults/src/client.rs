//! A cluster client that makes one attempt at a time and says how it ended, as histories need it; no command is ever repeated behind
//! the caller's back. Between attempts it does what a good client does: follows `MOVED`, and asks another node for the
//! slots as soon as one is not there. While a node that has failed is tried again, the others are asked on, so that its successor is found
//! when they know it, and not when the time for an answer is over.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_node::slot::{SLOT_COUNT, SlotId};
use parking_lot::RwLock;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, RedisError, Value};

/// How long a client waits before it looks elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a connection.
    pub connection: Duration,
    /// For an answer.
    pub answer: Duration,
    /// For others to name a new owner, before a node that has failed is tried again.
    pub retry: Duration,
}

impl Default for Patience {
    /// That of a common client.
    fn default() -> Self {
        let patience = Duration::from_millis(250);
        Self {
            connection: patience,
            answer: patience,
            retry: patience,
        }
    }
}

/// Between two questions for the slots, while nobody knows better.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// Why an attempt at a node that has failed before was given up.
const FOLLOWED: &str = "another owner is known";

/// Refusals after which a command is certainly not executed.
const REFUSALS: [&str; 8] = [
    "MOVED",
    "ASK",
    "CLUSTERDOWN",
    "READONLY",
    "TRYAGAIN",
    "LOADING",
    "MASTERDOWN",
    "NOREPLICAS",
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
    slots: Slots,
    connections: Connections,
    retry: Duration,
    /// Who has failed, and has not answered since.
    suspect: Option<SocketAddr>,
}

impl Client {
    /// A client that knows no slots yet.
    #[must_use]
    pub fn new(seeds: Seeds, patience: Patience) -> Self {
        Self {
            slots: Slots {
                seeds,
                owners: vec![None; SLOT_COUNT],
                connections: Connections::new(patience),
                next_seed: 0,
            },
            connections: Connections::new(patience),
            retry: patience.retry,
            suspect: None,
        }
    }

    /// Sends a command for `slot` to who owns that as far as is known, once.
    pub async fn attempt(&mut self, slot: SlotId, command: &Cmd) -> Attempt {
        let Some(owner) = self.slots.owner(slot) else {
            self.learn(slot, None).await;
            return Attempt::Refused("no owner is known".to_owned());
        };
        let suspect = self.suspect.filter(|suspect| *suspect == owner);
        let connected = tokio::select! {
            connected = self.connections.to(owner) => connected,
            () = self.slots.followed(slot, suspect) => {
                return Attempt::Refused(FOLLOWED.to_owned());
            }
        };
        let mut connection = match connected {
            Ok(connection) => connection,
            Err(error) => {
                self.failed(slot, owner).await;
                return Attempt::Refused(format!("no connection: {error}"));
            }
        };
        let answered = tokio::select! {
            answered = command.query_async::<Value>(&mut connection) => answered,
            () = self.slots.followed(slot, suspect) => {
                self.connections.forget(owner);
                return Attempt::Unknown(FOLLOWED.to_owned());
            }
        };
        match answered {
            Ok(value) => {
                self.suspect = None;
                Attempt::Answered { value, by: owner }
            }
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
            self.failed(slot, owner).await;
            return Attempt::Unknown(error.to_string());
        };
        self.suspect = None;
        let redirect = error.redirect_node().filter(|_| code == "MOVED");
        match redirect.and_then(|(address, _)| address.parse().ok()) {
            Some(address) => self.slots.owners[slot.index()] = Some(address),
            None => self.learn(slot, None).await,
        }
        Attempt::Refused(code.to_owned())
    }

    /// Looks for another than `owner`, which did not answer.
    async fn failed(&mut self, slot: SlotId, owner: SocketAddr) {
        self.connections.forget(owner);
        self.suspect = Some(owner);
        self.learn(slot, Some(owner)).await;
    }

    /// Asks for the slots, until it is time to try again.
    async fn learn(&mut self, slot: SlotId, suspect: Option<SocketAddr>) {
        // Who is not in time knows nothing that the next attempt needs.
        let _ = tokio::time::timeout(self.retry, self.slots.learn(slot, suspect)).await;
    }
}

/// Who owns what, as the nodes say.
struct Slots {
    seeds: Seeds,
    owners: Vec<Option<SocketAddr>>,
    connections: Connections,
    next_seed: usize,
}

impl Slots {
    fn owner(&self, slot: SlotId) -> Option<SocketAddr> {
        self.owners[slot.index()]
    }

    /// Waits until somebody says that another than `suspect` owns `slot`; for ever if nobody is suspected.
    async fn followed(&mut self, slot: SlotId, suspect: Option<SocketAddr>) {
        match suspect {
            Some(_) => self.learn(slot, suspect).await,
            None => std::future::pending().await,
        }
    }

    /// Asks one node after the other for the slots, until one says that another than `suspect` owns `slot`.
    async fn learn(&mut self, slot: SlotId, suspect: Option<SocketAddr>) {
        loop {
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
        let mut connection = self.connections.to(seed).await?;
        let answer = redis::cmd("CLUSTER")
            .arg("SLOTS")
            .query_async(&mut connection)
            .await;
        if answer.is_err() {
            self.connections.forget(seed);
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
}

/// Connections by node; made when they are needed.
struct Connections {
    patience: Patience,
    open: HashMap<SocketAddr, MultiplexedConnection>,
}

impl Connections {
    fn new(patience: Patience) -> Self {
        Self {
            patience,
            open: HashMap::new(),
        }
    }

    async fn to(&mut self, node: SocketAddr) -> Result<MultiplexedConnection, RedisError> {
        if let Some(connection) = self.open.get(&node) {
            return Ok(connection.clone());
        }
        let Patience {
            connection, answer, ..
        } = self.patience;
        let connection = connect_within(node, connection, answer).await?;
        self.open.insert(node, connection.clone());
        Ok(connection)
    }

    fn forget(&mut self, node: SocketAddr) {
        self.open.remove(&node);
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
    connect_within(to, patience, patience).await
}

async fn connect_within(
    to: SocketAddr,
    connection: Duration,
    answer: Duration,
) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(connection))
        .set_response_timeout(Some(answer));
    redis::Client::open(format!("redis://{to}/"))?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// Says who owns all slots: `first`, and `second` once `followed`.
    struct Node {
        first: SocketAddr,
        second: SocketAddr,
        followed: AtomicBool,
    }

    impl Node {
        async fn serve(self: Arc<Self>, listener: TcpListener) {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&self).answer(stream));
            }
        }

        async fn answer(self: Arc<Self>, mut stream: TcpStream) {
            let mut buffer = [0; 1024];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                let asked = String::from_utf8_lossy(&buffer[..length]).into_owned();
                let mut answer = "+OK\r\n".repeat(asked.matches("SETINFO").count());
                if asked.contains("SLOTS") {
                    answer.push_str(&self.slots());
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }

        fn slots(&self) -> String {
            let owner = match self.followed.load(Ordering::Relaxed) {
                false => self.first,
                true => self.second,
            };
            let (ip, port) = (owner.ip().to_string(), owner.port());
            let length = ip.len();
            format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n${length}\r\n{ip}\r\n:{port}\r\n")
        }
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn a_successor_is_found_while_the_former_owner_is_tried_again() {
        let ((silent, first), (other, second)) = (listener().await, listener().await);
        let node = Arc::new(Node {
            first,
            second,
            followed: AtomicBool::new(false),
        });
        tokio::spawn(Arc::clone(&node).serve(other));
        // If it has to be over, the attempt ends for another reason than it should.
        let long = Duration::from_secs(10);
        let patience = Patience {
            connection: long,
            answer: long,
            retry: Duration::from_millis(1),
        };
        // The second is asked first.
        let seeds = Arc::new(RwLock::new(vec![first, second]));
        let mut client = Client::new(seeds, patience);
        let slot = SlotId::new(0).unwrap();
        let command = redis::cmd("GET");
        client.slots.learn(slot, None).await;
        // The owner ends its connection, and takes another one without a word.
        let fails = async { drop(silent.accept().await.unwrap()) };
        let (first_attempt, ()) = tokio::join!(client.attempt(slot, &command), fails);
        assert!(matches!(first_attempt, Attempt::Refused(_)));
        let is_silent = async {
            let held = silent.accept().await.unwrap();
            node.followed.store(true, Ordering::Relaxed);
            held
        };
        let (second_attempt, _held) = tokio::join!(client.attempt(slot, &command), is_silent);
        assert!(
            matches!(&second_attempt, Attempt::Refused(why) if why == FOLLOWED),
            "{second_attempt:?}"
        );
        assert_eq!(client.slots.owner(slot), Some(second));
    }
}
