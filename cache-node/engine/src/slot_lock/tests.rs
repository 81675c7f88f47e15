#[cfg(loom)]
mod every_order {
    use loom::sync::Arc;
    use loom::thread;

    use super::super::*;

    /// Adds one as a command would.
    fn add(lock: &SlotLock<usize>) {
        loom::future::block_on(async {
            loop {
                if let Some(mut value) = lock.try_lock() {
                    *value += 1;
                    return;
                }
                lock.available(true).await;
            }
        });
    }

    fn model(test: impl Fn() + Sync + Send + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(test);
    }

    #[test]
    fn whoever_waits_gets_the_lock_and_nobody_holds_it_with_another() {
        model(|| {
            let lock = Arc::new(SlotLock::new(0));
            let other = {
                let lock = Arc::clone(&lock);
                thread::spawn(move || add(&lock))
            };
            add(&lock);
            other.join().unwrap();
            assert_eq!(*lock.try_lock().unwrap(), 2);
        });
    }

    #[test]
    fn a_pause_keeps_commands_back_until_it_is_over() {
        model(|| {
            let lock = Arc::new(SlotLock::new(0));
            lock.try_lock_internal().unwrap().pause();
            let other = {
                let lock = Arc::clone(&lock);
                thread::spawn(move || add(&lock))
            };
            loop {
                if let Some(value) = lock.try_lock_internal() {
                    assert_eq!(*value, 0);
                    break;
                }
                thread::yield_now();
            }
            lock.resume();
            other.join().unwrap();
            assert_eq!(*lock.try_lock().unwrap(), 1);
        });
    }
}

#[cfg(not(loom))]
mod on_threads {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use super::super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_waiter_is_woken_once_when_the_holder_goes() {
        let lock = SlotLock::new(());
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        let guard = lock.try_lock().unwrap();
        assert!(lock.try_lock().is_none());
        let mut waiting = pin!(lock.available(true));
        assert_eq!(waiting.as_mut().poll(&mut context), Poll::Pending);
        assert_eq!(waiting.as_mut().poll(&mut context), Poll::Pending);
        drop(guard);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(waiting.as_mut().poll(&mut context), Poll::Ready(()));
        drop(lock.try_lock().unwrap());
    }

    #[test]
    fn pauses_are_counted_and_let_housekeeping_in() {
        let lock = SlotLock::new(7);
        for _ in 0..2 {
            lock.try_lock_internal().unwrap().pause();
        }
        assert!(lock.is_paused() && lock.try_lock().is_none());
        assert_eq!(*lock.try_lock_internal().unwrap(), 7);
        lock.resume();
        assert!(lock.try_lock().is_none());
        lock.resume();
        assert!(lock.try_lock().is_some());
    }
}
