//! Replays traces through cache-node's eviction policies, through Redis's and through exact ones, next to Belady's optimum, and prints
//! their miss ratios.
//!
//! The node's policies run the very cores of this package on a simulated table.

mod cache;
mod exact;
mod node;
mod redis;
mod replay;
mod report;
mod trace;

use std::{
    fs,
    io::{self, Write},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};

use crate::{
    cache::{Contender, Options},
    replay::{Cell, Unit, replay_all},
    report::Misses,
    trace::{Synthetic, Trace},
};

/// Replays traces through eviction policies and prints a table of miss ratios.
///
/// Policies: belady (the optimum, blind to sizes), fifo, lru, s3-fifo (exact ones), redis-lru, redis-lfu, redis-lfu-no-decay (modelled
/// on Redis's source: 5 samples, a pool of 16), and cache-node's own: allkeys-lru, allkeys-lfu, allkeys-lrm, allkeys-random,
/// allkeys-fifo, allkeys-s3, s3-lenient, auto, noeviction. `:0`, `:0.5` or `:1` after allkeys-s3, s3-lenient or auto is the size
/// weight (0.5 if not given).
#[derive(Parser)]
struct Arguments {
    /// Traces: records of two little-endian 32-bit numbers, object id (dense, from 0) and size in bytes, compressed with zstd.
    traces: Vec<PathBuf>,

    /// Generate a trace: Zipf's distribution, interrupted by scans that make up a share of the requests.
    #[arg(long, value_name = "zipf:OBJECTS:REQUESTS:EXPONENT:SCANS[:sized]")]
    synthetic: Vec<Synthetic>,

    /// Cache sizes: a part of all objects (or of their bytes) such as `1%`, or a number of objects (or bytes).
    #[arg(long, value_delimiter = ',', default_value = "0.1%,1%,10%")]
    size: Vec<Size>,

    /// What cache sizes are counted in.
    #[arg(long, value_enum, default_value = "objects")]
    by: By,

    /// Bytes that an object takes besides its size, when sizes are counted in bytes.
    #[arg(long, default_value_t = 0)]
    overhead: u32,

    /// Policies to replay; all if none is given.
    #[arg(long, value_delimiter = ',')]
    policy: Vec<Contender>,

    /// Leave out sizes given in percent at which fewer than this part of all objects would fit.
    #[arg(long, value_name = "OBJECTS", default_value_t = 100)]
    least: u64,

    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Minutes that a trace is taken to last, for the decay of LFU counters.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,

    /// Also write all results to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Replays at the same time; as many as there are cores if not given.
    #[arg(long)]
    threads: Option<NonZeroUsize>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    Objects,
    Bytes,
}

/// A cache size as it was asked for.
#[derive(Clone, Debug)]
enum Size {
    Percent(f64),
    Absolute(u64),
}

impl std::str::FromStr for Size {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let size = match text.strip_suffix('%') {
            Some(percent) => Self::Percent(percent.parse()?),
            None => Self::Absolute(text.parse()?),
        };
        ensure!(
            matches!(size, Self::Percent(0.0..=100.0) | Self::Absolute(1..)),
            "must be above 0, and at most 100 %"
        );
        Ok(size)
    }
}

impl Arguments {
    fn unit(&self) -> Unit {
        match self.by {
            By::Objects => Unit::Objects,
            By::Bytes => Unit::Bytes {
                overhead: self.overhead,
            },
        }
    }

    /// The sizes to replay a trace at.
    fn sizes(&self, trace: &Trace) -> Vec<replay::Sized> {
        let footprint = trace.footprint(|size| self.unit().cost(size)) as f64;
        let objects = trace.sizes.len() as f64;
        let sized = |size: &Size| match size {
            Size::Absolute(capacity) => Some((capacity.to_string(), *capacity)),
            Size::Percent(percent) if objects * percent / 100.0 < self.least as f64 => None,
            Size::Percent(percent) => Some((
                format!("{percent}%"),
                (footprint * percent / 100.0).round() as u64,
            )),
        };
        self.size.iter().filter_map(sized).collect()
    }

    fn replay(&self, trace: &Trace, contenders: &[Contender]) -> Vec<Cell> {
        let options = Options {
            seed: self.seed,
            requests_per_minute: (trace.requests.len() as u64 / self.minutes).max(1),
        };
        let threads = self
            .threads
            .or_else(|| thread::available_parallelism().ok())
            .map_or(1, NonZeroUsize::get);
        let sizes = self.sizes(trace);
        if sizes.is_empty() {
            eprintln!(
                "{}: too few objects for the sizes asked for, left out",
                trace.name
            );
        }
        let progress = |done, total| {
            eprint!(
                "\r{}: {done} of {total} replays{}",
                trace.name,
                if done == total { "\n" } else { "" }
            );
        };
        replay_all(
            trace,
            self.unit(),
            &sizes,
            contenders,
            &options,
            threads,
            progress,
        )
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.traces.is_empty() && arguments.synthetic.is_empty() {
        bail!("give at least one trace, or --synthetic; --help says more");
    }
    let contenders = if arguments.policy.is_empty() {
        Contender::all(arguments.by == By::Bytes)
    } else {
        arguments.policy.clone()
    };
    let mut cells = Vec::new();
    for path in &arguments.traces {
        let trace = read(path)?;
        if arguments.by == By::Bytes && !trace.is_sized() {
            eprintln!("{}: has no sizes, left out", trace.name);
            continue;
        }
        cells.extend(arguments.replay(&trace, &contenders));
    }
    for synthetic in &arguments.synthetic {
        cells.extend(arguments.replay(
            &Trace::zipf_with_scans(synthetic, arguments.seed)?,
            &contenders,
        ));
    }
    ensure!(!cells.is_empty(), "there is nothing to report");
    print(&cells, &contenders, arguments.by)?;
    if let Some(path) = &arguments.json {
        fs::write(path, report::json(&cells, &contenders))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Trace> {
    Trace::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn print(cells: &[Cell], contenders: &[Contender], by: By) -> Result<()> {
    let mut out = io::stdout().lock();
    let kinds: &[_] = match by {
        By::Objects => &[(Misses::OfObjects, "")],
        By::Bytes => &[
            (Misses::OfObjects, "Misses of objects:\n\n"),
            (Misses::OfBytes, "\nMisses of bytes:\n\n"),
        ],
    };
    for (misses, title) in kinds {
        let (table, summary) = (
            report::table(cells, contenders, *misses),
            report::summary(cells, contenders, *misses),
        );
        write!(out, "{title}{table}\n{summary}").context("cannot write the tables")?;
    }
    Ok(())
}
