//! Workers: threads that serve connections, each pinned to a processor with a runtime of its own.

use std::io;
use std::net::TcpStream;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::warn;

use super::connection;
use super::stall;
use crate::housekeeping;
use crate::node::Node;
use crate::stats::WorkerStats;

/// All workers.
pub struct Workers {
    workers: Vec<Worker>,
}

struct Worker {
    sockets: UnboundedSender<TcpStream>,
    stats: Arc<WorkerStats>,
}

impl Workers {
    /// Starts `count` workers. Their threads end when the process is to close and their connections have ended.
    pub fn start(node: &Arc<Node>, count: usize) -> io::Result<(Self, Vec<JoinHandle<()>>)> {
        let processors = core_affinity::get_core_ids().unwrap_or_default();
        let mut workers = Vec::with_capacity(count);
        let mut threads = Vec::with_capacity(count);
        for index in 0..count {
            let (sockets, arriving) = unbounded_channel();
            let stats = Arc::new(WorkerStats::new());
            node.stats.register(&stats);
            // With more workers than processors, or fewer, the scheduler knows better.
            let processor = (count == processors.len()).then(|| processors[index]);
            let share = Share {
                node: Arc::clone(node),
                stats: Arc::clone(&stats),
                index,
                count,
            };
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || {
                    if let Some(processor) = processor {
                        core_affinity::set_for_current(processor);
                    }
                    work(share, arriving);
                })?;
            threads.push(thread);
            workers.push(Worker { sockets, stats });
        }
        Ok((Self { workers }, threads))
    }

    /// Number of connections.
    pub fn connections(&self) -> usize {
        self.workers
            .iter()
            .map(|worker| worker.stats.connections.load(Relaxed) as usize)
            .sum()
    }

    /// Gives a connection to the worker that has the fewest.
    pub fn hand_over(&self, stream: TcpStream) {
        let least = self
            .workers
            .iter()
            .min_by_key(|worker| worker.stats.connections.load(Relaxed));
        if let Some(worker) = least {
            worker.stats.connections.fetch_add(1, Relaxed);
            // A worker that has ended takes no more connections; this one is closed.
            if worker.sockets.send(stream).is_err() {
                worker.stats.connections.fetch_sub(1, Relaxed);
            }
        }
    }
}

/// A worker's part of the work.
pub(crate) struct Share {
    pub(crate) node: Arc<Node>,
    pub(crate) stats: Arc<WorkerStats>,
    /// Which of the workers it is.
    pub(crate) index: usize,
    /// How many there are.
    pub(crate) count: usize,
}

fn work(share: Share, arriving: UnboundedReceiver<TcpStream>) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default());
    match runtime {
        Ok(runtime) => {
            let stats = Arc::clone(&share.stats);
            let run = pin!(run(share, arriving));
            runtime.block_on(stall::watch_all(&stats, run));
        }
        Err(error) => tracing::error!(%error, "a worker cannot start"),
    }
}

async fn run(share: Share, mut arriving: UnboundedReceiver<TcpStream>) {
    let share = Arc::new(share);
    let keeper = tokio::task::spawn_local({
        let share = Arc::clone(&share);
        async move {
            let keeping = pin!(housekeeping::keep_slots(Arc::clone(&share)));
            stall::watch_all(&share.stats, keeping).await;
        }
    });
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            stream = arriving.recv() => {
                let Some(stream) = stream else { break };
                match tokio::net::TcpStream::from_std(stream) {
                    Ok(stream) => {
                        connections.spawn_local(connection::serve(Arc::clone(&share), stream));
                    }
                    Err(error) => {
                        share.stats.connections.fetch_sub(1, Relaxed);
                        warn!(%error, "a connection cannot be served");
                    }
                }
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = share.node.shutdown.closing() => break,
        }
    }
    while connections.join_next().await.is_some() {}
    keeper.abort();
}
