//! Commands that look at all keys: `SCAN`, `KEYS`, `RANDOMKEY`, `DBSIZE`, `FLUSHALL`.
//!
//! A cursor is a slot and a place in the order of hashes inside it; neither changes when tables grow, so that a key which is there
//! throughout a scan is returned. In cluster mode only the slots of this node's own shard are shown.

use crate::resp::{Args, Reply};
use crate::slot::{SLOT_COUNT, SlotId};
use crate::store::{KeyHash, SCAN_BITS};

use super::context::Context;
use super::error::{Result, SYNTAX, error};
use super::spec::{Command, Flags};
use super::text::{integer, matches};

pub(super) static COMMANDS: &[Command] = &[
    Command::new("scan", -2, scan, "Iterates over the keys.").flag(Flags::READONLY),
    Command::new("keys", 2, keys, "Returns all keys that match a pattern.")
        .flag(Flags::READONLY)
        .flag(Flags::ALL_SLOTS),
    Command::new("randomkey", 1, randomkey, "Returns a random key.").flag(Flags::READONLY),
    Command::new("dbsize", 1, dbsize, "Returns the number of keys.")
        .flag(Flags::READONLY)
        .fast()
        .group("server"),
    Command::new("flushdb", -1, flush, "Removes all keys.")
        .flag(Flags::WRITE)
        .flag(Flags::ALL_SLOTS)
        .group("server"),
    Command::new("flushall", -1, flush, "Removes all keys.")
        .flag(Flags::WRITE)
        .flag(Flags::ALL_SLOTS)
        .group("server"),
];

/// The options of `SCAN` and `HSCAN`.
pub(super) struct ScanOptions<'a> {
    pub(super) pattern: Option<&'a [u8]>,
    pub(super) count: usize,
    pub(super) type_name: Option<&'a [u8]>,
    pub(super) without_values: bool,
    pub(super) without_scores: bool,
}

impl<'a> ScanOptions<'a> {
    pub(super) fn read(args: Args<'a>) -> Result<Self> {
        let mut options = Self {
            pattern: None,
            count: 10,
            type_name: None,
            without_values: false,
            without_scores: false,
        };
        let mut args = args.iter();
        while let Some(option) = args.next() {
            if option.eq_ignore_ascii_case(b"novalues") {
                options.without_values = true;
                continue;
            }
            if option.eq_ignore_ascii_case(b"noscores") {
                options.without_scores = true;
                continue;
            }
            let value = args.next().ok_or(SYNTAX)?;
            if option.eq_ignore_ascii_case(b"match") {
                options.pattern = Some(value).filter(|pattern| *pattern != b"*");
            } else if option.eq_ignore_ascii_case(b"count") {
                let count = integer(value)?;
                options.count = usize::try_from(count)
                    .ok()
                    .filter(|count| *count > 0)
                    .ok_or(SYNTAX)?;
            } else if option.eq_ignore_ascii_case(b"type") {
                options.type_name = Some(value);
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(options)
    }

    /// The cursor at argument 2 and the options behind it, of a command that iterates over one collection.
    pub(super) fn of_collection(args: Args<'a>) -> Result<(u64, Self)> {
        let from = cursor(args.at(2))?;
        let options = Self::read(args.from(3))?;
        if options.type_name.is_some() {
            return Err(SYNTAX);
        }
        Ok((from, options))
    }

    /// Refuses `NOVALUES`, which is for `HSCAN`.
    pub(super) fn keep_values(&self) -> Result {
        if self.without_values {
            return Err(error("ERR NOVALUES option can only be used in HSCAN"));
        }
        Ok(())
    }

    /// Refuses `NOSCORES`, which is for `ZSCAN`.
    pub(super) fn keep_scores(&self) -> Result {
        if self.without_scores {
            return Err(error("ERR NOSCORES option can only be used in ZSCAN"));
        }
        Ok(())
    }

    pub(super) fn admits(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| matches(pattern, name))
    }
}

/// A cursor argument.
pub(super) fn cursor(text: &[u8]) -> Result<u64> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(error("ERR invalid cursor"))
}

