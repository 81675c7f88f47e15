//! What others notice while a server moves data: memory, writes a second, latency of a PING, stalls. The same is watched for a while before, so
//! that what the machine and the generator do to it can be told from what the move does.

mod memory;
mod pings;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::data::Data;
use super::readings::{Quantity, Readings};
use crate::client::Client;
use crate::cpu;
use crate::generator::{Pace, Watched};
use crate::servers::Kind;
use crate::servers::process::Running;
use crate::session::Session;
use crate::wait;
use memory::MemoryWatch;
use pings::Pings;

/// Requests sent at a time by those who write meanwhile.
const PIPELINE: usize = 16;
/// Something that moves data is looked at so often.
const GLANCE: Duration = Duration::from_millis(5);
/// What is not done in so long is given up.
const PATIENCE: Duration = Duration::from_secs(300);

/// Waits until something is done; `what` says what.
///
/// # Errors
/// If it fails, or takes too long.
pub(super) fn done(what: &str, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
    let found = wait::every(GLANCE, PATIENCE, || match look() {
        Ok(false) => None,
        Ok(true) => Some(Ok(())),
        Err(error) => Some(Err(error)),
    });
    found.unwrap_or_else(|| bail!("no {what} in {} s", PATIENCE.as_secs()))
}

/// How long something took.
///
/// # Errors
/// If it fails.
pub(super) fn timed(action: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let began = Instant::now();
    action()?;
    Ok(began.elapsed())
}

/// Duration of a move of so many megabytes, and its speed.
pub(super) fn speed(megabytes: f64, took: Duration) -> Readings {
    let seconds = took.as_secs_f64();
    vec![
        (Quantity::Speed, megabytes / seconds),
        (Quantity::Duration, seconds),
    ]
}

/// Does something with a server that is written to by as many connections as the session has, as fast as it goes: how long it took, and what was
/// noticed meanwhile.
///
/// # Errors
/// If it fails, or those who write do.
pub(super) fn under_writes(
    session: &Session,
    server: &Running,
    data: Data,
    action: impl FnOnce() -> Result<()>,
) -> Result<(Duration, Readings)> {
    let watched = Arc::new(Watched::default());
    thread::scope(|scope| {
        let pace = Pace::Watched(Arc::clone(&watched));
        let writes = data.writes(session, server.kind);
        let load = scope.spawn(|| session.drive(server, PIPELINE, pace, writes));
        let seen = observe(session, server, || watched.replies(), action);
        watched.stop();
        let load = load
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the load panicked")));
        load.context("writes meanwhile")?;
        seen
    })
}

/// Does something while `writes` counts what is written: how long it took, and what was noticed.
///
/// # Errors
/// If it fails, or the server does not answer.
pub(super) fn observe(
    session: &Session,
    server: &Running,
    writes: impl Fn() -> u64,
    action: impl FnOnce() -> Result<()>,
) -> Result<(Duration, Readings)> {
    let mut client = Client::connect(server.address)?;
    let rate = |since: u64, took: Duration| (writes() - since) as f64 / took.as_secs_f64();
    let pings = Pings::start(server.address, &session.place.generator_cores)?;
    wait::pass_until(Instant::now() + session.measured.warm_up);
    pings.take()?;
    reset_stalls(server.kind, &mut client)?;
    let count = writes();
    let took = timed(|| {
        wait::pass_until(Instant::now() + session.measured.length);
        Ok(())
    })?;
    let rate_before = rate(count, took);
    let pings_before = pings.take()?;
    let stalls_before = stalls(server.kind, &mut client)?;

    reset_stalls(server.kind, &mut client)?;
    let memory_before = cpu::resident_with_children(server.process())?;
    let memory = MemoryWatch::start(server.process(), &session.place.generator_cores);
    let count = writes();
    let took = timed(action)?;
    let rate_meanwhile = rate(count, took);
    let pings_meanwhile = pings.take()?;
    let stalls_meanwhile = stalls(server.kind, &mut client)?;
    let peak = memory.highest()?;
    pings.end()?;

    let mut readings = vec![
        (
            Quantity::ExtraMemory,
            peak.saturating_sub(memory_before) as f64 / 1e6,
        ),
        (Quantity::WritesBefore, rate_before / 1e3),
        (Quantity::WritesMeanwhile, rate_meanwhile / rate_before),
    ];
    let milliseconds = |histogram: &hdrhistogram::Histogram<u64>, quantile| {
        histogram.value_at_quantile(quantile) as f64 / 1e6
    };
    for (meanwhile, before, quantile) in [
        (Quantity::PingP99, Quantity::PingP99Before, 0.99),
        (Quantity::PingP999, Quantity::PingP999Before, 0.999),
        (Quantity::PingLongest, Quantity::PingLongestBefore, 1.0),
    ] {
        readings.push((meanwhile, milliseconds(&pings_meanwhile, quantile)));
        readings.push((before, milliseconds(&pings_before, quantile)));
    }
    if let (Some(meanwhile), Some(before)) = (stalls_meanwhile, stalls_before) {
        readings.push((Quantity::Stall, meanwhile.stall));
        readings.push((Quantity::StallBefore, before.stall));
        // Only snapshots do that.
        if meanwhile.slots_locked > 0.0 {
            readings.push((Quantity::SlotsLocked, meanwhile.slots_locked));
        }
    }
    Ok((took, readings))
}

/// What cache-node says of itself, in milliseconds.
struct Stalls {
    stall: f64,
    slots_locked: f64,
}

fn reset_stalls(kind: Kind, client: &mut Client) -> Result<()> {
    if kind == Kind::CacheNode {
        client.ask(&["CONFIG", "RESETSTAT"])?;
    }
    Ok(())
}

fn stalls(kind: Kind, client: &mut Client) -> Result<Option<Stalls>> {
    if kind != Kind::CacheNode {
        return Ok(None);
    }
    let mut figure = |name: &str| -> Result<f64> {
        let micros: f64 = client.info("stats", name)?.parse().context("a number")?;
        Ok(micros / 1e3)
    };
    Ok(Some(Stalls {
        stall: figure("evenkeel_longest_stall_usec")?,
        slots_locked: figure("evenkeel_longest_walk_lock_usec")?,
    }))
}
