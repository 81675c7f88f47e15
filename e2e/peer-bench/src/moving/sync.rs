//! Full syncs: how long an empty replica takes to have all, and what others notice at the primary.

use anyhow::Result;

use super::data::{self, Data};
use super::readings::Readings;
use super::watch;
use crate::client::Client;
use crate::servers::discovery::Installed;
use crate::session::Session;

/// From `REPLICAOF` until the link is up; `writes`: while the primary is written to all the time.
pub(super) fn measure(
    session: &Session,
    installed: &Installed,
    data: Data,
    writes: bool,
) -> Result<Readings> {
    let primary = data.start(session, installed, &[])?;
    let replica = session.start_with(installed, &data::extra(installed.kind, &[]))?;
    let mut client = Client::connect(replica.address)?;
    let host = primary.address.ip().to_string();
    let port = primary.address.port().to_string();
    let sync = || {
        client.ask(&["REPLICAOF", &host, &port])?;
        watch::done("link to the primary", || {
            // While it loads, a server may refuse to answer.
            let status = client.info("replication", "master_link_status");
            Ok(status.is_ok_and(|status| status == "up"))
        })
    };
    let (took, seen) = if writes {
        watch::under_writes(session, &primary, data, sync)?
    } else {
        (watch::timed(sync)?, Vec::new())
    };
    data.check(&replica)?;
    let mut readings = watch::speed(data.megabytes(data.keys), took);
    readings.extend(seen);
    Ok(readings)
}
