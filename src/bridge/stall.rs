//! Whether a loop turns (`asgi_stall_warning`).
//!
//! The attendant asks now and then, and the loop answers in its next turn. If the answer takes too long, that is said
//! once, and the loop says itself when it turns again.

use std::time::Duration;

use super::sync::{AtomicBool, AtomicU64, Ordering};

/// What is known of one loop. All times are milliseconds of the worker's clock.
#[derive(Debug)]
pub(super) struct Stall {
    /// When it was asked; 0: it has answered.
    asked: AtomicU64,
    /// That it does not answer has been said.
    said: AtomicBool,
}

/// What the attendant has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The loop must be woken, so that it answers.
    Asked,
    /// It has not answered yet.
    Waits,
    /// It has not answered for so long, which has to be said.
    Stalled(Duration),
}

/// The loop turns again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// How long after the question.
    pub(super) after: Duration,
    /// That it did not answer has been said.
    pub(super) said: bool,
}

impl Stall {
    pub(super) fn new() -> Self {
        Self { asked: AtomicU64::new(0), said: AtomicBool::new(false) }
    }

    /// Attendant: asks, or looks how long there has been no answer.
    pub(super) fn ask(&self, now: u64, limit: Duration) -> Found {
        let asked = self.asked.load(Ordering::Relaxed);
        if asked == 0 {
            self.asked.store(now, Ordering::Relaxed);
            return Found::Asked;
        }
        let waited = Duration::from_millis(now.saturating_sub(asked));
        if waited < limit || self.said.swap(true, Ordering::Relaxed) {
            return Found::Waits;
        }
        Found::Stalled(waited)
    }

    /// The loop turns; `None` if it was not asked.
    pub(super) fn answer(&self, now: u64) -> Option<Answer> {
        // Most turns have nothing to answer.
        if self.asked.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let asked = self.asked.swap(0, Ordering::Relaxed);
        let said = self.said.swap(false, Ordering::Relaxed);
        Some(Answer { after: Duration::from_millis(now.saturating_sub(asked)), said })
    }
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(1000);

    #[test]
    fn a_loop_that_answers_is_asked_again() {
        let stall = Stall::new();
        for now in [5, 505, 1005] {
            assert_eq!(stall.ask(now, LIMIT), Found::Asked);
            let after = Duration::from_millis(1);
            assert_eq!(stall.answer(now + 1), Some(Answer { after, said: false }));
        }
        assert_eq!(stall.answer(1007), None);
    }

    #[test]
    fn a_stall_is_said_once_and_its_end_once() {
        let stall = Stall::new();
        for first in [10, 10_000] {
            assert_eq!(stall.ask(first, LIMIT), Found::Asked);
            assert_eq!(stall.ask(first + 999, LIMIT), Found::Waits);
            assert_eq!(stall.ask(first + 1200, LIMIT), Found::Stalled(Duration::from_millis(1200)));
            assert_eq!(stall.ask(first + 1700, LIMIT), Found::Waits);
            let after = Duration::from_millis(3000);
            assert_eq!(stall.answer(first + 3000), Some(Answer { after, said: true }));
            assert_eq!(stall.answer(first + 3001), None);
        }
    }
}
