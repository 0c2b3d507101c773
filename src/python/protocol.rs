//! The protocols in which applications are called: the one place that names them.
//!
//! The files that run applications ([`run`](super::run)) know these types alone. A second protocol is a second field of
//! [`Protocols`] and [`Kit`], and a second variant of [`Suspended`]; the exchange's location says which one it has.

use std::sync::{Arc, Weak};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::app::App;
use super::asgi;
pub(super) use super::asgi::{Call, Callee, Host, Kit as LoopKit, Lifespan, Stage};
use super::shim::Shim;
use super::wsgi;
use crate::bridge::config::Protocol;
use crate::bridge::exchange::Exchange;

/// What each protocol has made once for all threads of a worker.
pub(super) struct Protocols {
    wsgi: wsgi::Prepared,
    /// `None` if the worker has no loop.
    asgi: Option<asgi::Prepared>,
}

/// What a thread keeps from one request to the next.
pub(super) struct Kit {
    wsgi: wsgi::Kit,
}

/// A response that was left in the middle of its iteration.
pub(super) enum Suspended {
    Wsgi(wsgi::Suspended),
}

impl Protocols {
    /// Prepares the interpreter, and makes what the threads share for that many applications.
    pub(super) fn prepare(
        py: Python<'_>,
        shim: &Shim,
        apps: usize,
        has_loops: bool,
    ) -> PyResult<Self> {
        let asgi = if has_loops { Some(asgi::prepare(py, apps)?) } else { None };
        Ok(Self { wsgi: wsgi::prepare(py, shim, apps)?, asgi })
    }

    /// Calls `callable` for `exchange`, and sends its response. Inline, the response may be suspended. Faults are
    /// logged.
    pub(super) fn call(
        &self,
        py: Python<'_>,
        shim: &Shim,
        app: &App,
        callable: &Py<PyAny>,
        exchange: &Arc<Exchange>,
        kit: &mut Kit,
    ) -> Option<Suspended> {
        match exchange.location.protocol {
            Protocol::Wsgi => {
                wsgi::call(py, &self.wsgi, shim, app, callable, exchange, &mut kit.wsgi)
                    .map(Suspended::Wsgi)
            }
            // A loop calls it.
            Protocol::Asgi => None,
        }
    }

    /// Makes the call of a request on a loop: gives it and the coroutine that runs it.
    pub(super) fn call_in_loop<'py>(
        &self,
        py: Python<'py>,
        callee: &Callee<'_, 'py>,
        exchange: &Arc<Exchange>,
        host: Weak<dyn Host>,
        kit: &mut LoopKit,
    ) -> PyResult<(Bound<'py, Call>, Bound<'py, PyAny>)> {
        asgi::call(py, self.of_loops()?, callee, exchange, host, kit)
    }

    /// Runs `act` in a context in which the log knows the call.
    pub(super) fn within<T>(
        &self,
        py: Python<'_>,
        call: &Bound<'_, Call>,
        act: impl FnOnce() -> PyResult<T>,
    ) -> PyResult<T> {
        asgi::within(py, self.of_loops()?, call, act)
    }

    fn of_loops(&self) -> PyResult<&asgi::Prepared> {
        self.asgi.as_ref().ok_or_else(|| PyRuntimeError::new_err("the worker has no loop"))
    }

    /// The application has returned, or raised: ends its response, if it has not. Faults are logged.
    pub(super) fn end_in_loop(
        &self,
        py: Python<'_>,
        shim: &Shim,
        app: &App,
        call: &Call,
        error: Option<&PyErr>,
    ) {
        // A worker without a loop has no calls.
        let Some(asgi) = &self.asgi else { return };
        asgi::end(py, asgi, shim, app, call, error);
    }

    /// Answers a request on a loop whose application cannot be called, as `report` says.
    pub(super) fn refuse_in_loop(
        &self,
        py: Python<'_>,
        shim: &Shim,
        exchange: &Arc<Exchange>,
        report: &str,
    ) {
        asgi::refuse(py, shim, exchange, report);
    }

    /// Answers a request whose application could not be imported.
    pub(super) fn refuse(
        &self,
        py: Python<'_>,
        shim: &Shim,
        app: &App,
        exchange: &Arc<Exchange>,
    ) -> Option<Suspended> {
        match exchange.location.protocol {
            Protocol::Wsgi => wsgi::refuse(py, shim, app, exchange).map(Suspended::Wsgi),
            // A loop refuses it.
            Protocol::Asgi => None,
        }
    }
}

impl Kit {
    pub(super) fn new() -> Self {
        Self { wsgi: wsgi::Kit::new() }
    }

    /// The application has returned: forgets the request.
    pub(super) fn release(&mut self, py: Python<'_>) {
        self.wsgi.release(py);
    }
}

impl Suspended {
    /// Resumes the iteration; it may be suspended again.
    pub(super) fn resume(self, py: Python<'_>, shim: &Shim, app: &App) -> Option<Self> {
        match self {
            Self::Wsgi(suspended) => suspended.resume(py, shim, app).map(Self::Wsgi),
        }
    }
}
