//! The source's side of a migration: drives a [`Job`] with what happens, and does what it says.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Exporting;
use super::job::{Action, Event, Job, Outcome, State};
use crate::cluster::View;
use crate::node::Node;
use crate::replication::frame::{Frame, Kind, PROTOCOL_VERSION};
use crate::replication::place::Place;
use crate::replication::walk::{Progress, Walk};
use crate::replication::wire::{Backoff, Wire, WireError};
use crate::replication::{FlowError, Heard, Outflow, PausedSlots, StoreSource};
use crate::topology::{Migration, MigrationId, ShardId, TopologyCommand};

/// Progress is published and the lag looked at so often.
const TICK: Duration = Duration::from_millis(20);

/// Reaching the target may not take longer; the job waits a little longer than that.
const REACH_LIMIT: Duration = Duration::from_secs(6);

/// Pausing may not take longer: a command that holds one of the slots goes first.
const PAUSE_LIMIT: Duration = Duration::from_secs(2);

struct Export {
    node: Arc<Node>,
    id: MigrationId,
    migration: Migration,
    exporting: Exporting,
    views: watch::Receiver<Arc<View>>,
    job: Job,
    /// [`crate::topology::Shard::primary_since`] of this node's shard: when it changes, another node drives the migration.
    source_since: u64,
    /// The same of the target that the slots are sent to.
    target_since: Option<u64>,
    connecting: Option<Connecting>,
    backoff: Backoff,
    outflow: Option<Outflow>,
    /// What earlier connections have sent.
    earlier: Progress,
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
    let source_since = primary_since(&node.cluster.view(), migration.source).unwrap_or_default();
    let mut export = Export {
        views: node.cluster.changes(),
        source_since,
        target_since: None,
        node,
        id,
        migration,
        exporting,
        job: Job::new(),
        connecting: None,
        backoff: Backoff::default(),
        outflow: None,
        earlier: Progress::default(),
        paused: None,
        throttle: None,
        acknowledged: 0,
        cancelled: false,
        state: State::Connecting,
        since: Instant::now(),
    };
    tracing::info!(migration = %id, slots = %export.migration.slots, target = %export.exporting.tracker.subject.target, "slot migration begins");
    export.connect(Duration::ZERO);
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

/// A target that awaits the slots.
struct Reached {
    wire: Wire,
    /// Since when it is its shard's primary.
    since: u64,
    /// What it has of the slots already.
    place: Option<Place>,
}

type Connecting = JoinHandle<Result<Reached, FlowError>>;

/// Since when the shard has the primary that it has.
fn primary_since(view: &View, shard: ShardId) -> Option<u64> {
    let shard = view.topology.shards.get(&shard)?;
    Some(shard.primary_since)
}

async fn reach(node: &Node, id: MigrationId, migration: &Migration) -> Result<Reached, FlowError> {
    let view = node.cluster.view();
    let shard = view.topology.shards.get(&migration.target);
    let shard = shard.ok_or(WireError::Closed)?;
    let target = view.topology.members.get(&shard.primary);
    let address = &target.ok_or(WireError::Closed)?.address;
    if !node.replication.is_settled(node) {
        return Err(FlowError::Role("my role changes".to_owned()));
    }
    let history = node.replication.history();
    let command = [
        "EVENKEEL.IMPORT".to_owned(),
        PROTOCOL_VERSION.to_string(),
        id.to_string(),
        view.myself.to_string(),
        view.incarnation.to_string(),
        history.id.to_string(),
    ];
    let password = node.peer_password();
    let opened = Wire::open((&address.ip, address.port), password.as_deref(), &command);
    let (mut wire, _) = opened.await?;
    let frame = wire.frame().await?;
    if frame.kind == Kind::Goodbye {
        return Err(FlowError::Role(frame.text()));
    }
    let place = Place::decode(&frame).map_err(WireError::from)?;
    Ok(Reached {
        wire,
        since: shard.primary_since,
        place: place.filter(|place| history.passes(place.history, place.offset)),
    })
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

    /// Reaches the target, after a while.
    fn connect(&mut self, after: Duration) {
        let (node, id, migration) = (self.node.clone(), self.id, self.migration.clone());
        self.connecting = Some(tokio::spawn(async move {
            sleep(after).await;
            let reaching = timeout(REACH_LIMIT, reach(&node, id, &migration));
            reaching.await.unwrap_or(Err(WireError::Silent.into()))
        }));
    }

    fn connected(&mut self, result: Result<Reached, FlowError>) {
        self.connecting = None;
        match result {
            Ok(reached) if self.job.state() == State::Connecting => {
                self.begin(reached);
                self.job.handle(Event::Accepted);
                self.check_topology();
            }
            Ok(_) => {}
            Err(error) => self.job.handle(Event::Failed(error.to_string())),
        }
    }

    /// Sends what the target does not have: everything, or what has come since an earlier connection was lost.
    fn begin(&mut self, mut reached: Reached) {
        let name = format!("migration {}", self.id);
        let slots = self.migration.slots.clone();
        let resumed = reached.place.and_then(|place| {
            let cursor = self.node.log.cursor_at(place.offset)?;
            Some((place, cursor))
        });
        let (place, walk, source) = match resumed {
            Some((place, cursor)) => {
                tracing::info!(migration = %self.id, slots = place.slots.len(), offset = place.offset, "going on with what the target has");
                self.node.migrations.metrics.resumed.inc();
                let walk = Walk::resuming(slots, &place.slots, place.offset);
                (
                    Some(place),
                    walk,
                    StoreSource::at(self.node.clone(), cursor),
                )
            }
            None => (None, Walk::new(slots), StoreSource::new(self.node.clone())),
        };
        Place::encode(place.as_ref(), &mut reached.wire.out);
        self.target_since = Some(reached.since);
        self.outflow = Some(Outflow::of(reached.wire, walk, source.named(name)));
    }

    fn heard(&mut self, heard: Result<Heard, FlowError>) {
        match heard {
            Ok(Heard::Synced) => {
                self.job.handle(Event::Synced);
                self.backoff.reset();
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
        self.lose(error.to_string());
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
            Kind::Goodbye => self.lose(frame.text()),
            kind => self.lose(format!("the target sent an unexpected {kind:?} frame")),
        }
    }

    /// The connection is of no more use.
    fn lose(&mut self, reason: String) {
        tracing::warn!(migration = %self.id, "the transfer broke: {reason}");
        self.take_outflow();
        self.job.handle(Event::Failed(reason));
    }

    fn take_outflow(&mut self) -> Option<Outflow> {
        let outflow = self.outflow.take()?;
        let sent = outflow.progress();
        self.earlier.keys += sent.keys;
        self.earlier.bytes += sent.bytes;
        self.acknowledged = 0;
        Some(outflow)
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
            if primary_since(&view, self.migration.source) != Some(self.source_since) {
                self.job.handle(Event::Deposed);
            } else if self.target_since.is_some()
                && primary_since(&view, self.migration.target) != self.target_since
            {
                self.target_since = None;
                self.job.handle(Event::Replaced);
            }
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
                Action::ProposeComplete => self.propose_complete(),
                Action::Reconnect => {
                    let after = self.backoff.next_wait();
                    self.connect(after);
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
        self.target_since = None;
        if let Some(outflow) = self.take_outflow() {
            let message = self.job.message();
            outflow.goodbye(if message.is_empty() { "done" } else { message });
        }
    }

    fn propose_complete(&self) {
        if let Some(target_since) = self.target_since {
            self.propose(TopologyCommand::CompleteMigration {
                id: self.id,
                source_since: self.source_since,
                target_since,
            });
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
        let earlier = self.earlier;
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
                status.keys = earlier.keys + progress.keys;
                status.bytes = earlier.bytes + progress.bytes;
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

async fn join(connecting: &mut Option<Connecting>) -> Result<Reached, FlowError> {
    match connecting {
        Some(connecting) => connecting
            .await
            .unwrap_or(Err(FlowError::Wire(WireError::Closed))),
        None => std::future::pending().await,
    }
}
