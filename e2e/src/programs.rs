//! The programs that pods run: symbolic links, under the programs' own names, to the one executable that holds them all,
//! in a directory that everything else of an instance lives in too. A janitor, a process of its own, ends what is left
//! and removes the directory when this process is gone, however it went.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::apart;

/// Name of the data plane's program.
pub const NODE: &str = "cache-node";
/// Name of the control plane's program.
pub const OPERATOR: &str = "cache-operator";
/// The same in a network namespace, whose file is the first argument.
pub const OPERATOR_APART: &str = "cache-operator-apart";
/// Subcommand of the executable that makes it the janitor.
pub const JANITOR: &str = "janitor";

/// What this process is when it was called by the name of one of these programs, which then runs here to its end.
#[must_use]
pub fn run_as_called() -> Option<ExitCode> {
    let called = std::env::args_os().next().unwrap_or_default();
    match Path::new(&called).file_name()?.to_str()? {
        NODE => Some(cache_node::run(std::env::args_os())),
        OPERATOR => Some(cache_operator::run(std::env::args_os())),
        OPERATOR_APART => Some(operator_apart()),
        _ => None,
    }
}

fn operator_apart() -> ExitCode {
    let mut arguments = std::env::args_os();
    let program = arguments.next();
    let namespace = arguments.next().unwrap_or_default();
    match apart::enter(Path::new(&namespace)) {
        Ok(()) => cache_operator::run(program.into_iter().chain(arguments)),
        Err(error) => {
            eprintln!("{OPERATOR_APART}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The directory of an instance.
pub struct Programs {
    directory: TempDir,
    janitor: Child,
}

impl Programs {
    /// Makes the directory with links to `executable`, and starts the janitor, which also removes `file` if one is given.
    ///
    /// # Errors
    /// If the directory cannot be made or the executable not started.
    pub fn new(executable: &Path, file: Option<&Path>) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("evenkeel-")
            .tempdir()
            .context("temporary directory")?;
        let programs = directory.path().join("bin");
        fs::create_dir(&programs).context("program directory")?;
        for name in [NODE, OPERATOR, OPERATOR_APART] {
            symlink(executable, programs.join(name)).with_context(|| format!("link {name}"))?;
        }
        // The janitor learns of our end when the other end of its standard input is closed. In a process group of its
        // own it does not get the terminal's Ctrl-C.
        let janitor = Command::new(executable)
            .arg(JANITOR)
            .arg(directory.path())
            .args(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", executable.display()))?;
        Ok(Self { directory, janitor })
    }

    /// Where everything is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Path of a program.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("bin").join(name)
    }

    /// Processes of this instance that run as `name`.
    #[must_use]
    pub fn processes(&self, name: &str) -> Vec<i32> {
        processes_under(&self.path(name))
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        // The janitor does its work and ends.
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}

/// What the janitor does: waits for the end of its standard input, then ends every process that was started through
/// `directory`, and removes the directory and `file`.
pub async fn clean_up_at_end_of_input(directory: &Path, file: Option<&Path>) {
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    // A process that is just being started has no name yet, and may be starting others: look until none was seen twice.
    let mut quiet = 0;
    for _ in 0..100 {
        let processes = processes_under(directory);
        quiet = if processes.is_empty() { quiet + 1 } else { 0 };
        if quiet == 2 {
            break;
        }
        for process in processes {
            let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let _ = fs::remove_dir_all(directory);
    if let Some(file) = file {
        let _ = fs::remove_file(file);
    }
}

/// Processes whose program was named by a path under `path`.
fn processes_under(path: &Path) -> Vec<i32> {
    let own = std::process::id();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let under = |id: &i32| {
        let command = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        let program = command.split(|byte| *byte == 0).next().unwrap_or_default();
        Path::new(&*String::from_utf8_lossy(program)).starts_with(path)
    };
    ids.filter(|id| id.unsigned_abs() != own)
        .filter(under)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn processes_are_found_by_the_path_that_they_were_started_with() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("sleeper");
        symlink("/bin/sleep", &program).unwrap();
        let mut child = Command::new(&program).arg("60").spawn().unwrap();
        let id = i32::try_from(child.id()).unwrap();
        // The new name shows a moment after the start.
        let deadline = Instant::now() + Duration::from_secs(5);
        while processes_under(directory.path()).is_empty() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(processes_under(directory.path()), [id]);
        assert!(processes_under(&directory.path().join("other")).is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(processes_under(directory.path()).is_empty());
    }
}
