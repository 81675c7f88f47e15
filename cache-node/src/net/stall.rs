//! How long a worker's tasks keep its thread, and so all other connections of the worker, waiting: each stretch from when a task begins to
//! work until it gives the thread back. What a task is kept from its work by, such as the processor's other threads, counts, too.
//!
//! A clock is read once for each stretch, at its end: a connection's turn reads it at the beginning anyway, as soon as it knows what it was sent.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Instant;

use crate::stats::WorkerStats;

thread_local! {
    /// When the task that runs on this thread began to work, if it did.
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The task that runs now works, since `at` or longer.
#[inline]
pub(super) fn works_since(at: Instant) {
    if BEGAN.get().is_none() {
        BEGAN.set(Some(at));
    }
}

/// Runs a task that says itself, with [`works_since`], when it works.
pub(super) async fn watch_turns<F: Future>(stats: &WorkerStats, task: Pin<&mut F>) -> F::Output {
    watch(stats, task, || None).await
}

/// Runs a task that works whenever it is woken.
pub(super) async fn watch_all<F: Future>(stats: &WorkerStats, task: Pin<&mut F>) -> F::Output {
    watch(stats, task, || Some(Instant::now())).await
}

fn watch<F: Future>(
    stats: &WorkerStats,
    mut task: Pin<&mut F>,
    woken: fn() -> Option<Instant>,
) -> impl Future<Output = F::Output> {
    poll_fn(move |context| {
        BEGAN.set(woken());
        let polled = task.as_mut().poll(context);
        if let Some(began) = BEGAN.take() {
            stats.stalls.record(began.elapsed());
        }
        polled
    })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::FutureExt;

    use super::*;

    fn stalls(stats: &WorkerStats) -> u64 {
        stats.stalls.spread().counts.iter().sum()
    }

    #[test]
    fn each_stretch_of_work_is_counted_once() {
        let stats = WorkerStats::new();
        let task = pin!(async {
            works_since(Instant::now());
            works_since(Instant::now());
            tokio::task::yield_now().await;
            // Nothing to do this time.
            tokio::task::yield_now().await;
            works_since(Instant::now());
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime without drivers");
        runtime.block_on(watch_turns(&stats, task));
        assert_eq!(stalls(&stats), 2);
    }

    #[test]
    fn a_task_that_always_works_is_counted_whenever_it_is_woken() {
        let stats = WorkerStats::new();
        assert_eq!(watch_all(&stats, pin!(async { 7 })).now_or_never(), Some(7));
        assert_eq!(stalls(&stats), 1);
    }
}
