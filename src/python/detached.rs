//! Waiting without the GIL on behalf of a request, whose wait for the GIL afterwards is counted.

use pyo3::prelude::*;

use crate::bridge::clock;
use crate::bridge::exchange::Exchange;

/// Runs `wait` detached.
pub(super) fn detached<R: Send>(
    py: Python<'_>,
    exchange: &Exchange,
    wait: impl FnOnce() -> R + Send,
) -> R {
    let (result, since) = py.detach(|| (wait(), clock::nanoseconds()));
    exchange.timings.add_gil_wait(since, clock::nanoseconds());
    result
}
