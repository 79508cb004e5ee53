//! Waking threads, and waiting for what they do.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Locks even if another thread panicked meanwhile: every critical section here leaves its data
/// whole.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes one thread. Waking one that is awake costs an atomic swap.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    woken: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Wake {
    pub(crate) fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Waits until somebody calls `wake`, or has since the last wait, or until the time is over.
    /// Only ever called by one thread.
    pub(crate) fn wait(&self, timeout: Option<Duration>) {
        self.thread.get_or_init(thread::current);
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        while !self.woken.swap(false, Ordering::AcqRel) {
            match deadline {
                None => thread::park(),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return;
                    }
                    thread::park_timeout(left);
                }
            }
        }
    }
}

/// Threads that wait until some condition holds. Costs its notifier one load while nobody waits.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    count: AtomicUsize,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Waiters {
    pub(crate) fn notify(&self) {
        if self.count.load(Ordering::SeqCst) > 0 {
            // With the lock held no waiter can be between its check and its sleep.
            drop(locked(&self.lock));
            self.changed.notify_all();
        }
    }

    /// Waits until `done`, which is asked again at each notice; false if the time is over first.
    pub(crate) fn wait_until(&self, timeout: Duration, done: impl Fn() -> bool) -> bool {
        let deadline = Instant::now() + timeout;
        self.count.fetch_add(1, Ordering::SeqCst);
        let mut guard = locked(&self.lock);
        let mut met = done();
        while !met {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            guard =
                self.changed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
            met = done();
        }
        drop(guard);
        self.count.fetch_sub(1, Ordering::SeqCst);
        met
    }
}
