//! Workers that own a part of the slots each: a command for a slot of another worker goes there as a message, its reply
//! comes back as one. All commands of a pipeline for the same owner share a message.

use std::hint::black_box;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::{ScopedJoinHandle, Thread};
use std::time::{Duration, Instant};

use super::ring::Ring;
use super::store::{Operation, Slot, Store};
use super::{CONNECTIONS, Done, EVERY, HOLD, Plan};
use crate::measure::thread_cpu;
use crate::tables::layout::{hash, key, slot};

/// Empty rounds before a worker parks.
const SPINS: u32 = 50;

/// What workers share: for each pair a ring of commands and one of replies.
struct Mesh {
    threads: usize,
    commands: Vec<Ring>,
    replies: Vec<Ring>,
    parked: Vec<AtomicBool>,
    handles: Vec<OnceLock<Thread>>,
}

impl Mesh {
    fn new(threads: usize) -> Self {
        let rings = || (0..threads * threads).map(|_| Ring::new()).collect();
        Self {
            threads,
            commands: rings(),
            replies: rings(),
            parked: (0..threads).map(|_| AtomicBool::new(false)).collect(),
            handles: (0..threads).map(|_| OnceLock::new()).collect(),
        }
    }

    fn ring<'mesh>(&self, rings: &'mesh [Ring], from: usize, to: usize) -> &'mesh Ring {
        &rings[from * self.threads + to]
    }

    fn wake(&self, worker: usize) {
        if self.parked[worker].load(SeqCst)
            && self.parked[worker].swap(false, SeqCst)
            && let Some(handle) = self.handles[worker].get()
        {
            handle.unpark();
        }
    }

    fn nothing_for(&self, worker: usize) -> bool {
        (0..self.threads).all(|from| {
            self.ring(&self.commands, from, worker).is_empty()
                && self.ring(&self.replies, from, worker).is_empty()
        })
    }
}

/// Runs all workers; gives back what each did, and the store.
///
/// # Errors
/// When processor time cannot be read.
pub(super) fn run(
    plan: Plan,
    store: Store,
    streams: &[Vec<Operation>],
) -> anyhow::Result<(Vec<Done>, Store)> {
    let threads = plan.threads;
    let mesh = Mesh::new(threads);
    let mut parts: Vec<Vec<Slot>> = (0..threads).map(|_| Vec::new()).collect();
    let total = store.0.len();
    for (number, slot) in store.0.into_iter().enumerate() {
        parts[number % threads].push(slot);
    }
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let results = std::thread::scope(|scope| {
        let workers: Vec<_> = parts
            .into_iter()
            .enumerate()
            .map(|(index, slots)| {
                let (mesh, stream, cores) = (&mesh, &streams[index], &cores);
                scope.spawn(move || {
                    if !cores.is_empty() {
                        core_affinity::set_for_current(cores[index % cores.len()]);
                    }
                    // Each index is one worker's, so it was not set before.
                    let _ = mesh.handles[index].set(std::thread::current());
                    Worker::new(plan, index, mesh, slots, stream).work()
                })
            })
            .collect();
        workers
            .into_iter()
            .map(joined)
            .collect::<anyhow::Result<Vec<_>>>()
    })?;
    let mut done = Vec::new();
    let mut parts = Vec::new();
    for (worker, slots) in results {
        done.push(worker);
        parts.push(slots.into_iter());
    }
    let slots = (0..total)
        .filter_map(|number| parts[number % threads].next())
        .collect();
    Ok((done, Store(slots)))
}

/// The result of a worker; its panic goes on here.
pub(super) fn joined<T>(worker: ScopedJoinHandle<'_, T>) -> T {
    worker
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

struct Turn {
    started: Instant,
    /// Commands of which the reply has not come.
    left: usize,
}

struct Worker<'run> {
    plan: Plan,
    index: usize,
    mesh: &'run Mesh,
    slots: Vec<Slot>,
    stream: &'run [Operation],
    next: usize,
    turns: Vec<Turn>,
    ready: Vec<usize>,
    for_owner: Vec<Vec<(Operation, u64)>>,
    done: Done,
}

impl<'run> Worker<'run> {
    fn new(
        plan: Plan,
        index: usize,
        mesh: &'run Mesh,
        slots: Vec<Slot>,
        stream: &'run [Operation],
    ) -> Self {
        let turn = || Turn {
            started: Instant::now(),
            left: 0,
        };
        Self {
            plan,
            index,
            mesh,
            slots,
            stream,
            next: 0,
            turns: (0..CONNECTIONS).map(|_| turn()).collect(),
            ready: (0..CONNECTIONS).collect(),
            for_owner: vec![Vec::new(); plan.threads],
            done: Done::default(),
        }
    }

