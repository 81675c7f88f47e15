//! The worker of one pod: carries out what the machine says and writes the pod's status. One task a pod.

mod launch;
mod prepare;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use tokio::sync::mpsc;

use super::container::Run;
use super::machine::{Effect, Ended, Machine, ProbeKind};
use super::namespace::Bind;
use super::node::NodeContext;
use super::status::{self, Addresses};

/// How soon something that the API server refused is tried again.
const RETRY: Duration = Duration::from_millis(300);

/// What a worker is told.
#[derive(Debug)]
pub(super) enum Message {
    /// The pod has changed.
    Changed(Box<Pod>),
    /// The pod is no longer there.
    Gone,
    /// A ConfigMap or Secret of the namespace has changed.
    SourceChanged,
    /// A run has ended.
    Exited {
        index: usize,
        run: u64,
        ended: Ended,
    },
    /// A probe has answered.
    Probed {
        index: usize,
        run: u64,
        kind: ProbeKind,
        answer: Result<(), String>,
    },
}

pub(super) struct Worker {
    node: Arc<NodeContext>,
    api: Api<Pod>,
    pod: Pod,
    machine: Machine,
    addresses: Addresses,
    directory: PathBuf,
    runs: Vec<Option<Run>>,
    next_run: u64,
    directories: BTreeMap<String, PathBuf>,
    /// Files that every process of the pod sees in place of the machine's.
    binds: Vec<Bind>,
    inbox: mpsc::Receiver<Message>,
    outbox: mpsc::Sender<Message>,
    gone: bool,
    /// When something that failed is tried again, whatever the machine waits for.
    retry_at: Option<Timestamp>,
    unprepared: Option<String>,
}

/// Whether the worker goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Continue,
    Done,
}

impl Worker {
    pub(super) fn new(
        node: Arc<NodeContext>,
        pod: Pod,
        outbox: mpsc::Sender<Message>,
        inbox: mpsc::Receiver<Message>,
    ) -> Self {
        let mut machine = Machine::new(&pod, node.options.backoff);
        machine.restore(&pod, node.clock.now());
        let uid = pod.uid().unwrap_or_default();
        Self {
            api: Api::namespaced(
                node.options.client.clone(),
                &pod.namespace().unwrap_or_default(),
            ),
            addresses: Addresses {
                host: node.address,
                pod: node.network.next_pod(),
            },
            directory: node.options.dir.join("pods").join(&uid),
            runs: machine.containers.iter().map(|_| None).collect(),
            next_run: 0,
            directories: BTreeMap::new(),
            binds: Vec::new(),
            inbox,
            outbox,
            gone: false,
            retry_at: None,
            unprepared: None,
            machine,
            pod,
            node,
        }
    }

