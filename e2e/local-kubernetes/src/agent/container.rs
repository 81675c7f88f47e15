//! One run of a container: its process, its log, its probes, its end. Reports to the pod's worker by message.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{LifecycleHandler, Probe};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::logs::LogWriter;
use super::machine::{Ended, ProbeKind};
use super::node::NodeContext;
use super::pod::Message;
use super::prober::{self, Target};
use super::process::{exit_code, signal_group};

/// How long output is still read after the process has ended: descendants may hold the pipes open.
const DRAIN: Duration = Duration::from_millis(200);

/// A run under way.
pub(super) struct Run {
    /// Index of the container in the machine.
    pub(super) index: usize,
    /// Distinguishes the runs of a container.
    pub(super) number: u64,
    /// The run's id.
    pub(super) id: String,
    /// The process; none for a hollow container.
    leader: Option<u32>,
    image: String,
    target: Target,
    /// Cancelled when the run has ended: probes and hooks stop.
    ended: CancellationToken,
    node: Arc<NodeContext>,
    inbox: mpsc::Sender<Message>,
}

/// What a run is made of.
pub(super) struct Start {
    pub(super) index: usize,
    pub(super) number: u64,
    pub(super) id: String,
    pub(super) image: String,
    pub(super) target: Target,
    pub(super) log: LogWriter,
    /// The process; none for a hollow container.
    pub(super) child: Option<Child>,
}

impl Run {
    /// Follows a process that was just started.
    pub(super) fn follow(
        start: Start,
        node: Arc<NodeContext>,
        inbox: mpsc::Sender<Message>,
    ) -> Self {
        let leader = start.child.as_ref().and_then(Child::id);
        let ended = CancellationToken::new();
        let run = Self {
            index: start.index,
            number: start.number,
            id: start.id,
            leader,
            image: start.image,
            target: start.target,
            ended,
            node,
            inbox,
        };
        if let Some(child) = start.child {
            tokio::spawn(wait(
                child,
                leader.unwrap_or_default(),
                start.log,
                run.reporter(),
            ));
        }
        run
    }

    fn reporter(&self) -> Reporter {
        Reporter {
            index: self.index,
            number: self.number,
            id: self.id.clone(),
            began: self.node.clock.now(),
            node: self.node.clone(),
            ended: self.ended.clone(),
            inbox: self.inbox.clone(),
        }
    }

    /// Probes until the run has ended.
    pub(super) fn probe(&self, kind: ProbeKind, spec: Probe) {
        let reporter = self.reporter();
        let (target, image, hollow) = (
            self.target.clone(),
            self.image.clone(),
            self.leader.is_none(),
        );
        tokio::spawn(async move {
            let ended = reporter.ended.clone();
            ended
                .run_until_cancelled(probe_loop(kind, spec, target, image, hollow, reporter))
                .await;
        });
    }

    /// Runs the pre-stop hook, then asks the process to end.
    pub(super) fn stop(&self, grace: Duration, hook: Option<LifecycleHandler>) {
        let reporter = self.reporter();
        let (target, image, leader) = (self.target.clone(), self.image.clone(), self.leader);
        tokio::spawn(async move {
            let Some(leader) = leader else {
                reporter.exited(0).await;
                return;
            };
            let ended = reporter.ended.clone();
            let hook = async {
                if let Some(hook) = hook
                    && let Err(error) =
                        pre_stop(&hook, &target, &image, &reporter.node, grace).await
                {
                    tracing::debug!(%error, "pre-stop hook failed");
                }
            };
            if ended.run_until_cancelled(hook).await.is_some()
                && let Ok(leader) = i32::try_from(leader)
            {
                // Only the first process is told, as in a container; the rest go when it has ended.
                let _ = kill(Pid::from_raw(leader), Signal::SIGTERM);
            }
        });
    }

    /// Ends the processes now.
    pub(super) fn kill(&self) {
        match self.leader {
            Some(leader) => signal_group(leader, Signal::SIGKILL),
            None => {
                let reporter = self.reporter();
                tokio::spawn(async move { reporter.exited(137).await });
            }
        }
    }
}

/// Nobody must be left behind by a worker that goes.
impl Drop for Run {
    fn drop(&mut self) {
        if let Some(leader) = self.leader.filter(|_| !self.ended.is_cancelled()) {
            signal_group(leader, Signal::SIGKILL);
        }
        self.ended.cancel();
    }
}

