//! One connection that asks for the objects of a trace: GET, and SET of those that are missed.
//!
//! GETs are sent in windows, and the SETs of the misses together with the next window. A window ends before an object that is in it
//! already, so that every GET is answered as it would be one by one, but for evictions, which come up to a window later; a window is a
//! small part of the keys held.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::trace::Trace;
use crate::inspect;
use crate::servers::process::Running;

/// Most GETs in a window.
const WINDOW: usize = 32;
/// But no more than one for so many keys.
const KEYS_A_REQUEST: u64 = 32;
/// Values larger than this are sent in smaller windows, so that neither side's buffers fill up while the other waits.
const WINDOW_BYTES: u64 = 1 << 20;
/// How often the number of keys is asked for, in the second half of the trace.
const LOOKS: usize = 50;

const TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of values.
#[derive(Clone, Copy, Debug)]
pub enum Sizes<'t> {
    /// All the same.
    Fixed(u64),
    /// Of each object.
    Each(&'t [u32]),
}

impl Sizes<'_> {
    /// Bytes of an object's value.
    pub fn of(self, object: u32) -> u64 {
        match self {
            Self::Fixed(size) => size,
            Self::Each(sizes) => u64::from(sizes[object as usize]),
        }
    }

    fn largest(self) -> u64 {
        match self {
            Self::Fixed(size) => size,
            Self::Each(sizes) => sizes.iter().copied().max().map_or(0, u64::from),
        }
    }
}

/// What came of a replay.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replayed {
    /// Requests.
    pub requests: u64,
    /// Those that found their object.
    pub hits: u64,
    /// Keys that were held on the average in the second half.
    pub keys: f64,
    /// Time that it took.
    pub seconds: f64,
}

impl Replayed {
    /// Share of requests that found their object.
    pub fn hit_ratio(&self) -> f64 {
        self.hits as f64 / self.requests as f64
    }
}

/// How a trace is replayed.
#[derive(Clone, Copy, Debug)]
pub struct Manner<'t> {
    /// Bytes of values.
    pub sizes: Sizes<'t>,
    /// Keys that the server will hold, by and large.
    pub keys: u64,
    /// Requests a second; `None`: as many as go.
    pub rate: Option<f64>,
}

/// Replays a trace through a server.
///
/// # Errors
/// If the connection fails, or the server refuses a write.
pub fn replay(server: &Running, trace: &Trace, manner: Manner<'_>) -> Result<Replayed> {
    let sizes = manner.sizes;
    let mut connection = Connection::open(server, sizes.largest())?;
    let began = Instant::now();
    let (mut hits, mut at) = (0, 0);
    let mut looks = Vec::new();
    let look_every = (trace.requests.len() / 2 / LOOKS).max(1);
    let mut next_look = trace.requests.len() / 2;
    let mut windows = Windows::new(trace, manner);
    let mut missed: Vec<u32> = Vec::new();
    while at < trace.requests.len() {
        let window = windows.next(at);
        let answers = connection.round(&missed, window, sizes)?;
        missed.clear();
        for (object, hit) in window.iter().zip(answers) {
            if hit {
                hits += 1;
            } else {
                missed.push(*object);
            }
        }
        at += window.len();
        if let Some(rate) = manner.rate {
            let due = began + Duration::from_secs_f64(at as f64 / rate);
            #[expect(
                clippy::disallowed_methods,
                reason = "a rate is kept, nothing is waited for"
            )]
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        if at >= next_look {
            next_look = at + look_every;
            looks.push(inspect::keys(server)? as f64);
        }
    }
    connection.round(&missed, &[], sizes)?;
    Ok(Replayed {
        requests: trace.requests.len() as u64,
        hits,
        keys: looks.iter().sum::<f64>() / looks.len().max(1) as f64,
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// Sends values for these keys, numbered from 0 on, that no trace has.
///
/// # Errors
/// If the connection fails, or the server refuses a write.
pub fn fill(server: &Running, from: u32, count: u32, value: u64) -> Result<()> {
    let mut connection = Connection::open(server, value)?;
    let objects: Vec<u32> = (from..from + count).collect();
    let batch = (WINDOW_BYTES / value.max(1)).clamp(1, WINDOW as u64) as usize;
    for objects in objects.chunks(batch) {
        connection.round(objects, &[], Sizes::Fixed(value))?;
    }
    Ok(())
}

/// Cuts a trace into windows without repetition.
struct Windows<'t> {
    requests: &'t [u32],
    sizes: Sizes<'t>,
    longest: usize,
    /// For each object the number of the window that it was last in.
    last: Vec<u32>,
    number: u32,
}

impl<'t> Windows<'t> {
    fn new(trace: &'t Trace, manner: Manner<'t>) -> Self {
        Self {
            requests: &trace.requests,
            sizes: manner.sizes,
            longest: (manner.keys / KEYS_A_REQUEST).clamp(1, WINDOW as u64) as usize,
            last: vec![0; trace.sizes.len()],
            number: 0,
        }
    }

    fn next(&mut self, from: usize) -> &'t [u32] {
        self.number += 1;
        let (mut to, mut bytes) = (from, 0);
        while to < self.requests.len() && to - from < self.longest {
            let object = self.requests[to];
            bytes += self.sizes.of(object);
            let fits = to == from || bytes <= WINDOW_BYTES;
            let last = &mut self.last[object as usize];
            if !fits || *last == self.number {
                break;
            }
            *last = self.number;
            to += 1;
        }
        &self.requests[from..to]
    }
}

