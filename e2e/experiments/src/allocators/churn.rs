//! Fills, churns and deletes, over any source of memory, in the process of one allocator.

use std::sync::Barrier;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicBool, AtomicUsize};
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

/// What the two workers and the measuring thread share.
struct Shared<C> {
    to: [Handed<C>; 2],
    /// Payload bytes of all entries, kept up at the end of each phase.
    live: [AtomicUsize; 2],
    /// All three stand here between phases, twice: to look at memory while nobody changes it.
    phase: Barrier,
}

impl<C> Shared<C> {
    /// The measuring thread's part of a phase: waits for its end, looks, lets the workers go on.
    fn look(&self, base: usize) -> anyhow::Result<(f64, f64)> {
        self.phase.wait();
        let used = resident().map(|bytes| bytes.saturating_sub(base) as f64);
        let live = self
            .live
            .iter()
            .map(|live| live.load(Acquire))
            .sum::<usize>() as f64;
        self.phase.wait();
        Ok((used?, live))
    }
}

/// The report's numbers, in its order.
fn measure<S: Source>(sources: [S; 2], case: &Case) -> anyhow::Result<[f64; 6]> {
    // What is not measured is there, and touched, before the first measurement.
    let mut places: Vec<Option<S::Cell>> = Vec::with_capacity(case.entries);
    places.resize_with(case.entries, || None);
    let shared = Shared {
        to: [Handed::new(), Handed::new()],
        live: [AtomicUsize::new(0), AtomicUsize::new(0)],
        phase: Barrier::new(3),
    };
    let base = resident()?;
    let entries = case.entries as f64;
    std::thread::scope(|scope| {
        let workers: Vec<_> = sources
            .into_iter()
            .zip(places.chunks_mut(case.entries.div_ceil(2)))
            .enumerate()
            .map(|(index, (source, places))| {
                let worker = Worker {
                    source,
                    places,
                    case,
                    shared: &shared,
                    index,
                };
                scope.spawn(|| worker.work())
            })
            .collect();
        let (filled, filled_live) = shared.look(base)?;
        let (churned, churned_live) = shared.look(base)?;
        let (half, _) = shared.look(base)?;
        let (none, _) = shared.look(base)?;
        let mut cpu = [0.0; 2];
        for worker in workers {
            let times = worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            cpu.iter_mut()
                .zip(times)
                .for_each(|(sum, time)| *sum += time.as_nanos() as f64);
        }
        Ok([
            (filled - filled_live) / entries,
            cpu[0] / entries,
            (churned - churned_live) / entries,
            cpu[1] / (2.0 * entries),
            half / churned * 100.0,
            none / churned * 100.0,
        ])
    })
}

/// One of two threads; it fills, overwrites and deletes its own half of the entries, and frees what the other replaced.
struct Worker<'run, S: Source> {
    source: S,
    places: &'run mut [Option<S::Cell>],
    case: &'run Case,
    shared: &'run Shared<S::Cell>,
    index: usize,
}

impl<S: Source> Worker<'_, S> {
    fn work(mut self) -> anyhow::Result<[Duration; 2]> {
        let mut random = Random::new(self.index as u64 + 1);
        let before = thread_cpu()?;
        for place in &mut *self.places {
            let length = if self.case.varied {
                self.case.varied_length(&mut random)
            } else {
                FIXED + self.case.value
            };
            *place = Some(self.source.allocate(length));
        }
        let allocate = thread_cpu()? - before;
        self.end_phase();

        let before = thread_cpu()?;
        self.overwrite(&mut random);
        let pairs = thread_cpu()? - before;
        self.end_phase();

        for share in [2, 1] {
            for place in &mut *self.places {
                if random.below(share) == 0
                    && let Some(cell) = place.take()
                {
                    self.source.free(cell);
                }
            }
            self.settle();
            self.end_phase();
        }
        Ok([allocate, pairs])
    }

    fn end_phase(&self) {
        let live = self.places.iter().flatten().map(S::length).sum();
        self.shared.live[self.index].store(live, Release);
        self.shared.phase.wait();
        self.shared.phase.wait();
    }

    /// As many overwrites as there are entries, at random, with sizes of half to one and a half times the value.
    fn overwrite(&mut self, random: &mut Random) {
        let [inbox, outbox] = [&self.shared.to[self.index], &self.shared.to[1 - self.index]];
        let mut replaced = Vec::with_capacity(HANDED);
        for _ in 0..self.case.entries {
            let cell = self.source.allocate(self.case.varied_length(random));
            replaced.extend(self.places[random.below(self.places.len())].replace(cell));
            if replaced.len() < HANDED {
                continue;
            }
            inbox.free_all(&mut self.source);
            if outbox.closed.load(Acquire) {
                replaced.drain(..).for_each(|cell| self.source.free(cell));
                continue;
            }
            outbox.cells.lock().append(&mut replaced);
            // A thread that is ahead waits, so that what is under way stays small beside what is stored.
            while outbox.cells.lock().len() > 8 * HANDED && !outbox.closed.load(Acquire) {
                inbox.free_all(&mut self.source);
                std::thread::yield_now();
            }
        }
        inbox.closed.store(true, Release);
        inbox.free_all(&mut self.source);
        replaced.into_iter().for_each(|cell| self.source.free(cell));
    }

    /// Gives an allocator that returns memory by and by the time and the calls to do so.
    fn settle(&mut self) {
        // What the other handed over as this one was ending.
        self.shared.to[self.index].free_all(&mut self.source);
        let begun = Instant::now();
        while begun.elapsed() < self.case.settle {
            std::thread::park_timeout(Duration::from_millis(20));
            for length in (FIXED..1024).step_by(8) {
                let cell = self.source.allocate(length);
                self.source.free(cell);
            }
        }
        self.source.rest();
    }
}
