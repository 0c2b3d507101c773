//! What is counted while measuring, and the line that says it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

#[derive(Default)]
pub(crate) struct Figures {
    /// One for each message or event, in nanoseconds.
    latencies: Vec<u64>,
    bytes: u64,
    compressed: u64,
}

impl Figures {
    pub(crate) fn add(&mut self, latency: u64, bytes: u64, compressed: bool) {
        self.latencies.push(latency);
        self.bytes += bytes;
        self.compressed += u64::from(compressed);
    }

    /// `used` is this process's share of `elapsed`.
    pub(crate) fn line(mut self, elapsed: Duration, used: Duration) -> String {
        self.latencies.sort_unstable();
        format!(
            r#"{{"number": {}, "bytes": {}, "compressed": {}, "seconds": {:.6}, "used": {:.6}, "p50": {:.6}, "p99": {:.6}}}"#,
            self.latencies.len(),
            self.bytes,
            self.compressed,
            elapsed.as_secs_f64(),
            used.as_secs_f64(),
            self.percentile(50),
            self.percentile(99),
        )
    }

    /// In milliseconds; 0 if there is none.
    fn percentile(&self, percent: usize) -> f64 {
        let index = self.latencies.len() * percent / 100;
        self.latencies.get(index).map_or(0.0, |latency| *latency as f64 / 1e6)
    }
}

/// The processor time that this process has had.
pub(crate) fn used() -> Duration {
    clock(ClockId::ProcessCPUTime)
}

/// The clock of Python's `time.monotonic_ns()`.
pub(crate) fn monotonic() -> u64 {
    clock(ClockId::Monotonic).as_nanos() as u64
}

fn clock(id: ClockId) -> Duration {
    let time = clock_gettime(id);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_milliseconds() {
        let mut figures = Figures::default();
        for latency in (0..100).rev() {
            figures.add(latency * 1_000_000, 10, latency < 7);
        }
        assert_eq!(
            figures.line(Duration::from_secs(2), Duration::from_millis(5)),
            r#"{"number": 100, "bytes": 1000, "compressed": 7, "seconds": 2.000000, "used": 0.005000, "p50": 50.000000, "p99": 99.000000}"#
        );
    }

    #[test]
    fn nothing_received_has_no_latency() {
        let line = Figures::default().line(Duration::ZERO, Duration::ZERO);
        assert!(line.starts_with(r#"{"number": 0,"#), "{line}");
    }
}
