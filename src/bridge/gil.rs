//! Whether a thread of Python's can take the GIL (`python_deadlock_timeout`).
//!
//! The watchdog, a thread that never takes it, asks now and then. The attendant answers as soon as it has the GIL. If the
//! answer takes too long, no thread of Python's runs any more: one of them holds the GIL and waits for something, or
//! computes in C.

use std::time::Duration;

use super::sync::{AtomicBool, Ordering};

/// The question, and its answer.
#[derive(Debug)]
pub(crate) struct Gil {
    asked: AtomicBool,
}

/// How long the watchdog has waited for an answer.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    waited: Duration,
    said: bool,
}

/// What the watchdog has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Ask the attendant ([`Task::TakeGil`](super::tasks::Task::TakeGil)).
    Answered,
    /// The same, and say that the GIL was taken after all.
    AnsweredLate,
    Waits,
    /// The limit has passed.
    Deadlock,
    /// It had passed before, and there is no answer yet.
    StillDeadlock,
}

impl Gil {
    pub(crate) fn new() -> Self {
        Self { asked: AtomicBool::new(false) }
    }

    /// Watchdog: asks. False if the last question has not been answered.
    fn ask(&self) -> bool {
        !self.asked.swap(true, Ordering::AcqRel)
    }

    /// Attendant, attached.
    pub(crate) fn answer(&self) {
        self.asked.swap(false, Ordering::AcqRel);
    }
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, waited: Duration::ZERO, said: false }
    }

    /// How long the watchdog sleeps between two looks.
    pub(crate) fn period(&self) -> Duration {
        (self.limit / 8).clamp(LEAST_PERIOD, LONGEST_PERIOD)
    }

    /// Watchdog: looks, and asks if there is an answer. It has slept for a period. If that took longer, the whole process
    /// was stopped, and the attendant with it: only a period counts.
    pub(crate) fn look(&mut self, gil: &Gil) -> Found {
        if gil.ask() {
            self.waited = Duration::ZERO;
            return match std::mem::take(&mut self.said) {
                true => Found::AnsweredLate,
                false => Found::Answered,
            };
        }
        self.waited += self.period();
        if self.waited < self.limit {
            return Found::Waits;
        }
        match std::mem::replace(&mut self.said, true) {
            true => Found::StillDeadlock,
            false => Found::Deadlock,
        }
    }
}

const LEAST_PERIOD: Duration = Duration::from_millis(10);
const LONGEST_PERIOD: Duration = Duration::from_secs(5);

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;

    #[test]
    fn a_question_without_an_answer_is_a_deadlock_after_the_limit() {
        let gil = Gil::new();
        let mut patience = Patience::new(Duration::from_millis(80));
        assert_eq!(patience.period(), Duration::from_millis(10));
        for _ in 0..2 {
            assert_eq!(patience.look(&gil), Found::Answered);
            for _ in 0..7 {
                assert_eq!(patience.look(&gil), Found::Waits);
            }
            assert_eq!(patience.look(&gil), Found::Deadlock);
            assert_eq!(patience.look(&gil), Found::StillDeadlock);
            gil.answer();
            assert_eq!(patience.look(&gil), Found::AnsweredLate);
            gil.answer();
        }
        for _ in 0..20 {
            assert_eq!(patience.look(&gil), Found::Answered);
            gil.answer();
        }
    }

    #[test]
    fn it_does_not_wake_up_too_often() {
        assert_eq!(Patience::new(Duration::from_secs(300)).period(), LONGEST_PERIOD);
        assert_eq!(Patience::new(Duration::from_millis(1)).period(), LEAST_PERIOD);
    }
}

#[cfg(test)]
#[cfg(feature = "loom")]
mod model {
    use std::sync::Arc;

    use loom::thread;

    use super::*;
    use crate::bridge::fixture::check;

    /// The attendant answers each question that it is given, whenever that is.
    #[test]
    fn an_answer_is_not_lost() {
        check(3, || {
            let gil = Arc::new(Gil::new());
            assert!(gil.ask());
            let attendant = {
                let gil = Arc::clone(&gil);
                thread::spawn(move || gil.answer())
            };
            let second = gil.ask();
            attendant.join().unwrap();
            if second {
                // The attendant has that question, too.
                assert!(!gil.ask());
                gil.answer();
            }
            assert!(gil.ask());
        });
    }
}
