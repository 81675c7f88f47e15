//! How the writer ends: everything is on the disk then, and the file says where in a history it leads, if that is known.

use std::io;
use std::sync::atomic::Ordering::SeqCst;

use tracing::warn;

use super::super::place;
use super::super::segment::How;
use super::{Next, Writer};
use crate::topology::NodeId;

impl Writer {
    /// The end: everything that was read is on the disk, unless the file cannot be used.
    pub(super) fn finish(&mut self) -> Next {
        let whole = self.segment.is_some() && self.founding.is_none();
        if whole
            && self.node.shutdown.is_closing()
            && let Err(error) = self.note_place()
        {
            warn!(%error, "the append-only file does not say where in a history it ends");
            self.remove_part();
        }
        if let Some(end) = self.end.take() {
            let _ = end.send(whole);
        }
        self.leave();
        Next::End
    }

    /// Writes where in a history the file ends: whoever loads it goes on there.
    fn note_place(&mut self) -> io::Result<()> {
        let history = self.history_of_the_end();
        // What ends within a transaction is cut off when it is loaded.
        let segment = self.segment.as_mut().filter(|it| !it.is_within());
        let (Some(history), Some(segment)) = (history, segment) else {
            return Ok(());
        };
        let mut line = place::line(history, self.read_to).into_bytes();
        let how = How {
            keep: true,
            confirm: true,
            within: false,
        };
        segment.write(&mut line, how)?;
        segment.sync()
    }

    /// The history of which the end of what was read is a place.
    fn history_of_the_end(&self) -> Option<NodeId> {
        let node = &self.node;
        let mut history = None;
        // Not of a log that has begun anew meanwhile.
        self.cursor
            .if_current(|| history = node.replication.history_at(node, self.read_to));
        history
    }

    /// Removes what an error has left of a line.
    fn remove_part(&mut self) {
        if let Some(segment) = &mut self.segment {
            // If that fails as well, it is cut off when the file is loaded.
            let _ = segment.sync();
        }
    }

    /// There is no append-only file any more.
    pub(super) fn leave(&mut self) {
        self.give_up_rewrite("the append-only file is switched off");
        let aof = self.aof();
        aof.in_force.store(false, SeqCst);
        aof.needs_base.store(false, SeqCst);
        aof.holds.store(false, SeqCst);
        aof.limit.store(u64::MAX, SeqCst);
        // Nobody waits for a disk that is not written to.
        aof.synced.store(u64::MAX, SeqCst);
        self.node.persistence.aof_fails(None);
        aof.running.store(false, SeqCst);
        aof.moved.notify_waiters();
    }
}
