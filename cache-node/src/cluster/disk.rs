//! The record while it is written, and when it is not.

use std::time::{Duration, Instant};

use super::{Record, RecordError, Writing};
use crate::bus::Persisted;

/// A write that takes longer is told in the log.
const SLOW: Duration = Duration::from_millis(500);

/// A record of which at most one write is under way.
pub(super) enum Disk {
    Idle(Box<dyn Record>),
    Busy {
        writing: Writing,
        since: Instant,
    },
    /// A write has failed.
    Failed,
}

impl Disk {
    /// Begins a write. None is under way.
    pub(super) fn begin(&mut self, persisted: Box<Persisted>) {
        let before = std::mem::replace(self, Self::Failed);
        if let Self::Idle(record) = before {
            *self = Self::Busy {
                writing: record.write(persisted),
                since: Instant::now(),
            };
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Busy { .. })
    }

    /// Resolves when the write under way is done; never when there is none. May be dropped and asked again.
    pub(super) async fn written(&mut self) -> Result<(), RecordError> {
        let Self::Busy { writing, since } = self else {
            return std::future::pending().await;
        };
        let written = writing.await;
        let took = since.elapsed();
        if took > SLOW {
            tracing::warn!(
                ms = took.as_millis() as u64,
                "what the cluster bus has promised took long to be written"
            );
        }
        *self = Self::Failed;
        *self = Self::Idle(written?);
        Ok(())
    }
}
