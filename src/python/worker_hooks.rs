//! What `pywsgi._hooks` asks of the worker: requests that are over, for the functions of `pywsgi.on_request_finished`, and
//! another worker in this one's place.

use std::time::{Duration, UNIX_EPOCH};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::{fork, logging};
use crate::bridge::callbacks::Gone;
use crate::bridge::events::Event;
use crate::bridge::exchange::Worker;
use crate::bridge::replacement::Reason;
use crate::bridge::reports::Finished;
use crate::http::request_head::Span;

/// From now on a thread takes the requests that are over ([`next_finished`]).
pub(super) fn want_finished() {
    if let Some(worker) = logging::worker() {
        worker.reports.want();
    }
}

/// The keyword arguments of `pywsgi.FinishedRequest`, once a request is over; `None` as the worker exits.
pub(super) fn next_finished(py: Python<'_>) -> PyResult<Option<Bound<'_, PyDict>>> {
    let Some(worker) = logging::worker() else { return Ok(None) };
    match py.detach(|| worker.reports.next()) {
        Some(finished) => describe(py, worker, &finished).map(Some),
        None => Ok(None),
    }
}

/// How many requests nobody was told of, since this was last asked.
pub(super) fn dropped_finished() -> u64 {
    logging::worker().map_or(0, |worker| worker.reports.take_dropped())
}

/// The worker exits: the thread ends when it has taken what waits.
pub(super) fn end_finished() {
    if let Some(worker) = logging::worker() {
        worker.reports.end();
    }
}

/// `pywsgi.restart_worker`. False in a child, which has no event loop, and where there is no worker.
pub(super) fn restart() -> bool {
    let Some(worker) = logging::worker().filter(|_| !fork::is_child()) else { return false };
    worker.events.push(Event::Replace(Reason::Asked));
    true
}

fn describe<'py>(
    py: Python<'py>,
    worker: &Worker,
    finished: &Finished,
) -> PyResult<Bound<'py, PyDict>> {
    let head = &finished.head;
    let bytes = |span: Span| PyBytes::new(py, head.get(span));
    let fields = head.fields().iter().map(|field| (bytes(field.name()), bytes(field.value())));
    let fields: Vec<_> = fields.collect();
    let begun = finished.begun.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let request = PyDict::new(py);
    request.set_item("id", head.id(finished.origin.unwrap_or_else(logging::worker_process)))?;
    request.set_item("application", worker.target(finished.app))?;
    request.set_item("method", bytes(head.method))?;
    request.set_item("uri", bytes(head.target))?;
    request.set_item("fields", fields)?;
    request.set_item("status", finished.status)?;
    request.set_item("response_bytes", finished.sent)?;
    request.set_item("begun", begun.as_secs_f64())?;
    request.set_item("queue_time", finished.queue.as_secs_f64())?;
    let application = finished.application.map(|took| took.as_secs_f64());
    request.set_item("application_time", application)?;
    let gil_wait = finished.gil_wait.map(|waited| waited.as_secs_f64());
    request.set_item("gil_wait_time", gil_wait)?;
    request.set_item("input_time", finished.input.as_secs_f64())?;
    request.set_item("response_time", finished.response.as_secs_f64())?;
    request.set_item("exception", finished.exception.as_deref())?;
    request.set_item("aborted", finished.gone == Some(Gone::Client))?;
    request.set_item("timed_out", finished.gone == Some(Gone::TimedOut))?;
    Ok(request)
}
