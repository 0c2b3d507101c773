//! One call of an application: how far it is, and what its task waits for.
//!
//! All of it runs on the loop's thread, attached; the application may call `receive` and `send` from any task there.
//! The state is borrowed for a few instructions only, never while Python runs.

use std::cell::RefMut;
use std::sync::{Arc, Weak};

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::socket::WebSocket;
use crate::bridge::callbacks::Gone;
use crate::bridge::config::ClientAbort;
use crate::bridge::exchange::Exchange;
use crate::python::attached::Attached;
use crate::python::client_gone::ClientGone;
use crate::python::response::Response;
use crate::python::type_name::type_name;

/// A call. The application has its methods.
#[pyclass(frozen, weakref, module = "pywsgi", name = "call")]
pub(in crate::python) struct Call {
    pub(super) exchange: Arc<Exchange>,
    pub(super) response: Response,
    host: Weak<dyn Host>,
    /// What a `send` that waits for nothing returns.
    pub(super) complete: Py<PyAny>,
    /// If it is one of a WebSocket.
    pub(super) websocket: Option<WebSocket>,
    state: Attached<State>,
}

/// What a call needs of the loop that runs it.
pub(in crate::python) trait Host: Send + Sync {
    /// A new future of the loop.
    fn future<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>>;

    /// The head of a response has been given, and no part of its body: it is sent if the loop's turn ends before one
    /// is ([`Call::flush`]).
    fn flush_later(&self, py: Python<'_>, call: &Bound<'_, Call>) -> PyResult<()>;

    /// The call's task has ended, and with it all that the application does for the request.
    fn ended(&self, py: Python<'_>, call: &Call, error: Option<PyErr>);
}

/// A client that sends faster than its application receives, or takes faster than it sends, does not keep the other tasks
/// of the loop waiting: after so many messages, or parts of them, they have a turn.
const AT_ONCE: usize = 32;

#[derive(Default)]
struct State {
    phase: Phase,
    /// `http.request` with `more_body` False has been received.
    body_received: bool,
    /// Messages, or parts of them, that it has received and sent since it last waited for one, or for room.
    at_once: usize,
    /// Futures of those who wait for a message, and for room.
    receivers: Vec<Py<PyAny>>,
    senders: Vec<Py<PyAny>>,
    task: Option<Py<PyAny>>,
    /// The application has been told that its client is gone.
    disconnected: bool,
    /// Where the task was at its deadline has been logged.
    stack_said: bool,
    /// The task has been cancelled, for the client has left or the deadline has passed.
    cancelled: bool,
    ended: bool,
}

/// How far the application has come with its response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    NotStarted,
    /// `http.response.start` has been sent; with `trailers` True if that says so.
    Started {
        trailers: bool,
    },
    /// The body is complete, and `http.response.trailers` is due.
    Trailers,
    Complete,
}

impl Phase {
    /// When a message is sent, as the errors say it.
    pub(super) fn state(self) -> &'static str {
        match self {
            Self::NotStarted => "before \"http.response.start\"",
            Self::Started { .. } => "after \"http.response.start\"",
            Self::Trailers => "after the last \"http.response.body\", where trailers are due",
            Self::Complete => "after the response is complete",
        }
    }
}

/// What `receive()` comes to.
pub(super) enum Next<'py> {
    Message(Bound<'py, PyDict>),
    /// It has not come yet.
    Wait,
    /// Other tasks of the loop have a turn first.
    Turn,
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A message of the client's.
    Message,
    /// Room in the pipe to the client.
    Room,
}

impl Call {
    pub(super) fn new(
        exchange: &Arc<Exchange>,
        host: Weak<dyn Host>,
        complete: Py<PyAny>,
        websocket: Option<WebSocket>,
    ) -> Self {
        Self {
            exchange: Arc::clone(exchange),
            response: Response::new(exchange),
            host,
            complete,
            websocket,
            state: Attached::default(),
        }
    }

    pub(in crate::python) fn exchange(&self) -> &Arc<Exchange> {
        &self.exchange
    }

    pub(in crate::python) fn response(&self) -> &Response {
        &self.response
    }

    /// How far the application has come; `None` once it has returned, or raised.
    pub(super) fn phase(&self, py: Python<'_>) -> Option<Phase> {
        let state = self.state(py);
        (!state.ended).then_some(state.phase)
    }

    /// The application is told that its client is gone, or has its response.
    pub(super) fn set_disconnected(&self, py: Python<'_>) {
        self.state(py).disconnected = true;
    }

    /// Whether the application need not answer: nobody waits for it, and it may know. It may be told that its client is
    /// gone before the pipe is closed.
    pub(super) fn is_excused(&self, py: Python<'_>) -> bool {
        self.exchange.output.is_closed()
            || self.exchange.gone().is_some()
            || self.state(py).disconnected
    }

