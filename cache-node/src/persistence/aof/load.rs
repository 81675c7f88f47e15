//! Loading an append-only file: its base, then its commands in order.

use std::fmt::Display;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use tracing::{info, warn};

use crate::command::Recorded;
use crate::node::Node;
use crate::persistence::load::{LoadError, Role, load_rdb};
use crate::resp::{Args, OwnedArgs};
use crate::topology::NodeId;

use super::disk::Disk;
use super::layout::{Layout, shown};
use super::manifest::Manifest;
use super::place;
use super::reader::{Next, Reader};
use super::segment::HEADER;

/// What was found on the disk, and is loaded.
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// One file, as versions before 7 of redis-server write it.
    Old,
    /// The files that a manifest names.
    Files {
        manifest: Manifest,
        /// How much of the last one is whole.
        last: Whole,
        /// The history to which the data belong, and where in it they are exactly.
        place: Option<(NodeId, u64)>,
    },
}

/// How much of a file is whole.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Whole {
    /// Bytes.
    pub(super) length: u64,
    /// Those of them that a checksum has confirmed.
    pub(super) confirmed: u64,
}

/// A file that cannot be loaded.
pub(super) fn refused(path: &Path, reason: impl Display) -> LoadError {
    LoadError::AppendOnly {
        path: shown(path),
        reason: format!("{reason}"),
    }
}

/// Loads what there is into a data set that is empty. Changes nothing on the disk.
pub(super) fn load(node: &Arc<Node>, disk: &dyn Disk, layout: &Layout) -> Result<Found, LoadError> {
    let path = layout.path(&layout.manifest());
    if length(disk, &path)?.is_none() {
        return load_without_manifest(node, disk, layout);
    }
    let mut text = Vec::new();
    let read = disk.read(&path, 0);
    read.and_then(|mut file| file.read_to_end(&mut text))
        .map_err(|error| refused(&path, error))?;
    let manifest = Manifest::parse(&text).map_err(|error| refused(&path, error))?;
    check_unnamed(disk, layout, &manifest)?;
    let mut files = Vec::new();
    for part in manifest.parts() {
        let file = layout.path(&part.name);
        let bytes = length(disk, &file)?.ok_or_else(|| {
            refused(
                &file,
                format!("byte 0: it is missing, and {} names it", shown(&path)),
            )
        })?;
        files.push((file, bytes));
    }
    let progress = node.persistence.progress();
    let total = files.iter().map(|(_, bytes)| bytes).sum();
    progress.bytes_total.store(total, Relaxed);
    let mut loading = Loading::new(node, disk);
    let count = files.len();
    let mut last = Whole::default();
    for (index, (file, bytes)) in files.into_iter().enumerate() {
        let is_base = index == 0 && manifest.base.is_some();
        let is_last = index + 1 == count;
        last = if is_base {
            loading.base(&file, bytes, is_last)?
        } else {
            loading.commands(&file, 0, bytes, is_last)?
        };
    }
    loading.report();
    let place = loading.place;
    Ok(Found::Files {
        manifest,
        last,
        place,
    })
}

/// An incremental file behind those that the manifest names has no commands: it was begun and never in force. Otherwise the manifest is
/// not what it was.
fn check_unnamed(disk: &dyn Disk, layout: &Layout, manifest: &Manifest) -> Result<(), LoadError> {
    let names = disk
        .list(&layout.folder)
        .map_err(|error| refused(&layout.folder, error))?;
    if is_interrupted(layout, &names) {
        return Ok(());
    }
    for name in names {
        let behind = layout
            .increment_number(&name)
            .is_some_and(|number| number >= manifest.next_increment());
        let path = layout.path(&name);
        if behind && length(disk, &path)?.unwrap_or(0) > HEADER.len() as u64 {
            let place = layout.path(&layout.manifest());
            let end = length(disk, &place)?.unwrap_or(0);
            let reason = format!("byte {end}: {name} has commands and is not named");
            return Err(refused(&place, reason));
        }
    }
    Ok(())
}

