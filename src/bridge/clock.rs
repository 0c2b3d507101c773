//! The monotonic clock, which all processes of the machine share.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Milliseconds, exact to some of them, and cheap: what nginx has for its timers (`ngx_monotonic_time`).
pub(crate) fn milliseconds() -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::MonotonicCoarse);
    tv_sec as u64 * 1000 + tv_nsec as u64 / 1_000_000
}

/// Nanoseconds; some twenty of them is what asking costs.
pub(crate) fn nanoseconds() -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Monotonic);
    tv_sec as u64 * 1_000_000_000 + tv_nsec as u64
}

/// Nanoseconds for which this thread has had a processor. Asking is a system call.
pub(crate) fn thread_nanoseconds() -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
    tv_sec as u64 * 1_000_000_000 + tv_nsec as u64
}

/// From the first to the second of [`nanoseconds`].
pub(crate) fn between(since: u64, until: u64) -> Duration {
    Duration::from_nanos(until.saturating_sub(since))
}
