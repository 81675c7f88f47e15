//! A cluster of two nodes, the first of which has all slots.

use std::time::Duration;

use anyhow::{Context, Result};

use super::super::data;
use crate::client;
use crate::servers::discovery::Installed;
use crate::servers::process::{Extra, Running};
use crate::session::Session;
use crate::wait;

/// Longest time in which a cluster forms.
const FORMING: Duration = Duration::from_secs(60);

pub(super) struct Cluster {
    pub(super) source: Running,
    pub(super) target: Running,
    pub(super) source_id: String,
    pub(super) target_id: String,
}

impl Cluster {
    pub(super) fn start(session: &Session, installed: &Installed) -> Result<Self> {
        let node = || {
            let extra = Extra {
                cluster: true,
                ..data::extra(installed.kind, &["--cluster-enabled", "yes"])
            };
            session.start_with(installed, &extra)
        };
        let (source, target) = (node()?, node()?);
        let id = |node: &Running| client::resp(node.address, &["CLUSTER", "MYID"]);
        let cluster = Self {
            source_id: id(&source)?,
            target_id: id(&target)?,
            source,
            target,
        };
        cluster.form()?;
        Ok(cluster)
    }

    fn form(&self) -> Result<()> {
        let port = self.target.address.port().to_string();
        insist(&self.source, &["CLUSTER", "MEET", "127.0.0.1", &port])?;
        // A node that greets is listed, too, but under a name of its own.
        for (node, other) in [
            (&self.source, &self.target_id),
            (&self.target, &self.source_id),
        ] {
            until(node, &["CLUSTER", "NODES"], |nodes| {
                nodes.contains(other.as_str())
            })?;
        }
        insist(&self.source, &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"])?;
        for node in [&self.source, &self.target] {
            until(node, &["CLUSTER", "INFO"], |info| {
                info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
            })?;
        }
        Ok(())
    }
}

/// Asks until it is done: the nodes of a cluster that forms may not have agreed yet.
fn insist(node: &Running, command: &[&str]) -> Result<()> {
    until(node, command, |_| true)
}

fn until(node: &Running, command: &[&str], good: impl Fn(&str) -> bool) -> Result<()> {
    let mut last = String::new();
    let found = wait::until(FORMING, || match client::resp(node.address, command) {
        Ok(answer) if good(&answer) => Some(()),
        Ok(answer) => {
            last = answer;
            None
        }
        Err(error) => {
            last = error.to_string();
            None
        }
    });
    found.with_context(|| format!("{}: {last}", command.join(" ")))
}
