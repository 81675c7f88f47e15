//! Commands that were read together are looked up together, and the memory that they will need is brought near, so that their cache misses
//! overlap. Nothing here has an effect that can be seen.

use super::spec::{Flags, Handler};
use super::table::{Known, commands};
use crate::resp::Args;
use crate::slot::SlotId;
use crate::store::{BucketAddress, KeyHash, Store};

/// What was found out about a command before it is executed.
#[derive(Clone, Copy)]
pub struct Prepared {
    pub(super) known: Known,
    /// Slot and hash of its key, if it has exactly one.
    pub(super) key: Option<(SlotId, KeyHash)>,
}

impl Prepared {
    /// A command that was only looked up.
    pub(super) fn unhashed(known: Known) -> Self {
        Self { known, key: None }
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
#[derive(Default)]
pub struct Near {
    /// The last command that was looked up, by its name as it was written: clients send many of the same.
    last: Option<(u64, Known)>,
    keys: Vec<(SlotId, KeyHash)>,
    buckets: Vec<BucketAddress>,
}

/// Most keys that are brought near at once: as many as fit into the first cache with their entries, about.
const MOST: usize = 128;

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
        let key = self.note(store, first);
        match keys.next() {
            None => prepared.key = Some(key),
            Some(second) => {
                self.note(store, second);
                for key in keys {
                    if self.keys.len() >= MOST {
                        break;
                    }
                    self.note(store, key);
                }
            }
        }
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
    fn note(&mut self, store: &Store, key: &[u8]) -> (SlotId, KeyHash) {
        let key = (SlotId::of(key), KeyHash::of(key));
        store.prefetch_slot(key.0);
        self.keys.push(key);
        key
    }

    /// Whether no more commands should be prepared before these are executed.
    pub fn is_full(&self) -> bool {
        self.keys.len() >= MOST
    }

    /// Brings the buckets and then the entries of the noted keys near, and forgets the keys.
    pub fn fetch(&mut self, store: &Store) {
        // A single key is needed right away.
        if self.keys.len() > 1 {
            let buckets = self.keys.iter().filter_map(|(slot, hash)| {
                let bucket = store.bucket(*slot, *hash)?;
                bucket.prefetch();
                Some(bucket)
            });
            self.buckets.extend(buckets);
            self.buckets
                .iter()
                .for_each(|bucket| bucket.prefetch_entries());
            self.buckets.clear();
        }
        self.keys.clear();
    }
}
