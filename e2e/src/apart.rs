//! A network namespace in which nothing is reached but the API server, for an operator that is cut off from its clusters. It takes
//! `CAP_SYS_ADMIN`, and `ip` of iproute2.

use std::fs::File;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, setns, unshare};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// A namespace, which ends with this and with the processes in it.
pub struct Apart {
    namespace: File,
    forwarder: AbortHandle,
}

impl Apart {
    /// Makes one in which `api_server` is reached at its own address. To be called within a runtime, which forwards.
    ///
    /// # Errors
    /// If this process may not make one.
    pub fn new(api_server: SocketAddr) -> Result<Self> {
        let (namespace, listener) = on_a_thread(|| make(api_server))?;
        listener.set_nonblocking(true).context("listener")?;
        let listener = TcpListener::from_std(listener).context("listener")?;
        let forwarder = tokio::spawn(forward(listener, api_server)).abort_handle();
        Ok(Self {
            namespace,
            forwarder,
        })
    }

    /// Why there can be none here; `None` if there can.
    #[must_use]
    pub fn unavailable() -> Option<String> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let error = on_a_thread(|| make(any)).err()?;
        Some(format!(
            "needs network namespaces (CAP_SYS_ADMIN, and `ip` of iproute2): {error:#}"
        ))
    }

    /// The file by which other processes find it, while this one lives.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let (process, file) = (std::process::id(), self.namespace.as_raw_fd());
        format!("/proc/{process}/fd/{file}").into()
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.forwarder.abort();
    }
}

/// Lets the calling thread, and all that it starts from now on, belong to the namespace at `path`.
///
/// # Errors
/// If it may not.
pub fn enter(path: &Path) -> Result<()> {
    let what = || format!("network namespace {}", path.display());
    let namespace = File::open(path).with_context(what)?;
    setns(namespace, CloneFlags::CLONE_NEWNET).with_context(what)
}

/// Namespaces belong to threads; this one ends.
fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|_| bail!("the work has panicked"))
}

/// Lets the calling thread, and all that it starts from now on, belong to a new namespace, in which there is nothing but loopback.
///
/// # Errors
/// If it may not, or there is no `ip`.
pub fn alone() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("network namespace")?;
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status();
    ensure!(up.context("ip")?.success(), "`ip link set lo up` failed");
    Ok(())
}

fn make(listen_at: SocketAddr) -> Result<(File, StdListener)> {
    alone()?;
    let listener = StdListener::bind(listen_at).context("listener")?;
    let namespace = File::open("/proc/thread-self/ns/net").context("network namespace")?;
    Ok((namespace, listener))
}

async fn forward(listener: TcpListener, to: SocketAddr) {
    let mut connections = JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        connections.spawn(async move {
            // What ends a connection is seen at both its ends.
            if let Ok(mut server) = TcpStream::connect(to).await {
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
