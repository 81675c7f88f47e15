//! Harm on purpose: signals to the processes of nodes, where nodes are processes of this machine, and forced deletion elsewhere.

use anyhow::{Context, Result, bail, ensure};
use kube::ResourceExt;
use kube::api::DeleteParams;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::caches::{self, Cache};
use crate::{nodes, programs};

/// Sends `signal` to the process of the node at a client address (`ip:port`), and tells its id.
///
/// # Errors
/// If the node does not tell its process id, or that process is no cache-node of this machine.
pub async fn signal(address: &str, signal: Signal) -> Result<i32> {
    let process = nodes::process(address).await?;
    signal_process(process, signal)?;
    Ok(process)
}

/// Sends `signal` to a node's process.
///
/// # Errors
/// If it is no cache-node of this machine.
pub fn signal_process(process: i32, signal: Signal) -> Result<()> {
    let name = std::fs::read_to_string(format!("/proc/{process}/comm"))
        .with_context(|| format!("process {process}"))?;
    ensure!(
        name.trim() == programs::NODE,
        "process {process} is {}, not a node",
        name.trim()
    );
    signal::kill(Pid::from_raw(process), signal)
        .with_context(|| format!("signal process {process}"))
}

/// Ends the node at `address` without warning: by SIGKILL if its process runs on this machine, else by deleting its pod
/// without grace.
///
/// # Errors
/// If neither is possible.
pub async fn kill(cache: &Cache, address: &str) -> Result<()> {
    if signal(address, Signal::SIGKILL).await.is_ok() {
        return Ok(());
    }
    delete(cache, address, &DeleteParams::default().grace_period(0)).await
}

/// Deletes the pod of the node at `address`.
///
/// # Errors
/// If there is none, or the server refuses it.
pub async fn delete(cache: &Cache, address: &str, how: &DeleteParams) -> Result<()> {
    let pods = cache.pods().await?;
    let Some(pod) = pods
        .iter()
        .find(|pod| caches::address(pod).as_deref() == Some(address))
    else {
        bail!("no pod of {} has the address {address}", cache.name());
    };
    cache
        .pods_api()
        .delete(&pod.name_any(), how)
        .await
        .context("delete pod")?;
    Ok(())
}
