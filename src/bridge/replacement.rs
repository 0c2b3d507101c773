//! Why a worker leaves to be replaced by another one.

use std::fmt;
use std::time::Duration;

/// What the log says, as a sentence about the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// `python_max_stuck_threads`
    StuckThreads { stuck: usize, limit: usize },
    /// `python_max_requests`
    Requests(u64),
    /// `python_max_lifetime`
    Lifetime(Duration),
    /// `python_deadlock_timeout`
    Deadlock(Duration),
    /// `python_memory_limit soft=`, in bytes.
    Memory { used: u64, limit: u64 },
    /// `pywsgi.restart_worker`
    Asked,
    /// `…_kill_timeout`
    Kill,
    /// `python_reload`
    Changed,
}

/// What the reasons are called, by their numbers.
pub(crate) const REASONS: [&str; 9] = [
    "max_stuck_threads",
    "max_requests",
    "max_lifetime",
    "deadlock_timeout",
    "memory_limit_soft",
    "memory_limit_hard",
    "restart_worker",
    "kill_timeout",
    "reload",
];

/// The number of `python_memory_limit hard=`, by which a worker leaves without a successor's being waited for.
pub(crate) const HARD_MEMORY_LIMIT: usize = 5;

impl Reason {
    /// Its number in [`REASONS`].
    pub(crate) fn number(&self) -> usize {
        match self {
            Self::StuckThreads { .. } => 0,
            Self::Requests(_) => 1,
            Self::Lifetime(_) => 2,
            Self::Deadlock(_) => 3,
            Self::Memory { .. } => 4,
            Self::Asked => 6,
            Self::Kill => 7,
            Self::Changed => 8,
        }
    }

    /// Whether the worker cannot serve its applications any more: it leaves without waiting for others, and accepts
    /// nothing until then.
    pub(crate) fn is_urgent(&self) -> bool {
        matches!(self, Self::Deadlock(_))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::StuckThreads { stuck, limit } => write!(
                f,
                "{stuck} of its threads are stuck in applications (python_max_stuck_threads {limit})"
            ),
            Self::Requests(requests) => {
                write!(f, "it has had {requests} requests (python_max_requests)")
            }
            Self::Lifetime(lifetime) => {
                write!(f, "it has lived for {} s (python_max_lifetime)", lifetime.as_secs_f64())
            }
            Self::Deadlock(limit) => write!(
                f,
                "its applications do not run (python_deadlock_timeout {} s)",
                limit.as_secs_f64()
            ),
            Self::Memory { used, limit } => write!(
                f,
                "it takes {} MB (python_memory_limit soft={}m)",
                megabytes(used),
                megabytes(limit)
            ),
            Self::Asked => f.write_str("an application has asked for that (pywsgi.restart_worker)"),
            Self::Changed => f.write_str("its code has changed (python_reload)"),
            Self::Kill => f.write_str(
                "an application runs on long after its deadline (…_kill_timeout), see above",
            ),
        }
    }
}

/// As `python_memory_limit` writes it, rounded up.
pub(crate) fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

#[cfg(test)]
#[cfg(not(feature = "loom"))]
mod tests {
    use super::*;

    #[test]
    fn what_the_log_says() {
        let said = [
            Reason::StuckThreads { stuck: 3, limit: 2 },
            Reason::Requests(1000),
            Reason::Lifetime(Duration::from_millis(1500)),
            Reason::Deadlock(Duration::from_secs(300)),
            Reason::Memory { used: (1 << 20) + 1, limit: 1 << 20 },
            Reason::Asked,
            Reason::Kill,
            Reason::Changed,
        ];
        assert_eq!(
            said.map(|reason| reason.is_urgent()),
            [false, false, false, true, false, false, false, false]
        );
        let said = said.map(|reason| reason.to_string());
        assert_eq!(
            said,
            [
                "3 of its threads are stuck in applications (python_max_stuck_threads 2)",
                "it has had 1000 requests (python_max_requests)",
                "it has lived for 1.5 s (python_max_lifetime)",
                "its applications do not run (python_deadlock_timeout 300 s)",
                "it takes 2 MB (python_memory_limit soft=1m)",
                "an application has asked for that (pywsgi.restart_worker)",
                "an application runs on long after its deadline (…_kill_timeout), see above",
                "its code has changed (python_reload)",
            ]
        );
    }
}
