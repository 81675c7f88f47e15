//! Fills, churns and deletes, over any source of memory, in the process of one allocator.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::{Duration, Instant};

use anyhow::Context;
use parking_lot::Mutex;

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
    /// Lets go of what is kept at hand, as a worker with nothing to do would.
    fn rest(&mut self) {}
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

    fn rest(&mut self) {
        self.0.flush();
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
/// When the command line is not four numbers or `/proc` is not there.
pub fn child<S: Source>(sources: [S; 2]) -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = || -> anyhow::Result<usize> {
        Ok(arguments
            .next()
            .context("usage: ENTRIES VALUE_BYTES VARIED SETTLE_SECONDS")?
            .parse()?)
    };
    let case = Case {
        entries: number()?,
        value: number()?,
        varied: number()? == 1,
        settle: Duration::from_secs(number()? as u64),
    };
    let numbers: Vec<String> = measure(sources, &case)?
        .iter()
        .map(f64::to_string)
        .collect();
    println!("{}", numbers.join(" "));
    Ok(())
}

struct Case {
    entries: usize,
    value: usize,
    /// The first values vary in size as the later ones do.
    varied: bool,
    settle: Duration,
}

impl Case {
    fn varied_length(&self, random: &mut Random) -> usize {
        FIXED + self.value / 2 + random.below(self.value + 1)
    }
}

type Places<S> = Vec<Option<<S as Source>::Cell>>;

/// The report's numbers, in its order.
fn measure<S: Source>(mut sources: [S; 2], case: &Case) -> anyhow::Result<[f64; 6]> {
    let entries = case.entries;
    let mut random = Random::new(3);
    // What is not measured is there, and touched, before the first measurement.
    let mut places: Places<S> = Vec::with_capacity(entries);
    places.resize_with(entries, || None);
    let order = random.permutation(entries);
    let base = resident()?;
    let used = || -> anyhow::Result<f64> { Ok(resident()?.saturating_sub(base) as f64) };
    let live = |places: &Places<S>| places.iter().flatten().map(S::length).sum::<usize>() as f64;

    let before = thread_cpu()?;
    for place in &mut places {
        let length = if case.varied {
            case.varied_length(&mut random)
        } else {
            FIXED + case.value
        };
        *place = Some(sources[0].allocate(length));
    }
    let allocate = (thread_cpu()? - before).as_nanos() as f64 / entries as f64;
    let filled = (used()? - live(&places)) / entries as f64;

    let cpu = churn(&mut sources, &mut places, case)?;
    let pair = cpu.as_nanos() as f64 / (entries * 2) as f64;
    let full = used()?;
    let churned = (full - live(&places)) / entries as f64;

    let mut left = [0.0; 2];
    for (left, (places_of, source)) in left
        .iter_mut()
        .zip([(&order[..entries / 2], 0), (&order[entries / 2..], 1)])
    {
        for &place in places_of {
            if let Some(cell) = places[place as usize].take() {
                sources[source].free(cell);
            }
        }
        settle(&mut sources, case.settle);
        *left = used()? / full * 100.0;
    }
    Ok([filled, allocate, churned, pair, left[0], left[1]])
}

/// Gives an allocator that returns memory by and by the time and the calls to do so.
fn settle<S: Source>(sources: &mut [S; 2], time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::thread::park_timeout(Duration::from_millis(20));
        for source in &mut *sources {
            for length in (FIXED..1024).step_by(8) {
                let cell = source.allocate(length);
                source.free(cell);
            }
        }
    }
    sources.iter_mut().for_each(S::rest);
}

/// Cells on their way to the thread that frees them.
struct Handed<C> {
    cells: Mutex<Vec<C>>,
    /// That thread has ended and takes no more.
    closed: AtomicBool,
}

impl<C> Handed<C> {
    fn new() -> Self {
        Self {
            cells: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    fn free_all<S: Source<Cell = C>>(&self, source: &mut S) {
        let cells = std::mem::take(&mut *self.cells.lock());
        cells.into_iter().for_each(|cell| source.free(cell));
    }
}

/// Two threads overwrite random entries, each in its half and as often as there are entries, with sizes of half to one
/// and a half times the value; each frees what the other replaced. Gives the processor time of both.
fn churn<S: Source>(
    sources: &mut [S; 2],
    places: &mut Places<S>,
    case: &Case,
) -> anyhow::Result<Duration> {
    let to = [Handed::new(), Handed::new()];
    let (first, second) = places.split_at_mut(case.entries / 2);
    let [one, two] = sources;
    let total = std::thread::scope(|scope| {
        let threads = [
            scope.spawn(|| overwrite(one, first, case, [&to[0], &to[1]])),
            scope.spawn(|| overwrite(two, second, case, [&to[1], &to[0]])),
        ];
        let mut total = Duration::ZERO;
        for thread in threads {
            total += thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        anyhow::Ok(total)
    })?;
    to.iter().for_each(|handed| handed.free_all(one));
    Ok(total)
}

fn overwrite<S: Source>(
    source: &mut S,
    places: &mut [Option<S::Cell>],
    case: &Case,
    [inbox, outbox]: [&Handed<S::Cell>; 2],
) -> anyhow::Result<Duration> {
    let mut random = Random::new(places.len() as u64 + std::ptr::from_ref(places).addr() as u64);
    let mut replaced = Vec::with_capacity(HANDED);
    let before = thread_cpu()?;
    for _ in 0..case.entries {
        let cell = source.allocate(case.varied_length(&mut random));
        replaced.extend(places[random.below(places.len())].replace(cell));
        if replaced.len() < HANDED {
            continue;
        }
        inbox.free_all(source);
        if outbox.closed.load(Acquire) {
            replaced.drain(..).for_each(|cell| source.free(cell));
            continue;
        }
        outbox.cells.lock().append(&mut replaced);
        // A thread that is ahead waits, so that what is under way stays small beside what is stored.
        while outbox.cells.lock().len() > 8 * HANDED && !outbox.closed.load(Acquire) {
            inbox.free_all(source);
            std::thread::yield_now();
        }
    }
    inbox.closed.store(true, Release);
    inbox.free_all(source);
    replaced.into_iter().for_each(|cell| source.free(cell));
    Ok(thread_cpu()? - before)
}