/// Where files were about to come into force, there is the manifest that would have done it, under another name.
fn is_interrupted(layout: &Layout, names: &[String]) -> bool {
    let temporary = layout.temporary(&layout.manifest());
    names.iter().any(|name| layout.path(name) == temporary)
}

fn load_without_manifest(
    node: &Arc<Node>,
    disk: &dyn Disk,
    layout: &Layout,
) -> Result<Found, LoadError> {
    let names = disk
        .list(&layout.folder)
        .map_err(|error| refused(&layout.folder, error))?;
    let part = names
        .iter()
        .find(|name| layout.is_part(name) && !layout.is_temporary(name));
    if let Some(part) = part
        && !is_interrupted(layout, &names)
    {
        let manifest = layout.path(&layout.manifest());
        return Err(refused(
            &manifest,
            format!("byte 0: it is missing, and there is {part}"),
        ));
    }
    let Some(bytes) = length(disk, &layout.old)? else {
        return Ok(Found::Nothing);
    };
    let progress = node.persistence.progress();
    progress.bytes_total.store(bytes, Relaxed);
    let mut loading = Loading::new(node, disk);
    loading.base(&layout.old, bytes, true)?;
    loading.report();
    Ok(Found::Old)
}

fn length(disk: &dyn Disk, path: &Path) -> Result<Option<u64>, LoadError> {
    disk.length(path).map_err(|error| refused(path, error))
}

/// A load that goes on.
struct Loading<'n> {
    node: &'n Arc<Node>,
    disk: &'n dyn Disk,
    recorded: Recorded,
    executed: u64,
    /// The place in a history that the last line of the last file names.
    place: Option<(NodeId, u64)>,
    began: Instant,
}

impl<'n> Loading<'n> {
    fn new(node: &'n Arc<Node>, disk: &'n dyn Disk) -> Self {
        Self {
            recorded: Recorded::new(node),
            node,
            disk,
            executed: 0,
            place: None,
            began: Instant::now(),
        }
    }

    fn report(&self) {
        info!(
            commands = self.executed,
            keys = self.node.store.count_keys(|_| true),
            seconds = self.began.elapsed().as_secs_f64(),
            "append-only file loaded"
        );
    }

    /// Loads a base: a snapshot, commands, or both. Answers how much of it is whole.
    fn base(&mut self, path: &Path, bytes: u64, is_last: bool) -> Result<Whole, LoadError> {
        let mut begins = Vec::new();
        let file = self.disk.read(path, 0);
        file.and_then(|file| file.take(6).read_to_end(&mut begins))
            .map_err(|error| refused(path, error))?;
        let role = if path.extension().is_some_and(|extension| extension == "rdb") {
            Role::Base
        } else if begins.starts_with(b"REDIS") || begins.starts_with(b"VALKEY") {
            Role::Preamble
        } else {
            return self.commands(path, 0, bytes, is_last);
        };
        let file = self
            .disk
            .read(path, 0)
            .map_err(|error| refused(path, error))?;
        let end = load_rdb(self.node, path, file, bytes, role)?;
        if end == bytes {
            return Ok(Whole {
                length: end,
                confirmed: end,
            });
        }
        self.commands(path, end, bytes, is_last)
    }

