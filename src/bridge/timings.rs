//! When what happened to a request, for the numbers and the log.

use std::time::Duration;

use super::clock::{between, nanoseconds, thread_nanoseconds};
use super::sync::{AtomicU64, Ordering};

/// Nanoseconds of the monotonic clock; 0: it has not happened.
#[derive(Debug)]
pub(crate) struct Timings {
    submitted: u64,
    taken: AtomicU64,
    left: AtomicU64,
    /// Nanoseconds for which its thread has waited for the GIL.
    gil_wait: AtomicU64,
    /// Nanoseconds for which its client was waited for: while nginx read the body, or while the application did.
    input: AtomicU64,
    /// Nanoseconds of the processor's time that its thread took, plus 1; 0: it was not measured.
    cpu: AtomicU64,
    /// What its thread had when it began to run the application, and what `cpu` was then.
    cpu_since: AtomicU64,
    cpu_before: AtomicU64,
}

/// How long what took of a request, for another process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    /// It waited for its executor.
    pub(crate) queue: Duration,
    /// Its application had it; `None` if it was not taken.
    pub(crate) application: Option<Duration>,
    pub(crate) gil_wait: Duration,
    pub(crate) input: Duration,
    /// If it was measured.
    pub(crate) cpu: Option<Duration>,
}

impl Timings {
    /// Event loop: the request is about to be submitted.
    pub(crate) fn begin() -> Self {
        Self {
            submitted: nanoseconds(),
            taken: AtomicU64::new(0),
            left: AtomicU64::new(0),
            gil_wait: AtomicU64::new(0),
            input: AtomicU64::new(0),
            cpu: AtomicU64::new(0),
            cpu_since: AtomicU64::new(0),
            cpu_before: AtomicU64::new(0),
        }
    }

    /// Its executor has taken it.
    pub(super) fn take(&self) {
        self.taken.store(nanoseconds(), Ordering::Relaxed);
    }

    /// The application has been left.
    pub(super) fn leave(&self) {
        self.left.store(nanoseconds(), Ordering::Relaxed);
    }

    /// Python: its thread has waited for the GIL from `since` to `until`. What it waited before the request came does
    /// not count.
    pub(crate) fn add_gil_wait(&self, since: u64, until: u64) {
        let waited = until.saturating_sub(since.max(self.submitted));
        self.gil_wait.fetch_add(waited, Ordering::Relaxed);
    }

    /// Since the submit.
    pub(crate) fn elapsed(&self) -> Duration {
        between(self.submitted, nanoseconds())
    }

    /// How long it has waited for its executor, or waited until it was taken.
    pub(crate) fn queue(&self) -> Duration {
        between(self.submitted, at(&self.taken).unwrap_or_else(nanoseconds))
    }

    /// How long its application has had it, or had it; `None` if it was not taken.
    pub(crate) fn application(&self) -> Option<Duration> {
        let left = at(&self.left).unwrap_or_else(nanoseconds);
        at(&self.taken).map(|taken| between(taken, left))
    }

    /// Its body was waited for from `since` until now.
    pub(crate) fn add_input(&self, since: u64) {
        self.input.fetch_add(nanoseconds().saturating_sub(since), Ordering::Relaxed);
    }

    pub(crate) fn input(&self) -> Duration {
        Duration::from_nanos(self.input.load(Ordering::Relaxed))
    }

    /// Its thread begins to run the application, or a part of it, and is asked for the processor's time it takes.
    pub(crate) fn begin_cpu(&self) {
        self.cpu_since.store(thread_nanoseconds(), Ordering::Relaxed);
        self.cpu_before.store(at(&self.cpu).unwrap_or(1), Ordering::Relaxed);
    }

    /// Its thread has taken so much by now: what follows the response's end comes too late for its log.
    pub(crate) fn note_cpu(&self) {
        if let Some(since) = at(&self.cpu_since) {
            let took = thread_nanoseconds().saturating_sub(since);
            self.cpu.store(self.cpu_before.load(Ordering::Relaxed) + took, Ordering::Relaxed);
        }
    }

