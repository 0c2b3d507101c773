//! Where an application's requests wait until it has been imported for the first time.
//!
//! They wait here and not in a pool, so that a slow import holds no thread, and no request of another
//! application.

use super::exchange::Job;
use super::id::RequestId;
use super::sync::{AtomicBool, Mutex, Ordering, lock};

#[derive(Debug)]
pub(crate) struct Gate {
    open: AtomicBool,
    waiting: Mutex<Vec<Job>>,
}

/// What became of a request at the gate.
#[derive(Debug)]
pub(crate) enum Passage {
    Through(Job),
    Waits,
    /// As many wait as may.
    Full,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { open: AtomicBool::new(false), waiting: Mutex::new(Vec::new()) }
    }

    /// Event loop: lets a request through, or keeps it; at most `limit` wait.
    pub(crate) fn pass(&self, job: Job, limit: usize) -> Passage {
        if self.open.load(Ordering::Acquire) {
            return Passage::Through(job);
        }
        let mut waiting = lock(&self.waiting);
        // Opened in between: `open` stores under the lock.
        if self.open.load(Ordering::Acquire) {
            return Passage::Through(job);
        }
        if waiting.len() >= limit {
            return Passage::Full;
        }
        waiting.push(job);
        Passage::Waits
    }

    /// Python's main thread: the application has been imported, or has failed to; either way requests
    /// go on. Gives back those that waited.
    pub(crate) fn open(&self) -> Vec<Job> {
        let mut waiting = lock(&self.waiting);
        self.open.store(true, Ordering::Release);
        std::mem::take(&mut *waiting)
    }

    /// Event loop: a request no longer waits.
    pub(crate) fn forget(&self, id: RequestId) {
        if self.open.load(Ordering::Acquire) {
            return;
        }
        lock(&self.waiting).retain(|job| job.id != id);
    }
}