    /// Executes the commands of a file from byte `from` on. Answers how much of it is whole: all of it, unless it is the last.
    fn commands(
        &mut self,
        path: &Path,
        from: u64,
        bytes: u64,
        is_last: bool,
    ) -> Result<Whole, LoadError> {
        info!(path = %path.display(), bytes, "loading commands");
        let file = self
            .disk
            .read(path, from)
            .map_err(|error| refused(path, error))?;
        let mut reader = Reader::new(file, from);
        let torn = self
            .execute_all(&mut reader)
            .map_err(|reason| refused(path, reason))?;
        let confirmed = reader.confirmed();
        self.place = None;
        let Some((torn_at, reason)) = torn else {
            self.place = place::read(reader.confirmed_remark());
            return Ok(Whole {
                length: bytes,
                confirmed,
            });
        };
        if !is_last {
            let reason = format!("byte {torn_at}: {reason}, and other files follow it");
            return Err(refused(path, reason));
        }
        if !self.node.config.get().aof_load_truncated {
            let reason = format!(
                "byte {torn_at}: {reason}; with aof-load-truncated it would be cut there and loaded"
            );
            return Err(refused(path, reason));
        }
        warn!(
            path = %path.display(),
            offset = torn_at,
            bytes_dropped = bytes - torn_at,
            "the append-only file is cut: {reason}"
        );
        Ok(Whole {
            length: torn_at,
            confirmed: confirmed.min(torn_at),
        })
    }

    /// `Some`: where the file is whole up to, and what is there.
    fn execute_all(
        &mut self,
        reader: &mut Reader<impl Read>,
    ) -> Result<Option<(u64, &'static str)>, String> {
        let progress = self.node.persistence.progress();
        let mut transaction: Option<Transaction> = None;
        let mut read = reader.offset();
        loop {
            let next = reader.next().map_err(|damage| damage.to_string())?;
            let offset = reader.offset();
            let damaged = |reason: String| format!("byte {offset}: {reason}");
            match (next, &transaction) {
                (Next::Command, _) => {}
                (_, Some(transaction)) => {
                    return Ok(Some((
                        transaction.offset,
                        "it ends in the middle of a transaction",
                    )));
                }
                (Next::Torn, None) => {
                    return Ok(Some((offset, "it ends in the middle of a command")));
                }
                (Next::End, None) => {
                    progress.bytes.fetch_add(offset - read, Relaxed);
                    return Ok(None);
                }
            }
            let args = reader.args();
            match Kind::of(args) {
                Kind::Multi if transaction.is_some() => {
                    return Err(damaged("MULTI within MULTI".to_owned()));
                }
                Kind::Multi => {
                    transaction = Some(Transaction {
                        offset,
                        commands: Vec::new(),
                    });
                }
                Kind::Exec => {
                    let Some(transaction) = transaction.take() else {
                        return Err(damaged("EXEC without MULTI".to_owned()));
                    };
                    for (offset, args) in &transaction.commands {
                        self.execute(args.as_args())
                            .map_err(|reason| format!("byte {offset}: {reason}"))?;
                    }
                }
                Kind::Select if args.len() == 2 && &args[1] == b"0" => {}
                Kind::Select => {
                    return Err(damaged(
                        "another database than 0: there is only one, as in a cluster".to_owned(),
                    ));
                }
                Kind::Other => match &mut transaction {
                    Some(transaction) => transaction.commands.push((offset, args.to_owned())),
                    None => self.execute(args).map_err(damaged)?,
                },
            }
            if self.executed.is_multiple_of(1024) {
                progress.bytes.fetch_add(reader.end() - read, Relaxed);
                read = reader.end();
                self.node.store.memory().publish();
            }
        }
    }

    fn execute(&mut self, args: Args<'_>) -> Result<(), String> {
        self.executed += 1;
        self.recorded.execute(args)
    }
}

/// What a command is to the loader.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Multi,
    Exec,
    Select,
    Other,
}

impl Kind {
    #[inline]
    fn of(args: Args<'_>) -> Self {
        let name = args.at(0);
        if !matches!(name.len(), 4..=6) {
            return Self::Other;
        }
        [
            (b"multi".as_slice(), Self::Multi),
            (b"exec", Self::Exec),
            (b"select", Self::Select),
        ]
        .into_iter()
        .find(|(other, _)| name.eq_ignore_ascii_case(other))
        .map_or(Self::Other, |(_, kind)| kind)
    }
}

/// Commands that are executed when all of them are there.
struct Transaction {
    /// Where it begins.
    offset: u64,
    commands: Vec<(u64, OwnedArgs)>,
}
