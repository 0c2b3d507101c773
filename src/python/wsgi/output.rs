//! The response's body: what the application has returned, block by block (PEP 3333, "Specification
//! Details", "Handling the Content-Length Header", "Buffering and Streaming").

use std::sync::Arc;

use bytes::Bytes;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyList, PyTuple};

use super::debug;
use super::file_wrapper::FileWrapper;
use super::input::ClientGone;
use super::response::{Response, Sent, Unsent};
use super::start_response::type_name;
use crate::bridge::log::Level;
use crate::bridge::pipe::output::SHARED_FROM;
use crate::http::framing::ShortBody;
use crate::python::app::App;
use crate::python::logging;
use crate::python::runtime::Runtime;

/// Why a response is not complete.
enum Fault {
    /// The application has raised.
    Raised(PyErr),
    /// The client is gone, or has been answered: nothing is wrong with the application.
    Gone,
    /// The application breaks a rule of PEP 3333.
    Broken(String),
}

impl From<PyErr> for Fault {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

impl From<Unsent> for Fault {
    fn from(unsent: Unsent) -> Self {
        match unsent {
            Unsent::Gone => Self::Gone,
            Unsent::NotStarted => Self::Broken(
                "did not call start_response before its body (PEP 3333, \"The start_response() Callable\")"
                    .to_owned(),
            ),
            Unsent::Broken => Self::Broken(
                "goes on with its response, of which a write() that raised is missing; the connection is cut"
                    .to_owned(),
            ),
            Unsent::Busy => Self::Broken(
                "sends its response from two threads at once: write() of another thread waits for the \
                 client"
                    .to_owned(),
            ),
        }
    }
}

/// Sends what the application has returned, and calls `close()`, once, on every way out. Inline, what is
/// left of the response comes back.
pub(super) fn respond(
    py: Python<'_>,
    runtime: &Runtime,
    app: &App,
    response: Arc<Response>,
    result: PyResult<Bound<'_, PyAny>>,
) -> Option<Rest> {
    let (begun, iterable) = match result {
        Ok(iterable) => (begin(py, runtime, app, &response, &iterable), Some(iterable.unbind())),
        Err(error) => (Err(Fault::Raised(error)), None),
    };
    let rest = Rest { response, iterable, blocks: None };
    match begun {
        Ok(Some(blocks)) => Rest { blocks: Some(blocks), ..rest }.send(py, runtime, app),
        Ok(None) => rest.end(py, runtime, app, Ok(())),
        Err(fault) => rest.end(py, runtime, app, Err(fault)),
    }
}

/// A response in the middle of its iteration.
pub(in crate::python) struct Rest {
    response: Arc<Response>,
    /// What the application has returned, until it is closed.
    iterable: Option<Py<PyAny>>,
    blocks: Option<Blocks>,
}

/// The blocks that are still to come.
struct Blocks {
    iterator: Py<PyIterator>,
    /// Where all of them are there already: their length.
    total: Option<u64>,
}

/// How far [`Rest::send_blocks`] has come.
enum Flow {
    /// Inline: the client is to take what there is first.
    Suspended,
    Complete,
}

impl Rest {
    /// What is left of a response that has nothing more to iterate over.
    pub(super) fn of(py: Python<'_>, response: Arc<Response>) -> Option<Self> {
        response.has_rest(py).then_some(Self { response, iterable: None, blocks: None })
    }

    /// Goes on where the response was left.
    pub(in crate::python) fn go_on(self, py: Python<'_>, runtime: &Runtime) -> Option<Self> {
        let app = runtime.apps.get(self.response.exchange().location.app)?;
        self.send(py, runtime, app)
    }

    fn send(mut self, py: Python<'_>, runtime: &Runtime, app: &App) -> Option<Self> {
        match self.send_blocks(py, app) {
            Ok(Flow::Suspended) => Some(self),
            Ok(Flow::Complete) => self.end(py, runtime, app, Ok(())),
            Err(fault) => self.end(py, runtime, app, Err(fault)),
        }
    }

