//! A slot's lock, which parks commands and not threads.

use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::task::{Poll, Waker};

use parking_lot::{Mutex, MutexGuard};

use crate::slot::SlotId;

use super::Counts;
use super::data::SlotData;

/// Looks at a held lock so often before a command is parked: most commands are over within a microsecond.
const SPINS: usize = 40;

#[derive(Default)]
pub(super) struct Slot {
    data: Mutex<SlotData>,
    /// How many have paused the slot and not resumed it. Raised under the lock.
    paused: AtomicU32,
    /// Whether `wakers` has anything, to be seen without its lock.
    parked: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

impl Slot {
    pub(super) fn try_lock<'a>(&'a self, id: SlotId, counts: &'a Counts) -> Option<SlotGuard<'a>> {
        if self.is_paused() {
            return None;
        }
        let guard = self.try_lock_internal(id, counts)?;
        (!self.is_paused()).then_some(guard)
    }

    pub(super) fn try_lock_internal<'a>(
        &'a self,
        id: SlotId,
        counts: &'a Counts,
    ) -> Option<SlotGuard<'a>> {
        let data = match self.data.try_lock() {
            Some(data) => data,
            None => self.spin()?,
        };
        Some(SlotGuard {
            data,
            _wake: WakeOnUnlock(self),
            id,
            counts,
        })
    }

    pub(super) fn lock_blocking<'a>(&'a self, id: SlotId, counts: &'a Counts) -> SlotGuard<'a> {
        SlotGuard {
            data: self.data.lock(),
            _wake: WakeOnUnlock(self),
            id,
            counts,
        }
    }

    fn spin(&self) -> Option<MutexGuard<'_, SlotData>> {
        (0..SPINS).find_map(|_| {
            std::hint::spin_loop();
            self.data.try_lock()
        })
    }

    /// Resolves when the lock is free and, if asked, the slot not paused. Both may have changed when the caller tries.
    pub(super) async fn available(&self, unpaused: bool) {
        poll_fn(|context| {
            {
                let mut wakers = self.wakers.lock();
                if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                    wakers.push(context.waker().clone());
                }
                self.parked.store(true, Ordering::Relaxed);
            }
            // Pairs with the fence in `wake`: either that sees `parked`, or this sees the lock free.
            fence(Ordering::SeqCst);
            if self.data.is_locked() || (unpaused && self.is_paused()) {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire) > 0
    }

    pub(super) fn resume(&self) {
        self.paused.fetch_sub(1, Ordering::AcqRel);
        self.wake();
    }

    fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) {
            let wakers = {
                let mut wakers = self.wakers.lock();
                self.parked.store(false, Ordering::Relaxed);
                std::mem::take(&mut *wakers)
            };
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}

/// A slot, locked.
pub struct SlotGuard<'a> {
    // Fields are dropped in this order: unlock, then wake.
    data: MutexGuard<'a, SlotData>,
    _wake: WakeOnUnlock<'a>,
    id: SlotId,
    counts: &'a Counts,
}

struct WakeOnUnlock<'a>(&'a Slot);

impl Drop for WakeOnUnlock<'_> {
    fn drop(&mut self) {
        self.0.wake();
    }
}

impl SlotGuard<'_> {
    /// The slot.
    pub fn id(&self) -> SlotId {
        self.id
    }

    pub(super) fn pause(&self) {
        self._wake.0.paused.fetch_add(1, Ordering::AcqRel);
    }
}

impl Drop for SlotGuard<'_> {
    fn drop(&mut self) {
        self.data.publish(self.id, self.counts);
    }
}

impl Deref for SlotGuard<'_> {
    type Target = SlotData;

    fn deref(&self) -> &SlotData {
        &self.data
    }
}

impl DerefMut for SlotGuard<'_> {
    fn deref_mut(&mut self) -> &mut SlotData {
        &mut self.data
    }
}
