//! The thread that writes to segments what slow readers have not read, before it leaves the memory.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pace::{Offsets, Pace, Verdict};
use super::ring::Ring;
use super::{Batch, Log, Overrun};

/// Bytes that are written at once.
const PIECE: usize = 128 << 10;

/// How long it waits for something to be appended before it looks after its readers.
const LOOK: Duration = Duration::from_millis(100);

/// How long it leaves a disk alone that has failed.
const RETRY: Duration = Duration::from_secs(1);

/// Starts the thread. It waits, without work, until a reader is slow.
pub(super) fn start(log: &Arc<Log>) -> io::Result<()> {
    let log = Arc::downgrade(log);
    let thread = std::thread::Builder::new().name("log-segments".to_owned());
    thread.spawn(move || {
        while let Some(log) = log.upgrade() {
            if wait(&log) {
                spill(&log);
            }
        }
    })?;
    Ok(())
}

/// Waits for a slow reader; false when there was none for a while.
fn wait(log: &Log) -> bool {
    let mut ring = log.ring.lock();
    let behind = ring.capacity / 4;
    if ring.failed {
        log.spill_wanted.wait_for(&mut ring, RETRY);
        ring.failed = false;
    }
    if !ring.lags_by(behind) {
        log.set_room(u64::MAX);
        log.spill_wanted.wait_for(&mut ring, LOOK * 10);
    }
    ring.spills && ring.lags_by(behind)
}

/// Writes segments until no reader needs them any more.
fn spill(log: &Log) {
    let Some((next, start, era)) = begin(log) else {
        log.set_room(u64::MAX);
        return;
    };
    tracing::info!("a reader of the log is slow: what it has not read goes to disk");
    let result = write(log, next, start, era);
    match &result {
        Ok(()) => tracing::info!("no reader of the log needs the disk any more"),
        Err(error) => {
            tracing::error!(%error, "slow readers of the log have to start over");
        }
    }
    let mut ring = log.ring.lock();
    log.segments.lock().clear();
    ring.spilling = false;
    ring.failed = result.is_err();
    log.set_room(u64::MAX);
}

/// Position of the first record that is to be written, the offset before it, and the log's era.
fn begin(log: &Log) -> Option<(u64, u64, u64)> {
    let mut ring = log.ring.lock();
    let next = ring.slowest()?.max(ring.first);
    let batch = ring.find(next, 1).ok()?.read(1);
    let start = batch.records.first()?.end - batch.bytes.len() as u64;
    ring.spilling = true;
    Some((next, start, ring.era))
}

/// Writes records from position `next` on, before which the offset is `start`.
fn write(log: &Log, mut next: u64, mut start: u64, era: u64) -> Result<(), String> {
    let mut pace = Pace::new(Instant::now(), log.end());
    loop {
        match take(log, &mut pace, next, start, era) {
            Ok(Some(batch)) => {
                let appended = log.segments.lock().append(next, start, &batch);
                appended.map_err(|error| error.to_string())?;
                next += batch.records.len() as u64;
                start = batch.records.last().map_or(start, |record| record.end);
            }
            Ok(None) => return Ok(()),
            Err(Overrun) => return Err("the disk is slower than the writes".to_owned()),
        }
    }
}

/// What is to be written next, waiting for it if need be; `None` when that is no longer needed. Everything before `start` is written.
fn take(
    log: &Log,
    pace: &mut Pace,
    next: u64,
    start: u64,
    era: u64,
) -> Result<Option<Batch>, Overrun> {
    loop {
        let mut ring = log.ring.lock();
        if ring.era != era {
            return Ok(None);
        }
        let slowest = ring.slowest().unwrap_or(u64::MAX);
        if slowest >= ring.first && !ring.lags_by(ring.capacity / 8) {
            return Ok(None);
        }
        log.segments.lock().free_before(slowest);
        log.set_room(room(log, &ring, pace, start));
        if ring.has(next) {
            let found = ring.find(next, PIECE)?;
            drop(ring);
            return Ok(Some(found.read(PIECE)));
        }
        log.spill_wanted.wait_for(&mut ring, LOOK);
    }
}

/// The offset from which on writers should wait, for the disk or for the slowest reader. Everything before `start` is written.
fn room(log: &Log, ring: &Ring, pace: &mut Pace, start: u64) -> u64 {
    let room = ring.room_behind(start);
    let Some(slowest) = ring.slowest_offset() else {
        return room;
    };
    let disk = log.segments.lock().disk();
    let at = Offsets {
        end: log.end(),
        written: start,
        slowest,
    };
    match pace.verdict(Instant::now(), disk, at) {
        Verdict::Free => room,
        Verdict::Until(offset) => room.min(offset),
        Verdict::LetGo => {
            tracing::warn!(
                "a reader of the log is too slow to wait for: it has to start over when the disk is full"
            );
            room
        }
    }
}