    fn send_blocks(&mut self, py: Python<'_>, app: &App) -> Result<Flow, Fault> {
        let response = &*self.response;
        if !response.send_rest(py)? {
            return Ok(Flow::Suspended);
        }
        let Some(Blocks { iterator, total }) = &self.blocks else {
            finish(py, response)?;
            return Ok(Flow::Complete);
        };
        // A list is all there, and is sent as one; what else it is that the application makes its blocks of,
        // each is on its way before the next one is asked for.
        let suspends = response.exchange().is_inline() && total.is_none();
        if suspends && response.is_abandoned(py) {
            return Err(Fault::Gone);
        }
        for block in iterator.bind(py).clone() {
            let block = block?;
            let bytes = bytes_of(&block)?;
            if bytes.as_bytes().is_empty() {
                // It is how an application waits for something: nobody else would tell it.
                if response.is_abandoned(py) {
                    return Err(Fault::Gone);
                }
            } else {
                match send_block(py, app, response, bytes, *total, false)? {
                    // A body that nobody wants is not asked for; one block too many was one too many.
                    Sent::Cut => break,
                    Sent::Complete if response.sends_no_body(py) => break,
                    Sent::Complete | Sent::More => {}
                }
            }
            if suspends || response.has_rest(py) {
                return Ok(Flow::Suspended);
            }
        }
        self.blocks = None;
        if self.response.has_rest(py) {
            return Ok(Flow::Suspended);
        }
        finish(py, &self.response)?;
        Ok(Flow::Complete)
    }

    /// Nothing more comes of the application: says what was wrong, and closes what it has returned. A page
    /// that shows it may have a rest of its own.
    fn end(
        self,
        py: Python<'_>,
        runtime: &Runtime,
        app: &App,
        sent: Result<(), Fault>,
    ) -> Option<Self> {
        let Self { response, iterable, .. } = self;
        if let Err(fault) = sent {
            let shown = say(py, runtime, app, fault).is_some_and(|report| {
                debug::show(py, runtime, response.exchange(), &response, &report)
            });
            if !shown {
                response.fail(py);
            }
        }
        if let Some(dropped) = response.take_dropped(py) {
            app.say_dropped(py, &dropped);
        }
        if let Some(iterable) = iterable {
            close(py, runtime, app, iterable.bind(py));
        }
        Self::of(py, response)
    }
}

/// Begins to send what the application has returned; comes back with the blocks that are still to come, if it is
/// not all.
fn begin(
    py: Python<'_>,
    runtime: &Runtime,
    app: &App,
    response: &Response,
    iterable: &Bound<'_, PyAny>,
) -> Result<Option<Blocks>, Fault> {
    // The whole body is known: its length is Content-Length, if the application has not said one.
    let total = if let Ok(list) = iterable.cast_exact::<PyList>() {
        if list.len() == 1 {
            send_one(py, app, response, &list.get_item(0)?)?;
            return Ok(None);
        }
        total(list.iter())
    } else if let Ok(tuple) = iterable.cast_exact::<PyTuple>() {
        if tuple.len() == 1 {
            send_one(py, app, response, &tuple.get_item(0)?)?;
            return Ok(None);
        }
        total(tuple.iter())
    } else if let Ok(wrapper) = iterable.cast_exact::<FileWrapper>() {
        if let Some(part) = wrapper.get().part(py, runtime)? {
            say_cut(py, app, response.send_file(py, part)?);
            finish(py, response)?;
            return Ok(None);
        }
        None
    } else if iterable.is_none() {
        return Err(Fault::Broken(
            "returned None; it must return an iterable of bytes (PEP 3333, \"Specification Details\")"
                .to_owned(),
        ));
    } else {
        None
    };
    Ok(Some(Blocks { iterator: iterable.try_iter()?.unbind(), total }))
}

/// The common response: one block.
fn send_one(
    py: Python<'_>,
    app: &App,
    response: &Response,
    block: &Bound<'_, PyAny>,
) -> Result<(), Fault> {
    let bytes = bytes_of(block)?;
    if !bytes.as_bytes().is_empty() {
        let total = Some(bytes.as_bytes().len() as u64);
        send_block(py, app, response, bytes, total, true)?;
    }
    if response.has_rest(py) {
        // It is finished when that has gone.
        return Ok(());
    }
    finish(py, response)
}

fn send_block(
    py: Python<'_>,
    app: &App,
    response: &Response,
    bytes: &Bound<'_, PyBytes>,
    total: Option<u64>,
    last: bool,
) -> Result<Sent, Fault> {
    let sent = response.send(py, share(bytes), total, last)?;
    say_cut(py, app, sent);
    Ok(sent)
}

fn say_cut(py: Python<'_>, app: &App, sent: Sent) {
    if sent == Sent::Cut {
        let text = format!(
            "application \"{}\" sends more bytes than its Content-Length; the response was cut there",
            app.target
        );
        logging::write(py, Level::Error, &text);
    }
}

fn finish(py: Python<'_>, response: &Response) -> Result<(), Fault> {
    match response.finish(py)? {
        Ok(()) => Ok(()),
        Err(ShortBody { total, sent }) => Err(Fault::Broken(format!(
            "ended its body after {sent} bytes, but its Content-Length is {total} (PEP 3333, \"Handling \
             the Content-Length Header\")"
        ))),
    }
}

/// The bytes of a list or tuple; `None` where it holds something else, which its iteration will find.
fn total<'py>(blocks: impl Iterator<Item = Bound<'py, PyAny>>) -> Option<u64> {
    let mut total = 0;
    for block in blocks {
        total += block.cast::<PyBytes>().ok()?.as_bytes().len() as u64;
    }
    Some(total)
}

