//! Silence round one pod of a local Kubernetes, whose pods all have addresses of one loopback network.
//!
//! The whole Kubernetes runs in a network namespace of its own. Each process there puts itself into a control group, before it has any socket, so
//! that the packet filter knows by their sockets which packets it sends and gets, whatever their addresses. All of them are dropped without
//! a word, also those of new connections. It takes root, `ip`, `nft`, and control groups of version 2 below `/sys/fs/cgroup`.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use e2e::apart;

/// The packet filter's names of groups begin here.
const GROUPS: &str = "/sys/fs/cgroup";
/// The packet filter's table.
const TABLE: &str = "inet failover-rounds";

/// Does something in a new network namespace in which processes can be silenced.
///
/// # Errors
/// If there can be none here.
pub fn somewhere<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            apart::alone()?;
            let _groups = Groups::new()?;
            filter("")?;
            Ok(work())
        });
        thread
            .join()
            .unwrap_or_else(|_| bail!("the work has panicked"))
    })
}

/// Puts this process into a group of its own, if this is a network namespace in which processes can be silenced.
///
/// # Errors
/// If that is not possible.
pub fn join_group() -> Result<()> {
    let Some(groups) = groups_here().filter(|groups| groups.is_dir()) else {
        return Ok(());
    };
    let group = groups.join(std::process::id().to_string());
    fs::create_dir_all(&group)
        .and_then(|()| fs::write(group.join("cgroup.procs"), "0"))
        .with_context(|| format!("control group {}", group.display()))
}

/// Where the groups of this thread's network namespace are, if there are groups.
fn groups_here() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut mounts = mounts.lines().map(|line| line.split(' '));
    let root = mounts.find_map(|mut fields| {
        let (place, kind) = (fields.nth(1)?, fields.next()?);
        (kind == "cgroup2").then_some(place)
    })?;
    let namespace = fs::metadata("/proc/thread-self/ns/net").ok()?.ino();
    Some(Path::new(root).join(format!("failover-rounds-{namespace}")))
}

/// The groups of this thread's network namespace.
struct Groups(PathBuf);

impl Groups {
    fn new() -> Result<Self> {
        let path = groups_here().context("there are no control groups of version 2")?;
        fs::create_dir(&path).with_context(|| format!("control group {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        // What is left is empty, and of no harm.
        for group in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(group.path());
        }
        let _ = fs::remove_dir(&self.0);
    }
}

/// A process whose packets are lost, in both directions.
pub struct Silenced(());

impl Silenced {
    /// Silences the process that listens at this address (`ip:port`).
    ///
    /// # Errors
    /// If it has no group, or the packet filter is not to be had.
    pub fn new(process: i32, address: &str) -> Result<Self> {
        let address: SocketAddr = address.parse().context("address")?;
        let group = groups_here().context("there are no control groups of version 2")?;
        let group = group.join(process.to_string());
        ensure!(group.is_dir(), "process {process} has no control group");
        let name = group.strip_prefix(GROUPS).context("control group")?;
        let (ip, name) = (address.ip(), name.display());
        // Connections that it has not accepted yet have no socket of it.
        filter(&format!(
            "chain input {{ type filter hook input priority 0
                socket cgroupv2 level 2 \"{name}\" drop
                ip daddr {ip} drop
                ip saddr {ip} drop
            }}
            chain output {{ type filter hook output priority 0
                socket cgroupv2 level 2 \"{name}\" drop
            }}"
        ))?;
        Ok(Self(()))
    }

    /// Its packets get through again.
    ///
    /// # Errors
    /// If the packet filter does not do that.
    pub fn end(self) -> Result<()> {
        filter("")
    }
}

/// Lets the table have these chains and no others.
fn filter(chains: &str) -> Result<()> {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .context("nft")?;
    let rules = format!("table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\n{chains}\n}}\n");
    let mut input = nft.stdin.take().context("nft")?;
    input.write_all(rules.as_bytes()).context("nft")?;
    drop(input);
    ensure!(nft.wait().context("nft")?.success(), "nft refuses {rules}");
    Ok(())
}
