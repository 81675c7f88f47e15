//! The connections, as they see each other: `CLIENT LIST`, `CLIENT KILL`. What they may take is in [`memory`].

mod memory;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::clock::{self, Millis};
use crate::config::Settings;

pub use memory::Closed;
use memory::Limits;

/// A connection.
#[derive(Debug)]
pub struct Client {
    /// Rises with every connection.
    pub id: u64,
    /// The other side.
    pub peer: Option<SocketAddr>,
    /// This side.
    pub local: Option<SocketAddr>,
    /// When it was accepted.
    pub since: Millis,
    /// When it last sent something.
    pub last_heard: AtomicU64,
    /// Place of the last command in the list of all commands; `usize::MAX` before the first.
    pub last_command: AtomicUsize,
    /// 2 or 3.
    pub protocol: AtomicU8,
    /// Commands queued by `MULTI`; -1 in Redis's format when there is no transaction: here `usize::MAX`.
    pub queued: AtomicUsize,
    /// Keys under `WATCH`.
    pub watching: AtomicUsize,
    /// Bytes of unfinished commands.
    pub query_buffer: AtomicUsize,
    /// Bytes of replies that are not yet sent.
    pub output_buffer: AtomicUsize,
    /// Bytes of commands queued by `MULTI`, and of keys under `WATCH`.
    pub queued_bytes: AtomicUsize,
    /// It said `READONLY`.
    pub readonly: AtomicBool,
    /// `CLIENT NO-EVICT on`.
    pub no_evict: AtomicBool,
    /// Waits in a command (`WAIT`, `CLUSTER MEET`, ...).
    pub blocked: AtomicBool,
    /// Ends such a wait.
    pub interrupt: Notify,
    /// What `CLIENT UNBLOCK` asked of such a wait: end with an error.
    pub interrupt_with_error: AtomicBool,
    label_bytes: AtomicUsize,
    /// The part of the sum of all connections that is this one's.
    accounted: AtomicUsize,
    /// When its output was first seen to be longer than the soft limit; 0: it is not.
    stuck_since: AtomicU64,
    untouching: AtomicBool,
    killed: AtomicBool,
    labels: Mutex<Labels>,
    stream: Option<Arc<TcpStream>>,
}

/// Texts that a connection gave about itself.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// `CLIENT SETNAME`.
    pub name: String,
    /// `CLIENT SETINFO LIB-NAME`.
    pub library: String,
    /// `CLIENT SETINFO LIB-VER`.
    pub library_version: String,
}

impl Client {
    fn new(id: u64, stream: Option<Arc<TcpStream>>) -> Self {
        let now = clock::now();
        Self {
            id,
            peer: stream.as_ref().and_then(|stream| stream.peer_addr().ok()),
            local: stream.as_ref().and_then(|stream| stream.local_addr().ok()),
            since: now,
            last_heard: AtomicU64::new(now),
            last_command: AtomicUsize::new(usize::MAX),
            protocol: AtomicU8::new(2),
            queued: AtomicUsize::new(usize::MAX),
            watching: AtomicUsize::new(0),
            query_buffer: AtomicUsize::new(0),
            output_buffer: AtomicUsize::new(0),
            queued_bytes: AtomicUsize::new(0),
            readonly: AtomicBool::new(false),
            no_evict: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            interrupt: Notify::new(),
            interrupt_with_error: AtomicBool::new(false),
            label_bytes: AtomicUsize::new(0),
            accounted: AtomicUsize::new(0),
            stuck_since: AtomicU64::new(0),
            untouching: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            labels: Mutex::default(),
            stream,
        }
    }

    /// What it says about itself.
    pub fn labels(&self) -> Labels {
        self.labels.lock().clone()
    }

    /// Changes what it says about itself.
    pub fn label(&self, change: impl FnOnce(&mut Labels)) {
        let mut labels = self.labels.lock();
        change(&mut labels);
        let texts = [&labels.name, &labels.library, &labels.library_version];
        let bytes = texts.into_iter().map(String::capacity).sum();
        self.label_bytes.store(bytes, Relaxed);
    }

    /// Whether its accesses do not count (`CLIENT NO-TOUCH on`).
    pub fn is_untouching(&self) -> bool {
        self.untouching.load(Relaxed)
    }

    /// Switches `CLIENT NO-TOUCH`.
    pub fn set_untouching(&self, on: bool) {
        self.untouching.store(on, Relaxed);
    }

    /// Whether it is to end.
    pub fn is_killed(&self) -> bool {
        self.killed.load(Relaxed)
    }

    /// Ends the connection now.
    pub fn kill(&self) {
        self.killed.store(true, Relaxed);
        self.close(std::net::Shutdown::Both);
        self.interrupt.notify_one();
    }

    /// Reads no more than what has arrived; the connection ends when that is answered.
    pub fn finish(&self) {
        self.close(std::net::Shutdown::Read);
        self.interrupt.notify_one();
    }

    fn close(&self, how: std::net::Shutdown) {
        if let Some(stream) = &self.stream {
            // It fails when the other side was faster, which comes to the same.
            let _ = SockRef::from(stream.as_ref()).shutdown(how);
        }
    }
}

/// All connections.
#[derive(Debug, Default)]
pub struct Clients {
    next: AtomicU64,
    limits: Limits,
    /// Bytes held for all of them, beside what idle ones take.
    held: AtomicUsize,
    /// How many were closed because of what they held.
    pub closed: Closed,
    all: Mutex<BTreeMap<u64, Arc<Client>>>,
}

impl Clients {
    /// No connections yet.
    pub fn new(settings: &Settings) -> Self {
        let clients = Self::default();
        clients.adopt(settings);
        clients
    }

    /// Registers a connection.
    pub fn add(&self, stream: &Arc<TcpStream>) -> Arc<Client> {
        self.register(Some(Arc::clone(stream)))
    }

    fn register(&self, stream: Option<Arc<TcpStream>>) -> Arc<Client> {
        let id = self.next.fetch_add(1, Relaxed) + 1;
        let client = Arc::new(Client::new(id, stream));
        self.all.lock().insert(id, Arc::clone(&client));
        client
    }

    /// A client that is no connection: the one in whose name effects are replayed.
    pub fn internal(&self) -> Arc<Client> {
        Arc::new(Client::new(0, None))
    }

    /// A connection has ended.
    pub fn remove(&self, id: u64) {
        if let Some(client) = self.all.lock().remove(&id) {
            self.forget(&client);
        }
    }

    /// Number of connections.
    pub fn count(&self) -> usize {
        self.all.lock().len()
    }

    /// The connections, oldest first.
    pub fn all(&self) -> Vec<Arc<Client>> {
        self.all.lock().values().cloned().collect()
    }

    /// The connection with this id.
    pub fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.all.lock().get(&id).cloned()
    }
}