/// Answers where to go on and `parts` things that were found, which the caller shows next.
pub(super) fn begin_answer(reply: &mut Reply<'_>, next: u64, parts: usize) {
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    reply.array(parts);
}

fn scan(context: &mut Context<'_, '_>) -> Result {
    let cursor = cursor(context.args.at(1))?;
    let options = ScanOptions::read(context.args.from(2))?;
    options.keep_values()?;
    options.keep_scores()?;
    let (mut slot, mut from) = (cursor >> SCAN_BITS, KeyHash(cursor << (64 - SCAN_BITS)));
    let mut found: Vec<Vec<u8>> = Vec::new();
    let mut visited = 0;
    while let Some(id) = u16::try_from(slot).ok().and_then(SlotId::new) {
        if visited >= options.count {
            break;
        }
        if context.node.store.keys_in(id) == 0 || !context.node.shows(id) {
            (slot, from) = (slot + 1, KeyHash(0));
            continue;
        }
        let now = context.db.now();
        let next = context.db.with_slot(id, |data| {
            data.scan(from, options.count - visited, |entry| {
                visited += 1;
                let fits = options.type_name.is_none_or(|name| {
                    name.eq_ignore_ascii_case(entry.value().type_name().as_bytes())
                });
                if fits && !entry.is_expired(now) && options.admits(entry.key()) {
                    found.push(entry.key().to_vec());
                }
            })
        })?;
        (slot, from) = match next {
            Some(next) => (slot, next),
            None => (slot + 1, KeyHash(0)),
        };
    }
    let next = if slot >= SLOT_COUNT as u64 {
        0
    } else {
        slot << SCAN_BITS | from.0 >> (64 - SCAN_BITS)
    };
    begin_answer(&mut context.reply, next, found.len());
    found.iter().for_each(|key| context.reply.bulk(key));
    Ok(())
}

fn keys(context: &mut Context<'_, '_>) -> Result {
    let pattern = context.args.at(1);
    let now = context.db.now();
    let mut found: Vec<Vec<u8>> = Vec::new();
    for slot in SlotId::all() {
        if context.node.store.keys_in(slot) == 0 || !context.node.shows(slot) {
            continue;
        }
        context.db.with_slot(slot, |data| {
            let live = data.iter().filter(|entry| !entry.is_expired(now));
            let matching = live.filter(|entry| matches(pattern, entry.key()));
            found.extend(matching.map(|entry| entry.key().to_vec()));
        })?;
    }
    context.reply.array(found.len());
    found.iter().for_each(|key| context.reply.bulk(key));
    Ok(())
}

fn randomkey(context: &mut Context<'_, '_>) -> Result {
    let start = rand::random_range(0..SLOT_COUNT);
    let slots: Vec<SlotId> = SlotId::all().collect();
    let (head, tail) = slots.split_at(start);
    let now = context.db.now();
    for slot in tail.iter().chain(head) {
        if context.node.store.keys_in(*slot) == 0 || !context.node.shows(*slot) {
            continue;
        }
        let picked = context.db.with_slot(*slot, |data| {
            let picked = data.pick(rand::random);
            picked
                .filter(|entry| !entry.is_expired(now))
                .or_else(|| data.iter().find(|entry| !entry.is_expired(now)))
                .map(|entry| entry.key().to_vec())
        })?;
        if let Some(key) = picked {
            context.reply.bulk(&key);
            return Ok(());
        }
    }
    context.reply.null();
    Ok(())
}

fn dbsize(context: &mut Context<'_, '_>) -> Result {
    context.reply.count(context.node.count_keys());
    Ok(())
}

fn flush(context: &mut Context<'_, '_>) -> Result {
    match context.args.get(1) {
        None => {}
        Some(mode)
            if context.args.len() == 2
                && (mode.eq_ignore_ascii_case(b"async") || mode.eq_ignore_ascii_case(b"sync")) => {}
        Some(_) => return Err(SYNTAX),
    }
    // Asked once: slots that change owner meanwhile are either all flushed or none.
    let shown = context.node.shown_slots();
    context.db.clear(|slot| shown.contains(slot));
    context.reply.ok();
    Ok(())
}
