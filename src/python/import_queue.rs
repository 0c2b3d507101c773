//! The imports that are tried again, on their way to Python's main thread.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::signals;

/// What the main thread does after the first imports.
#[derive(Default)]
pub(super) struct ImportQueue(Mutex<State>);

#[derive(Default)]
struct State {
    apps: VecDeque<usize>,
    /// The main thread has nothing to do.
    idle: bool,
}

impl ImportQueue {
    /// Any thread: has the main thread import application `at`. False if it is busy with another import.
    pub(super) fn give_to_main(&self, at: usize) -> bool {
        let mut state = self.state();
        let idle = std::mem::take(&mut state.idle);
        if idle {
            state.apps.push_back(at);
            signals::wake_main();
        }
        idle
    }

    /// Main thread: what it imports next; `None`: it has nothing to do until it is woken.
    pub(super) fn next(&self) -> Option<usize> {
        let mut state = self.state();
        let next = state.apps.pop_front();
        state.idle = next.is_none();
        next
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
