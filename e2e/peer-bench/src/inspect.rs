//! What a server takes: resident memory once it has settled, and what it says of itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::generator::replies::Protocol;
use crate::servers::process::Running;
use crate::{client, cpu, wait};

/// Memory of a server without data counts as settled when it has not changed for so long.
pub const EMPTY: Duration = Duration::from_secs(1);
/// Memory of a server that was loaded counts as settled when it has not changed for so long.
pub const LOADED: Duration = Duration::from_secs(5);
/// It is taken as it is after so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Changes that do not count, in bytes.
const NOISE: u64 = 256 << 10;

/// Memory of a server at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident bytes.
    pub resident: u64,
    /// Bytes by the server's own accounting, if it has one.
    pub accounted: Option<u64>,
}

/// Memory of a server after it has not changed for the time `quiet`: allocators give memory back, and tables finish
/// growing, for some time after a load.
///
/// # Errors
/// If the server is gone.
pub fn settled_memory(server: &Running, quiet: Duration) -> Result<Memory> {
    let mut last = (Instant::now(), cpu::resident(server.process())?);
    let settled = wait::until(PATIENCE, || {
        let resident = match cpu::resident(server.process()) {
            Ok(resident) => resident,
            Err(error) => return Some(Err(error)),
        };
        if resident.abs_diff(last.1) > NOISE {
            last = (Instant::now(), resident);
        }
        (last.0.elapsed() >= quiet).then_some(Ok(resident))
    });
    Ok(Memory {
        resident: settled.unwrap_or(Ok(last.1))?,
        accounted: accounted(server),
    })
}

/// Bytes by the server's own accounting.
fn accounted(server: &Running) -> Option<u64> {
    match server.kind.protocol() {
        Protocol::Memcached => client::memcached_statistic(server.address, "bytes").ok(),
        Protocol::Resp => client::info(server.address, "memory", "used_memory").ok(),
    }
}

/// Number of keys in a server.
///
/// # Errors
/// If it does not say.
pub fn keys(server: &Running) -> Result<u64> {
    match server.kind.protocol() {
        Protocol::Memcached => client::memcached_statistic(server.address, "curr_items"),
        Protocol::Resp => client::resp(server.address, &["DBSIZE"])?
            .parse()
            .context("DBSIZE"),
    }
}

/// `MEMORY USAGE` of a key, over all its elements where that can be asked for.
pub fn memory_usage(server: &Running, key: &str) -> Option<f64> {
    let exact = client::resp(server.address, &["MEMORY", "USAGE", key, "SAMPLES", "0"]);
    let answer = exact
        .or_else(|_| client::resp(server.address, &["MEMORY", "USAGE", key]))
        .ok()?;
    answer.parse().ok()
}
