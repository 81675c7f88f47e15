//! Slot lock against message hop: the same operations on the same slots, reached by a one-byte lock or by a message to
//! the thread that owns the slot.
//!
//! Both sides serve closed-loop connections without sockets, so the whole difference is seen; with two system calls a
//! request it is a smaller part of the time. Messages go through rings with one writer and one reader, without
//! allocation, and a thread that finds nothing parks: a kinder hop than channels and event descriptors give.

mod hop;
mod lock;
mod ring;
mod store;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::measure::{heading, median, row, spread};

/// What to measure.
#[derive(Args)]
pub struct Options {
    /// Numbers of threads.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4")]
    threads: Vec<usize>,
    /// Interleaved rounds; the table shows medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Milliseconds of each run.
    #[arg(long, default_value_t = 400)]
    milliseconds: u64,
    /// Keys, of 16 bytes with values of 64.
    #[arg(long, default_value_t = 1_000_000)]
    keys: usize,
}

/// Which keys are asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Skew {
    Uniform,
    Zipf,
}

/// One run's plan.
#[derive(Clone, Copy)]
struct Plan {
    threads: usize,
    /// Commands of a pipeline.
    batch: usize,
    time: Duration,
    /// Worker 0 holds the hottest key's slot for [`HOLD`] every [`EVERY`].
    holder: bool,
}

const HOLD: Duration = Duration::from_millis(1);
const EVERY: Duration = Duration::from_millis(4);
/// Connections of a worker.
const CONNECTIONS: usize = 32;

/// What one worker did.
#[derive(Default)]
struct Done {
    operations: u64,
    cpu: Duration,
    /// Nanoseconds of each pipeline, kept only beside a holder.
    turns: Vec<u32>,
}

impl Done {
    /// Counts a pipeline; gives the time from which the connection's next one is waiting to be served.
    fn finished(&mut self, plan: &Plan, started: Instant) -> Instant {
        self.operations += plan.batch as u64;
        if !plan.holder {
            return started;
        }
        let now = Instant::now();
        let nanos = (now - started).as_nanos();
        self.turns.push(nanos.min(u128::from(u32::MAX)) as u32);
        now
    }
}

/// Runs the experiment.
///
/// # Errors
/// When processor time cannot be read.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let time = Duration::from_millis(options.milliseconds);
    for skew in [Skew::Uniform, Skew::Zipf] {
        let streams = store::streams(
            options.keys,
            skew,
            options.threads.iter().copied().max().unwrap_or(1),
        );
        compare(options, skew, &streams, time)?;
    }
    for skew in [Skew::Uniform, Skew::Zipf] {
        let streams = store::streams(options.keys, skew, 2);
        hold(options, skew, &streams, time)?;
    }
    Ok(())
}

fn name(skew: Skew) -> &'static str {
    match skew {
        Skew::Uniform => "uniform",
        Skew::Zipf => "Zipf 0.99",
    }
}

fn compare(
    options: &Options,
    skew: Skew,
    streams: &[Vec<store::Operation>],
    time: Duration,
) -> anyhow::Result<()> {
    println!(
        "\nMillion operations (90 % GET, 10 % SET of 64 B), {} keys, {}:",
        options.keys,
        name(skew)
    );
    heading(&[
        "threads",
        "batch",
        "lock: a CPU-second (spread)",
        "hop: a CPU-second (spread)",
        "lock / hop",
        "lock: a second",
        "hop: a second",
        "lock / hop",
    ]);
    let mut store = store::Store::filled(options.keys);
    for &threads in &options.threads {
        for batch in [1, 16] {
            let plan = Plan {
                threads,
                batch,
                time,
                holder: false,
            };
            let mut columns: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
            for _ in 0..options.rounds {
                let (locked, back) = lock::run(plan, store, streams, lock::Contended::Wait)?;
                let (hopped, back) = hop::run(plan, back, streams)?;
                store = back;
                for (side, done) in [locked, hopped].iter().enumerate() {
                    let operations: u64 = done.iter().map(|worker| worker.operations).sum();
                    let cpu: Duration = done.iter().map(|worker| worker.cpu).sum();
                    columns
                        .entry(side)
                        .or_default()
                        .push(operations as f64 / cpu.as_secs_f64() / 1e6);
                    columns
                        .entry(side + 2)
                        .or_default()
                        .push(operations as f64 / time.as_secs_f64() / 1e6);
                }
            }
            let middle: Vec<f64> = (0..4).map(|column| median(&columns[&column])).collect();
            row(&[
                threads.to_string(),
                batch.to_string(),
                format!("{:.2} ({:.0} %)", middle[0], spread(&columns[&0])),
                format!("{:.2} ({:.0} %)", middle[1], spread(&columns[&1])),
                format!("{:.2}", middle[0] / middle[1]),
                format!("{:.2}", middle[2]),
                format!("{:.2}", middle[3]),
                format!("{:.2}", middle[2] / middle[3]),
            ]);
        }
    }
    Ok(())
}

fn hold(
    options: &Options,
    skew: Skew,
    streams: &[Vec<store::Operation>],
    time: Duration,
) -> anyhow::Result<()> {
    println!(
        "\nThe other worker, while one of two holds the hottest key's slot for 1 ms in every 4, {}, batch 1:",
        name(skew)
    );
    heading(&[
        "way",
        "its million operations a second",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "longest us",
    ]);
    let plan = Plan {
        threads: 2,
        batch: 1,
        time,
        holder: true,
    };
    let mut store = store::Store::filled(options.keys);
    for way in ["lock, thread waits", "lock, command is put aside", "hop"] {
        let done;
        (done, store) = match way {
            "lock, thread waits" => lock::run(plan, store, streams, lock::Contended::Wait)?,
            "hop" => hop::run(plan, store, streams)?,
            _ => lock::run(plan, store, streams, lock::Contended::PutAside)?,
        };
        let other = &done[1];
        let mut turns = other.turns.clone();
        turns.sort_unstable();
        let at = |share: f64| {
            let index = (turns.len() as f64 * share) as usize;
            let nanos = turns
                .get(index.min(turns.len().saturating_sub(1)))
                .copied()
                .unwrap_or_default();
            format!("{:.1}", f64::from(nanos) / 1e3)
        };
        let rate = other.operations as f64 / time.as_secs_f64() / 1e6;
        row(&[
            way.to_owned(),
            format!("{rate:.2}"),
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0),
        ]);
    }
    Ok(())
}
