//! One cache-node process, which may end and come back.

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::network::Host;
use crate::wait;

/// Client port of every node.
pub const PORT: u16 = 6379;

/// What a process sees in another way than this one does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// This file at `/etc/hosts`.
    Hosts(PathBuf),
    /// A file system in memory of so many bytes as its data directory.
    SmallDisk(u64),
}

/// A process; it is killed when this is dropped.
pub struct Node {
    program: PathBuf,
    arguments: Vec<String>,
    directory: PathBuf,
    host: Host,
    /// The mount namespace of its processes.
    sight: Option<File>,
    child: Option<Child>,
}

impl Node {
    /// A node that is not started. `directory` is made, and is where it keeps its data.
    ///
    /// # Errors
    /// If the directory cannot be made, or this process may not let another one see something else.
    pub fn new(
        program: &Path,
        directory: &Path,
        host: Host,
        arguments: &[String],
        sight: Option<&Sight>,
    ) -> Result<Self> {
        fs::create_dir_all(directory).context("data directory")?;
        let sight = sight.map(|sight| apart(|| see(sight, directory)));
        Ok(Self {
            program: program.to_owned(),
            arguments: arguments.to_vec(),
            directory: directory.to_owned(),
            host,
            sight: sight.transpose()?,
            child: None,
        })
    }

    /// Where clients find it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (IpAddr::from(self.host.address()), PORT).into()
    }

    /// Lets it be on another host when it is next started.
    pub fn move_to(&mut self, host: Host) {
        self.host = host;
    }

    /// Starts the process.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn start(&mut self) -> Result<()> {
        let mut command = Command::new(&self.program);
        let address = self.host.address().to_string();
        command
            .args(["--port", &PORT.to_string(), "--bind", &address, "--dir"])
            .arg(&self.directory)
            .args(["--threads", "1"])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(output()?)
            .stderr(output()?);
        let child = self.host.run(|| {
            self.enter_sight()?;
            command.spawn().context("start a node")
        })??;
        self.child = Some(child);
        Ok(())
    }

    /// Kills the process and waits for its end.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let process = i32::try_from(self.process()?)?;
        signal::kill(Pid::from_raw(process), signal).with_context(|| format!("send {signal}"))
    }

    /// Its process id.
    ///
    /// # Errors
    /// If it is not running.
    pub fn process(&self) -> Result<u32> {
        let child = self.child.as_ref().context("the node is not running")?;
        Ok(child.id())
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Errors
    /// If it does not.
    pub async fn ended(&mut self) -> Result<()> {
        let Some(child) = &mut self.child else {
            bail!("the node is not running");
        };
        wait::until("the process ends", async || match child.try_wait() {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err("it runs".to_owned()),
            Err(error) => Err(error.to_string()),
        })
        .await?;
        self.child = None;
        Ok(())
    }

    /// Whether the process runs, or is stopped.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?.is_none()),
            None => Ok(false),
        }
    }

    /// Does something that sees its data directory as its processes do.
    ///
    /// # Errors
    /// If that is not possible, or `work` fails.
    pub fn in_directory<T: Send>(&self, work: impl FnOnce(&Path) -> Result<T> + Send) -> Result<T> {
        apart(|| {
            self.enter_sight()?;
            work(&self.directory)
        })
    }

    /// Lets the calling thread, which must end, see what its processes see.
    fn enter_sight(&self) -> Result<()> {
        let Some(sight) = &self.sight else {
            return Ok(());
        };
        // Threads share a root directory, which is part of what changes.
        unshare(CloneFlags::CLONE_FS).context("thread apart")?;
        setns(sight, CloneFlags::CLONE_NEWNS).context("enter a mount namespace")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn output() -> Result<Stdio> {
    Ok(match std::env::var_os("EVENKEEL_TEST_LOG") {
        Some(file) => File::options()
            .create(true)
            .append(true)
            .open(&file)
            .with_context(|| format!("EVENKEEL_TEST_LOG: open {}", file.display()))?
            .into(),
        None => Stdio::null(),
    })
}

/// Does something on a thread of its own, for namespaces belong to threads.
fn apart<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|_| bail!("the work has panicked"))
}

/// Puts the calling thread, which must end, into a new mount namespace in which things are as `sight` says.
fn see(sight: &Sight, directory: &Path) -> Result<File> {
    unshare(CloneFlags::CLONE_NEWNS).context("mount namespace")?;
    let none = None::<&str>;
    let apart = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(none, "/", none, apart, none).context("mount namespace")?;
    match sight {
        Sight::Hosts(file) => mount(Some(file), "/etc/hosts", none, MsFlags::MS_BIND, none)
            .context("bind /etc/hosts")?,
        Sight::SmallDisk(bytes) => {
            let options = format!("size={bytes}");
            let kind = Some("tmpfs");
            mount(kind, directory, kind, MsFlags::empty(), Some(&*options))
                .context("mount tmpfs")?;
        }
    }
    File::open("/proc/thread-self/ns/mnt").context("mount namespace")
}
