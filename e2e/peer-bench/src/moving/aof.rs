//! The append-only file: what it costs those who write, and what they notice when it is rewritten.

use anyhow::{Result, bail};

use super::data::{self, Data};
use super::readings::{Quantity, Readings};
use super::{NOT_AVAILABLE, watch};
use crate::client::Client;
use crate::generator::Pace;
use crate::servers::discovery::Installed;
use crate::servers::process::Running;
use crate::session::Session;

/// When a server synchronizes its file to the disk, by `appendfsync`.
pub(super) const POLICIES: [&str; 3] = ["always", "everysec", "no"];

pub(super) fn arguments(policy: &str) -> [&str; 4] {
    ["--appendonly", "yes", "--appendfsync", policy]
}

/// Starts an empty server with an append-only file.
///
/// # Errors
/// If it has none.
pub(super) fn start(session: &Session, installed: &Installed, policy: &str) -> Result<Running> {
    let extra = data::extra(installed.kind, &arguments(policy));
    let server = session
        .start_with(installed, &extra)
        .map_err(|error| error.context(NOT_AVAILABLE))?;
    let mut client = Client::connect(server.address)?;
    // The first base is written before anything is served.
    watch::done("the first base", || {
        Ok(client.info("persistence", "loading")? == "0")
    })?;
    Ok(server)
}

/// Writes a second as a part of those of a server that is the same but for the file.
pub(super) fn speed(
    session: &Session,
    installed: &Installed,
    data: Data,
    policy: &str,
) -> Result<Readings> {
    let with = start(session, installed, policy)?;
    data.fill(session, &with)?;
    let without = data.start(session, installed, &[])?;
    let mut readings = Vec::new();
    for (pipeline, quantity) in [(1, Quantity::WritesSingly), (16, Quantity::WritesPipelined)] {
        let rate = |server: &Running| -> Result<f64> {
            let writes = data.writes(session, server.kind);
            let pace = Pace::Closed(session.measured);
            Ok(session.drive(server, pipeline, pace, writes)?.throughput())
        };
        let before = rate(&without)?;
        readings.push((quantity, rate(&with)? / before));
    }
    Ok(readings)
}

/// BGREWRITEAOF of a server that is written to all the time.
pub(super) fn rewrite(session: &Session, installed: &Installed, data: Data) -> Result<Readings> {
    let server = start(session, installed, "everysec")?;
    data.fill(session, &server)?;
    let mut client = Client::connect(server.address)?;
    let (took, seen) = watch::under_writes(session, &server, data, || {
        client.ask(&["BGREWRITEAOF"])?;
        watch::done("end of BGREWRITEAOF", || {
            let under_way = client.info("persistence", "aof_rewrite_in_progress")?;
            let scheduled = client.info("persistence", "aof_rewrite_scheduled");
            Ok(under_way == "0" && scheduled.is_ok_and(|scheduled| scheduled == "0"))
        })?;
        if client.info("persistence", "aof_last_bgrewrite_status")? != "ok" {
            bail!("BGREWRITEAOF failed");
        }
        Ok(())
    })?;
    let mut readings = watch::speed(data.megabytes(data.keys), took);
    readings.extend(seen);
    Ok(readings)
}
