//! A slot's lock: one byte that parks commands and not threads.
//!
//! Who finds it held spins for a moment, since most commands are over within a microsecond, and then waits with a waker, so that its
//! thread goes on with other connections. A slot can also be paused: then commands wait, but housekeeping gets in.

#![allow(unsafe_code)] // Hands out what the lock protects.

use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::task::{Poll, Waker};

use sync::{AtomicU8, Mutex, Ordering, UnsafeCell, lock};

/// Looks at a held lock so often before it gives up.
const SPINS: usize = 40;

const HELD: u8 = 1;
/// Somebody waits with a waker.
const PARKED: u8 = 2;
const PAUSED: u8 = 4;

/// Something behind a lock that parks commands and not threads.
///
/// The state stands right before the value, so that taking the lock brings the beginning of the value near.
#[repr(C)]
pub struct SlotLock<T> {
    state: AtomicU8,
    value: UnsafeCell<T>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    wakers: Vec<Waker>,
    /// How many have paused and not resumed.
    pauses: u32,
}

// SAFETY: the lock hands out its value to one holder at a time.
unsafe impl<T: Send> Sync for SlotLock<T> {}

impl<T: Default> Default for SlotLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> SlotLock<T> {
    /// A free lock round `value`.
    pub fn new(value: T) -> Self {
        Self {
            state: AtomicU8::new(0),
            value: UnsafeCell::new(value),
            waiting: Mutex::default(),
        }
    }

    /// Where the value lies, which only the holder may read.
    #[inline]
    pub fn address(&self) -> *const T {
        self.value.with(|value| value)
    }

    /// The lock for a command; `None` when it is held or paused.
    #[inline]
    pub fn try_lock(&self) -> Option<SlotLockGuard<'_, T>> {
        let free = self
            .state
            .compare_exchange(0, HELD, Ordering::Acquire, Ordering::Relaxed);
        match free {
            Ok(_) => Some(SlotLockGuard(self, std::marker::PhantomData)),
            Err(_) => self.try_longer(PAUSED),
        }
    }

    /// The lock for others than commands, paused or not; `None` when it is held.
    #[inline]
    pub fn try_lock_internal(&self) -> Option<SlotLockGuard<'_, T>> {
        self.try_longer(0)
    }

    /// Tries for a moment, but not while any of `but` is set.
    fn try_longer(&self, but: u8) -> Option<SlotLockGuard<'_, T>> {
        for _ in 0..SPINS {
            let state = self.state.load(Ordering::Relaxed);
            if state & but != 0 {
                return None;
            }
            if state & HELD == 0 {
                let taken = self.state.compare_exchange(
                    state,
                    state | HELD,
                    Ordering::Acquire,
                    Ordering::Relaxed,
                );
                if taken.is_ok() {
                    return Some(SlotLockGuard(self, std::marker::PhantomData));
                }
            }
            sync::spin();
        }
        None
    }

    /// Resolves when the lock is free and, if `unpaused`, not paused. Both may have changed when the caller tries.
    pub async fn available(&self, unpaused: bool) {
        let hindrance = if unpaused { HELD | PAUSED } else { HELD };
        poll_fn(|context| {
            let mut waiting = lock(&self.waiting);
            let known = waiting
                .wakers
                .iter()
                .any(|waker| waker.will_wake(context.waker()));
            if !known {
                waiting.wakers.push(context.waker().clone());
            }
            // Whoever takes the hindrance away afterwards sees this, and wakes.
            let state = self.state.fetch_or(PARKED, Ordering::AcqRel);
            if state & hindrance == 0 {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Whether commands are kept back.
    #[inline]
    pub fn is_paused(&self) -> bool {
        self.state.load(Ordering::Acquire) & PAUSED != 0
    }

    /// Takes one [`SlotLockGuard::pause`] back.
    pub fn resume(&self) {
        let wakers = {
            let mut waiting = lock(&self.waiting);
            waiting.pauses = waiting.pauses.saturating_sub(1);
            if waiting.pauses > 0 {
                return;
            }
            self.state.fetch_and(!(PAUSED | PARKED), Ordering::AcqRel);
            std::mem::take(&mut waiting.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    #[cold]
    fn wake(&self) {
        let wakers = {
            let mut waiting = lock(&self.waiting);
            self.state.fetch_and(!PARKED, Ordering::AcqRel);
            std::mem::take(&mut waiting.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// The value of a [`SlotLock`], locked.
pub struct SlotLockGuard<'a, T>(&'a SlotLock<T>, NotSend);

/// Keeps guards from being held across an await: the compiler refuses, since tasks move between threads.
type NotSend = std::marker::PhantomData<*const ()>;

impl<T> SlotLockGuard<'_, T> {
    /// Keeps commands back from now on, until [`SlotLock::resume`]. Pauses are counted.
    pub fn pause(&self) {
        let mut waiting = lock(&self.0.waiting);
        waiting.pauses += 1;
        self.0.state.fetch_or(PAUSED, Ordering::AcqRel);
    }
}

impl<T> Drop for SlotLockGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let state = self.0.state.fetch_and(!HELD, Ordering::AcqRel);
        if state & PARKED != 0 {
            self.0.wake();
        }
    }
}

impl<T> Deref for SlotLockGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard is the only holder, and borrows as long as the reference lives.
        self.0.value.with(|value| unsafe { &*value })
    }
}

impl<T> DerefMut for SlotLockGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the guard is borrowed alone.
        self.0.value.with_mut(|value| unsafe { &mut *value })
    }
}

/// The standard library's primitives.
#[cfg(not(loom))]
mod sync {
    pub(super) use std::sync::Mutex;
    pub(super) use std::sync::atomic::{AtomicU8, Ordering};

    /// A cell in loom's shape.
    pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(super) fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline]
        pub(super) fn with<R>(&self, look: impl FnOnce(*const T) -> R) -> R {
            look(self.0.get())
        }

        #[inline]
        pub(super) fn with_mut<R>(&self, change: impl FnOnce(*mut T) -> R) -> R {
            change(self.0.get())
        }
    }

    pub(super) fn spin() {
        std::hint::spin_loop();
    }

    /// A lock whose holders do not panic half-way.
    pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
        mutex
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Loom's primitives, which try every order of events: `RUSTFLAGS="--cfg loom" cargo test -p cache-engine --lib slot_lock`.
#[cfg(loom)]
mod sync {
    pub(super) use loom::cell::UnsafeCell;
    pub(super) use loom::sync::Mutex;
    pub(super) use loom::sync::atomic::{AtomicU8, Ordering};

    pub(super) fn spin() {
        loom::thread::yield_now();
    }

    pub(super) fn lock<T>(mutex: &Mutex<T>) -> loom::sync::MutexGuard<'_, T> {
        mutex.lock().expect("no holder panics")
    }
}

#[cfg(test)]
mod tests;
