//! When a failed import is tried again, and how often its failure is logged.

use std::time::{Duration, Instant};

/// The failed imports of an application.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    failed: u32,
    pause: Duration,
    /// When another attempt may succeed with the same files; `None`: never.
    due: Option<Instant>,
    /// When the failure was last logged.
    said: Option<Instant>,
    /// What has happened since then.
    unsaid: Happened,
    /// Requests that were answered 500, in all.
    refused: u64,
}

/// What has happened since a failure was last logged.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Happened {
    pub(super) requests: u64,
    pub(super) attempts: u32,
    pub(super) seconds: u64,
}

impl Attempts {
    /// An attempt that `began` then has failed. If `passing`, it may succeed later with the same files. The pause is
    /// at least as long as the attempt, so that slow attempts take at most half of the time.
    pub(super) fn fail(&mut self, began: Instant, now: Instant, passing: bool) {
        self.failed = self.failed.saturating_add(1);
        self.unsaid.attempts = self.unsaid.attempts.saturating_add(1);
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        let pause = self.pause.max(now.duration_since(began));
        self.due = passing.then(|| now + pause);
    }

    /// The next attempt is not before `due`, because the last one has killed its worker.
    pub(super) fn put_off(&mut self, due: Instant) {
        self.failed = self.failed.saturating_add(1);
        self.due = Some(due);
    }

    /// The failure is logged now.
    pub(super) fn say(&mut self, now: Instant) {
        self.said = Some(now);
        self.unsaid = Happened::default();
    }

    /// A file has changed: a further failure is a new one, with a short pause again.
    pub(super) fn renew(&mut self) {
        self.pause = Duration::ZERO;
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// A request is answered 500. Returns what to log, once a minute.
    pub(super) fn refuse(&mut self, now: Instant) -> Option<Happened> {
        self.refused = self.refused.saturating_add(1);
        self.unsaid.requests = self.unsaid.requests.saturating_add(1);
        let since = now.duration_since(self.said?);
        if since < SAY_AGAIN {
            return None;
        }
        let happened = std::mem::take(&mut self.unsaid);
        self.say(now);
        Some(Happened { seconds: since.as_secs(), ..happened })
    }

    pub(super) fn failed(&self) -> u32 {
        self.failed
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
const SAY_AGAIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// After each failure: how many seconds later the next attempt is due.
    fn pauses(attempts: &mut Attempts, count: usize, duration: Duration) -> Vec<u64> {
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..count {
            let began = now;
            now += duration;
            attempts.fail(began, now, true);
            let due = (0..100).find(|seconds| attempts.is_due(now + SECOND * *seconds)).unwrap();
            pauses.push(u64::from(due));
        }
        pauses
    }

    #[test]
    fn the_pause_grows_to_some_seconds() {
        let mut attempts = Attempts::default();
        assert_eq!(pauses(&mut attempts, 6, Duration::ZERO), [1, 2, 4, 8, 8, 8]);
        attempts.renew();
        assert_eq!(pauses(&mut attempts, 2, Duration::ZERO), [1, 2]);
        assert_eq!(attempts.failed(), 8);
    }

    #[test]
    fn a_slow_import_has_a_pause_as_long() {
        assert_eq!(pauses(&mut Attempts::default(), 3, SECOND * 30), [30, 30, 30]);
    }

    #[test]
    fn what_only_a_change_can_mend_is_never_due() {
        let mut attempts = Attempts::default();
        let now = Instant::now();
        assert!(!attempts.is_due(now));
        attempts.fail(now, now, false);
        assert!(!attempts.is_due(now + SECOND * 1000));
    }

    #[test]
    fn what_is_put_off_is_due_after_its_pause() {
        let mut attempts = Attempts::default();
        let now = Instant::now();
        attempts.put_off(now + SECOND * 9);
        assert!(!attempts.is_due(now + SECOND * 8) && attempts.is_due(now + SECOND * 9));
        assert_eq!(attempts.failed(), 1);
    }

    #[test]
    fn it_is_said_once_a_minute_with_a_count() {
        let mut attempts = Attempts::default();
        let start = Instant::now();
        attempts.fail(start, start, true);
        attempts.say(start);
        for tenth in 1..600 {
            assert_eq!(attempts.refuse(start + SECOND / 10 * tenth), None);
        }
        attempts.fail(start, start + SECOND * 8, true);
        let happened = attempts.refuse(start + SECOND * 60);
        assert_eq!(happened, Some(Happened { requests: 600, attempts: 1, seconds: 60 }));
        assert_eq!(attempts.refuse(start + SECOND * 61), None);
        let happened = attempts.refuse(start + SECOND * 1000);
        assert_eq!(happened, Some(Happened { requests: 2, attempts: 0, seconds: 940 }));
        assert_eq!(attempts.refused(), 602);
    }
}
