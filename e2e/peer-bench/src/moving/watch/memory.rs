//! The most memory that a process and its children take, looked at often.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::cpu::{self, Cores};

/// Time between two looks. A look at a forked process's memory goes over its page tables, so it must not be taken all the time.
const INTERVAL: Duration = Duration::from_millis(50);

/// A thread that looks.
#[derive(Debug)]
pub(super) struct MemoryWatch {
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

impl MemoryWatch {
    /// Begins to look at a process.
    pub(super) fn start(process: u32, cores: &Cores) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (stopped, cores) = (Arc::clone(&stopped), cores.clone());
            move || {
                cpu::pin_this_thread(&cores)?;
                let mut highest = 0;
                while !stopped.load(Relaxed) {
                    highest = highest.max(cpu::resident_with_children(process)?);
                    thread::park_timeout(INTERVAL);
                }
                Ok(highest.max(cpu::resident_with_children(process)?))
            }
        });
        Self { stopped, thread }
    }

    /// Ends; the most that was seen, in bytes.
    pub(super) fn highest(self) -> Result<u64> {
        self.stopped.store(true, Relaxed);
        self.thread.thread().unpark();
        self.thread
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the thread that looks at memory panicked")))
    }
}
