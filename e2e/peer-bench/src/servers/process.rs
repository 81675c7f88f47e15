//! Running servers. Owns their processes: each is ended by its id when its `Running` goes, and all are when this program
//! is interrupted.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

use super::discovery::Installed;
use super::{Kind, Needs};
use crate::cpu::{self, Cores};
use crate::generator::replies::Protocol;
use crate::{client, wait};

/// A server may load as many data as there are before it answers.
const STARTING: Duration = Duration::from_secs(120);
/// A server that is told to end has so long to do it.
const ENDING: Duration = Duration::from_secs(30);
/// From a node's port to that of its cluster bus.
const BUS: u16 = 10_000;

/// Processes that are to be ended with this one.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// From now on, an interrupt ends all servers, removes `directory` and ends this program. To be called before there are
/// other threads.
///
/// # Errors
/// If signals cannot be masked.
pub fn clean_up_when_interrupted(directory: PathBuf) -> Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    // Servers inherit the mask, so that Ctrl-C leaves ending them to us.
    signals.thread_block().context("signal mask")?;
    thread::spawn(move || {
        let signal = signals.wait();
        // The lock is kept: no server is started any more.
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        for process in running.iter() {
            let _ = kill(Pid::from_raw(*process as i32), Signal::SIGKILL);
        }
        let _ = fs::remove_dir_all(&directory);
        eprintln!("\nInterrupted: servers ended.");
        std::process::exit(signal.map_or(1, |signal| 128 + signal as i32));
    });
    Ok(())
}

/// Where servers run and keep their files.
#[derive(Clone, Debug)]
pub struct Place {
    /// Directory for their files.
    pub directory: PathBuf,
    /// Cores of the servers.
    pub server_cores: Cores,
    /// Cores of everything else.
    pub generator_cores: Cores,
}

/// What a server is started with beyond what it needs to be measured.
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// Arguments, behind all others.
    pub arguments: Vec<String>,
    /// A folder whose files become the server's.
    pub files: Option<PathBuf>,
    /// Whether the port of its cluster bus has to be free, too.
    pub cluster: bool,
}

/// A server that runs.
#[derive(Debug)]
pub struct Running {
    /// Which it is.
    pub kind: Kind,
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    directory: PathBuf,
}

impl Running {
    /// Starts a server on a free port and waits until it answers.
    ///
    /// # Errors
    /// If it does not start; the error holds the end of what it printed.
    pub fn start(installed: &Installed, place: &Place, needs: Needs) -> Result<Self> {
        Self::start_with(installed, place, needs, &Extra::default())
    }

    /// The same with something more.
    ///
    /// # Errors
    /// As `start`.
    pub fn start_with(
        installed: &Installed,
        place: &Place,
        needs: Needs,
        extra: &Extra,
    ) -> Result<Self> {
        let port = free_port(extra.cluster)?;
        let directory = place
            .directory
            .join(format!("{}-{port}", installed.kind.name()));
        match &extra.files {
            Some(files) => fs::rename(files, &directory).context("server's files")?,
            None => fs::create_dir_all(&directory).context("server directory")?,
        }
        let log = File::create(directory.join("output.log")).context("server log")?;
        let memory = cpu::available_memory()? / 10 * 8;
        let mut command = Command::new(&installed.program);
        command
            .args(installed.kind.arguments(port, &directory, needs, memory))
            .args(&extra.arguments)
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stderr(log.try_clone().context("server log")?)
            .stdout(log);
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        // A process starts with the affinity of the thread that starts it.
        cpu::pin_this_thread(&place.server_cores)?;
        let child = command
            .spawn()
            .with_context(|| format!("start {}", installed.program.display()));
        cpu::pin_this_thread(&place.generator_cores)?;
        let child = child?;
        running.push(child.id());
        drop(running);
        let mut server = Self {
            kind: installed.kind,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            child,
            directory,
        };
        server.wait_until_it_answers()?;
        Ok(server)
    }

    /// Id of its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as an operator does, so that it writes what it has not written yet, and answers a folder with its files.
    ///
    /// # Errors
    /// If it does not end, or the files cannot be moved.
    pub fn end_and_keep_files(mut self) -> Result<PathBuf> {
        // By a command, since it has inherited that signals wait. The answer is that the connection ends.
        let _ = client::resp(self.address, &["SHUTDOWN", "NOSAVE"]);
        let ended = wait::until(ENDING, || self.child.try_wait().ok().flatten());
        ended.with_context(|| format!("{} does not end", self.kind.name()))?;
        let kept = self.directory.with_extension("kept");
        fs::rename(&self.directory, &kept).context("keep the server's files")?;
        Ok(kept)
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let name = self.kind.name();
        let answered = wait::until(STARTING, || {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(Err(format!("{name} ended: {status}")));
            }
            let answer = match self.kind.protocol() {
                Protocol::Resp => client::resp(self.address, &["PING"]).map(drop),
                Protocol::Memcached => client::memcached_statistic(self.address, "pid").map(drop),
            };
            answer.ok().map(Ok)
        });
        let reason = match answered {
            Some(Ok(())) => return Ok(()),
            Some(Err(reason)) => reason,
            None => format!("{name} does not answer"),
        };
        let log = fs::read_to_string(self.directory.join("output.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        bail!(
            "{reason}\n{}",
            lines[lines.len().saturating_sub(10)..].join("\n")
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.child.kill();
        let _ = self.child.wait();
        running.retain(|process| *process != self.child.id());
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A free port; if `bus` is wanted, that of the cluster bus beside it is free, too.
fn free_port(bus: bool) -> Result<u16> {
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("free port")?;
        let port = listener.local_addr().context("free port")?.port();
        let beside = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if !bus || port.checked_add(BUS).is_some_and(beside) {
            return Ok(port);
        }
    }
}