struct Reporter {
    index: usize,
    number: u64,
    id: String,
    began: jiff::Timestamp,
    node: Arc<NodeContext>,
    ended: CancellationToken,
    inbox: mpsc::Sender<Message>,
}

impl Reporter {
    async fn exited(&self, exit_code: i32) {
        self.ended.cancel();
        let reason = if exit_code == 0 { "Completed" } else { "Error" };
        let ended = Ended {
            id: self.id.clone(),
            exit_code,
            reason,
            message: None,
            started: Some(self.began),
            finished: self.node.clock.now(),
        };
        // A worker that has gone wants no report.
        drop(
            self.inbox
                .send(Message::Exited {
                    index: self.index,
                    run: self.number,
                    ended,
                })
                .await,
        );
    }
}

async fn wait(mut child: Child, leader: u32, log: LogWriter, reporter: Reporter) {
    let stdout = child
        .stdout
        .take()
        .map(|pipe| tokio::spawn(pump(pipe, "stdout", log.clone())));
    let stderr = child
        .stderr
        .take()
        .map(|pipe| tokio::spawn(pump(pipe, "stderr", log.clone())));
    let code = child.wait().await.map_or(255, exit_code);
    // As in a container, nothing outlives the first process.
    signal_group(leader, Signal::SIGKILL);
    reporter.node.spawner.ended(leader);
    for pump in [stdout, stderr].into_iter().flatten() {
        let stop = pump.abort_handle();
        if tokio::time::timeout(DRAIN, pump).await.is_err() {
            stop.abort();
        }
    }
    log.end();
    reporter.exited(code).await;
}

async fn pump(mut pipe: impl AsyncRead + Unpin, stream: &'static str, log: LogWriter) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read) = pipe.read(&mut buffer).await {
        if read == 0 {
            return;
        }
        log.append(stream, &buffer[..read]);
    }
}

async fn probe_loop(
    kind: ProbeKind,
    spec: Probe,
    target: Target,
    image: String,
    hollow: bool,
    reporter: Reporter,
) {
    let seconds = |value: Option<i32>, default: u64| {
        Duration::from_secs(
            value
                .and_then(|value| u64::try_from(value).ok())
                .unwrap_or(default),
        )
    };
    tokio::time::sleep(seconds(spec.initial_delay_seconds, 0)).await;
    let mut period =
        tokio::time::interval(seconds(spec.period_seconds, 10).max(Duration::from_secs(1)));
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        period.tick().await;
        let answer = if hollow {
            Ok(())
        } else {
            prober::probe(
                &target,
                &reporter.node.spawner,
                &|words| reporter.node.resolve(&image, words, &target.order),
                &spec,
            )
            .await
        };
        let done = kind == ProbeKind::Startup
            && answer.is_ok()
            && spec.success_threshold.unwrap_or(1) <= 1;
        let message = Message::Probed {
            index: reporter.index,
            run: reporter.number,
            kind,
            answer,
        };
        if reporter.inbox.send(message).await.is_err() || done {
            return;
        }
    }
}

async fn pre_stop(
    hook: &LifecycleHandler,
    target: &Target,
    image: &str,
    node: &NodeContext,
    grace: Duration,
) -> Result<(), String> {
    if let Some(action) = &hook.http_get {
        return prober::http_get(target, action, grace).await;
    }
    if let Some(action) = &hook.exec {
        return prober::exec(
            target,
            &node.spawner,
            &|words| node.resolve(image, words, &target.order),
            action,
            grace,
        )
        .await;
    }
    if let Some(action) = &hook.sleep {
        tokio::time::sleep(
            Duration::from_secs(u64::try_from(action.seconds).unwrap_or(0)).min(grace),
        )
        .await;
    }
    Ok(())
}

/// A program of an image by the words of a command; plain tools of this machine are found on the search path.
pub(super) fn program_on_path(name: &str, environment: &[(String, String)]) -> Option<PathBuf> {
    let path = environment
        .iter()
        .find(|(key, _)| key == "PATH")
        .map(|(_, value)| value.as_str())?;
    path.split(':')
        .map(|directory| PathBuf::from(directory).join(name))
        .find(|file| file.is_file())
}
