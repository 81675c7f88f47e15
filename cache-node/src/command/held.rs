//! The slots that a command has locked, and what is known about the key that it works on.

use crate::slot::SlotId;
use crate::store::{KeyHash, SlotData, SlotGuard};

/// The locks that a command holds.
pub(super) enum Locks<'g> {
    /// None: it has no keys.
    None,
    /// One slot.
    One(SlotGuard<'g>),
    /// Several slots in ascending order.
    Many(Vec<SlotGuard<'g>>),
}

impl<'g> Locks<'g> {
    /// Where the lock of `slot` stands.
    fn position(&self, slot: SlotId) -> Option<usize> {
        match self {
            Self::None => None,
            Self::One(guard) => (guard.id() == slot).then_some(0),
            Self::Many(guards) => guards.binary_search_by_key(&slot, SlotGuard::id).ok(),
        }
    }
}

/// Slot and hash of a key.
pub type Hashed = (SlotId, KeyHash);

/// Locked slots, and the key of them that is worked on.
pub(super) struct Held<'g> {
    locks: Locks<'g>,
    /// Slots and hashes of the command's keys in their order, if they were worked out before.
    keys: &'g [Hashed],
    aim: Option<Aim>,
}

/// The key that is worked on, by where it lies, so that it is hashed and its lock is looked for once.
#[derive(Clone, Copy)]
struct Aim {
    key: *const [u8],
    hash: KeyHash,
    position: usize,
}

impl<'g> Held<'g> {
    #[inline]
    pub(super) fn new(locks: Locks<'g>) -> Self {
        Self {
            locks,
            keys: &[],
            aim: None,
        }
    }

    /// The same with what was worked out before about the command's keys, of which `first` is the first.
    #[inline]
    pub(super) fn knowing(mut self, first: &[u8], keys: &'g [Hashed]) -> Self {
        if let [(_, hash)] = keys {
            self.aim = Some(Aim {
                key: first,
                hash: *hash,
                position: 0,
            });
        } else {
            self.keys = keys;
        }
        self
    }

    /// The command, which has several keys, works on its key number `index` from now on. The key outlives this.
    pub(super) fn aim(&mut self, index: usize, key: &[u8]) {
        if let (Locks::One(_), Some(_)) = (&self.locks, self.aimed(key)) {
            return;
        }
        let (slot, hash) = match self.keys.get(index) {
            Some(known) => *known,
            None => (SlotId::of(key), KeyHash::of(key)),
        };
        self.aim = self.locks.position(slot).map(|position| Aim {
            key,
            hash,
            position,
        });
    }

    #[inline]
    fn aimed(&self, key: &[u8]) -> Option<&Aim> {
        self.aim.as_ref().filter(|aim| std::ptr::eq(aim.key, key))
    }

    /// The hash of `key`.
    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> KeyHash {
        self.aimed(key)
            .map_or_else(|| KeyHash::of(key), |aim| aim.hash)
    }

    /// The slot of `key`, which is locked.
    #[inline]
    pub(super) fn slot(&mut self, key: &[u8]) -> &mut SlotData {
        let position = match &self.locks {
            Locks::Many(_) => self.position(key),
            _ => Some(0),
        };
        let guard = match (&mut self.locks, position) {
            (Locks::One(guard), _) => Some(guard),
            (Locks::Many(guards), Some(position)) => guards.get_mut(position),
            _ => None,
        };
        guard.expect("the slots of a command's keys are locked before it runs")
    }

    /// Where the lock of `key` stands among several.
    fn position(&self, key: &[u8]) -> Option<usize> {
        match self.aimed(key) {
            Some(aim) => Some(aim.position),
            None => self.locks.position(SlotId::of(key)),
        }
    }

    /// The number of the slot of `key`, which is locked.
    #[inline]
    pub(super) fn slot_id(&self, key: &[u8]) -> SlotId {
        match (&self.locks, self.aimed(key)) {
            (Locks::One(guard), _) => guard.id(),
            (Locks::Many(guards), Some(aim)) => guards[aim.position].id(),
            _ => SlotId::of(key),
        }
    }

    /// The slot with this number, if it is locked.
    pub(super) fn of_slot(&self, slot: SlotId) -> Option<&SlotData> {
        let position = self.locks.position(slot)?;
        match &self.locks {
            Locks::None => None,
            Locks::One(guard) => Some(guard),
            Locks::Many(guards) => guards.get(position).map(|guard| &**guard),
        }
    }

    /// All slots, if there may be more than one.
    pub(super) fn many(&mut self) -> Option<&mut [SlotGuard<'g>]> {
        match &mut self.locks {
            Locks::Many(guards) => Some(guards),
            _ => None,
        }
    }
}
