//! Whether an application has begun a request, for the process that has sent it: a word that both share.
//!
//! The application's thread marks the word itself as it begins, without waking anybody. So the web worker knows it also
//! of a process that has died in that moment, and a request that no application has seen can be tried elsewhere.
//!
//! A place is used for one request after another. Each has a number there, so that a thread that is late marks nothing
//! of a later request.

use std::fmt;

use super::memory::Longs;
use super::sync::{Arc, Ordering};

/// The place of one request. The web worker and the process each have one of it.
pub(crate) struct Mark {
    memory: Arc<dyn Longs>,
    at: usize,
    number: u32,
}

impl Mark {
    /// The request of that `number` at word `at` of `memory`.
    pub(crate) fn new(memory: Arc<dyn Longs>, at: usize, number: u32) -> Self {
        Self { memory, at, number }
    }

    /// Web worker: the place is this request's from now on.
    pub(crate) fn clear(&self) {
        if let Some(word) = self.memory.longs().get(self.at) {
            word.store(self.waiting(), Ordering::SeqCst);
        }
    }

    /// Application's thread: begins.
    pub(crate) fn begin(&self) {
        if let Some(word) = self.memory.longs().get(self.at) {
            let begun = self.waiting() | BEGUN;
            let _no_longer =
                word.compare_exchange(self.waiting(), begun, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    /// Web worker: has it begun?
    pub(crate) fn has_begun(&self) -> bool {
        let word = self.memory.longs().get(self.at);
        word.is_some_and(|word| word.load(Ordering::SeqCst) == self.waiting() | BEGUN)
    }

    fn waiting(&self) -> u64 {
        u64::from(self.number) << 1
    }
}

const BEGUN: u64 = 1;

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory: _, at, number } = self;
        f.debug_struct("Mark").field("at", at).field("number", number).finish()
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;
    use crate::bridge::sync::AtomicU64;

    #[test]
    fn a_late_thread_marks_nothing_of_another_request() {
        let memory: Arc<dyn Longs> = Arc::new(vec![AtomicU64::new(7), AtomicU64::new(7)]);
        let mark = |number| Mark::new(Arc::clone(&memory), 1, number);
        let (first, second) = (mark(3), mark(4));
        first.clear();
        assert!(!first.has_begun());
        first.begin();
        assert!(first.has_begun() && !second.has_begun());
        second.clear();
        first.begin();
        assert!(!first.has_begun() && !second.has_begun());
        second.begin();
        assert!(second.has_begun());
        let beyond = Mark::new(Arc::clone(&memory), 2, 1);
        beyond.clear();
        beyond.begin();
        assert!(!beyond.has_begun());
    }
}
