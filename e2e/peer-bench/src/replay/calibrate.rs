//! Finds the memory with which a server holds a number of keys.

use anyhow::{Context, Result, bail};

use super::drive;
use crate::servers::process::Running;
use crate::{client, inspect};

/// The number of keys may differ by this part.
const TOLERANCE: f64 = 0.003;
/// It may differ by this part if no attempt comes nearer: where a few kilobytes are many keys, the server's own buffers are noise.
const TOLERANCE_AT_LAST: f64 = 0.01;
/// Attempts at most.
const ATTEMPTS: u32 = 12;
/// What a key and its value take is first taken to be the value and this.
const GUESS: u64 = 120;

/// Sets `maxmemory` to what the server takes now, empty, and this many bytes.
///
/// # Errors
/// If the server does not answer.
pub fn limit(server: &Running, memory: u64) -> Result<()> {
    let empty = client::info(server.address, "memory", "used_memory")?;
    set(server, empty + memory)
}

fn set(server: &Running, bytes: u64) -> Result<()> {
    let bytes = bytes.to_string();
    client::resp(
        server.address,
        &["CONFIG", "SET", "maxmemory", bytes.as_str()],
    )
    .map(drop)
}

/// The memory, beyond what the server takes now, with which it holds so many keys with values of this length while others are
/// evicted. The server is full afterwards.
///
/// # Errors
/// If the server does not come to hold about this number.
pub fn memory_for(server: &Running, keys: u64, value: u64) -> Result<u64> {
    let empty = client::info(server.address, "memory", "used_memory")?;
    let mut memory = keys * (value + GUESS);
    let mut written = 0;
    let tolerated = |part: f64| (keys as f64 * part).max(1.0);
    let mut nearest = (f64::INFINITY, memory);
    for _ in 0..ATTEMPTS {
        set(server, empty + memory)?;
        // So many that those with which it was filled before another limit have gone, by and large.
        let count = u32::try_from(keys * 2).context("so many keys")?;
        drive::fill(server, written, count, value)?;
        written += count;
        let held = inspect::keys(server)?;
        let missing = keys as f64 - held as f64;
        if missing.abs() <= tolerated(TOLERANCE) {
            return Ok(memory);
        }
        if missing.abs() < nearest.0 {
            nearest = (missing.abs(), memory);
        }
        let each = memory as f64 / held.max(1) as f64;
        memory = (memory as f64 + missing * each).max(1.0) as u64;
    }
    if nearest.0 <= tolerated(TOLERANCE_AT_LAST) {
        // Full with what that memory holds, before anything is measured.
        set(server, empty + nearest.1)?;
        drive::fill(
            server,
            written,
            u32::try_from(keys * 2).context("so many keys")?,
            value,
        )?;
        return Ok(nearest.1);
    }
    bail!(
        "does not come to hold {keys} keys: nearest was {} off",
        nearest.0
    )
}
