//! What an exchange has that crosses from one process to another: where it has come from, or where it has been sent to.

use std::sync::OnceLock;

use super::begun::Mark;
use super::sync::{AtomicU64, Mutex, Ordering, lock};

/// Of most exchanges it is empty.
#[derive(Debug, Default)]
pub(super) struct Carriage {
    origin: OnceLock<Origin>,
    sent: Mutex<Option<Sent>>,
    /// When its process was last asked for how long its application has run, and has last answered, in milliseconds of the
    /// worker's clock.
    asked: AtomicU64,
    answered: AtomicU64,
}

/// Where a carried exchange has come from.
#[derive(Debug)]
struct Origin {
    /// The web worker's process.
    process: u32,
    mark: Mark,
}

/// Where a relayed exchange has been sent to.
#[derive(Debug)]
struct Sent {
    place: Place,
    mark: Mark,
    /// When, in milliseconds of the worker's clock.
    since: u64,
}

/// Where the relay finds it: the number of the process, and its place among the requests of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) process: usize,
    pub(crate) slot: u32,
}

/// An answer counts for so many milliseconds, and is waited for so long.
const FRESH: u64 = 100;
const PATIENCE: u64 = 250;

/// Whether an application is beyond its deadline, as far as the web worker knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirmed {
    Yes,
    /// Its process is asked, and has not answered.
    NotYet,
    /// Its process has to be asked.
    Ask,
}

impl Carriage {
    pub(super) fn set_origin(&self, process: u32, mark: Mark) {
        let _once = self.origin.set(Origin { process, mark });
    }

    /// The process that it has come from.
    pub(super) fn origin(&self) -> Option<u32> {
        self.origin.get().map(|origin| origin.process)
    }

    /// Thread: the application begins.
    pub(super) fn begin(&self) {
        if let Some(origin) = self.origin.get() {
            origin.mark.begin();
        }
    }

    /// It is sent now.
    pub(super) fn set_sent(&self, place: Place, mark: Mark, now: u64) {
        mark.clear();
        *lock(&self.sent) = Some(Sent { place, mark, since: now });
    }

    pub(super) fn set_unsent(&self) {
        *lock(&self.sent) = None;
    }

    pub(super) fn place(&self) -> Option<Place> {
        lock(&self.sent).as_ref().map(|sent| sent.place)
    }

    /// When it was sent, if its application has begun.
    pub(super) fn begun_since(&self) -> Option<u64> {
        let sent = lock(&self.sent);
        sent.as_ref().filter(|sent| sent.mark.has_begun()).map(|sent| sent.since)
    }

    /// Its process has said for how long its application has run.
    pub(super) fn answer(&self, now: u64) {
        self.answered.store(now, Ordering::Relaxed);
        self.asked.store(0, Ordering::Relaxed);
    }

    /// Its application seems to be beyond its deadline. Its process answers at once, or not at all.
    pub(super) fn confirm(&self, now: u64) -> Confirmed {
        if now.saturating_sub(self.answered.load(Ordering::Relaxed)) < FRESH {
            return Confirmed::Yes;
        }
        match self.asked.load(Ordering::Relaxed) {
            0 => {
                self.asked.store(now, Ordering::Relaxed);
                Confirmed::Ask
            }
            since if now.saturating_sub(since) >= PATIENCE => Confirmed::Yes,
            _ => Confirmed::NotYet,
        }
    }
}
