//! Fills, churns and deletes, over any source of memory, in the process of one allocator.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::Context;

use super::Report;
use super::slab::{Cache, Slab};
use crate::measure::{Random, resident, thread_cpu};

/// A thread's access to memory.
pub trait Source: Send {
    /// An allocation.
    type Cell: Send;
    /// An allocation of `length` bytes, all of them written.
    fn allocate(&mut self, length: usize) -> Self::Cell;
    /// Frees an allocation, of this thread or another.
    fn free(&mut self, cell: Self::Cell);
    /// Payload bytes.
    fn length(cell: &Self::Cell) -> usize;
}

/// The global allocator.
pub struct Boxes;

impl Source for Boxes {
    type Cell = Box<[u8]>;

    fn allocate(&mut self, length: usize) -> Box<[u8]> {
        let mut bytes = Vec::with_capacity(length);
        bytes.resize(length, 1);
        bytes.into_boxed_slice()
    }

    fn free(&mut self, cell: Box<[u8]>) {
        drop(cell);
    }

    fn length(cell: &Box<[u8]>) -> usize {
        cell.len()
    }
}

/// The slab.
pub struct Slabs<'slab>(pub Cache<'slab>);

impl<'slab> Slabs<'slab> {
    /// Access for a thread.
    pub fn new(slab: &'slab Slab) -> Self {
        Self(Cache::new(slab))
    }
}

impl Source for Slabs<'_> {
    /// Handle and payload bytes; 12 bytes here, 4 in a table that keeps the length in the entry.
    type Cell = (u32, u32);

    fn allocate(&mut self, length: usize) -> (u32, u32) {
        let handle = self.0.allocate(length);
        self.0.slab().fill(handle, length, 1);
        (handle, length as u32)
    }

    fn free(&mut self, cell: (u32, u32)) {
        self.0.free(cell.0, cell.1 as usize);
    }

    fn length(cell: &(u32, u32)) -> usize {
        cell.1 as usize
    }
}

/// Header and key of an entry.
const FIXED: usize = 3 + 16;
/// Cells that are handed to the other thread together.
const HANDED: usize = 256;

/// Runs all phases with the numbers of the command line and prints the report.
///
/// # Errors
/// When the command line is not two numbers or `/proc` is not there.
pub fn child<S: Source>(sources: [S; 2]) -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = || -> anyhow::Result<usize> {
        Ok(arguments.next().context("usage: ENTRIES VALUE_BYTES")?.parse()?)
    };
    let (entries, value) = (number()?, number()?);
    let report = measure(sources, entries, value)?;
    let numbers: Vec<String> = report.numbers().iter().map(f64::to_string).collect();
    println!("{}", numbers.join(" "));
    Ok(())
}

type Places<S> = Vec<Option<<S as Source>::Cell>>;

fn measure<S: Source>(mut sources: [S; 2], entries: usize, value: usize) -> anyhow::Result<Report> {
    let mut random = Random::new(3);
    // What is not measured is there, and touched, before the first measurement.
    let mut places: Places<S> = Vec::with_capacity(entries);
    places.resize_with(entries, || None);
    let order = random.permutation(entries);
    let base = resident()?;
    let beyond = |live: usize| -> anyhow::Result<f64> {
        let used = resident()?.saturating_sub(base) as f64;
        Ok((used - live as f64) / entries as f64)
    };

    let before = thread_cpu()?;
    for place in &mut places {
        *place = Some(sources[0].allocate(FIXED + value));
    }
    let allocate = (thread_cpu()? - before).as_nanos() as f64 / entries as f64;
    let filled_beyond = beyond(entries * (FIXED + value))?;

    let cpu = churn(&mut sources, &mut places, value)?;
    let pair = cpu.as_nanos() as f64 / (entries * 2) as f64;
    let live: usize = places.iter().flatten().map(S::length).sum();
    let churned_beyond = beyond(live)?;

    let full = (resident()?.saturating_sub(base)) as f64;
    for &place in &order[..entries / 2] {
        if let Some(cell) = places[place as usize].take() {
            sources[0].free(cell);
        }
    }
    let half = resident()?.saturating_sub(base) as f64 / full * 100.0;
    for &place in &order[entries / 2..] {
        if let Some(cell) = places[place as usize].take() {
            sources[1].free(cell);
        }
    }
    let none = resident()?.saturating_sub(base) as f64 / full * 100.0;
    Ok(Report { filled_beyond, allocate, churned_beyond, pair, half, none })
}

/// Two threads overwrite random entries, each in its half and as often as there are entries, with sizes of half to one
/// and a half times the value; each frees what the other replaced. Gives the processor time of both.
fn churn<S: Source>(sources: &mut [S; 2], places: &mut Places<S>, value: usize) -> anyhow::Result<Duration> {
    let entries = places.len();
    let handed: [Mutex<Vec<S::Cell>>; 2] = [Mutex::default(), Mutex::default()];
    let (first, second) = places.split_at_mut(entries / 2);
    let [one, two] = sources;
    std::thread::scope(|scope| {
        let threads = [
            scope.spawn(|| overwrite(one, first, value, entries, &handed[0], &handed[1])),
            scope.spawn(|| overwrite(two, second, value, entries, &handed[1], &handed[0])),
        ];
        let mut total = Duration::ZERO;
        for thread in threads {
            total += thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        anyhow::Ok(total)
    })
    .inspect(|_| {
        // What the slower thread handed over last.
        for cells in &handed {
            let cells = std::mem::take(&mut *cells.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
            cells.into_iter().for_each(|cell| sources[0].free(cell));
        }
    })
}

fn overwrite<S: Source>(
    source: &mut S,
    places: &mut [Option<S::Cell>],
    value: usize,
    times: usize,
    inbox: &Mutex<Vec<S::Cell>>,
    outbox: &Mutex<Vec<S::Cell>>,
) -> anyhow::Result<Duration> {
    let lock = |cells: &Mutex<Vec<S::Cell>>, work: &mut dyn FnMut(&mut Vec<S::Cell>)| {
        work(&mut cells.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    };
    let mut random = Random::new(places.len() as u64 + std::ptr::from_ref(places).addr() as u64);
    let mut replaced = Vec::with_capacity(HANDED);
    let mut received = Vec::new();
    let before = thread_cpu()?;
    for _ in 0..times {
        let cell = source.allocate(FIXED + value / 2 + random.below(value + 1));
        replaced.extend(places[random.below(places.len())].replace(cell));
        if replaced.len() >= HANDED {
            lock(outbox, &mut |cells| cells.append(&mut replaced));
            lock(inbox, &mut |cells| std::mem::swap(cells, &mut received));
            received.drain(..).for_each(|cell| source.free(cell));
        }
    }
    lock(outbox, &mut |cells| cells.append(&mut replaced));
    lock(inbox, &mut |cells| std::mem::swap(cells, &mut received));
    received.drain(..).for_each(|cell| source.free(cell));
    Ok(thread_cpu()? - before)
}
