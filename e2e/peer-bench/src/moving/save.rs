//! Snapshots: how fast they are written, and what others notice.

use std::time::Duration;

use anyhow::{Result, bail};

use super::data::Data;
use super::readings::Readings;
use super::watch;
use crate::client::Client;
use crate::servers::discovery::Installed;
use crate::servers::process::Running;
use crate::session::Session;

/// Longest time that SAVE may take.
const SAVING: Duration = Duration::from_secs(300);

/// SAVE of a server that has nothing else to do.
pub(super) fn idle(session: &Session, installed: &Installed, data: Data) -> Result<Readings> {
    let server = data.start(session, installed, &[])?;
    let took = watch::timed(|| save(&server))?;
    Ok(watch::speed(data.megabytes(data.keys), took))
}

/// Saves at once.
pub(super) fn save(server: &Running) -> Result<()> {
    let mut client = Client::connect(server.address)?;
    client.be_patient(SAVING)?;
    client.ask(&["SAVE"]).map(drop)
}

/// BGSAVE of a server that is written to all the time.
pub(super) fn under_writes(
    session: &Session,
    installed: &Installed,
    data: Data,
) -> Result<Readings> {
    let server = data.start(session, installed, &[])?;
    let mut client = Client::connect(server.address)?;
    let (took, seen) = watch::under_writes(session, &server, data, || {
        client.ask(&["BGSAVE"])?;
        watch::done("end of BGSAVE", || {
            Ok(client.info("persistence", "rdb_bgsave_in_progress")? == "0")
        })?;
        if client.info("persistence", "rdb_last_bgsave_status")? != "ok" {
            bail!("BGSAVE failed");
        }
        Ok(())
    })?;
    let mut readings = watch::speed(data.megabytes(data.keys), took);
    readings.extend(seen);
    Ok(readings)
}
