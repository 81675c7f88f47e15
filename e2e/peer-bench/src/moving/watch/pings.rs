//! A client that sends PING at short intervals, answered or not, and notes how long each answer took, so that every PING sent during a stall shows it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use hdrhistogram::Histogram;

use crate::cpu::{self, Cores};
use crate::generator::histogram;
use crate::wait;

/// Time between two of them.
const INTERVAL: Duration = Duration::from_millis(1);
/// An answer that does not come in so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

const REQUEST: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const ANSWER: &[u8] = b"+PONG\r\n";

/// Threads that send and receive.
#[derive(Debug)]
pub(super) struct Pings {
    shared: Arc<Shared>,
    threads: [JoinHandle<Result<()>>; 2],
}

#[derive(Debug)]
struct Shared {
    latencies: Mutex<Histogram<u64>>,
    sent: AtomicU64,
    answered: AtomicU64,
    stopped: AtomicBool,
}

impl Pings {
    /// Begins to send.
    pub(super) fn start(address: SocketAddr, cores: &Cores) -> Result<Self> {
        let stream = TcpStream::connect(address).context("connect")?;
        stream.set_nodelay(true).context("TCP_NODELAY")?;
        stream.set_read_timeout(Some(PATIENCE)).context("timeout")?;
        let shared = Arc::new(Shared {
            latencies: Mutex::new(histogram()),
            sent: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        });
        let (sent, under_way) = channel();
        let sender = thread::spawn({
            let (shared, cores) = (Arc::clone(&shared), cores.clone());
            let stream = stream.try_clone().context("socket")?;
            move || {
                cpu::pin_this_thread(&cores)?;
                send(stream, &shared, &sent)
            }
        });
        let receiver = thread::spawn({
            let (shared, cores) = (Arc::clone(&shared), cores.clone());
            move || {
                cpu::pin_this_thread(&cores)?;
                receive(stream, &shared, &under_way)
            }
        });
        Ok(Self {
            shared,
            threads: [sender, receiver],
        })
    }

    /// Latencies in nanoseconds of those sent since this was last asked; the answers to the last of them are waited for.
    pub(super) fn take(&self) -> Result<Histogram<u64>> {
        let sent = self.shared.sent.load(Relaxed);
        wait::every(INTERVAL, PATIENCE, || {
            (self.shared.answered.load(Relaxed) >= sent).then_some(())
        })
        .context("PING is not answered")?;
        Ok(std::mem::replace(
            &mut *self.shared.latencies(),
            histogram(),
        ))
    }

    /// Ends.
    pub(super) fn end(self) -> Result<()> {
        self.shared.stopped.store(true, Relaxed);
        let join = |thread: JoinHandle<Result<()>>| {
            thread
                .join()
                .unwrap_or_else(|_| Err(anyhow!("a thread that sends PING panicked")))
        };
        self.threads.into_iter().try_for_each(join)
    }
}

impl Shared {
    fn latencies(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends until it is told to stop; the receiver ends when it has the last answer.
fn send(mut stream: TcpStream, shared: &Shared, sent: &Sender<Instant>) -> Result<()> {
    while !shared.stopped.load(Relaxed) {
        let now = Instant::now();
        sent.send(now).context("the receiver has ended")?;
        shared.sent.fetch_add(1, Relaxed);
        stream.write_all(REQUEST).context("send PING")?;
        wait::pass_until(now + INTERVAL);
    }
    Ok(())
}

fn receive(mut stream: TcpStream, shared: &Shared, sent: &Receiver<Instant>) -> Result<()> {
    let mut answer = [0; ANSWER.len()];
    for sent in sent {
        stream.read_exact(&mut answer).context("receive PONG")?;
        if answer != ANSWER {
            bail!("not PONG: {}", String::from_utf8_lossy(&answer));
        }
        let latency = sent.elapsed().as_nanos() as u64;
        shared.latencies().record(latency).context("latency")?;
        shared.answered.fetch_add(1, Relaxed);
    }
    Ok(())
}
