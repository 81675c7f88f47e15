//! Allocators: bytes beyond payload, time of a pair of allocate and free, and what comes back after deleting.
//!
//! A program can have only one global allocator, so each has a small binary of its own; this module starts them and
//! prints what they report. The slab is no global allocator and runs on top of the system's.

mod churn;
mod region;
pub mod slab;

use std::process::Command;

use anyhow::{Context, ensure};
use clap::Args;

pub use self::churn::{Boxes, Slabs, child};
use crate::measure::{heading, median, row};

/// What to measure.
#[derive(Args)]
pub struct Options {
    /// Cases, as ENTRIES:VALUE_BYTES.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1000000:8,1000000:64,1000000:1024,10000000:8,10000000:64"
    )]
    cases: Vec<String>,
    /// Interleaved rounds; the table shows medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds to wait after deleting before looking at what came back.
    #[arg(long, default_value_t = 0)]
    settle: u64,
}

/// Runs the experiment.
///
/// # Errors
/// When a binary is not beside this one or fails.
pub fn run(options: &Options) -> anyhow::Result<()> {
    const BINARIES: [&str; 4] = [
        "alloc-system",
        "alloc-jemalloc",
        "alloc-mimalloc",
        "alloc-slab",
    ];
    for case in &options.cases {
        let (entries, value) = case
            .split_once(':')
            .context("a case is ENTRIES:VALUE_BYTES")?;
        let mut reports: Vec<Vec<Vec<f64>>> = vec![Vec::new(); BINARIES.len()];
        for _ in 0..options.rounds {
            for (binary, reports) in BINARIES.iter().zip(&mut reports) {
                let mut fixed = report(binary, [entries, value, "0", "0"])?;
                fixed.extend(report(
                    binary,
                    [entries, value, "1", &options.settle.to_string()],
                )?);
                reports.push(fixed);
            }
        }
        println!(
            "\n{entries} entries of 3 + 16 + {value} bytes (medians of {} rounds):",
            options.rounds
        );
        heading(&[
            "allocator",
            "filled with one size: bytes beyond payload",
            "ns to allocate",
            "sizes +-50 %, churned: bytes beyond payload",
            "ns a pair, freed by the other thread",
            "one size, then churned with +-50 %: bytes beyond payload",
            "resident after half deleted, %",
            "after all deleted, %",
        ]);
        for (binary, reports) in BINARIES.iter().zip(&reports) {
            let column = |column: usize| {
                median(
                    &reports
                        .iter()
                        .map(|report| report[column])
                        .collect::<Vec<_>>(),
                )
            };
            // The first six numbers are of the run that starts with one size, the others of the varied one.
            let cells = [(0, 1), (1, 0), (8, 1), (9, 0), (2, 1), (10, 0), (11, 1)];
            let cells = cells.map(|(index, digits)| format!("{:.*}", digits, column(index)));
            row(&[binary.trim_start_matches("alloc-").to_owned()]
                .into_iter()
                .chain(cells)
                .collect::<Vec<_>>());
        }
    }
    Ok(())
}

/// What a binary reports: bytes beyond payload after filling, nanoseconds to allocate; the same of churning; percent of
/// resident memory left when half, then all is deleted.
fn report(binary: &str, arguments: [&str; 4]) -> anyhow::Result<Vec<f64>> {
    let program = std::env::current_exe()?.with_file_name(binary);
    let output = Command::new(&program)
        .args(arguments)
        .output()
        .with_context(|| {
            format!("{binary} does not start; build the package with all its binaries")
        })?;
    ensure!(
        output.status.success(),
        "{binary} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    let numbers = text
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<Vec<f64>, _>>()?;
    ensure!(
        numbers.len() == 6,
        "{binary} reported {} numbers",
        numbers.len()
    );
    Ok(numbers)
}
