//! The closed loop: each connection has one batch under way. Owns the event loop of one thread.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use mio::{Events, Poll};

use super::connection::Connection;
use super::encode::Requests;
use super::replies::Tally;
use super::{Clocks, Load, Measured, Outcome, Watched, histogram};

/// Bytes that are read at a time.
const BUFFER: usize = 256 << 10;
/// A server that says nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// A load that is watched looks so often at least whether it is to stop.
const GLANCE: Duration = Duration::from_millis(20);

struct Loop {
    poll: Poll,
    connections: Vec<Connection>,
    sent: Vec<Instant>,
    requests: Requests,
    pipeline: usize,
    buffer: Vec<u8>,
    tally: Tally,
    latencies: Histogram<u64>,
    /// Whether connections send a next batch.
    sending: bool,
    /// Connections with a batch under way.
    busy: usize,
}

/// Drives `load` until the measured time is over, or without one until the requests are at their end.
pub(super) fn run(
    load: &Load,
    requests: Requests,
    measured: Option<Measured>,
    lead: bool,
) -> Result<Outcome> {
    let mut this = Loop::open(load, requests)?;
    let mut start = Clocks::read(load, lead)?;
    this.send_on_all()?;
    if let Some(measured) = measured {
        this.drive_until(start.time + measured.warm_up)?;
        this.tally = Tally::default();
        this.latencies.reset();
        start = Clocks::read(load, lead)?;
        this.drive_until(start.time + measured.length)?;
    } else {
        this.drive_to_the_end()?;
    }
    let outcome = start.outcome(load, lead, this.tally.clone(), this.latencies.clone())?;
    // The server is left idle for whoever measures next.
    this.sending = false;
    this.drive_to_the_end()?;
    Ok(outcome)
}

/// Drives `load` until it is told to stop.
pub(super) fn run_watched(
    load: &Load,
    requests: Requests,
    watched: &Watched,
    lead: bool,
) -> Result<Outcome> {
    let mut this = Loop::open(load, requests)?;
    let start = Clocks::read(load, lead)?;
    this.send_on_all()?;
    let mut events = Events::with_capacity(1024);
    while !watched.stopped.load(Relaxed) {
        let before = this.tally.replies;
        this.turn(&mut events, GLANCE)?;
        watched
            .replies
            .fetch_add(this.tally.replies - before, Relaxed);
    }
    let outcome = start.outcome(load, lead, this.tally.clone(), this.latencies.clone())?;
    this.sending = false;
    this.drive_to_the_end()?;
    Ok(outcome)
}

impl Loop {
    fn open(load: &Load, requests: Requests) -> Result<Self> {
        let poll = Poll::new().context("epoll")?;
        let open = |token| Connection::open(load.address, requests.protocol(), &poll, token);
        let connections = (0..load.connections)
            .map(open)
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            sent: vec![Instant::now(); connections.len()],
            busy: connections.len(),
            poll,
            connections,
            requests,
            pipeline: load.pipeline,
            buffer: vec![0; BUFFER],
            tally: Tally::default(),
            latencies: histogram(),
            sending: true,
        })
    }

    fn send_on_all(&mut self) -> Result<()> {
        (0..self.connections.len()).try_for_each(|number| self.send(number))
    }

    fn drive_until(&mut self, end: Instant) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            self.turn(&mut events, (end - now).min(PATIENCE))?;
        }
    }

    fn drive_to_the_end(&mut self) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        while self.busy > 0 {
            self.turn(&mut events, PATIENCE)?;
            if events.is_empty() {
                bail!("the server has been silent for {} s", PATIENCE.as_secs());
            }
        }
        Ok(())
    }

    fn turn(&mut self, events: &mut Events, timeout: Duration) -> Result<()> {
        if let Err(error) = self.poll.poll(events, Some(timeout))
            && error.kind() != std::io::ErrorKind::Interrupted
        {
            return Err(error).context("epoll");
        }
        for event in events.iter() {
            self.serve(event.token().0)?;
        }
        Ok(())
    }

    fn serve(&mut self, number: usize) -> Result<()> {
        let connection = &mut self.connections[number];
        connection.flush()?;
        while connection.outstanding > 0 {
            let before = connection.outstanding;
            let more = connection.read(&mut self.buffer, &mut self.tally)?;
            let answered = before - connection.outstanding;
            if answered > 0 {
                let latency = self.sent[number].elapsed().as_nanos() as u64;
                self.latencies
                    .record_n(latency, answered)
                    .context("latency")?;
            }
            if connection.outstanding == 0 {
                return self.send(number);
            }
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn send(&mut self, number: usize) -> Result<()> {
        let connection = &mut self.connections[number];
        let mut count = 0;
        while self.sending && count < self.pipeline && self.requests.append(&mut connection.out) {
            count += 1;
        }
        if count == 0 {
            self.busy -= 1;
            return Ok(());
        }
        connection.outstanding = count as u64;
        self.sent[number] = Instant::now();
        connection.flush()
    }
}