    /// How much of the processor's time its thread took, if that was measured.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        at(&self.cpu).map(|cpu| Duration::from_nanos(cpu - 1))
    }

    pub(crate) fn gil_wait(&self) -> Duration {
        Duration::from_nanos(self.gil_wait.load(Ordering::Relaxed))
    }

    /// All that has been measured by now.
    pub(crate) fn measured(&self) -> Measured {
        Measured {
            queue: self.queue(),
            application: self.application(),
            gil_wait: self.gil_wait(),
            input: self.input(),
            cpu: self.cpu(),
        }
    }

    /// What another process has measured, which runs the request for this one, once. What was waited for the body here
    /// is added. Its queue is that of this process too:
    /// it begins when the request was submitted here.
    pub(crate) fn adopt(&self, measured: Measured) {
        let number = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let taken = self.submitted.saturating_add(number(measured.queue));
        if let Some(application) = measured.application {
            self.taken.store(taken, Ordering::Relaxed);
            self.left.store(taken.saturating_add(number(application)), Ordering::Relaxed);
        }
        self.gil_wait.store(number(measured.gil_wait), Ordering::Relaxed);
        self.input.fetch_add(number(measured.input), Ordering::Relaxed);
        let cpu = measured.cpu.map_or(0, |cpu| number(cpu).saturating_add(1));
        self.cpu.store(cpu, Ordering::Relaxed);
    }
}

fn at(moment: &AtomicU64) -> Option<u64> {
    Some(moment.load(Ordering::Relaxed)).filter(|moment| *moment != 0)
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use std::thread::sleep;

    use super::*;

    const SOME: Duration = Duration::from_millis(2);

    #[test]
    fn a_request_waits_then_runs() {
        let timings = Timings::begin();
        assert_eq!(timings.application(), None);
        sleep(SOME);
        timings.take();
        let queue = timings.queue();
        sleep(SOME);
        timings.leave();
        let ran = timings.application().unwrap();
        assert!(queue >= SOME && ran >= SOME);
        assert_eq!((timings.queue(), timings.application()), (queue, Some(ran)));
        assert!(timings.elapsed() >= queue + ran);
    }

    #[test]
    fn the_time_of_the_processor_is_known_if_it_was_measured() {
        let timings = Timings::begin();
        timings.note_cpu();
        assert_eq!(timings.cpu(), None);
        let mut last = Duration::ZERO;
        for _ in 0..2 {
            timings.begin_cpu();
            let since = thread_nanoseconds();
            while thread_nanoseconds() == since {}
            timings.note_cpu();
            assert!(timings.cpu().unwrap() > last);
            last = timings.cpu().unwrap();
        }
        sleep(SOME);
        timings.note_cpu();
        assert!(timings.cpu().unwrap() < SOME, "it does not count while it sleeps");
    }

    #[test]
    fn what_another_process_has_measured_is_said_here() {
        for application in [None, Some(SOME), Some(Duration::MAX)] {
            let timings = Timings::begin();
            let [queue, gil_wait, input] = [1, 2, 3].map(Duration::from_millis);
            let measured = Measured { queue, application, gil_wait, input, cpu: application };
            timings.adopt(measured);
            if application == Some(SOME) {
                assert_eq!(timings.measured(), measured);
            }
            assert_eq!(timings.application().is_some(), application.is_some());
            assert_eq!(timings.cpu().is_some(), application.is_some());
        }
    }

    #[test]
    fn waits_for_the_gil_add_up() {
        let timings = Timings::begin();
        let begin = timings.submitted;
        // The thread was woken for an earlier request.
        timings.add_gil_wait(begin - 1_000, begin + 10);
        timings.add_gil_wait(begin + 50, begin + 70);
        timings.add_gil_wait(begin - 1_000, begin - 500);
        assert_eq!(timings.gil_wait(), Duration::from_nanos(30));
    }
}
