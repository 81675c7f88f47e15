//! Start of a server that finds its data on the disk.

use anyhow::Result;

use super::data::{self, Data};
use super::readings::Readings;
use super::{aof, save, watch};
use crate::client::Client;
use crate::servers::discovery::Installed;
use crate::servers::process::{Extra, Running};
use crate::session::Session;

/// From a snapshot.
pub(super) fn snapshot(session: &Session, installed: &Installed, data: Data) -> Result<Readings> {
    let server = data.start(session, installed, &[])?;
    save::save(&server)?;
    again(session, installed, data, server, &[])
}

/// From an append-only file that has each write.
pub(super) fn append_only_file(
    session: &Session,
    installed: &Installed,
    data: Data,
) -> Result<Readings> {
    let server = aof::start(session, installed, "everysec")?;
    data.fill(session, &server)?;
    again(
        session,
        installed,
        data,
        server,
        &aof::arguments("everysec"),
    )
}

/// Ends a server and starts it again with its files: from the start of the process until all data are there.
fn again(
    session: &Session,
    installed: &Installed,
    data: Data,
    server: Running,
    arguments: &[&str],
) -> Result<Readings> {
    let files = Some(server.end_and_keep_files()?);
    let extra = Extra {
        files,
        ..data::extra(installed.kind, arguments)
    };
    let mut server = None;
    let took = watch::timed(|| {
        let started = server.insert(session.start_with(installed, &extra)?);
        let mut client = Client::connect(started.address)?;
        watch::done("end of loading", || {
            Ok(client.info("persistence", "loading")? == "0")
        })
    })?;
    server.iter().try_for_each(|server| data.check(server))?;
    Ok(watch::speed(data.megabytes(data.keys), took))
}
