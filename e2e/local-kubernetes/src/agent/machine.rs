//! The state machine of a pod on its node: `(input, now) -> effects`. Pure: no process, no clock, no API.
//!
//! Invariants: main containers start only after every init container has succeeded; a container that is being stopped is
//! never started again in that run's place before it has ended; once the pod is stopping nothing starts; every stop has a
//! deadline after which it is a kill.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container as Spec, Pod, Probe};
use kube::ResourceExt;

use super::backoff::{Backoff, BackoffPolicy};

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeKind {
    /// Until it succeeds, the others do not run.
    Startup,
    /// Its failure restarts the container.
    Liveness,
    /// It decides whether the container is ready.
    Readiness,
}

/// What the world is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Start the container.
    Start(usize),
    /// Begin to probe the container's present run.
    Probe(usize, ProbeKind),
    /// Run the pre-stop hook, then ask the process to end; the grace in seconds is for both.
    Stop(usize, i64),
    /// End the process now.
    Kill(usize),
    /// Tell about the container (or the pod).
    Event {
        /// The container it is about.
        container: Option<usize>,
        /// `Normal` or `Warning`.
        type_: &'static str,
        /// The reason.
        reason: &'static str,
        /// The text.
        message: String,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The run's id.
    pub id: String,
    /// Exit code; 128 + signal for a signal.
    pub exit_code: i32,
    /// The reason: `Completed`, `Error`, ...
    pub reason: &'static str,
    /// More about it.
    pub message: Option<String>,
    /// When the run began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Timestamp,
}

/// What a container does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not running yet or again; with a time when it is tried again.
    Waiting {
        /// `PodInitializing`, `ContainerCreating`, `CrashLoopBackOff`, ...
        reason: &'static str,
        /// More about it.
        message: Option<String>,
        /// When to try again, if time is what it waits for.
        until: Option<Timestamp>,
    },
    /// `Effect::Start` is under way.
    Starting,
    /// Running since then, as this run.
    Running {
        /// The run's id.
        id: String,
        /// Its beginning.
        since: Timestamp,
    },
    /// Ended, for good unless the restart policy says otherwise.
    Ended(Ended),
}

#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    successes: i32,
    failures: i32,
}

/// A container of the pod.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its part of the pod's spec.
    pub spec: Spec,
    /// Whether it runs to its end before the main ones start.
    pub init: bool,
    /// What it does.
    pub phase: Phase,
    /// How the previous run ended.
    pub last: Option<Ended>,
    /// How often it was started again.
    pub restarts: i32,
    /// Whether its startup probe has succeeded, or there is none.
    pub started: bool,
    /// Whether it is ready.
    pub ready: bool,
    counters: [Counter; 3],
    backoff: Backoff,
    kill_at: Option<Timestamp>,
}

impl Container {
    fn new(spec: &Spec, init: bool) -> Self {
        let phase = Phase::Waiting {
            reason: "ContainerCreating",
            message: None,
            until: None,
        };
        Self {
            spec: spec.clone(),
            init,
            phase,
            last: None,
            restarts: 0,
            started: false,
            ready: false,
            counters: Default::default(),
            backoff: Backoff::default(),
            kill_at: None,
        }
    }

    /// The probe of that kind, if there is one.
    #[must_use]
    pub fn probe(&self, kind: ProbeKind) -> Option<&Probe> {
        match kind {
            ProbeKind::Startup => self.spec.startup_probe.as_ref(),
            ProbeKind::Liveness => self.spec.liveness_probe.as_ref(),
            ProbeKind::Readiness => self.spec.readiness_probe.as_ref(),
        }
    }

    /// Whether a process is there.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. } | Phase::Starting)
    }

    fn succeeded(&self) -> bool {
        matches!(&self.phase, Phase::Ended(ended) if ended.exit_code == 0)
    }
}

