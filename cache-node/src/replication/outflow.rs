//! Sending a data set over a [`Wire`]: the walk's frames in, what the receiver says out.

use std::time::Duration;

use tokio::time::Instant;

use super::FlowError;
use super::frame::{Frame, Kind, encode_goodbye, encode_signal};
use super::source::StoreSource;
use super::walk::{Budget, Progress, Source, Walk};
use super::wire::{HIGH_WATER, Wire};

/// The receiver is asked to acknowledge at least so often.
const PING: Duration = Duration::from_secs(1);

/// A slot that is held by a long command is looked at again after this.
const BUSY_SLOT: Duration = Duration::from_millis(1);

/// What happened.
#[derive(Debug)]
pub(crate) enum Heard {
    /// The receiver sent a frame.
    Frame(Frame),
    /// Everything has been sent once; from now on it is a stream.
    Synced,
}

/// A walk with its stream, and the connection that carries it.
pub(crate) struct Outflow {
    wire: Wire,
    walk: Walk,
    source: StoreSource,
    told_synced: bool,
    final_offset: Option<u64>,
    finished: bool,
    /// The first and the last offset of which somebody waits for the acknowledgement.
    ack_wanted: Option<(u64, u64)>,
    /// Whether somebody always waits.
    prompt: bool,
    ping: Instant,
}

impl Outflow {
    /// Sends what a walk says.
    pub(crate) fn of(wire: Wire, walk: Walk, source: StoreSource) -> Self {
        Self {
            wire,
            walk,
            source,
            told_synced: false,
            final_offset: None,
            finished: false,
            ack_wanted: None,
            prompt: false,
            ping: Instant::now() + PING,
        }
    }

    /// What has been sent so far.
    pub(crate) fn progress(&self) -> Progress {
        self.walk.progress()
    }

    /// How far the stream is behind the log's end, in bytes.
    pub(crate) fn behind(&self) -> u64 {
        self.source.behind()
    }

    /// Sends until there is something to tell. May be dropped and called again.
    ///
    /// # Errors
    ///
    /// The connection is lost, the receiver silent, or the log overrun.
    pub(crate) async fn next(&mut self) -> Result<Heard, FlowError> {
        loop {
            if let Some(frame) = self.wire.try_frame()? {
                return Ok(Heard::Frame(frame));
            }
            let moved = self.encode_more()?;
            if self.walk.is_synced() && !self.told_synced {
                self.told_synced = true;
                return Ok(Heard::Synced);
            }
            self.wire.poll_both()?;
            if moved && self.has_room() {
                tokio::task::yield_now().await;
            } else {
                self.wait().await?;
            }
        }
    }

    fn has_room(&self) -> bool {
        self.wire.out.len() < HIGH_WATER
    }

    fn encode_more(&mut self) -> Result<bool, FlowError> {
        if !self.has_room() {
            return Ok(false);
        }
        // Nothing follows the final offset: what happens to the slots then is no concern of the receiver's.
        let moved = !self.finished
            && self
                .walk
                .step(&mut self.source, Budget::default(), &mut self.wire.out)?;
        if let Some(offset) = self
            .final_offset
            .take_if(|end| self.source.cursor() >= *end)
        {
            encode_signal(&mut self.wire.out, Kind::Final, offset);
            self.finished = true;
        }
        let cursor = self.source.cursor();
        let wanted = self.prompt && moved && self.told_synced
            || self.ack_wanted.is_some_and(|(first, _)| cursor >= first);
        if wanted || Instant::now() >= self.ping {
            self.ack_wanted = self
                .ack_wanted
                .filter(|(_, last)| *last > cursor)
                .map(|(_, last)| (last, last));
            self.ping = Instant::now() + PING;
            encode_signal(&mut self.wire.out, Kind::Position, cursor);
        }
        Ok(moved)
    }

    async fn wait(&mut self) -> Result<(), FlowError> {
        let room = self.has_room();
        let walking = room && !self.walk.is_synced();
        tokio::select! {
            progress = self.wire.progress() => progress?,
            () = self.source.ready(), if room && !self.finished => {}
            () = tokio::time::sleep(BUSY_SLOT), if walking => {}
            () = tokio::time::sleep_until(self.ping), if room => {}
        }
        Ok(())
    }

    /// Has the receiver acknowledge what is in the log now, as soon as it has applied that.
    pub(crate) fn ask_ack(&mut self) {
        let end = self.source.end();
        let first = self.ack_wanted.map_or(end, |(first, _)| first);
        self.ack_wanted = Some((first, end));
    }

    /// Whether the receiver is to acknowledge everything as soon as it has applied it.
    pub(crate) fn set_prompt(&mut self, prompt: bool) {
        self.prompt = prompt;
    }

    /// Sends [`Kind::Final`] when everything before `end` has been sent.
    pub(crate) fn finish_at(&mut self, end: u64) {
        self.final_offset = Some(end);
        self.finished = false;
    }

    /// Whether [`Kind::Final`] is on its way.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Sends a frame without content.
    pub(crate) fn signal(&mut self, kind: Kind, offset: u64) {
        if kind == Kind::Resume {
            self.final_offset = None;
            self.finished = false;
        }
        encode_signal(&mut self.wire.out, kind, offset);
    }

    /// Says why the connection ends, as far as the socket takes it.
    pub(crate) fn goodbye(mut self, why: &str) {
        encode_goodbye(&mut self.wire.out, why);
        // The connection is given up in any case.
        let _ = self.wire.write_some();
    }
}
