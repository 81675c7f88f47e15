//! Waiting for a condition, with a bound.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until `condition` holds, and tells how long that took.
///
/// # Errors
/// If it does not within [`PATIENCE`]; the message has `what` and what `condition` said last.
pub async fn until(
    what: &str,
    condition: impl AsyncFnMut() -> Result<(), String>,
) -> Result<Duration> {
    until_within(PATIENCE, what, condition).await
}

/// The same, within `bound`.
///
/// # Errors
/// If it does not.
pub async fn until_within(
    bound: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> Result<(), String>,
) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let Err(state) = condition().await else {
            return Ok(began.elapsed());
        };
        if began.elapsed() > bound {
            bail!("waited too long until {what}: {state}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
