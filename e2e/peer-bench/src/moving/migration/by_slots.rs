//! `CLUSTER MIGRATESLOTS`: the servers move the slots themselves.

use anyhow::{Context, Result, bail};

use super::super::watch;
use super::LAST;
use super::cluster::Cluster;
use crate::client::Client;

pub(super) fn move_slots(cluster: &Cluster) -> Result<()> {
    let mut client = Client::connect(cluster.source.address)?;
    client.ask(&[
        "CLUSTER",
        "MIGRATESLOTS",
        "SLOTSRANGE",
        "0",
        &LAST.to_string(),
        "NODE",
        &cluster.target_id,
    ])?;
    watch::done("end of the migration", || {
        let jobs = client.ask(&["CLUSTER", "GETSLOTMIGRATIONS"])?;
        let field = |name: &str| {
            let mut lines = jobs.lines().skip_while(|line| *line != name);
            lines.nth(1)
        };
        match field("state").context("no migration is listed")? {
            "success" => Ok(true),
            state @ ("failed" | "canceled" | "cancelled") => {
                bail!("{state}: {}", field("message").unwrap_or_default())
            }
            _ => Ok(false),
        }
    })
}
