//! The open loop: requests leave at times that were fixed beforehand, and latencies count from those times, so that a
//! server that stalls cannot hide it by being asked less. Owns the event loop of one thread, which never sleeps.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use mio::{Events, Poll};

use super::connection::Connection;
use super::encode::Requests;
use super::replies::Tally;
use super::{Clocks, Load, Measured, Outcome, histogram};

/// Bytes that are read at a time.
const BUFFER: usize = 256 << 10;
/// How long answers are waited for at the end.
const PATIENCE: Duration = Duration::from_secs(10);

/// A batch under way: when it was due, and how many of its requests are unanswered.
struct Batch {
    due: Instant,
    unanswered: u64,
}

struct Loop {
    poll: Poll,
    connections: Vec<Connection>,
    under_way: Vec<VecDeque<Batch>>,
    requests: Requests,
    pipeline: usize,
    buffer: Vec<u8>,
    tally: Tally,
    latencies: Histogram<u64>,
    /// The connection whose turn it is.
    turn: usize,
    due: Instant,
    interval: Duration,
    /// Whether there are keys left.
    more: bool,
}

/// Drives `load` at `rate` requests a second until the measured time is over or the requests are at their end.
pub(super) fn run(
    load: &Load,
    requests: Requests,
    rate: f64,
    measured: Measured,
    lead: bool,
) -> Result<Outcome> {
    let poll = Poll::new().context("epoll")?;
    let open = |token| Connection::open(load.address, requests.protocol(), &poll, token);
    let connections = (0..load.connections)
        .map(open)
        .collect::<Result<Vec<_>>>()?;
    let mut this = Loop {
        poll,
        under_way: connections.iter().map(|_| VecDeque::new()).collect(),
        connections,
        requests,
        pipeline: load.pipeline,
        buffer: vec![0; BUFFER],
        tally: Tally::default(),
        latencies: histogram(),
        turn: 0,
        due: Instant::now(),
        interval: Duration::from_secs_f64(load.pipeline as f64 / rate),
        more: true,
    };
    this.drive_until(Instant::now() + measured.warm_up)?;
    this.tally = Tally::default();
    this.latencies.reset();
    let start = Clocks::read(load, lead)?;
    this.drive_until(start.time + measured.length)?;
    let unanswered = this.count_what_is_late()?;
    let outcome = start.outcome(load, lead, this.tally.clone(), this.latencies.clone())?;
    this.more = false;
    let patience = Instant::now() + PATIENCE;
    while this
        .connections
        .iter()
        .any(|connection| connection.outstanding > 0)
        && Instant::now() < patience
    {
        this.receive()?;
    }
    Ok(Outcome {
        unanswered,
        ..outcome
    })
}

impl Loop {
    fn drive_until(&mut self, end: Instant) -> Result<()> {
        loop {
            let now = Instant::now();
            if now >= end || !self.more {
                return Ok(());
            }
            while self.more && self.due <= now {
                self.send()?;
            }
            self.receive()?;
        }
    }

    fn send(&mut self) -> Result<()> {
        let number = self.turn;
        let connection = &mut self.connections[number];
        let mut count = 0;
        while count < self.pipeline as u64 && self.requests.append(&mut connection.out) {
            count += 1;
        }
        if count == 0 {
            self.more = false;
            return Ok(());
        }
        connection.outstanding += count;
        connection.flush()?;
        self.under_way[number].push_back(Batch {
            due: self.due,
            unanswered: count,
        });
        self.due += self.interval;
        self.turn = if number + 1 == self.connections.len() {
            0
        } else {
            number + 1
        };
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        if let Err(error) = self.poll.poll(&mut events, Some(Duration::ZERO))
            && error.kind() != ErrorKind::Interrupted
        {
            return Err(error).context("epoll");
        }
        for event in &events {
            let number = event.token().0;
            self.connections[number].flush()?;
            loop {
                let connection = &mut self.connections[number];
                let before = connection.outstanding;
                let more = connection.read(&mut self.buffer, &mut self.tally)?;
                let answered = before - connection.outstanding;
                self.note_latencies(number, answered)?;
                if !more {
                    break;
                }
            }
        }
        Ok(())
    }

    fn note_latencies(&mut self, number: usize, mut answered: u64) -> Result<()> {
        let now = Instant::now();
        while answered > 0 {
            let batch = self.under_way[number]
                .front_mut()
                .context("a reply without a request")?;
            let count = answered.min(batch.unanswered);
            let latency = (now - batch.due).as_nanos() as u64;
            self.latencies.record_n(latency, count).context("latency")?;
            batch.unanswered -= count;
            answered -= count;
            if batch.unanswered == 0 {
                self.under_way[number].pop_front();
            }
        }
        Ok(())
    }

    /// Counts requests without an answer as if it came now, so that a server that hangs at the end does not look good.
    fn count_what_is_late(&mut self) -> Result<u64> {
        let now = Instant::now();
        let mut total = 0;
        for batch in self.under_way.iter().flatten() {
            let latency = now.saturating_duration_since(batch.due).as_nanos() as u64;
            self.latencies
                .record_n(latency, batch.unanswered)
                .context("latency")?;
            total += batch.unanswered;
        }
        Ok(total)
    }
}