/// The machine of one pod.
#[derive(Clone, Debug)]
pub struct Machine {
    label: String,
    restart_policy: String,
    grace: i64,
    policy: BackoffPolicy,
    prepared: bool,
    stop_by: Option<Timestamp>,
    /// Init containers first, in their order, then the main ones.
    pub containers: Vec<Container>,
}

fn after(now: Timestamp, seconds: i64) -> Timestamp {
    now.checked_add(SignedDuration::from_secs(seconds.max(0)))
        .unwrap_or(Timestamp::MAX)
}

impl Machine {
    /// The machine of a pod that was just given to the node.
    #[must_use]
    pub fn new(pod: &Pod, policy: BackoffPolicy) -> Self {
        let spec = pod.spec.clone().unwrap_or_default();
        let init = spec
            .init_containers
            .iter()
            .flatten()
            .map(|container| Container::new(container, true));
        let mut containers: Vec<_> = init.collect();
        let waits = !containers.is_empty();
        containers.extend(
            spec.containers
                .iter()
                .map(|container| Container::new(container, false)),
        );
        for container in &mut containers {
            if waits {
                container.phase = Phase::Waiting {
                    reason: "PodInitializing",
                    message: None,
                    until: None,
                };
            }
        }
        Self {
            label: format!(
                "{}_{}({})",
                pod.name_any(),
                pod.namespace().unwrap_or_default(),
                pod.uid().unwrap_or_default()
            ),
            restart_policy: spec.restart_policy.unwrap_or_else(|| "Always".into()),
            grace: spec.termination_grace_period_seconds.unwrap_or(30),
            policy,
            prepared: false,
            stop_by: None,
            containers,
        }
    }

    /// Takes over a pod that this node ran before it was restarted: its processes are gone, its counts go on.
    pub fn restore(&mut self, pod: &Pod, now: Timestamp) {
        let Some(status) = &pod.status else { return };
        let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let known: Vec<_> = status
            .init_container_statuses
            .iter()
            .chain(&status.container_statuses)
            .flatten()
            .collect();
        for container in &mut self.containers {
            let Some(before) = known
                .iter()
                .find(|before| before.name == container.spec.name)
            else {
                continue;
            };
            let Some(id) = before.container_id.clone() else {
                continue;
            };
            container.restarts = before.restart_count;
            let exit = before
                .state
                .as_ref()
                .and_then(|state| state.terminated.as_ref());
            let exit_code = exit.map_or(255, |exit| exit.exit_code);
            let reason = if exit_code == 0 {
                "Completed"
            } else if exit.is_some() {
                "Error"
            } else {
                "Unknown"
            };
            let ended = Ended {
                id,
                exit_code,
                reason,
                message: None,
                started: exit
                    .and_then(|exit| exit.started_at.as_ref())
                    .map(|time| time.0),
                finished: exit
                    .and_then(|exit| exit.finished_at.as_ref())
                    .map_or(now, |time| time.0),
            };
            if over || (container.init && exit_code == 0) {
                container.phase = Phase::Ended(ended);
            } else {
                container.last = Some(ended);
            }
        }
        if over {
            self.stop_by = Some(now);
            (0..self.containers.len()).for_each(|index| self.give_up(index, now));
        }
    }

    /// Whether volumes and address are there, so that containers may start.
    #[must_use]
    pub fn is_prepared(&self) -> bool {
        self.prepared
    }

