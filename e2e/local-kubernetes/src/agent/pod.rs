//! The worker of one pod: carries out what the machine says and writes the pod's status. One task a pod.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use tokio::sync::mpsc;

use super::container::{Run, Start};
use super::credentials;
use super::environment::{self, Place, Sources};
use super::images::{ImageError, Program, container_id};
use super::machine::{Effect, Ended, Machine, ProbeKind};
use super::mounts::Mounts;
use super::namespace::Bind;
use super::node::NodeContext;
use super::prober::Target;
use super::process::Order;
use super::resolver;
use super::status::{self, Addresses};
use super::volumes::{self, Content};

/// How soon something that the API server refused is tried again.
const RETRY: Duration = Duration::from_millis(300);
/// How often volumes that lack something are tried again.
const PREPARE_AGAIN: Duration = Duration::from_secs(1);

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

    /// Starts a run; what that leads to is returned.
    async fn start(&mut self, index: usize) -> Vec<Effect> {
        let number = self.next_run;
        self.next_run += 1;
        let id = container_id(
            &self.pod.uid().unwrap_or_default(),
            &self.machine.containers[index].spec.name,
            number,
        );
        match self.launch(index, number, &id).await {
            Ok(run) => {
                self.event(Some(index), "Normal", "Created", "Container created")
                    .await;
                self.runs[index] = Some(run);
                self.machine.started(index, id, self.node.clock.now())
            }
            Err(Failure::Postponed(reason, message)) => {
                self.machine
                    .postponed(index, reason, message, self.node.clock.now())
            }
            Err(Failure::Broken(message)) => {
                self.event(
                    Some(index),
                    "Warning",
                    "Failed",
                    &format!("Error: {message}"),
                )
                .await;
                let now = self.node.clock.now();
                self.machine.exited(
                    index,
                    Ended {
                        id,
                        exit_code: 128,
                        reason: "StartError",
                        message: Some(message),
                        started: Some(now),
                        finished: now,
                    },
                )
            }
        }
    }

    async fn launch(&mut self, index: usize, number: u64, id: &str) -> Result<Run, Failure> {
        let spec = self.machine.containers[index].spec.clone();
        let image = spec.image.clone().unwrap_or_default();
        let command = spec.command.as_ref().and_then(|words| words.first());
        let program = match self
            .node
            .options
            .images
            .program(&image, command.map(String::as_str))
        {
            Ok(program) => program,
            Err(error @ ImageError::NoImage(_)) => {
                return Err(Failure::Postponed("ErrImagePull", error.to_string()));
            }
            Err(error) => return Err(Failure::Broken(error.to_string())),
        };
        self.event(
            Some(index),
            "Normal",
            "Pulled",
            &format!("Container image \"{image}\" already present on machine"),
        )
        .await;
        let place = self.place();
        let sources = self
            .sources()
            .await
            .map_err(|error| Failure::Postponed("CreateContainerConfigError", error.to_string()))?;
        let variables = environment::resolve(&self.pod, &spec, &place, &sources)
            .map_err(|error| Failure::Postponed("CreateContainerConfigError", error.to_string()))?;
        let mounts = volumes::mounts(&spec, &self.directories, &variables);
        let order = self
            .order(&spec, &program, variables, &mounts)
            .await
            .map_err(|error| Failure::Broken(error.to_string()))?;
        let log = self
            .node
            .logs
            .begin(&self.pod.uid().unwrap_or_default(), &spec.name, number)
            .map_err(|error| Failure::Broken(error.to_string()))?;
        let child =
            match program {
                Program::Hollow => None,
                Program::Path(_) => Some(self.node.spawner.spawn(order.clone()).await.map_err(
                    |error| Failure::Broken(format!("failed to start container: {error}")),
                )?),
            };
        let target = Target {
            address: self.addresses.pod,
            order,
            container: spec,
        };
        let start = Start {
            index,
            number,
            id: id.into(),
            image,
            target,
            log,
            child,
        };
        Ok(Run::follow(start, self.node.clone(), self.outbox.clone()))
    }

    /// What to execute: words with references expanded and mount paths made real.
    async fn order(
        &self,
        spec: &k8s_openapi::api::core::v1::Container,
        program: &Program,
        variables: Vec<(String, String)>,
        mounts: &Mounts,
    ) -> std::io::Result<Order> {
        let word = |text: &String| mounts.rewrite(&environment::expand(text, &variables));
        let words = spec
            .command
            .iter()
            .flatten()
            .skip(1)
            .chain(spec.args.iter().flatten());
        let arguments = words.map(word).collect();
        let home = self.directory.join("work").join(&spec.name);
        tokio::fs::create_dir_all(&home).await?;
        let directory = spec
            .working_dir
            .as_deref()
            .and_then(|path| mounts.real(path))
            .unwrap_or_else(|| home.clone());
        tokio::fs::create_dir_all(&directory).await?;
        let mut environment = self.base_environment(&home);
        for (name, value) in &variables {
            environment.retain(|(known, _)| known != name);
            environment.push((name.clone(), mounts.rewrite(value)));
        }
        let program = match program {
            Program::Path(path) => path.clone(),
            Program::Hollow => PathBuf::new(),
        };
        Ok(Order {
            program,
            arguments,
            environment,
            directory,
            binds: self.binds.clone(),
        })
    }

    fn base_environment(&self, home: &std::path::Path) -> Vec<(String, String)> {
        let hostname = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.hostname.clone())
            .unwrap_or_else(|| self.pod.name_any());
        let mut environment = vec![
            (
                "PATH".to_string(),
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_string(),
            ),
            ("HOSTNAME".to_string(), hostname),
            ("HOME".to_string(), home.to_string_lossy().into_owned()),
        ];
        if let Some((host, port)) = self
            .node
            .options
            .api_server
            .as_ref()
            .and_then(credentials::ApiServer::host_and_port)
        {
            environment.push(("KUBERNETES_SERVICE_HOST".into(), host));
            environment.push(("KUBERNETES_SERVICE_PORT".into(), port));
            if credentials::wanted(&self.pod) {
                environment.push((
                    "KUBECONFIG".into(),
                    self.directory
                        .join("kubeconfig")
                        .to_string_lossy()
                        .into_owned(),
                ));
            }
        }
        environment
    }

    fn place(&self) -> Place {
        Place {
            pod_ip: self.addresses.pod.to_string(),
            host_ip: self.addresses.host.to_string(),
            allocatable: self.node.spec.allocatable(),
        }
    }

    async fn sources(&self) -> Result<Sources, kube::Error> {
        let namespace = self.pod.namespace().unwrap_or_default();
        let client = &self.node.options.client;
        let (maps, secrets) = volumes::references(&self.pod);
        let mut sources = Sources::default();
        for name in maps {
            if let Some(map) = Api::<ConfigMap>::namespaced(client.clone(), &namespace)
                .get_opt(&name)
                .await?
            {
                sources.config_maps.insert(name, map);
            }
        }
        for name in secrets {
            if let Some(secret) = Api::<Secret>::namespaced(client.clone(), &namespace)
                .get_opt(&name)
                .await?
            {
                sources.secrets.insert(name, secret);
            }
        }
        Ok(sources)
    }

    /// Volumes, credentials and where names are asked for.
    async fn prepare(&mut self) -> Result<(), String> {
        tokio::fs::create_dir_all(&self.directory)
            .await
            .map_err(|error| error.to_string())?;
        if let Some(server) = self
            .node
            .options
            .api_server
            .as_ref()
            .filter(|_| credentials::wanted(&self.pod))
        {
            let token = credentials::token(&self.node.options.client, &self.pod)
                .await
                .map_err(|error| error.to_string())?;
            let file = self.directory.join("token");
            let config =
                credentials::kubeconfig(server, &file, &self.pod.namespace().unwrap_or_default());
            tokio::fs::write(&file, token)
                .await
                .map_err(|error| error.to_string())?;
            tokio::fs::write(self.directory.join("kubeconfig"), config)
                .await
                .map_err(|error| error.to_string())?;
        }
        if let Some(server) = self.node.name_server {
            self.binds = resolver::write(&self.pod, server, &self.directory)
                .await
                .map_err(|error| format!("resolv.conf: {error}"))?;
        }
        self.materialise().await
    }

    /// Makes the volumes' directories hold what they should.
    async fn materialise(&mut self) -> Result<(), String> {
        let sources = self.sources().await.map_err(|error| error.to_string())?;
        let place = self.place();
        let token = match volumes::wants_token(&self.pod) {
            true => Some(self.token().await?),
            false => None,
        };
        let claims = self.node.options.dir.join("claims");
        let mut directories = BTreeMap::new();
        for volume in self
            .pod
            .spec
            .iter()
            .flat_map(|spec| spec.volumes.iter().flatten())
        {
            let content = volumes::content(volume, &self.pod, &place, &sources, token.as_deref())
                .map_err(|problem| {
                format!(
                    "MountVolume.SetUp failed for volume \"{}\" : {problem}",
                    volume.name
                )
            })?;
            let directory =
                volumes::directory(&content, &self.pod, &volume.name, &self.directory, &claims);
            let written = match &content {
                Content::Files(files) => volumes::write(&directory, files),
                Content::Empty | Content::Claim(_) => std::fs::create_dir_all(&directory),
                Content::Host(_) => Ok(()),
            };
            written.map_err(|error| error.to_string())?;
            directories.insert(volume.name.clone(), directory);
        }
        self.directories = directories;
        Ok(())
    }

    /// The pod's token: the one that was given out before, or a new one.
    async fn token(&self) -> Result<String, String> {
        let file = self.directory.join("token");
        if let Ok(token) = tokio::fs::read_to_string(&file).await {
            return Ok(token);
        }
        let token = credentials::token(&self.node.options.client, &self.pod)
            .await
            .map_err(|error| error.to_string())?;
        tokio::fs::write(&file, &token)
            .await
            .map_err(|error| error.to_string())?;
        Ok(token)
    }

    async fn report_unprepared(&mut self, problem: String) {
        if self.unprepared.as_ref() != Some(&problem) {
            self.event(None, "Warning", "FailedMount", &problem).await;
            self.unprepared = Some(problem);
        }
        self.retry(PREPARE_AGAIN);
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

/// Why a run did not begin.
enum Failure {
    /// It may begin later: the reason and the message of the waiting state.
    Postponed(&'static str, String),
    /// It cannot begin.
    Broken(String),
}
