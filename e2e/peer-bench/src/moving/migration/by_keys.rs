//! The older way: `MIGRATE` of many keys at a time, slot by slot.

use anyhow::Result;

use super::LAST;
use super::cluster::Cluster;
use crate::client::Client;

/// Keys that are moved at a time.
const KEYS: &str = "100";
/// Longest time that a server may wait for the other, in milliseconds.
const TIMEOUT: &str = "60000";

pub(super) fn move_slots(cluster: &Cluster) -> Result<()> {
    let mut source = Client::connect(cluster.source.address)?;
    let mut target = Client::connect(cluster.target.address)?;
    let port = cluster.target.address.port().to_string();
    // Before anything is changed: whether the command is there at all.
    source.ask(&["MIGRATE", "127.0.0.1", &port, "none", "0", TIMEOUT])?;
    for slot in 0..=LAST {
        let slot = slot.to_string();
        let set = ["CLUSTER", "SETSLOT", &slot];
        target.ask(&[&set[..], &["IMPORTING", &cluster.source_id]].concat())?;
        source.ask(&[&set[..], &["MIGRATING", &cluster.target_id]].concat())?;
        loop {
            let keys = source.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, KEYS])?;
            if keys.is_empty() {
                break;
            }
            let migrate = ["MIGRATE", "127.0.0.1", &port, "", "0", TIMEOUT, "KEYS"];
            let migrate: Vec<&str> = migrate.into_iter().chain(keys.lines()).collect();
            source.ask(&migrate)?;
        }
        for node in [&mut target, &mut source] {
            node.ask(&[&set[..], &["NODE", &cluster.target_id]].concat())?;
        }
    }
    Ok(())
}
