//! Workers that execute what they read, under the lock of its slot.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Instant;

use parking_lot::Mutex;

use super::store::{Operation, Slot, Store, hottest};
use super::{CONNECTIONS, Done, EVERY, HOLD, Plan};
use crate::measure::thread_cpu;
use crate::tables::layout::{hash, key, slot};

/// What a worker does when somebody else has the slot.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Contended {
    /// Spins a little, then parks the thread.
    Wait,
    /// Puts the command aside, goes on with other connections and tries again.
    PutAside,
}

/// Runs all workers; gives back what each did, and the store.
///
/// # Errors
/// When processor time cannot be read.
pub(super) fn run(
    plan: Plan,
    store: Store,
    streams: &[Vec<Operation>],
    contended: Contended,
) -> anyhow::Result<(Vec<Done>, Store)> {
    // The lock is one byte; it stands beside the slot's data, in the line that the operation needs anyway.
    let slots: Vec<Mutex<Slot>> = store.0.into_iter().map(Mutex::new).collect();
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let done = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..plan.threads)
            .map(|index| {
                let (slots, stream, cores) = (&slots, &streams[index], &cores);
                scope.spawn(move || {
                    if !cores.is_empty() {
                        core_affinity::set_for_current(cores[index % cores.len()]);
                    }
                    work(plan, index, slots, stream, contended)
                })
            })
            .collect();
        workers
            .into_iter()
            .map(super::hop::joined)
            .collect::<anyhow::Result<Vec<_>>>()
    })?;
    Ok((
        done,
        Store(slots.into_iter().map(Mutex::into_inner).collect()),
    ))
}

struct Turn {
    started: Instant,
    left: usize,
    /// The command that waits for its slot.
    aside: Option<Operation>,
}

fn work(
    plan: Plan,
    index: usize,
    slots: &[Mutex<Slot>],
    stream: &[Operation],
    contended: Contended,
) -> anyhow::Result<Done> {
    let begun = Instant::now();
    let cpu = thread_cpu()?;
    let mut done = Done::default();
    let mut held = begun;
    let mut operations = stream.iter().copied().cycle();
    let mut connections: VecDeque<Turn> = (0..CONNECTIONS).map(|_| fresh(plan)).collect();
    let mut checks = 0_u32;
    loop {
        checks += 1;
        // The clock costs as much as an operation, so it is read seldom.
        if plan.holder || checks.is_multiple_of(64) {
            if begun.elapsed() >= plan.time {
                break;
            }
            if plan.holder && index == 0 && held.elapsed() >= EVERY {
                let slot = slots[hottest()].lock();
                held = Instant::now();
                while held.elapsed() < HOLD {
                    std::hint::spin_loop();
                }
                drop(slot);
            }
        }
        let Some(mut turn) = connections.pop_front() else {
            break;
        };
        while turn.left > 0 {
            let Some(operation) = turn.aside.take().or_else(|| operations.next()) else {
                break;
            };
            if execute(slots, operation, contended) {
                turn.left -= 1;
            } else {
                turn.aside = Some(operation);
                break;
            }
        }
        if turn.left == 0 {
            turn.started = done.finished(&plan, turn.started);
            turn.left = plan.batch;
        }
        connections.push_back(turn);
    }
    done.cpu = thread_cpu()? - cpu;
    Ok(done)
}

fn fresh(plan: Plan) -> Turn {
    Turn {
        started: Instant::now(),
        left: plan.batch,
        aside: None,
    }
}

fn execute(slots: &[Mutex<Slot>], operation: Operation, contended: Contended) -> bool {
    let key = key(u64::from(operation.number));
    let hash = hash(&key);
    let lock = &slots[slot(hash)];
    let mut slot = match (contended, lock.try_lock()) {
        (_, Some(slot)) => slot,
        (Contended::Wait, None) => lock.lock(),
        (Contended::PutAside, None) => return false,
    };
    if operation.set {
        black_box(slot.set(hash, &key, [hash; 8]));
    } else {
        black_box(slot.get(hash, &key));
    }
    true
}
