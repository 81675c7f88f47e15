//! Commands that were read together are looked up together, and the memory that they will need is brought near, so that their cache misses
//! overlap. Nothing here has an effect that can be seen.

use super::held::Hashed;
use super::spec::{Flags, Handler};
use super::table::{Known, commands};
use crate::resp::Args;
use crate::slot::SlotId;
use crate::store::{BucketAddress, KeyHash, Store};

/// What was found out about a command before it is executed.
#[derive(Clone, Copy)]
pub struct Prepared {
    pub(super) known: Known,
    /// Where its keys stand among those of its batch: the first, and how many.
    keys: (u32, u32),
}

impl Prepared {
    /// A command that was only looked up.
    pub(super) fn unhashed(known: Known) -> Self {
        Self {
            known,
            keys: (0, 0),
        }
    }
}

/// A name of up to seven bytes with its length, in one word.
#[inline]
fn short_name(name: &[u8]) -> Option<u64> {
    let mut word = [0; 8];
    word.get_mut(..name.len())?.copy_from_slice(name);
    (name.len() < 8).then(|| u64::from_le_bytes(word) | (name.len() as u64) << 56)
}

/// The keys of commands that are about to be executed.
///
/// What a key needs is asked for in stages, each of which must have what the one before it asked for: slot, bucket, entry, and the entry in
/// the next bucket if the key had to go there. The stages of a key lie [`AHEAD`] keys apart, so that reading other commands, and later
/// executing them, fills the time that memory takes.
#[derive(Default)]
pub struct Near {
    /// The last command that was looked up, by its name as it was written: clients send many of the same.
    last: Option<(u64, Known)>,
    /// Keys whose slots were asked for.
    keys: Vec<Hashed>,
    /// Where the first of them stand, as far as that was asked for.
    buckets: Vec<Option<BucketAddress>>,
    /// Number of buckets whose entries were asked for; what is left of those is the bucket that comes next.
    looked_into: usize,
    /// Number of buckets that nothing more is to be done about.
    done: usize,
}

/// Most keys that are brought near at once: as many as fit into the first cache with their entries, about.
const MOST: usize = 128;

/// Keys between two stages.
const AHEAD: usize = 4;

impl Near {
    /// Looks a command up, and notes its keys. `None` when it is none, or has the wrong number of arguments.
    #[inline]
    pub fn prepare(&mut self, store: &Store, args: Args<'_>) -> Option<Prepared> {
        let known = self.look_up(args)?;
        let command = known.command;
        let mut prepared = Prepared::unhashed(known);
        if !matches!(command.handler, Handler::Sync(_)) || command.flags.has(Flags::ALL_SLOTS) {
            return Some(prepared);
        }
        let mut keys = command.keys.of(args);
        let Some(first) = keys.next() else {
            return Some(prepared);
        };
        let before = self.keys.len();
        self.note(store, first);
        for key in keys {
            if self.keys.len() >= MOST {
                // Not all of its keys are known, and so none are.
                return Some(prepared);
            }
            self.note(store, key);
        }
        prepared.keys = (before as u32, (self.keys.len() - before) as u32);
        Some(prepared)
    }

    #[inline]
    fn look_up(&mut self, args: Args<'_>) -> Option<Known> {
        let name = short_name(args.at(0));
        if let Some((last, known)) = self.last
            && name == Some(last)
            && known.command.accepts(args.len())
        {
            return Some(known);
        }
        let known = commands().resolve(args).ok()?;
        if known.parent.is_none() && known.command.subcommands.is_empty() {
            self.last = name.map(|name| (name, known));
        }
        Some(known)
    }

    #[inline]
    fn note(&mut self, store: &Store, key: &[u8]) {
        let key = (SlotId::of(key), KeyHash::of(key));
        store.prefetch_slot(key.0);
        self.keys.push(key);
        if self.keys.len() > AHEAD {
            self.advance(store);
        }
    }

    /// Slots and hashes of a command's keys in their order; empty if they are not known.
    #[inline]
    pub fn keys_of(&self, prepared: &Prepared) -> &[Hashed] {
        let (first, count) = prepared.keys;
        &self.keys[first as usize..(first + count) as usize]
    }

    /// Whether no more commands should be prepared before these are executed.
    pub fn is_full(&self) -> bool {
        self.keys.len() >= MOST
    }

    /// Forgets all keys.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.buckets.clear();
        self.looked_into = 0;
        self.done = 0;
    }

    /// All commands are noted, of which there are so many. If they have one key each, the last stages are left to [`Near::go_on`].
    pub fn settle(&mut self, store: &Store, commands: usize) {
        let keys = self.keys.len();
        if keys <= 1 {
            // A single key is needed right away.
            return;
        }
        while self.buckets.len() < keys {
            self.ask_for_bucket(store);
        }
        let now = if keys > commands {
            keys
        } else {
            AHEAD.min(keys)
        };
        while self.looked_into < now {
            self.look_into_bucket();
        }
        if now == keys {
            while self.done < keys {
                self.look_into_next();
            }
        }
    }

    /// A command is executed next: meanwhile, more of what is behind it comes near.
    #[inline]
    pub fn go_on(&mut self) {
        if self.looked_into < self.buckets.len() {
            self.look_into_bucket();
        }
        if self.done < self.looked_into {
            self.look_into_next();
        }
    }

    /// One step of each stage.
    #[inline]
    fn advance(&mut self, store: &Store) {
        self.ask_for_bucket(store);
        if self.looked_into + AHEAD < self.buckets.len() {
            self.look_into_bucket();
        }
        if self.done + AHEAD < self.looked_into {
            self.look_into_next();
        }
    }

    #[inline]
    fn ask_for_bucket(&mut self, store: &Store) {
        let (slot, hash) = self.keys[self.buckets.len()];
        let bucket = store.bucket(slot, hash);
        if let Some(bucket) = bucket {
            bucket.prefetch();
        }
        self.buckets.push(bucket);
    }

    #[inline]
    fn look_into_bucket(&mut self) {
        let bucket = &mut self.buckets[self.looked_into];
        *bucket = bucket.and_then(BucketAddress::prefetch_entries);
        self.looked_into += 1;
    }

    #[inline]
    fn look_into_next(&mut self) {
        if let Some(next) = self.buckets[self.done] {
            next.prefetch_entries();
        }
        self.done += 1;
    }
}
