//! What is done to clusters.

mod disks;
mod links;
mod migrations;
mod processes;
mod syncs;

use anyhow::Result;
use clap::ValueEnum;

use crate::cluster::Shape;
use crate::trial::{Mode, Trial};

/// What may be lost of what was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing.
    Nothing,
    /// The last writes before the fault, where the primary alone acknowledges.
    LastWrites,
    /// Everything before the fault.
    Everything,
}

/// A kind of fault, or something that is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Nemesis {
    /// SIGKILL of a primary, which comes back without data
    KillPrimary,
    /// SIGSTOP of a primary until its replica has followed
    StopPrimary,
    /// SIGTERM of a primary
    Terminate,
    /// CLUSTER FAILOVER at a replica
    Failover,
    /// SIGKILL of the voters' leader, and of another voter at once after it
    KillTwoVoters,
    /// A primary is killed and started again at once, without data
    EmptyRestart,
    /// SIGKILL of all nodes, which come back with what they had saved
    RestartAll,
    /// SIGKILL of all nodes, which come back without data
    RestartAllEmpty,
    /// A primary is cut off, with some clients
    CutPrimary,
    /// What a primary sends to other nodes is lost
    Unheard,
    /// What other nodes send to a primary is lost
    Deaf,
    /// Two primaries are cut off together
    CutMinority,
    /// What a primary and other nodes say to each other takes 200 ms
    SlowPrimary,
    /// SIGKILL of a primary while a replica copies its data
    KillSyncSource,
    /// SIGKILL of a replica while it copies the data
    KillSyncTarget,
    /// Slots move to another shard and back
    Migrate,
    /// SIGKILL of the primary that slots move from
    KillMigrationSource,
    /// SIGKILL of the primary that slots move to
    KillMigrationTarget,
    /// SIGKILL of a replica of the shard that slots move from
    KillSourceReplica,
    /// SIGKILL of a replica of the shard that slots move to
    KillTargetReplica,
    /// A primary's disk is full
    FullDisk,
}

impl Nemesis {
    /// Whether it needs namespaces: for hosts whose links can be changed, or for disks that can be filled.
    #[must_use]
    pub fn needs_namespaces(self) -> bool {
        let shape = self.shape(&Mode::Asynchronous);
        shape.virtual_hosts || shape.disk.is_some()
    }

    /// What it may cost.
    #[must_use]
    pub fn loss(self) -> Loss {
        match self {
            Self::Terminate
            | Self::Failover
            | Self::SlowPrimary
            | Self::KillSyncTarget
            | Self::Migrate
            | Self::KillSourceReplica
            | Self::KillTargetReplica
            // What is acknowledged is on the disk.
            | Self::RestartAll => Loss::Nothing,
            Self::RestartAllEmpty => Loss::Everything,
            _ => Loss::LastWrites,
        }
    }

    /// How often in a round the slot of a shard may have another owner at most, beside the change that is seen at the end.
    #[must_use]
    pub fn moves(self) -> usize {
        match self {
            // There and back.
            Self::Migrate => 2,
            // There, to the successor of who is killed there, and back.
            Self::KillMigrationSource
            | Self::KillMigrationTarget
            | Self::KillSourceReplica
            | Self::KillTargetReplica => 3,
            _ => 0,
        }
    }

    /// What it is done to. A shard whose writes a replica acknowledges has two, so that it takes writes while one is away.
    #[must_use]
    pub fn shape(self, mode: &Mode) -> Shape {
        let mut shape = match (self, mode) {
            (Self::KillSyncSource | Self::KillSyncTarget, _) | (_, Mode::Synchronous(_)) => {
                Shape::new(2, 2)
            }
            _ => Shape::new(3, 1),
        };
        if let Mode::Synchronous(arguments) = mode {
            shape.arguments.clone_from(arguments);
        }
        shape.virtual_hosts = matches!(
            self,
            Self::CutPrimary | Self::Unheard | Self::Deaf | Self::CutMinority | Self::SlowPrimary
        );
        if self == Self::RestartAll {
            let always = ["--appendonly", "yes", "--appendfsync", "always"];
            shape.arguments.extend(always.map(str::to_owned));
        }
        if self == Self::FullDisk {
            shape.disk = Some(disks::SIZE);
        }
        shape
    }

    /// Does it once, and waits until the cluster has done what it should; what was broken is mended at the end.
    ///
    /// # Errors
    /// If the cluster does something else, or nothing.
    pub async fn strike(self, trial: &mut Trial, round: usize) -> Result<()> {
        let shard = round % trial.cluster.shape.shards;
        match self {
            Self::KillPrimary => processes::kill_primary(trial, shard).await,
            Self::StopPrimary => processes::stop_primary(trial, shard).await,
            Self::Terminate => processes::terminate(trial, shard).await,
            Self::Failover => processes::fail_over(trial, shard).await,
            Self::KillTwoVoters => processes::kill_two_voters(trial).await,
            Self::EmptyRestart => processes::restart_empty(trial, shard).await,
            Self::RestartAll => processes::restart_all(trial).await,
            Self::RestartAllEmpty => processes::restart_all_empty(trial).await,
            Self::CutPrimary => links::cut_primary(trial, shard).await,
            Self::Unheard => links::silence(trial, shard, links::Direction::From).await,
            Self::Deaf => links::silence(trial, shard, links::Direction::To).await,
            Self::CutMinority => links::cut_minority(trial).await,
            Self::SlowPrimary => links::slow_primary(trial, shard).await,
            Self::KillSyncSource => syncs::kill(trial, shard, syncs::Side::Source).await,
            Self::KillSyncTarget => syncs::kill(trial, shard, syncs::Side::Target).await,
            Self::Migrate => migrations::there_and_back(trial, shard).await,
            Self::KillMigrationSource => {
                migrations::kill(trial, shard, migrations::Victim::Source).await
            }
            Self::KillMigrationTarget => {
                migrations::kill(trial, shard, migrations::Victim::Target).await
            }
            Self::KillSourceReplica => {
                migrations::kill(trial, shard, migrations::Victim::SourceReplica).await
            }
            Self::KillTargetReplica => {
                migrations::kill(trial, shard, migrations::Victim::TargetReplica).await
            }
            Self::FullDisk => disks::fill(trial, shard).await,
        }
    }
}
