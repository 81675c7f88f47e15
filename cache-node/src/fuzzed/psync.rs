//! The stream of a primary of another kind: the same comes of it however its bytes arrive, and however often the connection breaks.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Instant;

use cache_rdb::{Event, Header};

use super::{Nobody, Steps, node};
use crate::node::Node;
use crate::persistence::{Progress, Purpose, write_snapshot};
use crate::replication::psync::{ACK, Following, StreamPlace};

/// Where the stream begins.
const BEGIN: u64 = 1000;

/// Gives some bytes at a time, until it ends.
struct Pieces<'a> {
    bytes: &'a [u8],
    /// How many at most.
    size: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.size.min(buffer.len()).min(self.bytes.len());
        let (taken, rest) = self.bytes.split_at(count);
        buffer[..count].copy_from_slice(taken);
        self.bytes = rest;
        Ok(count)
    }
}

/// What comes of a stream.
#[derive(Debug, PartialEq)]
struct Outcome {
    place: StreamPlace,
    ended: String,
    /// Keys and what they have.
    data: Vec<String>,
}

/// A replica of a primary of another kind.
struct Replica {
    node: Nobody,
    place: StreamPlace,
}

impl Replica {
    fn new() -> Self {
        let node = node();
        let place = StreamPlace {
            history: String::new(),
            offset: BEGIN,
        };
        Self { node, place }
    }

    /// Follows the stream up to a byte, on a connection of its own. Answers why that ended, and what was answered.
    fn follow(&mut self, stream: &[u8], to: usize, size: usize) -> (String, Vec<u8>) {
        let from = (self.place.offset - BEGIN) as usize;
        let bytes = &stream[from..to.max(from)];
        let upstream = self.node.replication.upstream(&self.node);
        let upstream = upstream.expect("it was configured");
        let mut answers = Vec::new();
        let input = Pieces { bytes, size };
        let mut following = Following::new(&self.node, &upstream, input, &mut answers);
        let ended = following.stream(&mut self.place);
        let ended = ended.expect_err("every stream ends").to_string();
        (ended, answers)
    }

    fn result(self, ended: String) -> Outcome {
        Outcome {
            ended,
            data: data(&self.node),
            place: self.place,
        }
    }
}

/// Follows what an input says: its first bytes are how the bytes arrive and where the connection breaks, then comes the stream, as commands or
/// as it is.
pub fn follow(input: &[u8]) {
    let [form, size, breaks @ ..] = input else {
        return;
    };
    let Some((breaks, steps)) = breaks.split_at_checked(3) else {
        return;
    };
    let mut ends = vec![0];
    let mut stream = Vec::new();
    if form & 1 == 0 {
        let mut steps = Steps(steps);
        while let Some(command) = steps.command() {
            stream.extend(command);
            ends.push(stream.len());
        }
    } else {
        stream.extend_from_slice(steps);
    }
    if is_random(&stream) {
        return;
    }
    let began = Instant::now();
    let mut whole = Replica::new();
    let (ended, answers) = whole.follow(&stream, stream.len(), usize::MAX);
    let (whole, quick) = (whole.result(ended), began.elapsed() < ACK);
    let read = (whole.place.offset - BEGIN) as usize;
    assert!(read <= stream.len());
    assert!(form & 1 == 1 || ends.contains(&read), "{read} of {ends:?}");

    let size = usize::from(*size).max(1);
    let began = Instant::now();
    let mut pieces = Replica::new();
    let (ended, others) = pieces.follow(&stream, stream.len(), size);
    assert_eq!(pieces.result(ended), whole);
    // Otherwise some are there because it took long.
    if quick && began.elapsed() < ACK {
        assert_eq!(others, answers);
    }

    let mut broken = Replica::new();
    let mut breaks: Vec<usize> = breaks
        .iter()
        .map(|at| usize::from(*at) * stream.len() / 256)
        .collect();
    breaks.sort_unstable();
    for at in breaks {
        broken.follow(&stream, at, size);
    }
    let (ended, _) = broken.follow(&stream, stream.len(), usize::MAX);
    assert_eq!(broken.result(ended), whole);
}

/// Whether there is a command that does not always do the same.
fn is_random(stream: &[u8]) -> bool {
    let text = stream.to_ascii_uppercase();
    memchr::memmem::find(&text, b"SPOP").is_some()
}

/// Keys and what they have, in order of their slots; whether they have a deadline, but not which: that is about the time at which it was
/// executed.
fn data(node: &Arc<Node>) -> Vec<String> {
    let mut snapshot = Vec::new();
    let mut write = |bytes: &[u8]| {
        snapshot.extend_from_slice(bytes);
        Ok(())
    };
    let (progress, purpose) = (Progress::default(), Purpose::Snapshot);
    write_snapshot(node, &progress, purpose, |_| (), &mut write).expect("nothing else is saved");
    let mut data = Vec::new();
    let mut note = |event: Event<'_>| {
        match event {
            Event::Begin(Header {
                key,
                kind,
                deadline,
                ..
            }) => {
                let text = String::from_utf8_lossy(key);
                data.push(format!("{text} {kind:?} {}", deadline.is_some()));
            }
            Event::Aux(..) => {}
            other => data.push(format!("{other:?}")),
        }
        Ok(())
    };
    cache_rdb::read(snapshot.as_slice(), &mut note).expect("it was written here");
    data
}