    /// Whether the pod has been told to end.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop_by.is_some()
    }

    /// Whether init containers have all succeeded.
    #[must_use]
    pub fn is_initialized(&self) -> bool {
        self.containers
            .iter()
            .filter(|container| container.init)
            .all(Container::succeeded)
    }

    /// Whether nothing runs and nothing will run again.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        if self.containers.iter().any(Container::is_running) {
            return false;
        }
        let failed_init = self.restart_policy == "Never"
            && self
                .containers
                .iter()
                .any(|one| one.init && matches!(one.phase, Phase::Ended(_)) && !one.succeeded());
        let mut main = self.containers.iter().filter(|container| !container.init);
        self.is_stopping()
            || failed_init
            || (self.restart_policy != "Always"
                && main
                    .all(|one| matches!(one.phase, Phase::Ended(_)) && !self.restarts_after(one)))
    }

    /// The pod's phase.
    #[must_use]
    pub fn phase(&self) -> &'static str {
        let ended_well = |one: &Container| one.succeeded();
        if self.is_finished() {
            return if self.containers.iter().all(ended_well) {
                "Succeeded"
            } else {
                "Failed"
            };
        }
        let started = |one: &Container| {
            matches!(one.phase, Phase::Running { .. } | Phase::Ended(_)) || one.last.is_some()
        };
        let main: Vec<_> = self
            .containers
            .iter()
            .filter(|container| !container.init)
            .collect();
        if self.is_initialized() && main.iter().all(|one| started(one)) {
            "Running"
        } else {
            "Pending"
        }
    }

    /// When [`Machine::tick`] has something to do next.
    #[must_use]
    pub fn next_wake(&self) -> Option<Timestamp> {
        let kills = self
            .containers
            .iter()
            .filter(|one| one.is_running())
            .filter_map(|one| one.kill_at);
        let retries = self.containers.iter().filter_map(|one| match &one.phase {
            Phase::Waiting { until, .. } if !self.is_stopping() => *until,
            _ => None,
        });
        kills.chain(retries).min()
    }

    /// Volumes and address are there.
    pub fn prepared(&mut self) -> Vec<Effect> {
        self.prepared = true;
        self.start_what_may()
    }

    /// A run has begun.
    pub fn started(&mut self, index: usize, id: String, now: Timestamp) -> Vec<Effect> {
        let Some(container) = self.containers.get_mut(index) else {
            return Vec::new();
        };
        container.phase = Phase::Running { id, since: now };
        container.restarts += i32::from(container.last.is_some());
        container.counters = Default::default();
        container.kill_at = None;
        container.ready = false;
        container.started = container.spec.startup_probe.is_none();
        let mut effects = vec![normal(index, "Started", "Container started".into())];
        let started = container.started;
        if self.is_stopping() {
            effects.extend(self.stop_one(index, now));
            return effects;
        }
        if started {
            effects.extend(self.after_startup(index));
        } else {
            effects.push(Effect::Probe(index, ProbeKind::Startup));
        }
        effects
    }

    /// A run could not begin for want of something that may still come (an image, a ConfigMap): tried again.
    pub fn postponed(
        &mut self,
        index: usize,
        reason: &'static str,
        message: String,
        now: Timestamp,
    ) -> Vec<Effect> {
        let event = warning(index, "Failed", format!("Error: {message}"));
        let delay = self
            .policy
            .base
            .max(Duration::from_millis(100))
            .min(Duration::from_secs(10));
        if let Some(container) = self.containers.get_mut(index) {
            let until = SignedDuration::try_from(delay)
                .ok()
                .and_then(|delay| now.checked_add(delay).ok());
            container.phase = Phase::Waiting {
                reason,
                message: Some(message),
                until,
            };
        }
        vec![event]
    }

    /// A run has ended, or could not begin at all (`reason` says so).
    pub fn exited(&mut self, index: usize, ended: Ended) -> Vec<Effect> {
        let now = ended.finished;
        let label = self.label.clone();
        let stopping = self.is_stopping();
        let policy = self.policy;
        let Some(container) = self.containers.get_mut(index) else {
            return Vec::new();
        };
        (container.started, container.ready, container.kill_at) = (false, false, None);
        let began = ended.started.unwrap_or(now);
        container.phase = Phase::Ended(ended);
        if stopping {
            return Vec::new();
        }
        let container = &self.containers[index];
        if !self.restarts_after(container) {
            return self.start_what_may();
        }
        let container = &mut self.containers[index];
        let delay = container.backoff.after_end(policy, began, now);
        if delay.is_zero() {
            return self.restart(index);
        }
        if let Phase::Ended(ended) = &container.phase {
            container.last = Some(ended.clone());
        }
        let name = container.spec.name.clone();
        let message = format!(
            "back-off {} restarting failed container={name} pod={label}",
            human(delay)
        );
        let until = SignedDuration::try_from(delay)
            .ok()
            .and_then(|delay| now.checked_add(delay).ok());
        container.phase = Phase::Waiting {
            reason: "CrashLoopBackOff",
            message: Some(message),
            until,
        };
        vec![warning(
            index,
            "BackOff",
            format!("Back-off restarting failed container {name} in pod {label}"),
        )]
    }

    /// A probe's answer: `Err` says why it failed. Answers of earlier runs must not be passed in.
    pub fn probed(
        &mut self,
        index: usize,
        kind: ProbeKind,
        answer: &Result<(), String>,
        now: Timestamp,
    ) -> Vec<Effect> {
        let stopping = self.is_stopping();
        let Some(container) = self.containers.get_mut(index) else {
            return Vec::new();
        };
        let Some(probe) = container
            .probe(kind)
            .cloned()
            .filter(|_| matches!(container.phase, Phase::Running { .. }))
        else {
            return Vec::new();
        };
        if (stopping || container.kill_at.is_some()) && kind != ProbeKind::Readiness {
            return Vec::new();
        }
        let counter = &mut container.counters[kind as usize];
        let mut effects = Vec::new();
        match answer {
            Ok(()) => {
                (counter.successes, counter.failures) = (counter.successes.saturating_add(1), 0);
            }
            Err(reason) => {
                (counter.successes, counter.failures) = (0, counter.failures.saturating_add(1));
                effects.push(warning(
                    index,
                    "Unhealthy",
                    format!("{kind:?} probe failed: {reason}"),
                ));
            }
        }
        let passed = counter.successes >= probe.success_threshold.unwrap_or(1).max(1);
        let failed = counter.failures >= probe.failure_threshold.unwrap_or(3).max(1);
        match kind {
            ProbeKind::Readiness if passed => container.ready = true,
            ProbeKind::Readiness if failed => container.ready = false,
            ProbeKind::Startup if passed && !container.started => {
                container.started = true;
                effects.extend(self.after_startup(index));
            }
            ProbeKind::Startup | ProbeKind::Liveness if failed => {
                let name = &container.spec.name;
                let which = if kind == ProbeKind::Startup {
                    "startup"
                } else {
                    "liveness"
                };
                let grace = probe.termination_grace_period_seconds.unwrap_or(self.grace);
                effects.push(normal(
                    index,
                    "Killing",
                    format!("Container {name} failed {which} probe, will be restarted"),
                ));
                container.kill_at = Some(after(now, grace));
                effects.push(Effect::Stop(index, grace));
            }
            _ => {}
        }
        effects
    }

    /// The pod is to end within `grace` seconds. A later call may shorten the time, never extend it.
    pub fn stop(&mut self, grace: i64, now: Timestamp) -> Vec<Effect> {
        let by = after(now, grace);
        if self.stop_by.is_some_and(|known| known <= by) {
            return Vec::new();
        }
        let first = self.stop_by.is_none();
        self.stop_by = Some(by);
        let mut effects = Vec::new();
        for index in 0..self.containers.len() {
            if !self.containers[index].is_running() {
                self.give_up(index, now);
            } else if first {
                let name = self.containers[index].spec.name.clone();
                effects.push(normal(
                    index,
                    "Killing",
                    format!("Stopping container {name}"),
                ));
                effects.extend(self.stop_one(index, now));
            } else {
                let container = &mut self.containers[index];
                container.kill_at = Some(container.kill_at.map_or(by, |known| known.min(by)));
            }
        }
        effects.extend(self.tick(now));
        effects
    }

    /// Time has passed: kills what was to be gone, retries what waited.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        for index in 0..self.containers.len() {
            let container = &mut self.containers[index];
            if container.is_running() && container.kill_at.is_some_and(|at| at <= now) {
                container.kill_at = None;
                effects.push(Effect::Kill(index));
            }
            let due = matches!(&container.phase, Phase::Waiting { until: Some(until), .. } if *until <= now);
            if due && !self.is_stopping() {
                effects.extend(self.restart(index));
            }
        }
        effects
    }

    fn stop_one(&mut self, index: usize, now: Timestamp) -> Vec<Effect> {
        let by = self.stop_by.unwrap_or(now);
        self.containers[index].kill_at = Some(by);
        let grace = by.duration_since(now).as_secs();
        if self.containers[index].phase == Phase::Starting {
            Vec::new()
        } else {
            vec![Effect::Stop(index, grace)]
        }
    }

    /// A container that never ran, or waits to run again, ends with its pod.
    fn give_up(&mut self, index: usize, now: Timestamp) {
        let container = &mut self.containers[index];
        if !matches!(container.phase, Phase::Waiting { .. }) {
            return;
        }
        let message = Some("The container could not be located when the pod was terminated".into());
        let unknown = Ended {
            id: String::new(),
            exit_code: 137,
            reason: "ContainerStatusUnknown",
            message,
            started: None,
            finished: now,
        };
        container.phase = Phase::Ended(container.last.take().unwrap_or(unknown));
    }

    fn after_startup(&mut self, index: usize) -> Vec<Effect> {
        let container = &mut self.containers[index];
        container.ready = container.spec.readiness_probe.is_none() && !container.init;
        let kinds = [ProbeKind::Liveness, ProbeKind::Readiness];
        kinds
            .into_iter()
            .filter(|kind| container.probe(*kind).is_some())
            .map(|kind| Effect::Probe(index, kind))
            .collect()
    }

    fn restarts_after(&self, container: &Container) -> bool {
        let Phase::Ended(ended) = &container.phase else {
            return false;
        };
        match self.restart_policy.as_str() {
            "Never" => false,
            "OnFailure" => ended.exit_code != 0,
            _ => !container.init || ended.exit_code != 0,
        }
    }

    fn restart(&mut self, index: usize) -> Vec<Effect> {
        let container = &mut self.containers[index];
        if let Phase::Ended(ended) = &container.phase {
            container.last = Some(ended.clone());
        }
        container.phase = Phase::Starting;
        vec![Effect::Start(index)]
    }

    /// Starts the next init container, or all main ones once those are done.
    fn start_what_may(&mut self) -> Vec<Effect> {
        if !self.prepared || self.is_stopping() {
            return Vec::new();
        }
        let next_init = self
            .containers
            .iter()
            .position(|one| one.init && !one.succeeded());
        let fresh = |one: &Container| matches!(one.phase, Phase::Waiting { until: None, .. });
        let candidates: Vec<usize> = match next_init {
            Some(index) => vec![index],
            None => (0..self.containers.len())
                .filter(|index| !self.containers[*index].init)
                .collect(),
        };
        let mut effects = Vec::new();
        for index in candidates {
            if fresh(&self.containers[index]) {
                self.containers[index].phase = Phase::Starting;
                effects.push(Effect::Start(index));
            }
        }
        effects
    }
}

fn normal(container: usize, reason: &'static str, message: String) -> Effect {
    Effect::Event {
        container: Some(container),
        type_: "Normal",
        reason,
        message,
    }
}

fn warning(container: usize, reason: &'static str, message: String) -> Effect {
    Effect::Event {
        container: Some(container),
        type_: "Warning",
        reason,
        message,
    }
}

/// A duration as Go prints it: `10s`, `1m20s`, `5m0s`.
fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..60 => format!("{seconds}s"),
        _ => format!("{}m{}s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
