//! The protocols in which applications are called: the one place that names them.
//!
//! The files that run applications ([`run`](super::run)) know these types alone. A second protocol is a second field of
//! [`Protocols`] and [`Kit`], and a second variant of [`Suspended`]; the exchange's location says which one it has.

use std::sync::Arc;

use pyo3::prelude::*;

use super::app::App;
use super::shim::Shim;
use super::wsgi;
use crate::bridge::config::Protocol;
use crate::bridge::exchange::Exchange;

/// What each protocol has made once for all threads of a worker.
pub(super) struct Protocols {
    wsgi: wsgi::Prepared,
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
    pub(super) fn prepare(py: Python<'_>, shim: &Shim, apps: usize) -> PyResult<Self> {
        Ok(Self { wsgi: wsgi::prepare(py, shim, apps)? })
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
            Protocol::Asgi => None,
        }
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
