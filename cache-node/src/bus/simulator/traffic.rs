//! What the messages of a simulation weigh: frames as they are sent, without the headers of TCP and IP.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::super::codec::Encoder;
use super::Message;

/// The head of a frame (`cluster::wire`), in bytes.
const FRAME: u64 = 5;

/// What one node has sent or received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

impl Load {
    fn add(&mut self, bytes: u64) {
        self.messages += 1;
        self.bytes += bytes;
    }
}

/// See the module.
pub(super) struct Traffic {
    /// One encoder a connection, by who sends and who receives.
    connections: HashMap<(usize, usize), Encoder>,
    pub(super) sent: Vec<Load>,
    pub(super) received: Vec<Load>,
    /// How long this machine was busy with each bus, if that is wanted.
    pub(super) busy: Option<Vec<Duration>>,
}

impl Traffic {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            connections: HashMap::new(),
            sent: vec![Load::default(); nodes],
            received: vec![Load::default(); nodes],
            busy: None,
        }
    }

    /// Forgets what was sent, and not what the connections know.
    pub(super) fn reset(&mut self) {
        self.sent.fill(Load::default());
        self.received.fill(Load::default());
        if let Some(busy) = &mut self.busy {
            busy.fill(Duration::ZERO);
        }
    }

    /// When something begins, if it is wanted how long it takes.
    pub(super) fn begin(&self) -> Option<Instant> {
        self.busy.as_ref().map(|_| Instant::now())
    }

    /// The bus of `node` has done what was begun then.
    pub(super) fn end(&mut self, node: usize, began: Instant) {
        if let Some(busy) = &mut self.busy {
            busy[node] += began.elapsed();
        }
    }

    /// A message is on its way.
    pub(super) fn carry(&mut self, from: usize, to: usize, message: &Message) {
        let encoder = self.connections.entry((from, to)).or_default();
        let bytes = encoder.encode(message).len() as u64 + FRAME;
        self.sent[from].add(bytes);
        self.received[to].add(bytes);
    }

    /// The connections of a process end with it.
    pub(super) fn disconnect(&mut self, node: usize) {
        self.connections
            .retain(|(from, to), _| *from != node && *to != node);
    }
}
