//! Writing a snapshot.

use std::io;
use std::sync::atomic::Ordering::Relaxed;

use cache_rdb::{Checksum, Writer};

use crate::clock;
use crate::command::REDIS_VERSION;
use crate::node::Node;

use super::Progress;
use super::file::NewFile;
use super::turns::Turns;

/// The log's offset, and the history to which it belongs when it has one.
pub(super) const AUX_OFFSET: &str = "evenkeel-offset";
pub(super) const AUX_HISTORY: &str = "evenkeel-history";

/// Bytes that are written at once.
const BLOCK: usize = 256 * 1024;

/// Why there is no new snapshot. The one before is still there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SaveError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("given up")]
    Cancelled,
    #[error("another walk over the data set is under way")]
    Walking,
}

/// What was saved.
pub(crate) struct Saved {
    /// Keys, about.
    pub(crate) keys: u64,
    pub(crate) bytes: u64,
    /// Changes since the process began that are in it.
    pub(crate) changes: u64,
}

/// What a snapshot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be loaded by itself.
    Snapshot,
    /// To be the base of an append-only file.
    Base,
}

/// A snapshot on its way to the disk.
struct Output<'o> {
    write: &'o mut dyn FnMut(&[u8]) -> io::Result<()>,
    checksum: Checksum,
    bytes: u64,
    progress: &'o Progress,
}

impl Output<'_> {
    /// Hands over what was gathered, if it is much or `all` is wanted.
    fn pass_on(&mut self, writer: &mut Writer, all: bool) -> Result<(), SaveError> {
        if self.progress.is_cancelled() {
            return Err(SaveError::Cancelled);
        }
        if writer.out.len() < BLOCK && !all {
            return Ok(());
        }
        self.checksum.update(&writer.out);
        (self.write)(&writer.out)?;
        self.bytes += writer.out.len() as u64;
        self.progress.bytes.store(self.bytes, Relaxed);
        writer.out.clear();
        Ok(())
    }
}

/// Saves the data set as it is when this is called, or a little later, where `dir` and `dbfilename` say.
pub(super) fn save(node: &Node, progress: &Progress) -> Result<Saved, SaveError> {
    let settings = node.config.snapshot();
    let mut file = NewFile::create(&settings.dir.join(&settings.dbfilename))?;
    let mut write = |bytes: &[u8]| file.write(bytes);
    let saved = write_snapshot(node, progress, Purpose::Snapshot, |_| {}, &mut write)?;
    file.place()?;
    Ok(saved)
}

/// Writes a snapshot of the moment at which `cut` is called with the log's offset; nothing changes at that moment.
pub(crate) fn write_snapshot(
    node: &Node,
    progress: &Progress,
    purpose: Purpose,
    cut: impl FnOnce(u64),
    write: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> Result<Saved, SaveError> {
    let settings = node.config.snapshot();
    let mut output = Output {
        write,
        checksum: Checksum::default(),
        bytes: 0,
        progress,
    };
    let mut writer = Writer::new(settings.rdbcompression);
    let keys = node.store.count_keys(|_| true) as u64;
    let volatile = node.store.count_volatile(|_| true) as u64;
    let moment = || {
        let offset = node.log.end();
        cut(offset);
        let history = node.replication.history_at_the_end(node);
        (node.persistence.changes(node), offset, history)
    };
    let (mut walk, (changes, offset, history)) =
        node.store.begin_walk(moment).ok_or(SaveError::Walking)?;
    write_facts(&mut writer, node, offset, purpose);
    if let Some(history) = history {
        writer.aux(AUX_HISTORY, &history.to_string());
    }
    writer.database(0, keys, volatile);
    let mut turns = Turns::begin();
    while walk.step(&mut writer, &mut |writer| output.pass_on(writer, false))? {
        progress.slots.store(walk.slots_done(), Relaxed);
        output.pass_on(&mut writer, false)?;
        turns.give_way();
    }
    drop(walk);
    writer.end();
    output.pass_on(&mut writer, true)?;
    let checksum = if settings.rdbchecksum {
        output.checksum.value()
    } else {
        0
    };
    (output.write)(&checksum.to_le_bytes())?;
    Ok(Saved {
        keys,
        bytes: output.bytes + 8,
        changes,
    })
}

fn write_facts(writer: &mut Writer, node: &Node, offset: u64, purpose: Purpose) {
    let number = |number: u64| number.to_string();
    writer.magic();
    writer.aux("redis-ver", REDIS_VERSION);
    writer.aux("redis-bits", &number(u64::from(usize::BITS)));
    writer.aux("ctime", &number(clock::now() / 1000));
    writer.aux("used-mem", &number(node.store.memory().used() as u64));
    let base = u64::from(purpose == Purpose::Base);
    writer.aux("aof-base", &number(base));
    writer.aux("evenkeel-version", env!("CARGO_PKG_VERSION"));
    writer.aux(AUX_OFFSET, &number(offset));
}