    /// Whether the application has given its whole response.
    pub(super) fn is_complete(&self, py: Python<'_>) -> bool {
        self.state(py).phase == Phase::Complete
    }

    /// What the application has not done, though it has returned; `None` if it has given its whole response.
    pub(super) fn unfinished(&self, py: Python<'_>) -> Option<&'static str> {
        match self.state(py).phase {
            Phase::NotStarted => {
                Some("returned without a response (no \"http.response.start\" was sent)")
            }
            Phase::Started { .. } => Some(
                "returned in the middle of its response (no \"http.response.body\" with \"more_body\" False was sent)",
            ),
            Phase::Trailers => Some(
                "returned without the trailers that it has announced (no \"http.response.trailers\" was sent)",
            ),
            Phase::Complete => None,
        }
    }

    pub(super) fn set_phase(&self, py: Python<'_>, phase: Phase) {
        self.state(py).phase = phase;
    }

    /// The task that runs the application.
    pub(in crate::python) fn set_task(&self, py: Python<'_>, task: Py<PyAny>) {
        let mut state = self.state(py);
        if !state.ended {
            state.task = Some(task);
        }
    }

    pub(in crate::python) fn task<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.state(py).task.as_ref().map(|task| task.bind(py).clone())
    }

    /// Whether the task was cancelled by this module.
    pub(in crate::python) fn is_cancelled(&self, py: Python<'_>) -> bool {
        self.state(py).cancelled
    }

    /// Something has changed for which the call may wait, or of which it must be told. `resolve` gives a future its
    /// result.
    pub(in crate::python) fn resume(
        &self,
        py: Python<'_>,
        resolve: impl Fn(&Bound<'_, PyAny>) -> PyResult<()>,
    ) -> PyResult<()> {
        let left = self.exchange.gone() == Some(Gone::Client);
        if self.exchange.is_overdue()
            || (left && self.exchange.location.client_abort == ClientAbort::Cancel)
        {
            self.cancel(py)?;
        }
        self.resolve_waiting(py, resolve)
    }

    /// Whether the application has returned, or raised.
    pub(in crate::python) fn has_returned(&self, py: Python<'_>) -> bool {
        self.state(py).ended
    }

    /// Whether the application has returned, and all that it has sent is in the pipe.
    pub(in crate::python) fn is_done(&self, py: Python<'_>) -> bool {
        self.state(py).ended && !self.response.has_rest(py)
    }

    /// The application has returned, and a part of its response had no room: sends it, as far as there is room by now.
    pub(in crate::python) fn send_left(&self, py: Python<'_>) {
        if self.state(py).ended {
            // If the client is gone, nothing is left.
            let _gone = self.response.send_rest(py);
        }
    }

    /// Whether where the task is has still to be logged; once. The caller logs it before anything else runs.
    pub(in crate::python) fn take_stack(&self, py: Python<'_>) -> bool {
        !std::mem::replace(&mut self.state(py).stack_said, true)
    }

    /// Whether nobody waits for what the application sends: the client has left, or has been answered without it.
    pub(super) fn is_gone(&self) -> bool {
        self.exchange.gone().is_some() && !self.response.is_ignored()
    }

    /// Cancels the task, once.
    pub(in crate::python) fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        let task = {
            let mut state = self.state(py);
            if std::mem::replace(&mut state.cancelled, true) {
                return Ok(());
            }
            state.task.as_ref().map(|task| task.clone_ref(py))
        };
        match task {
            Some(task) => task.call_method0(py, intern!(py, "cancel")).map(drop),
            None => Ok(()),
        }
    }

    /// Has all who wait look again, in the loop's next turn.
    pub(super) fn wake(&self, py: Python<'_>) -> PyResult<()> {
        self.resolve_waiting(py, |future| {
            future.call_method1(intern!(py, "set_result"), (py.None(),)).map(drop)
        })
    }

