//! Drives a server with requests over many connections and measures what comes back. Owns the threads of the load; what
//! is asked for is decided elsewhere.

mod closed;
mod connection;
pub mod encode;
pub mod keys;
mod open;
pub mod replies;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use hdrhistogram::Histogram;

use crate::cpu::{self, Cores};
use encode::Requests;
use replies::Tally;

/// How a server is driven.
#[derive(Clone, Debug)]
pub enum Pace {
    /// Every connection sends its next batch when the last one is answered, until the time is over.
    Closed(Measured),
    /// As `Closed`, until the requests are at their end; all of it is measured.
    UntilDone,
    /// As `Closed`, until it is told to stop; how far it is can be seen meanwhile.
    Watched(Arc<Watched>),
    /// Batches are sent at times that were fixed beforehand, so many requests a second, whether or not the server keeps
    /// up; latencies count from those times, so that a stall is seen by every request that it delayed.
    Open {
        /// Requests a second, over all threads.
        rate: f64,
        /// When is measured.
        measured: Measured,
    },
}

/// What those who started a load and the load itself share while it goes on.
#[derive(Debug, Default)]
pub struct Watched {
    replies: AtomicU64,
    stopped: AtomicBool,
}

impl Watched {
    /// Replies so far, over all threads.
    pub fn replies(&self) -> u64 {
        self.replies.load(Relaxed)
    }

    /// Ends the load.
    pub fn stop(&self) {
        self.stopped.store(true, Relaxed);
    }
}

/// A stretch of time that is measured, after one that is not.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Time before measuring starts.
    pub warm_up: Duration,
    /// Time that is measured.
    pub length: Duration,
}

/// What is sent, and over how many connections.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where the server listens.
    pub address: SocketAddr,
    /// Its process, for the CPU time it takes.
    pub process: u32,
    /// Connections, over all threads.
    pub connections: usize,
    /// Requests that are sent at a time on a connection.
    pub pipeline: usize,
    /// How they are paced.
    pub pace: Pace,
    /// Cores of server and generator, on which nothing else should run.
    pub cores: Cores,
}

/// What one thread, or all together, saw.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was answered in the measured time.
    pub tally: Tally,
    /// The measured time, in seconds.
    pub seconds: f64,
    /// CPU seconds that the server took in it, all its threads together.
    pub server_cpu: f64,
    /// CPU seconds that the generator took in it.
    pub generator_cpu: f64,
    /// Seconds in which the cores of both were busy in it, whoever kept them so.
    pub cores_busy: f64,
    /// Latencies in nanoseconds.
    pub latencies: Histogram<u64>,
    /// Open loop only: requests whose time had come and that were not answered at the end.
    pub unanswered: u64,
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.tally.add(other.tally);
        self.generator_cpu += other.generator_cpu;
        // Both histograms have the same bounds, so that one always fits into the other.
        let _ = self.latencies.add(other.latencies);
        self.unanswered += other.unanswered;
    }

    /// Replies a second.
    pub fn throughput(&self) -> f64 {
        self.tally.replies as f64 / self.seconds
    }

    /// Replies for each second of CPU time of the server.
    pub fn per_cpu_second(&self) -> f64 {
        self.tally.replies as f64 / self.server_cpu.max(1e-9)
    }

    /// CPU seconds that others took from the cores of server and generator.
    pub fn disturbance(&self) -> f64 {
        (self.cores_busy - self.server_cpu - self.generator_cpu).max(0.0)
    }

    /// A latency that a share of the requests did not exceed, in microseconds.
    pub fn latency(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1e3
    }
}

/// What the clocks show at one moment.
struct Clocks {
    time: Instant,
    server_cpu: f64,
    generator_cpu: f64,
    cores_busy: f64,
}

impl Clocks {
    /// Reads the clocks; the lead thread reads for all what is not its own.
    fn read(load: &Load, lead: bool) -> Result<Self> {
        Ok(Self {
            time: Instant::now(),
            server_cpu: if lead {
                cpu::process_seconds(load.process)?
            } else {
                0.0
            },
            generator_cpu: cpu::thread_seconds()?,
            cores_busy: if lead {
                cpu::busy_seconds(&load.cores)?
            } else {
                0.0
            },
        })
    }

    /// What was seen since these clocks were read.
    fn outcome(
        &self,
        load: &Load,
        lead: bool,
        tally: Tally,
        latencies: Histogram<u64>,
    ) -> Result<Outcome> {
        let now = Self::read(load, lead)?;
        Ok(Outcome {
            tally,
            seconds: (now.time - self.time).as_secs_f64(),
            server_cpu: now.server_cpu - self.server_cpu,
            generator_cpu: now.generator_cpu - self.generator_cpu,
            cores_busy: now.cores_busy - self.cores_busy,
            latencies,
            unanswered: 0,
        })
    }
}

/// A histogram for latencies in nanoseconds: three digits, up to a minute and growing.
pub fn histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3)
        .unwrap_or_else(|error| unreachable!("constant bounds are valid: {error}"));
    histogram.auto(true);
    histogram
}

/// Drives a server, with one thread for each stream of requests, pinned to `cores`.
///
/// # Errors
/// If the server cannot be reached, closes a connection, or answers with an error.
pub fn run(load: &Load, streams: Vec<Requests>, cores: &Cores) -> Result<Outcome> {
    let threads = streams.len();
    let drive = |number: usize, requests: Requests| {
        cpu::pin_this_thread(cores)?;
        let share = Load {
            connections: load.connections / threads
                + usize::from(number < load.connections % threads),
            ..load.clone()
        };
        let lead = number == 0;
        match &load.pace {
            Pace::Closed(measured) => closed::run(&share, requests, Some(*measured), lead),
            Pace::UntilDone => closed::run(&share, requests, None, lead),
            Pace::Watched(watched) => closed::run_watched(&share, requests, watched, lead),
            Pace::Open { rate, measured } => {
                open::run(&share, requests, rate / threads as f64, *measured, lead)
            }
        }
    };
    let outcomes: Vec<Result<Outcome>> = thread::scope(|scope| {
        let start = |(number, requests)| scope.spawn(move || drive(number, requests));
        let running: Vec<_> = streams.into_iter().enumerate().map(start).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread
                .join()
                .unwrap_or_else(|_| Err(anyhow!("a generator thread panicked")))
        };
        running.into_iter().map(join).collect()
    });
    let mut outcomes = outcomes.into_iter();
    let mut total = outcomes.next().context("no stream of requests")??;
    for outcome in outcomes {
        total.add(outcome?);
    }
    if total.tally.errors > 0 {
        let text = total.tally.first_error.unwrap_or_default();
        bail!("{} error replies, the first: {text}", total.tally.errors);
    }
    Ok(total)
}
