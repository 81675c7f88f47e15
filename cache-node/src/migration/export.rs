//! The source's side of a migration: drives a [`Job`] with what happens, and does what it says.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::Exporting;
use super::job::{Action, Event, Job, Outcome, State};
use crate::cluster::View;
use crate::node::Node;
use crate::replication::frame::{Frame, Kind, PROTOCOL_VERSION};
use crate::replication::wire::{Wire, WireError};
use crate::replication::{FlowError, Heard, Outflow, PausedSlots, StoreSource};
use crate::topology::{Migration, MigrationId, TopologyCommand};

/// Progress is published and the lag looked at so often.
const TICK: Duration = Duration::from_millis(20);

/// Pausing may not take longer: a command that holds one of the slots goes first.
const PAUSE_LIMIT: Duration = Duration::from_secs(2);

struct Export {
    node: Arc<Node>,
    id: MigrationId,
    migration: Migration,
    exporting: Exporting,
    views: watch::Receiver<Arc<View>>,
    job: Job,
    connecting: Option<JoinHandle<Result<Wire, WireError>>>,
    outflow: Option<Outflow>,
    paused: Option<PausedSlots>,
    /// The slots are paused for a while because their writers outrun the target.
    throttle: Option<PausedSlots>,
    acknowledged: u64,
    cancelled: bool,
    /// The state last seen, and since when.
    state: State,
    since: Instant,
}

/// Runs the migration `id` from this node to its end.
pub(super) async fn run(
    node: Arc<Node>,
    id: MigrationId,
    migration: Migration,
    exporting: Exporting,
) {
    let connecting = tokio::spawn(connect(node.clone(), id, migration.clone()));
    let mut export = Export {
        views: node.cluster.changes(),
        node,
        id,
        migration,
        exporting,
        job: Job::new(),
        connecting: Some(connecting),
        outflow: None,
        paused: None,
        throttle: None,
        acknowledged: 0,
        cancelled: false,
        state: State::Connecting,
        since: Instant::now(),
    };
    tracing::info!(migration = %id, slots = %export.migration.slots, target = %export.exporting.tracker.subject.target, "slot migration begins");
    export.check_topology();
    while !export.job.has_ended() {
        export.act().await;
        if !export.job.has_ended() {
            export.advance().await;
        }
    }
    export.act().await;
    export.finish();
}

async fn connect(
    node: Arc<Node>,
    id: MigrationId,
    migration: Migration,
) -> Result<Wire, WireError> {
    let view = node.cluster.view();
    let target = view
        .topology
        .shards
        .get(&migration.target)
        .and_then(|shard| view.topology.members.get(&shard.primary))
        .ok_or(WireError::Closed)?;
    let command = [
        "EVENKEEL.IMPORT".to_owned(),
        PROTOCOL_VERSION.to_string(),
        id.to_string(),
        view.myself.to_string(),
        view.incarnation.to_string(),
    ];
    let address = (target.address.ip.as_str(), target.address.port);
    let opened = Wire::open(address, node.peer_password().as_deref(), &command).await;
    opened.map(|(wire, _)| wire)
}

impl Export {
    /// Waits until something happens, and tells the job.
    async fn advance(&mut self) {
        let tick = Instant::now() + TICK;
        tokio::select! {
            connected = join(&mut self.connecting) => self.connected(connected),
            heard = next(&mut self.outflow) => self.heard(heard),
            _ = self.views.changed() => self.check_topology(),
            _ = self.exporting.cancelled.changed(), if !self.cancelled => {
                self.cancelled = true;
                self.job.handle(Event::Cancelled);
            }
            () = sleep_until(tick) => {}
        }
        self.watch_the_time();
        self.balance().await;
        self.publish();
    }

    fn watch_the_time(&mut self) {
        if self.job.state() != self.state {
            self.state = self.job.state();
            self.since = Instant::now();
        } else if let Some(patience) = self.job.patience()
            && self.since.elapsed() >= patience
        {
            self.since = Instant::now();
            self.job.handle(Event::Late);
        }
    }

    fn connected(&mut self, result: Result<Wire, WireError>) {
        self.connecting = None;
        match result {
            Ok(wire) if self.job.state() == State::Connecting => {
                let name = format!("migration {}", self.id);
                let source = StoreSource::new(self.node.clone()).named(name);
                let slots = self.migration.slots.clone();
                self.outflow = Some(Outflow::new(wire, slots, source));
                self.job.handle(Event::Accepted);
            }
            Ok(_) => {}
            Err(error) => self.job.handle(Event::Failed(error.to_string())),
        }
    }

    fn heard(&mut self, heard: Result<Heard, FlowError>) {
        match heard {
            Ok(Heard::Synced) => {
                self.job.handle(Event::Synced);
                self.ask_ack();
            }
            Ok(Heard::Frame(frame)) => {
                self.exporting.tracker.heard();
                self.frame(&frame);
            }
            Err(error) => self.lost(&error),
        }
    }

    fn lost(&mut self, error: &FlowError) {
        if matches!(error, FlowError::Overrun(_)) {
            self.node.replication.metrics.overruns.inc();
        }
        self.outflow = None;
        self.job.handle(Event::Failed(error.to_string()));
    }