    /// Takes out the futures of all who wait, and gives each its result by `resolve`, but for one that has been cancelled
    /// meanwhile.
    fn resolve_waiting(
        &self,
        py: Python<'_>,
        resolve: impl Fn(&Bound<'_, PyAny>) -> PyResult<()>,
    ) -> PyResult<()> {
        let futures = {
            let mut state = self.state(py);
            let mut futures = std::mem::take(&mut state.receivers);
            futures.append(&mut state.senders);
            futures
        };
        let mut result = Ok(());
        for future in &futures {
            let future = future.bind(py);
            let done = future.call_method0(intern!(py, "done")).and_then(|done| done.is_truthy());
            let resolved = done.and_then(|done| if done { Ok(()) } else { resolve(future) });
            result = result.and(resolved);
        }
        result
    }

    /// A future for who waits.
    pub(super) fn future<'py>(&self, py: Python<'py>, what: What) -> PyResult<Bound<'py, PyAny>> {
        let future = self.host()?.future(py)?;
        let mut state = self.state(py);
        state.at_once = 0;
        let waiting = match what {
            What::Message => &mut state.receivers,
            What::Room => &mut state.senders,
        };
        waiting.push(future.clone().unbind());
        Ok(future)
    }

    /// Whether other tasks of the loop have a turn before the next message, or part of one, either way.
    pub(super) fn gives_way(&self, py: Python<'_>) -> bool {
        let mut state = self.state(py);
        let gives_way = state.at_once == AT_ONCE;
        state.at_once = if gives_way { 0 } else { state.at_once + 1 };
        gives_way
    }

    /// A future is not waited for any more.
    pub(super) fn forget(&self, py: Python<'_>, what: What, future: &Py<PyAny>) {
        let mut state = self.state(py);
        let waiting = match what {
            What::Message => &mut state.receivers,
            What::Room => &mut state.senders,
        };
        let found = waiting.iter().position(|other| other.is(future));
        let found = found.map(|at| waiting.swap_remove(at));
        let nobody = waiting.is_empty();
        drop(state);
        drop(found);
        if let Some(socket) = self.exchange.socket.as_deref().filter(|_| nobody) {
            match what {
                What::Message => socket.stop_receiving(),
                What::Room => socket.stop_sending(),
            }
        }
        match what {
            What::Message if nobody => self.exchange.stop_reading(),
            What::Room if nobody => self.exchange.stop_pushing(),
            What::Message | What::Room => {}
        }
    }

    /// What the call needs of its loop.
    pub(super) fn host(&self) -> PyResult<Arc<dyn Host>> {
        self.host
            .upgrade()
            .ok_or_else(|| PyRuntimeError::new_err("the event loop of this request has ended"))
    }

    /// Whether somebody waits for room: what is sent meanwhile waits behind.
    pub(super) fn waits_for_room(&self, py: Python<'_>) -> bool {
        self.response.has_rest(py)
            || self.websocket.as_ref().is_some_and(|websocket| websocket.has_rest(py))
            || !self.state(py).senders.is_empty()
    }

    /// Whether the application has received the end of the request's body.
    pub(super) fn body_received(&self, py: Python<'_>) -> bool {
        self.state(py).body_received
    }

    pub(super) fn set_body_received(&self, py: Python<'_>, received: bool) {
        self.state(py).body_received = received;
    }

    /// Whether the task has ended.
    pub(super) fn is_ended(&self, py: Python<'_>) -> bool {
        self.state(py).ended
    }

    /// Whether nothing more comes from the client.
    pub(super) fn is_over(&self, py: Python<'_>) -> bool {
        let ended = {
            let state = self.state(py);
            state.ended || state.phase == Phase::Complete
        };
        ended || (self.exchange.poll_closed() && !self.response.is_ignored())
    }

    /// The task has ended.
    pub(super) fn end(&self, py: Python<'_>, error: Option<PyErr>) {
        let task = {
            let mut state = self.state(py);
            if std::mem::replace(&mut state.ended, true) {
                return;
            }
            state.task.take()
        };
        if let Some(host) = self.host.upgrade() {
            host.ended(py, self, error);
        }
        drop(task);
        // Tasks of the application's own that wait for a message learn that there is none.
        if let Err(error) = self.wake(py) {
            error.write_unraisable(py, None);
        }
    }

    fn state<'a>(&'a self, py: Python<'a>) -> RefMut<'a, State> {
        self.state.borrow(py)
    }
}

/// The message as a dict, and its type.
pub(super) fn parts<'a, 'py>(
    message: &'a Bound<'py, PyAny>,
) -> PyResult<(&'a Bound<'py, PyDict>, Bound<'py, PyString>)> {
    let dict = message.cast::<PyDict>().map_err(|_| {
        PyTypeError::new_err(format!("an ASGI message must be a dict, not {}", type_name(message)))
    })?;
    let kind = dict.get_item(intern!(message.py(), "type"))?.ok_or_else(|| {
        PyTypeError::new_err("an ASGI message must have a \"type\", which is a str; it is missing")
    })?;
    let kind = kind.cast_into::<PyString>().map_err(|error| {
        PyTypeError::new_err(format!(
            "an ASGI message's \"type\" must be a str, not {}",
            type_name(&error.into_inner())
        ))
    })?;
    Ok((dict, kind))
}

/// What a send raises when nobody takes it.
pub(super) fn gone(call: &Call) -> PyErr {
    let why = match call.exchange.gone() {
        Some(Gone::TimedOut) => "the request has been answered 504 already (asgi_timeout)",
        Some(Gone::Client) => "the client is gone",
        Some(Gone::Answered) | None => {
            "the client is gone, or its request has been answered already"
        }
    };
    ClientGone::new_err(why)
}

#[cold]
pub(super) fn in_child() -> PyErr {
    PyRuntimeError::new_err(
        "the request is the parent's: a forked child can neither receive nor send for it",
    )
}