struct Connection {
    writer: TcpStream,
    reader: BufReader<TcpStream>,
    request: Vec<u8>,
    line: String,
    /// What values are made of.
    letters: Vec<u8>,
}

impl Connection {
    fn open(server: &Running, largest: u64) -> Result<Self> {
        let stream = TcpStream::connect(server.address).context("connect")?;
        stream.set_read_timeout(Some(TIMEOUT)).context("timeout")?;
        stream.set_nodelay(true).context("no delay")?;
        Ok(Self {
            reader: BufReader::with_capacity(256 << 10, stream.try_clone().context("clone")?),
            writer: stream,
            request: Vec::new(),
            line: String::new(),
            letters: vec![b'v'; largest as usize],
        })
    }

    /// Sends SETs and then GETs at once; answers which of the GETs hit.
    fn round(&mut self, sets: &[u32], gets: &[u32], sizes: Sizes<'_>) -> Result<Vec<bool>> {
        self.request.clear();
        for object in sets {
            let size = sizes.of(*object) as usize;
            write!(
                self.request,
                "*3\r\n$3\r\nSET\r\n$16\r\nobj:{object:012}\r\n${size}\r\n"
            )?;
            self.request.extend_from_slice(&self.letters[..size]);
            self.request.extend_from_slice(b"\r\n");
        }
        for object in gets {
            write!(
                self.request,
                "*2\r\n$3\r\nGET\r\n$16\r\nobj:{object:012}\r\n"
            )?;
        }
        self.writer.write_all(&self.request).context("write")?;
        for _ in sets {
            if self.reply()? != "+OK" {
                bail!("SET was answered {}", self.line);
            }
        }
        gets.iter().map(|_| self.hit()).collect()
    }

    fn reply(&mut self) -> Result<&str> {
        self.line.clear();
        if self.reader.read_line(&mut self.line).context("read")? == 0 {
            bail!("the server closed the connection");
        }
        self.line.truncate(self.line.trim_end().len());
        Ok(&self.line)
    }

    fn hit(&mut self) -> Result<bool> {
        let reply = self.reply()?;
        let length = reply.strip_prefix('$').and_then(|text| text.parse().ok());
        match length {
            Some(-1_i64) => Ok(false),
            Some(length) => self.skip(length as usize + 2).map(|()| true),
            None => bail!("GET was answered {reply}"),
        }
    }

    fn skip(&mut self, mut bytes: usize) -> Result<()> {
        while bytes > 0 {
            let there = self.reader.fill_buf().context("read")?.len();
            if there == 0 {
                bail!("the server closed the connection");
            }
            let skipped = there.min(bytes);
            self.reader.consume(skipped);
            bytes -= skipped;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(requests: &[u32], keys: u64, size: u64) -> Vec<Vec<u32>> {
        let trace = Trace {
            name: String::new(),
            requests: requests.to_vec(),
            sizes: vec![1; requests.len()],
        };
        let manner = Manner {
            sizes: Sizes::Fixed(size),
            keys,
            rate: None,
        };
        let mut windows = Windows::new(&trace, manner);
        let (mut at, mut found) = (0, Vec::new());
        while at < requests.len() {
            let window = windows.next(at).to_vec();
            at += window.len();
            found.push(window);
        }
        found
    }

    #[test]
    fn a_window_ends_before_an_object_that_is_in_it() {
        let found = windows(&[1, 2, 1, 1, 3, 2], 10_000, 64);
        assert_eq!(found, [vec![1, 2], vec![1], vec![1, 3, 2]]);
    }

    #[test]
    fn a_window_is_bounded_in_requests_and_bytes() {
        let requests: Vec<u32> = (0..100).collect();
        let lengths = |keys, size| -> Vec<usize> {
            windows(&requests, keys, size)
                .iter()
                .map(Vec::len)
                .collect()
        };
        assert_eq!(lengths(10_000, 64), [32, 32, 32, 4]);
        assert_eq!(lengths(10_000, WINDOW_BYTES / 50), [32, 32, 32, 4]);
        assert_eq!(lengths(10_000, WINDOW_BYTES / 2), [2; 50]);
        assert_eq!(lengths(10_000, WINDOW_BYTES * 2), [1; 100]);
        assert_eq!(lengths(320, 64), [10; 10]);
        assert_eq!(lengths(5, 64), [1; 100]);
    }
}
