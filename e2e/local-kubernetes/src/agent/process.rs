//! Real processes: each in a group of its own that dies with this program, whatever way this program ends.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};

use super::guardian::Guardian;
use super::namespace::{Bind, with_binds};

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// The program's path.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub environment: Vec<(String, String)>,
    /// Where it starts.
    pub directory: PathBuf,
    /// Files that it sees in place of others.
    pub binds: Vec<Bind>,
}

type Request = (Order, oneshot::Sender<std::io::Result<Child>>);

/// Starts processes on a thread of its own.
///
/// The kernel kills a child when the *thread* that forked it ends (that is how children die with a killed agent), and
/// threads of the async runtime may end at any time; this one lives as long as the spawner.
#[derive(Clone, Debug)]
pub struct Spawner {
    requests: mpsc::Sender<Request>,
    guardian: Arc<Guardian>,
}

impl Spawner {
    /// Starts the thread. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start() -> std::io::Result<Self> {
        let (requests, mut incoming) = mpsc::channel::<Request>(64);
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name("process-spawner".into())
            .spawn(move || {
                let _entered = runtime.enter();
                while let Some((order, answer)) = incoming.blocking_recv() {
                    // The child is killed by its handle if nobody waits for the answer any more.
                    drop(answer.send(spawn(&order)));
                }
            })?;
        let guardian = Arc::new(Guardian::start()?);
        Ok(Self { requests, guardian })
    }

    /// Starts a process; its output can be read from the child.
    ///
    /// # Errors
    /// The program cannot be executed.
    pub async fn spawn(&self, order: Order) -> std::io::Result<Child> {
        let (answer, child) = oneshot::channel();
        let gone = || std::io::Error::other("the process spawner has ended");
        self.requests
            .send((order, answer))
            .await
            .map_err(|_| gone())?;
        let child = child.await.map_err(|_| gone())??;
        child
            .id()
            .into_iter()
            .for_each(|leader| self.guardian.watch(leader));
        Ok(child)
    }

    /// Says that a process that was started here has ended and its group was killed.
    pub fn ended(&self, leader: u32) {
        self.guardian.forget(leader);
    }
}

fn spawn(order: &Order) -> std::io::Result<Child> {
    let mut command = Command::new(&order.program);
    command
        .args(&order.arguments)
        .env_clear()
        .envs(order.environment.iter().map(|(name, value)| (name, value)))
        .current_dir(&order.directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    // SAFETY: prctl(2) is async-signal-safe and allocates nothing, which is all that may happen between fork and exec.
    #[expect(
        unsafe_code,
        reason = "only a hook between fork and exec can ask the kernel to end the child with its parent"
    )]
    unsafe {
        command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?));
    }
    with_binds(&order.binds, || command.spawn())
}

/// Sends a signal to the whole process group that a process leads. A group that is gone is fine.
pub fn signal_group(leader: u32, signal: Signal) {
    if let Ok(leader) = i32::try_from(leader)
        && leader > 1
    {
        // ESRCH: nobody is left, which is what was wanted.
        let _ = killpg(Pid::from_raw(leader), signal);
    }
}

/// The exit code as a shell shows it: 128 + signal for a process that a signal ended.
#[must_use]
pub fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(255)
}

#[cfg(test)]
mod tests {
    use super::super::namespace::may_bind_to;
    use super::*;

    fn shell(script: &str) -> Order {
        Order {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
            directory: "/".into(),
            binds: Vec::new(),
        }
    }

    #[tokio::test]
    async fn exit_codes_are_those_of_a_shell() {
        let spawner = Spawner::start().expect("a spawner");
        let mut child = spawner.spawn(shell("exit 7")).await.expect("a child");
        assert_eq!(exit_code(child.wait().await.expect("an end")), 7);
        let mut child = spawner
            .spawn(shell("kill -KILL $$"))
            .await
            .expect("a child");
        assert_eq!(exit_code(child.wait().await.expect("an end")), 137);
        assert!(
            spawner
                .spawn(Order {
                    program: "/no/such".into(),
                    ..shell("")
                })
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn a_process_sees_its_own_files_and_the_next_one_does_not() {
        let (own, other) = (temporary("own"), temporary("other"));
        if let Err(error) = may_bind_to(other.path()) {
            eprintln!("skipped: needs mount namespaces: {error}");
            return;
        }
        let spawner = Spawner::start().expect("a spawner");
        let script = format!("cat {}", other.path().display());
        let bind = Bind {
            source: own.path().into(),
            target: other.path().into(),
        };
        for (binds, seen) in [(vec![bind], "own"), (Vec::new(), "other")] {
            let order = Order {
                binds,
                ..shell(&script)
            };
            let child = spawner.spawn(order).await.expect("a child");
            let output = child.wait_with_output().await.expect("an end");
            assert_eq!(String::from_utf8_lossy(&output.stdout), seen);
        }
        let missing = Bind {
            source: "/no/such".into(),
            target: other.path().into(),
        };
        let order = Order {
            binds: vec![missing],
            ..shell("true")
        };
        let refused = spawner.spawn(order).await.expect_err("no such file");
        assert!(refused.to_string().contains("/no/such"), "{refused}");
    }

    fn temporary(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        file
    }

    #[tokio::test]
    async fn a_signal_reaches_the_whole_group() {
        let spawner = Spawner::start().expect("a spawner");
        let mut child = spawner
            .spawn(shell("sleep 1000 & wait"))
            .await
            .expect("a child");
        let leader = child.id().expect("a pid");
        signal_group(leader, Signal::SIGKILL);
        child.wait().await.expect("an end");
        let gone = async {
            while killpg(Pid::from_raw(i32::try_from(leader).expect("a pid")), None).is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(5), gone)
            .await
            .expect("the sleep ended too");
    }
}
