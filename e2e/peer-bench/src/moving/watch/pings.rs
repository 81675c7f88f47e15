//! A client that sends PING at fixed times and notes how long each took, from when it was due.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;

use crate::client::Client;
use crate::cpu::{self, Cores};
use crate::generator::histogram;
use crate::wait;

/// Time between two of them.
const INTERVAL: Duration = Duration::from_millis(1);

/// A thread that sends them.
#[derive(Debug)]
pub(super) struct Pings {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<()>>,
}

#[derive(Debug)]
struct Shared {
    latencies: Mutex<Histogram<u64>>,
    stopped: AtomicBool,
}

impl Pings {
    /// Begins to send.
    pub(super) fn start(address: SocketAddr, cores: &Cores) -> Result<Self> {
        let client = Client::connect(address)?;
        let shared = Arc::new(Shared {
            latencies: Mutex::new(histogram()),
            stopped: AtomicBool::new(false),
        });
        let thread = thread::spawn({
            let (shared, cores) = (Arc::clone(&shared), cores.clone());
            move || {
                cpu::pin_this_thread(&cores)?;
                send(client, &shared)
            }
        });
        Ok(Self { shared, thread })
    }

    /// Latencies in nanoseconds since this was last asked.
    pub(super) fn take(&self) -> Histogram<u64> {
        let mut latencies = self.shared.lock();
        std::mem::replace(&mut latencies, histogram())
    }

    /// Ends.
    pub(super) fn end(self) -> Result<()> {
        self.shared.stopped.store(true, Relaxed);
        self.thread
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the thread that sends PING panicked")))
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Histogram<u64>> {
        self.latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn send(mut client: Client, shared: &Shared) -> Result<()> {
    let mut due = Instant::now();
    while !shared.stopped.load(Relaxed) {
        client.ask(&["PING"])?;
        let latency = due.elapsed().as_nanos() as u64;
        shared.lock().record(latency).context("latency")?;
        due += INTERVAL;
        wait::pass_until(due);
    }
    Ok(())
}