    fn frame(&mut self, frame: &Frame) {
        match frame.kind {
            Kind::Ack => {
                self.acknowledged = self.acknowledged.max(frame.offset);
                self.job.handle(Event::Acknowledged(frame.offset));
                if self.job.state() == State::Replicating {
                    self.job.handle(Event::Behind(self.behind()));
                }
                if self.job.state() == State::Replicating {
                    self.ask_ack();
                }
            }
            Kind::Owned => self.job.handle(Event::Owned),
            Kind::Goodbye => {
                self.outflow = None;
                self.job.handle(Event::Failed(frame.text()));
            }
            kind => {
                self.outflow = None;
                let reason = format!("the target sent an unexpected {kind:?} frame");
                self.job.handle(Event::Failed(reason));
            }
        }
    }

    fn ask_ack(&mut self) {
        if let Some(outflow) = &mut self.outflow {
            outflow.ask_ack();
        }
    }

    /// Bytes of log that the target has not acknowledged.
    fn behind(&self) -> u64 {
        self.node.log.end().saturating_sub(self.acknowledged)
    }

    fn check_topology(&mut self) {
        let view = self.node.cluster.view();
        if view.topology.migrations.contains_key(&self.id) {
            return;
        }
        let moved = view
            .topology
            .shards
            .get(&self.migration.target)
            .is_some_and(|target| target.slots.is_superset(&self.migration.slots));
        self.job.handle(Event::Ended { moved });
    }

    async fn act(&mut self) {
        while let Some(action) = self.job.next_action() {
            match action {
                Action::Pause => self.pause().await,
                Action::Resume => self.resume(),
                Action::Close => self.close(),
                Action::ProposeComplete => {
                    self.propose(TopologyCommand::CompleteMigration { id: self.id });
                }
                Action::ProposeAbort => {
                    self.propose(TopologyCommand::AbortMigration { id: self.id });
                }
                // The driver sweeps data that belong to another shard as soon as this export is over.
                Action::Drop => {}
            }
        }
    }

    async fn pause(&mut self) {
        self.throttle = None;
        self.paused = PausedSlots::new(&self.node, &self.migration.slots, PAUSE_LIMIT).await;
        if self.paused.is_none() {
            let reason = "a command held one of the slots for too long".to_owned();
            self.job.handle(Event::Failed(reason));
            return;
        }
        let end = self.node.log.end();
        if let Some(outflow) = &mut self.outflow {
            outflow.finish_at(end);
        }
        self.job.handle(Event::Paused(end));
    }

    fn resume(&mut self) {
        if let Some(paused) = self.paused.take() {
            let milliseconds = paused.milliseconds();
            self.exporting
                .tracker
                .update(|status| status.paused_ms += milliseconds);
            self.node.migrations.metrics.paused_ms.inc_by(milliseconds);
        }
    }

    fn close(&mut self) {
        self.throttle = None;
        if let Some(connecting) = self.connecting.take() {
            connecting.abort();
        }
        if let Some(outflow) = self.outflow.take() {
            let message = self.job.message();
            outflow.goodbye(if message.is_empty() { "done" } else { message });
        }
    }

    fn propose(&self, command: TopologyCommand) {
        let (node, id) = (self.node.clone(), self.id);
        tokio::spawn(async move {
            // How it ends is told by the topology; this is for the log.
            if let Err(error) = node.cluster.propose(command.clone()).await {
                tracing::warn!(migration = %id, ?command, "proposal failed: {error}");
            }
        });
    }

    /// Slows the slots' writers down when the stream is about to fall behind by more than the log holds.
    async fn balance(&mut self) {
        let Some(outflow) = &self.outflow else {
            self.throttle = None;
            return;
        };
        let (behind, capacity) = (outflow.behind(), self.node.log.capacity() as u64);
        if self.throttle.is_some() {
            if behind < capacity / 8 {
                self.throttle = None;
            }
        } else if self.paused.is_none() && behind > capacity / 2 {
            self.throttle = PausedSlots::new(&self.node, &self.migration.slots, PAUSE_LIMIT).await;
        }
    }

    fn publish(&mut self) {
        let progress = self.outflow.as_ref().map(Outflow::progress);
        let remaining = if self.job.state() == State::Connecting {
            0
        } else {
            self.behind()
        };
        let (name, message) = (self.job.state_name(), self.job.message());
        self.exporting.tracker.update(|status| {
            status.state = name;
            message.clone_into(&mut status.message);
            status.remaining = remaining;
            if let Some(progress) = progress {
                status.slots = progress.slots_sent;
                status.keys = progress.keys;
                status.bytes = progress.bytes;
            }
        });
    }

    fn finish(&mut self) {
        self.publish();
        let tracker = &self.exporting.tracker;
        tracker.update(|status| status.remaining = 0);
        let (status, speed) = (tracker.status(), tracker.bytes_per_second());
        let metrics = &self.node.migrations.metrics;
        metrics
            .ended
            .with_label_values(&["export", status.state])
            .inc();
        metrics.keys.inc_by(status.keys);
        metrics.bytes.inc_by(status.bytes);
        if self.job.state() == State::Ended(Outcome::Success) {
            metrics.slots.inc_by(self.migration.slots.len() as u64);
        }
        tracing::info!(
            migration = %self.id,
            outcome = status.state,
            message = %status.message,
            keys = status.keys,
            bytes = status.bytes,
            bytes_per_second = speed,
            paused_ms = status.paused_ms,
            "slot migration ended"
        );
    }
}

async fn next(outflow: &mut Option<Outflow>) -> Result<Heard, FlowError> {
    match outflow {
        Some(outflow) => outflow.next().await,
        None => std::future::pending().await,
    }
}

async fn join(
    connecting: &mut Option<JoinHandle<Result<Wire, WireError>>>,
) -> Result<Wire, WireError> {
    match connecting {
        Some(connecting) => connecting.await.unwrap_or(Err(WireError::Closed)),
        None => std::future::pending().await,
    }
}