fn bytes_of<'a, 'py>(block: &'a Bound<'py, PyAny>) -> Result<&'a Bound<'py, PyBytes>, Fault> {
    block.cast::<PyBytes>().map_err(|_| {
        Fault::Broken(format!(
            "yielded {} where bytes are wanted (PEP 3333, \"Specification Details\")",
            type_name(block)
        ))
    })
}

/// A block as the event loop can have it: small ones are copied, a large one is kept alive.
pub(super) fn share(bytes: &Bound<'_, PyBytes>) -> Bytes {
    struct Owner {
        _object: Py<PyBytes>,
        start: *const u8,
        len: usize,
    }

    // SAFETY: a bytes object never changes, and the reference keeps it where it is.
    unsafe impl Send for Owner {}

    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            // SAFETY: the pointer and the length are those of the object that is held.
            unsafe { std::slice::from_raw_parts(self.start, self.len) }
        }
    }

    let slice = bytes.as_bytes();
    if slice.len() < SHARED_FROM {
        return Bytes::copy_from_slice(slice);
    }
    let object = bytes.clone().unbind();
    Bytes::from_owner(Owner { _object: object, start: slice.as_ptr(), len: slice.len() })
}

fn close(py: Python<'_>, runtime: &Runtime, app: &App, iterable: &Bound<'_, PyAny>) {
    // These have no `close`; to ask them for one would cost an AttributeError.
    if iterable.is_exact_instance_of::<PyList>() || iterable.is_exact_instance_of::<PyTuple>() {
        return;
    }
    let closed = match iterable.getattr_opt(intern!(py, "close")) {
        Ok(None) => return,
        Ok(Some(close)) => close.call0(),
        Err(error) => Err(error),
    };
    if let Err(error) = closed {
        if is_cancelled(py, runtime, app, &error) {
            return;
        }
        let what = format!("application \"{}\": close() raised", app.target);
        logging::exception(py, runtime, &what, &error);
    }
}

/// Says in the log what is wrong; gives back what can be shown of it.
fn say(py: Python<'_>, runtime: &Runtime, app: &App, fault: Fault) -> Option<String> {
    match fault {
        // nginx says it, at its level.
        Fault::Gone => None,
        Fault::Raised(error) if is_cancelled(py, runtime, app, &error) => None,
        Fault::Raised(error) if error.is_instance_of::<ClientGone>(py) => {
            let text = format!("application \"{}\": {}", app.target, error.value(py));
            logging::write(py, Level::Info, &text);
            None
        }
        // What an application makes of it: the client is to blame for that as well.
        Fault::Raised(error) if comes_of_client(py, &error) => {
            let what = format!("application \"{}\" raised, for its client is gone", app.target);
            logging::exception_at(py, runtime, Level::Info, &what, &error);
            None
        }
        Fault::Raised(error) => {
            let what = format!("application \"{}\" raised", app.target);
            Some(logging::exception(py, runtime, &what, &error))
        }
        Fault::Broken(what) => {
            let text = format!("application \"{}\" {what}", app.target);
            logging::write(py, Level::Error, &text);
            Some(text)
        }
    }
}

/// Was the exception raised `from` the one that says that the client is gone, or from one that was?
fn comes_of_client(py: Python<'_>, error: &PyErr) -> bool {
    let causes = std::iter::successors(error.cause(py), |cause| cause.cause(py));
    // A chain of causes may be a ring.
    causes.take(16).any(|cause| cause.is_instance_of::<ClientGone>(py))
}

/// Was the application interrupted by `wsgi_client_abort cancel`? That is said here, as nginx says that a
/// client is gone.
fn is_cancelled(py: Python<'_>, runtime: &Runtime, app: &App, error: &PyErr) -> bool {
    let cancelled = error.is_instance(py, runtime.disconnected.bind(py));
    if cancelled {
        let text = format!(
            "application \"{}\" was interrupted with ClientDisconnected (wsgi_client_abort cancel)",
            app.target
        );
        logging::write(py, Level::Info, &text);
    }
    cancelled
}