    fn work(mut self) -> anyhow::Result<(Done, Vec<Slot>)> {
        let begun = Instant::now();
        let cpu = thread_cpu()?;
        let mut held = begun;
        let mut idle = 0;
        // An owner must serve the others to the end, so a little longer than it asks itself.
        let end = self.plan.time + Duration::from_millis(20);
        let mut asking = true;
        loop {
            let now = begun.elapsed();
            if now >= end {
                break;
            }
            if asking && now >= self.plan.time {
                asking = false;
                self.done.cpu = thread_cpu()? - cpu;
            }
            if self.plan.holder && self.index == 0 && asking && held.elapsed() >= EVERY {
                held = Instant::now();
                while held.elapsed() < HOLD {
                    std::hint::spin_loop();
                }
            }
            let mut busy = self.serve();
            busy |= self.collect(asking);
            if asking {
                // As many as an event loop would find ready at once.
                for connection in std::mem::take(&mut self.ready) {
                    busy = true;
                    self.ask(connection);
                }
            }
            idle = if busy { 0 } else { idle + 1 };
            if idle > SPINS {
                self.park();
            }
        }
        Ok((self.done, self.slots))
    }

    /// Executes what others sent.
    fn serve(&mut self) -> bool {
        let mut busy = false;
        for from in (0..self.plan.threads).filter(|&from| from != self.index) {
            let mut commands = self.mesh.ring(&self.mesh.commands, from, self.index).read();
            if commands.is_done() {
                continue;
            }
            busy = true;
            let mut replies = self.mesh.ring(&self.mesh.replies, self.index, from).write();
            while !commands.is_done() {
                let connection = commands.take();
                let count = commands.take();
                replies.put(connection);
                replies.put(count);
                for _ in 0..count {
                    let word = commands.take();
                    let hash = commands.take();
                    let key = key(word >> 1);
                    let slot = &mut self.slots[slot(hash) / self.plan.threads];
                    if word & 1 == 1 {
                        let value = std::array::from_fn(|_| commands.take());
                        replies.put(1);
                        replies.put(u64::from(slot.set(hash, &key, value)));
                    } else {
                        let value = slot.get(hash, &key).unwrap_or_default();
                        replies.put(8);
                        value.iter().for_each(|&word| replies.put(word));
                    }
                }
            }
            commands.release();
            replies.publish();
            self.mesh.wake(from);
        }
        busy
    }

    /// Takes the replies to what this worker sent.
    fn collect(&mut self, counting: bool) -> bool {
        let mut busy = false;
        for owner in (0..self.plan.threads).filter(|&owner| owner != self.index) {
            let mut replies = self.mesh.ring(&self.mesh.replies, owner, self.index).read();
            while !replies.is_done() {
                busy = true;
                let connection = replies.take() as usize;
                let count = replies.take() as usize;
                for _ in 0..count {
                    let words = replies.take();
                    let mut value = [0; 8];
                    value[..words as usize].fill_with(|| replies.take());
                    black_box(value);
                }
                let turn = &mut self.turns[connection];
                turn.left -= count;
                if turn.left == 0 {
                    if counting {
                        turn.started = self.done.finished(&self.plan, turn.started);
                    }
                    self.ready.push(connection);
                }
            }
            replies.release();
        }
        busy
    }

    /// A connection's next pipeline: executes what is this worker's own and sends the rest.
    fn ask(&mut self, connection: usize) {
        for _ in 0..self.plan.batch {
            let operation = self.stream[self.next % self.stream.len()];
            self.next += 1;
            let key = key(u64::from(operation.number));
            let hash = hash(&key);
            let number = slot(hash);
            let owner = number % self.plan.threads;
            if owner != self.index {
                self.for_owner[owner].push((operation, hash));
                continue;
            }
            let slot = &mut self.slots[number / self.plan.threads];
            if operation.set {
                black_box(slot.set(hash, &key, [hash; 8]));
            } else {
                black_box(slot.get(hash, &key));
            }
        }
        let mut sent = 0;
        for owner in 0..self.plan.threads {
            if self.for_owner[owner].is_empty() {
                continue;
            }
            let mut message = self
                .mesh
                .ring(&self.mesh.commands, self.index, owner)
                .write();
            message.put(connection as u64);
            message.put(self.for_owner[owner].len() as u64);
            for (operation, hash) in self.for_owner[owner].drain(..) {
                sent += 1;
                message.put(u64::from(operation.number) << 1 | u64::from(operation.set));
                message.put(hash);
                if operation.set {
                    [hash; 8].iter().for_each(|&word| message.put(word));
                }
            }
            message.publish();
            self.mesh.wake(owner);
        }
        let turn = &mut self.turns[connection];
        turn.left = sent;
        if sent == 0 {
            turn.started = self.done.finished(&self.plan, turn.started);
            self.ready.push(connection);
        }
    }

    fn park(&self) {
        self.mesh.parked[self.index].store(true, SeqCst);
        if self.mesh.nothing_for(self.index) {
            // Bounded, because the end of the run wakes nobody.
            std::thread::park_timeout(Duration::from_millis(2));
        }
        self.mesh.parked[self.index].store(false, SeqCst);
    }
}
