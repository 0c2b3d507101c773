//! The messages of a call, by the kind of its scope.

use pyo3::prelude::*;

use super::call::{Call, Next};
use super::{http, websocket};

/// The next message for the application.
pub(super) fn receive<'py>(py: Python<'py>, call: &Call) -> PyResult<Next<'py>> {
    match &call.websocket {
        Some(websocket) => websocket::receive(py, call, websocket),
        None => http::receive(py, call),
    }
}

/// Sends a message. False if it, or a part of it, waits for room ([`send_rest`]).
pub(super) fn send(slf: &Bound<'_, Call>, message: &Bound<'_, PyAny>) -> PyResult<bool> {
    match &slf.get().websocket {
        Some(websocket) => websocket::send(slf, websocket, message),
        None => http::send(slf, message),
    }
}

/// Sends what had no room. False if it still has none.
pub(super) fn send_rest(py: Python<'_>, call: &Call) -> PyResult<bool> {
    match &call.websocket {
        Some(websocket) => websocket::send_rest(py, call, websocket),
        None => http::send_rest(py, call),
    }
}