    /// Runs until the pod is gone. Dropping the future kills what runs and writes nothing.
    pub(super) async fn run(mut self) {
        self.observe_deletion().await;
        loop {
            if self.advance().await == Next::Done {
                break;
            }
            let wake = self
                .machine
                .next_wake()
                .into_iter()
                .chain(self.retry_at)
                .min();
            let wait = wake.map_or(Duration::from_secs(3600), |at| {
                Duration::try_from(at.duration_since(self.node.clock.now())).unwrap_or_default()
            });
            let message = tokio::select! {
                message = self.inbox.recv() => message,
                () = tokio::time::sleep(wait) => None,
            };
            let effects = match message {
                None => self.machine.tick(self.node.clock.now()),
                Some(message) => self.take(message).await,
            };
            self.perform(effects).await;
        }
        self.runs.clear();
        self.node.logs.forget(&self.pod.uid().unwrap_or_default());
        if let Err(error) = tokio::fs::remove_dir_all(&self.directory).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::debug!(%error, directory = %self.directory.display(), "could not remove a pod's directory");
        }
    }

    /// What follows from the present state without any new message.
    async fn advance(&mut self) -> Next {
        let now = self.node.clock.now();
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
        }
        if self.gone {
            return if self.machine.is_finished() {
                Next::Done
            } else {
                Next::Continue
            };
        }
        if !self.write_status().await {
            self.retry(RETRY);
            return Next::Continue;
        }
        if !self.machine.is_prepared()
            && !self.machine.is_stopping()
            && !self.machine.is_finished()
            && self.retry_at.is_none()
        {
            match self.prepare().await {
                Ok(()) => {
                    let effects = self.machine.prepared();
                    // Seen by everybody before the first container starts.
                    self.write_status().await;
                    self.perform(effects).await;
                    self.write_status().await;
                }
                Err(problem) => self.report_unprepared(problem).await,
            }
        }
        if self.machine.is_finished()
            && self.pod.metadata.deletion_timestamp.is_some()
            && self.finish().await == Next::Done
        {
            return Next::Done;
        }
        Next::Continue
    }

    fn retry(&mut self, delay: Duration) {
        let delay = jiff::SignedDuration::try_from(delay).unwrap_or_default();
        let at = self
            .node
            .clock
            .now()
            .checked_add(delay)
            .unwrap_or(Timestamp::MAX);
        self.retry_at = Some(self.retry_at.map_or(at, |known| known.min(at)));
    }

    async fn take(&mut self, message: Message) -> Vec<Effect> {
        let now = self.node.clock.now();
        match message {
            Message::Changed(pod) => {
                self.pod = *pod;
                self.observe_deletion().await;
                Vec::new()
            }
            Message::Gone => {
                self.gone = true;
                self.machine.stop(0, now)
            }
            Message::SourceChanged => {
                if self.machine.is_prepared()
                    && let Err(problem) = self.materialise().await
                {
                    tracing::debug!(problem, "could not update volumes");
                }
                Vec::new()
            }
            Message::Exited { index, run, ended } => {
                if self.is_current(index, run) {
                    self.runs[index] = None;
                    self.machine.exited(index, ended)
                } else {
                    Vec::new()
                }
            }
            Message::Probed {
                index,
                run,
                kind,
                answer,
            } => {
                if self.is_current(index, run) {
                    self.machine.probed(index, kind, &answer, now)
                } else {
                    Vec::new()
                }
            }
        }
    }

    fn is_current(&self, index: usize, number: u64) -> bool {
        self.runs
            .get(index)
            .and_then(Option::as_ref)
            .is_some_and(|run| run.number == number)
    }

    async fn observe_deletion(&mut self) {
        if self.pod.metadata.deletion_timestamp.is_some() {
            let grace = self.pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
            let effects = self.machine.stop(grace, self.node.clock.now());
            self.perform(effects).await;
        }
    }

    async fn perform(&mut self, effects: Vec<Effect>) {
        let mut queue = std::collections::VecDeque::from(effects);
        while let Some(effect) = queue.pop_front() {
            match effect {
                Effect::Start(index) => queue.extend(self.start(index).await),
                Effect::Probe(index, kind) => {
                    if let (Some(run), Some(probe)) = (
                        &self.runs[index],
                        self.machine.containers[index].probe(kind),
                    ) {
                        run.probe(kind, probe.clone());
                    }
                }
                Effect::Stop(index, grace) => {
                    if let Some(run) = &self.runs[index] {
                        let hook = self.machine.containers[index]
                            .spec
                            .lifecycle
                            .as_ref()
                            .and_then(|lifecycle| lifecycle.pre_stop.clone());
                        run.stop(Duration::from_secs(u64::try_from(grace).unwrap_or(0)), hook);
                    }
                }
                Effect::Kill(index) => {
                    if let Some(run) = &self.runs[index] {
                        run.kill();
                    }
                }
                Effect::Event {
                    container,
                    type_,
                    reason,
                    message,
                } => self.event(container, type_, reason, &message).await,
            }
        }
    }

    async fn event(
        &self,
        container: Option<usize>,
        type_: &'static str,
        reason: &str,
        message: &str,
    ) {
        let mut regarding = kube::Resource::object_ref(&self.pod, &());
        regarding.field_path = container
            .and_then(|index| self.machine.containers.get(index))
            .map(|one| {
                let list = if one.init {
                    "initContainers"
                } else {
                    "containers"
                };
                format!("spec.{list}{{{}}}", one.spec.name)
            });
        self.node
            .recorder
            .record(regarding, type_, reason, message)
            .await;
    }

    /// Writes the status if it differs from the stored one; false when it must be tried again.
    async fn write_status(&mut self) -> bool {
        for _ in 0..5 {
            let wanted = status::build(
                &self.pod,
                &self.machine,
                self.addresses,
                self.node.clock.now(),
            );
            if self.pod.status.as_ref() == Some(&wanted) {
                return true;
            }
            let mut pod = self.pod.clone();
            pod.status = Some(wanted);
            let params = PostParams {
                field_manager: Some("kubelet".into()),
                ..PostParams::default()
            };
            match self
                .api
                .replace_status(&pod.name_any(), &params, &pod)
                .await
            {
                Ok(written) => {
                    self.pod = written;
                    return true;
                }
                Err(kube::Error::Api(status)) if status.code == 409 => match self.refresh().await {
                    Some(true) => {}
                    Some(false) => return true,
                    None => return false,
                },
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    self.lost().await;
                    return true;
                }
                Err(error) => {
                    tracing::debug!(%error, pod = self.pod.name_any(), "could not write a pod's status");
                    return false;
                }
            }
        }
        false
    }

    /// Reads the pod anew: false when it is gone, none when the server did not say.
    async fn refresh(&mut self) -> Option<bool> {
        match self.api.get_opt(&self.pod.name_any()).await {
            Ok(Some(pod)) if pod.uid() == self.pod.uid() => {
                self.pod = pod;
                let now = self.node.clock.now();
                if self.pod.metadata.deletion_timestamp.is_some() && !self.machine.is_stopping() {
                    // The watch will say so too; this only keeps the status from racing the deletion.
                    self.retry_at = Some(now);
                }
                Some(true)
            }
            Ok(_) => {
                self.lost().await;
                Some(false)
            }
            Err(_) => None,
        }
    }

    /// The pod was removed by force: nobody waits for its processes.
    async fn lost(&mut self) {
        self.gone = true;
        let now = self.node.clock.now();
        for effect in self.machine.stop(0, now) {
            if let Effect::Kill(index) = effect
                && let Some(run) = &self.runs[index]
            {
                run.kill();
            }
        }
    }

    /// The last word on a pod that has ended and is being deleted.
    async fn finish(&mut self) -> Next {
        let preconditions = Some(Preconditions {
            uid: self.pod.uid(),
            resource_version: None,
        });
        let params = DeleteParams {
            preconditions,
            ..DeleteParams::default().grace_period(0)
        };
        match self.api.delete(&self.pod.name_any(), &params).await {
            Ok(_) => Next::Done,
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Next::Done,
            Err(error) => {
                tracing::debug!(%error, pod = self.pod.name_any(), "could not remove a pod");
                self.retry(RETRY);
                Next::Continue
            }
        }
    }
}
